//! Dispatch: pops hints, claims their rows into free slots, starts their runs. Now and then, and always while Redis is away, it
//! claims the oldest pending rows without a hint (see [`crate::net`]).
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
use tasker_shared::config::DispatchMode;
use tasker_shared::queue::{self, Hint, Popped, Popper};
use tasker_shared::store::claim::{self, Claim, Claimant};
use tasker_shared::store::{Fault, fault};
use tasker_shared::task::{QueueName, TaskId};
use tracing::{debug, error, warn};

use crate::execute;
use crate::net::{Net, Seen, Source};
use crate::runtime::Parts;
use crate::slots::{FreeSlots, Slots};

/// Time between looks into the table that find little, while Redis is away.
const LOOK_WITHOUT_REDIS: Duration = Duration::from_secs(1);
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
    net: Net,
    /// How long to wait before the next look: the last one found less than it could have taken.
    pause: Option<Duration>,
}

impl ClaimLoop {
    pub(crate) fn new(parts: Arc<Parts>, queues: Vec<QueueName>, slots: usize) -> Result<Self, queue::Error> {
        let popper = Popper::new(Arc::clone(&parts.queue), &parts.config.redis, &queues)?;
        let net = Net::new(parts.config.mode, Instant::now());
        Ok(Self {
            parts,
            popper,
            queues,
            slots: Slots::new(slots),
            left: None,
            net,
            pause: None,
        })
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
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
            self.pause = None;
        }
        self.parts.gate.opened().await;
        let resumed = self.parts.paused.resumed();
        let serving = self.parts.paused.leave_out(&self.queues);
        if serving.is_empty() {
            resumed.await;
            return None;
        }
        self.popper.serve(&serving);
        if self.parts.config.mode == DispatchMode::EventDrivenOnly {
            self.parts.redis.opened().await;
        }
        Some(self.slots.take_free().await)
    }

    /// One round: hints or a look into the table, a claim, the runs.
    async fn fill(&mut self, free: FreeSlots) {
        match self
            .net
            .next(Instant::now(), free.count(), self.parts.redis.is_open())
        {
            Source::Lists(block) => self.fill_from_lists(free, block).await,
            Source::Table(rows) => self.fill_from_table(free, rows).await,
        }
    }

    async fn fill_from_lists(&mut self, free: FreeSlots, block: Duration) {
        let sharing = self.parts.heartbeat.sharing();
        let count = fair_share(free.count(), self.left, sharing);
        match self.popper.pop(count, block, sharing > 1).await {
            Ok(popped) => {
                self.left = popped.left;
                self.parts.status.popped();
                self.take(popped, free).await;
            }
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "a pop failed");
                self.parts.redis.close();
            }
        }
    }

    async fn fill_from_table(&mut self, free: FreeSlots, rows: usize) {
        let limit = i64::try_from(rows).unwrap_or(i64::MAX);
        let claimed = {
            let claimant = self.claimant();
            twice_if_rolled_back(|| claim::claim_oldest(&self.parts.db, &claimant, limit)).await
        };
        let claim = match claimed {
            Ok(claim) => claim,
            Err(error) => return self.claim_failed(&error, &[]).await,
        };
        let found = claim.tasks.len();
        self.parts.status.claimed();
        self.net.looked(Instant::now(), seen(&claim));
        counter!("tasker_net_claims_total").increment(found as u64);
        if found < rows {
            self.pause = match self.parts.config.mode {
                DispatchMode::PollingOnly => Some(self.parts.config.claim_interval),
                _ if !self.parts.redis.is_open() => Some(LOOK_WITHOUT_REDIS),
                _ => None,
            };
        }
        if !claim.worker_is_alive {
            return self.parts.declared_dead();
        }
        self.start(claim, free).await;
    }

    async fn take(&mut self, popped: Popped, free: FreeSlots) {
        let Some(queue) = popped.queue else {
            return self.net.popped(std::iter::empty(), true);
        };
        let hints = |ids: &[TaskId]| -> Vec<Hint> { ids.iter().map(|id| (*id, queue.clone())).collect() };
        if self.parts.shutdown.soft().is_cancelled() {
            return self.parts.put_back(&hints(&popped.ids)).await;
        }
        let ids: Vec<TaskId> = popped
            .ids
            .into_iter()
            .filter(|id| !self.parts.held.contains(*id))
            .collect();
        if ids.is_empty() {
            return;
        }
        let began = Instant::now();
        let claimed = {
            let claimant = self.claimant();
            twice_if_rolled_back(|| claim::claim(&self.parts.db, &claimant, &ids)).await
        };
        let claim = match claimed {
            Ok(claim) => claim,
            Err(error) => return self.claim_failed(&error, &hints(&ids)).await,
        };
        histogram!("task_claim_duration_seconds").record(began.elapsed());
        counter!("tasker_stale_hints_total").increment(ids.len().saturating_sub(claim.tasks.len()) as u64);
        self.parts.status.claimed();
        self.net.popped(seen(&claim), false);
        if !claim.worker_is_alive {
            self.parts.put_back(&hints(&ids)).await;
            return self.parts.declared_dead();
        }
        if claim.paused.contains(&queue) {
            self.parts.put_back(&hints(&ids)).await;
        }
        self.start(claim, free).await;
    }

    fn claimant(&self) -> Claimant<'_> {
        Claimant {
            worker_id: &self.parts.worker_id,
            queues: &self.queues,
            task_names: self.parts.registry.names(),
            holds_suspect: self.parts.held.has_suspect(),
        }
    }

    async fn start(&self, claim: Claim, mut free: FreeSlots) {
        self.parts.paused.add(&claim.paused);
        if !claim.tasks.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
            histogram!("tasker_claim_batch_tasks").record(claim.tasks.len() as f64);
        }
        for claimed in claim.tasks {
            let slot = free
                .take_one()
                .expect("no more is claimed than there are free slots");
            execute::spawn(&self.parts, claimed, slot).await;
        }
    }

    /// Puts hints back only if their rows certainly were not claimed.
    async fn claim_failed(&self, error: &tasker_shared::store::Error, hints: &[Hint]) {
        self.parts.gate.close();
        if fault(error) == Fault::Unknown {
            error!(%error, hints = hints.len(), "the outcome of a claim is unknown");
        } else {
            warn!(%error, hints = hints.len(), "a claim failed");
            self.parts.put_back(hints).await;
        }
    }
}

/// The claimed tasks as the net sees them.
fn seen(claim: &Claim) -> impl Iterator<Item = Seen<'_>> {
    claim.tasks.iter().map(|task| (&task.queue, task.enqueued_at))
}

/// Sends a claim again, once, if a deadlock rolled it back.
async fn twice_if_rolled_back<F>(claim: impl Fn() -> F) -> Result<Claim, tasker_shared::store::Error>
where
    F: Future<Output = Result<Claim, tasker_shared::store::Error>>,
{
    match claim().await {
        Err(error) if fault(&error) == Fault::RolledBack => claim().await,
        other => other,
    }
}

/// How many hints to pop into `free` slots: all of them, unless other workers share lists in which little is left.
fn fair_share(free: usize, left: Option<u64>, sharing: usize) -> usize {
    let (Some(left), true) = (left, sharing > 1) else {
        return free;
    };
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
