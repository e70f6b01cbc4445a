//! Dispatch: pops hints, claims their rows into free slots, starts their runs.
//!
//! One loop serves all queues of the worker in strict order; each queue with reserved slots has a loop of its own beside it.
//! Batches form by themselves: while a claim is on its way, slots become free, and the next pop fills all of them. A worker
//! with few slots and long tasks never waits for a batch.
//!
//! Hints are never put back unless their rows certainly were not claimed. A claim whose outcome is unknown is not repeated:
//! if it took place, the rows run under this worker without being held, and recovery returns them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_shared::queue::{self, Hint, Popped, Popper};
use tasker_shared::store::claim::{self, Claim, Claimant};
use tasker_shared::store::{Fault, fault};
use tasker_shared::task::{QueueName, TaskId};
use tracing::{debug, error, info, warn};

use crate::execute;
use crate::runtime::Parts;
use crate::slots::{FreeSlots, Slots};

/// The first and the longest wait after a pop that failed.
const RETRY_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);
/// The least that a worker may take of a list that it shares: below it, round trips cost more than fairness gains.
const FAIR_SHARE_MIN: usize = 16;

/// A loop that fills one group of slots.
pub(crate) struct ClaimLoop {
    parts: Arc<Parts>,
    popper: Popper,
    queues: Vec<QueueName>,
    slots: Slots,
    /// Hints left in the lists after the last pop, when they are shared with other workers.
    left: Option<u64>,
    /// How long to wait before the next try, while pops fail.
    retry_wait: Option<Duration>,
}

impl ClaimLoop {
    pub(crate) fn new(
        parts: Arc<Parts>,
        queues: Vec<QueueName>,
        slots: usize,
    ) -> Result<Self, queue::Error> {
        let popper = Popper::new(Arc::clone(&parts.queue), &parts.config.redis, &queues)?;
        Ok(Self { parts, popper, queues, slots: Slots::new(slots), left: None, retry_wait: None })
    }

    /// Claims until the soft stop.
    pub(crate) async fn run(mut self) {
        let stop = self.parts.shutdown.soft().clone();
        let unblocker = self.popper.unblocker();
        let unblock = async {
            stop.cancelled().await;
            if let Err(error) = unblocker.unblock().await {
                debug!(%error, "a pop could not be ended early");
            }
            std::future::pending::<()>().await;
        };
        // the loop itself is never dropped half-way: it looks at the stop where it holds nothing
        tokio::select! {
            biased;
            () = self.claim_until_stopped() => {}
            () = unblock => {}
        }
    }

    async fn claim_until_stopped(&mut self) {
        let stop = self.parts.shutdown.soft().clone();
        while !stop.is_cancelled() {
            let free = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                free = self.ready() => free,
            };
            let Some(free) = free else { continue };
            self.fill(free).await;
        }
    }

    /// Waits until work may be taken and a slot is free. May be cancelled.
    async fn ready(&mut self) -> Option<FreeSlots> {
        if let Some(wait) = self.retry_wait {
            tokio::time::sleep(wait).await;
        }
        self.parts.gate.opened().await;
        let serving = self.parts.paused.leave_out(&self.queues);
        if serving.is_empty() {
            self.parts.paused.resumed().await;
            return None;
        }
        self.popper.serve(&serving);
        Some(self.slots.take_free().await)
    }

    /// One round: a pop, a claim, the runs.
    async fn fill(&mut self, free: FreeSlots) {
        let sharing = self.parts.heartbeat.sharing();
        let count = fair_share(free.count(), self.left, sharing);
        match self.popper.pop(count, sharing > 1).await {
            Ok(popped) => {
                if self.retry_wait.take().is_some() {
                    info!("Redis answers again");
                }
                self.left = popped.left;
                self.parts.status.popped();
                self.take(popped, free).await;
            }
            Err(error) => self.redis_failed(&error),
        }
    }

    async fn take(&self, popped: Popped, free: FreeSlots) {
        let Some(queue) = popped.queue else { return };
        let hints = |ids: &[TaskId]| -> Vec<Hint> { ids.iter().map(|id| (*id, queue.clone())).collect() };
        if self.parts.shutdown.soft().is_cancelled() {
            return self.put_back(&hints(&popped.ids)).await;
        }
        let ids: Vec<TaskId> = popped.ids.into_iter().filter(|id| !self.parts.held.contains(*id)).collect();
        if ids.is_empty() {
            return;
        }
        let began = Instant::now();
        match self.claim(&ids).await {
            Ok(claim) => {
                histogram!("task_claim_duration_seconds").record(began.elapsed());
                self.parts.status.claimed();
                if !claim.worker_is_alive {
                    self.put_back(&hints(&ids)).await;
                    return self.parts.declared_dead();
                }
                if claim.paused.contains(&queue) {
                    self.put_back(&hints(&ids)).await;
                }
                self.start(claim, free, ids.len());
            }
            Err(error) => {
                self.parts.gate.close();
                if fault(&error) == Fault::Unknown {
                    error!(%error, tasks = ids.len(), "the outcome of a claim is unknown");
                } else {
                    warn!(%error, "a claim failed");
                    self.put_back(&hints(&ids)).await;
                }
            }
        }
    }

    async fn claim(&self, ids: &[TaskId]) -> Result<Claim, tasker_shared::store::Error> {
        let claimant = Claimant {
            worker_id: &self.parts.worker_id,
            queues: &self.queues,
            task_names: self.parts.registry.names(),
            holds_suspect: self.parts.held.has_suspect(),
        };
        let claimed = claim::claim(&self.parts.db, &claimant, ids).await;
        match claimed {
            Err(error) if fault(&error) == Fault::RolledBack => claim::claim(&self.parts.db, &claimant, ids).await,
            other => other,
        }
    }

    fn start(&self, claim: Claim, mut free: FreeSlots, hints: usize) {
        self.parts.paused.add(&claim.paused);
        counter!("tasker_stale_hints_total").increment((hints - claim.tasks.len().min(hints)) as u64);
        if !claim.tasks.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
            histogram!("tasker_claim_batch_tasks").record(claim.tasks.len() as f64);
        }
        for claimed in claim.tasks {
            let slot = free.take_one().expect("no more is popped than there are free slots");
            execute::spawn(&self.parts, claimed, slot);
        }
    }

    async fn put_back(&self, hints: &[Hint]) {
        if let Err(error) = self.parts.queue.push_front(hints).await {
            warn!(%error, hints = hints.len(), "hints could not be put back; the net finds their tasks");
        }
    }

    fn redis_failed(&mut self, error: &queue::Error) {
        let wait = match self.retry_wait {
            None => {
                warn!(error = error as &dyn std::error::Error, "Redis does not answer a pop");
                *RETRY_WAIT.start()
            }
            Some(wait) => (wait * 2).min(*RETRY_WAIT.end()),
        };
        self.retry_wait = Some(wait);
    }
}

/// How many hints to pop into `free` slots: all of them, unless other workers share lists in which little is left.
fn fair_share(free: usize, left: Option<u64>, sharing: usize) -> usize {
    let (Some(left), true) = (left, sharing > 1) else { return free };
    let share = usize::try_from(left).unwrap_or(usize::MAX).div_ceil(sharing);
    free.min(share.max(FAIR_SHARE_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_alone_fills_all_its_slots() {
        assert_eq!(fair_share(256, None, 1), 256);
        assert_eq!(fair_share(256, Some(10), 1), 256);
    }

    #[test]
    fn workers_that_share_a_short_list_leave_some_to_each_other() {
        assert_eq!(fair_share(256, Some(200), 4), 50);
        assert_eq!(fair_share(256, Some(4), 4), FAIR_SHARE_MIN);
        assert_eq!(fair_share(256, Some(1_000_000), 4), 256);
        assert_eq!(fair_share(3, Some(4), 4), 3);
    }
}
