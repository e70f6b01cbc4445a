//! Dispatch: pops hints and has their rows claimed into free slots. Now and then, and always while Redis is away, it has the
//! oldest pending rows claimed without a hint (see [`crate::net`]).
//!
//! One loop serves all queues of the worker in strict order; each queue with reserved slots has a loop of its own beside it.
//! Batches form by themselves: while a claim is on its way, slots become free, and the next pop fills all of them. A worker
//! with few slots and long tasks never waits for a batch.
//!
//! Strict order has one exception: tasks that waited longer than `PRIORITY_AGE_LIMIT` take turns with the class above theirs
//! (see [`crate::age`]), in loops that serve both classes, the one above first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, counter};
use tasker_shared::config::DispatchMode;
use tasker_shared::queue::{self, Popper};
use tasker_shared::task::QueueName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::age::Age;
use crate::claims::{Claimer, Look};
use crate::net::Source;
use crate::runtime::Parts;
use crate::slots::{FreeSlots, Slots};

/// Time between looks into the table that find little, while Redis is away.
const LOOK_WITHOUT_REDIS: Duration = Duration::from_secs(1);
/// The least that a worker may take of a list that it shares: below it, round trips cost more than fairness gains.
const FAIR_SHARE_MIN: usize = 16;
/// Claims of one loop on their way at once: while one waits for Postgres, the next is popped. More of them would be smaller
/// ones.
const CLAIMS_AT_ONCE: u32 = 2;

/// A loop that fills one group of slots.
pub(crate) struct ClaimLoop {
    parts: Arc<Parts>,
    claimer: Arc<Claimer>,
    /// A permit for each claim that may be on its way.
    claims: Arc<Semaphore>,
    popper: Popper,
    age: Age,
    meters: Meters,
    slots: Slots,
    /// Hints left in the lists after the last pop, when they are shared with other workers.
    left: Option<u64>,
    /// How long to wait before the next look: the last one found less than it could have taken.
    pause: Option<Duration>,
}

/// Counters of pops, looked up once.
struct Meters {
    with_hints: Counter,
    empty: Counter,
    failed: Counter,
    hints: Counter,
}

impl Meters {
    fn new() -> Self {
        Self {
            with_hints: counter!("tasker_pops_total", "outcome" => "hints"),
            empty: counter!("tasker_pops_total", "outcome" => "empty"),
            failed: counter!("tasker_pops_total", "outcome" => "failed"),
            hints: counter!("tasker_popped_hints_total"),
        }
    }

    fn popped(&self, hints: usize) {
        let outcome = if hints > 0 { &self.with_hints } else { &self.empty };
        outcome.increment(1);
        self.hints.increment(hints as u64);
    }
}

impl ClaimLoop {
    pub(crate) fn new(parts: Arc<Parts>, queues: Vec<QueueName>, slots: usize) -> Result<Self, queue::Error> {
        let popper = Popper::new(
            Arc::clone(&parts.queue),
            &parts.config.redis,
            &queues,
            parts.registry.names(),
        )?;
        Ok(Self {
            claimer: Arc::new(Claimer::new(Arc::clone(&parts), queues)),
            claims: Arc::new(Semaphore::new(CLAIMS_AT_ONCE as usize)),
            parts,
            popper,
            age: Age::default(),
            meters: Meters::new(),
            slots: Slots::new(slots),
            left: None,
            pause: None,
        })
    }

    /// Claims until the soft stop.
    pub(crate) async fn run(mut self) {
        let stop = self.parts.no_more_claims.clone();
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
        // the last claims may still be on their way
        let _ = self.claims.acquire_many(CLAIMS_AT_ONCE).await;
    }

    async fn claim_until_stopped(&mut self) {
        let stop = self.parts.no_more_claims.clone();
        while !stop.is_cancelled() {
            let ready = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ready = self.ready() => ready,
            };
            let Some((claim, free)) = ready else { continue };
            self.fill(claim, free).await;
        }
    }

    /// Waits until work may be taken and a slot is free. May be cancelled.
    async fn ready(&mut self) -> Option<(OwnedSemaphorePermit, FreeSlots)> {
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
            self.pause = None;
        }
        self.claimer.may_pop().await;
        self.parts.gate.opened().await;
        let resumed = self.parts.paused.resumed();
        let serving = self.parts.paused.leave_out(self.claimer.queues());
        if serving.is_empty() {
            resumed.await;
            return None;
        }
        self.popper.serve(&serving);
        if self.parts.config.mode == DispatchMode::EventDrivenOnly {
            self.parts.redis.opened().await;
        }
        let claim = Arc::clone(&self.claims)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        // while another claim is on its way, a small one gains nothing
        tokio::select! {
            biased;
            () = self.slots.half_free() => {}
            _ = self.claims.acquire_many(CLAIMS_AT_ONCE - 1) => {}
        }
        let free = self.slots.take_free().await;
        // what a claim meanwhile brought to light is looked at again
        self.parts.gate.is_open().then_some((claim, free))
    }

    /// One round: hints or a look into the table, a claim, the runs.
    async fn fill(&mut self, claim: OwnedSemaphorePermit, free: FreeSlots) {
        let redis_answers = self.parts.redis.is_open();
        let source = self
            .claimer
            .net()
            .next(Instant::now(), free.count(), redis_answers);
        match source {
            Source::Lists(block) => self.fill_from_lists(claim, free, block).await,
            Source::Table { rows, min_age } => self.fill_from_table(free, rows, min_age).await,
        }
    }

    async fn fill_from_lists(&mut self, claim: OwnedSemaphorePermit, free: FreeSlots, block: Duration) {
        let sharing = self.parts.heartbeat.sharing();
        let count = fair_share(free.count(), self.left, sharing);
        let aged_first = self.raises_aged() && self.age.is_due(Instant::now());
        let popped = if aged_first {
            self.popper.pop_starved_first(count, sharing > 1).await
        } else {
            self.popper.pop(count, block, sharing > 1).await
        };
        match popped {
            Ok(popped) => {
                self.meters.popped(popped.ids.len());
                // a turn that found nothing at all is over too: the next pop waits
                let had_their_turn = aged_first && (popped.starved || popped.queue.is_none());
                self.age
                    .popped(Instant::now(), had_their_turn, popped.starved_left);
                if popped.starved {
                    counter!("tasker_priority_aging_hints_total").increment(popped.ids.len() as u64);
                }
                self.left = popped.left;
                self.parts.status.popped();
                self.claimer.net().popped(popped.queue.is_none());
                let Some(queue) = popped.queue.clone() else {
                    return;
                };
                let claimer = Arc::clone(&self.claimer);
                // on its own, so that the next pop need not wait for it
                self.parts.shutdown.spawn_named("claim", async move {
                    claimer.claim_popped(queue, popped, free).await;
                    drop(claim);
                });
            }
            Err(error) => {
                self.meters.failed.increment(1);
                debug!(error = &error as &dyn std::error::Error, "a pop failed");
                // should it have failed for the aged heads' sake, the next does without them
                self.age.popped(Instant::now(), true, false);
                self.parts.redis.close();
            }
        }
    }

    /// Whether this loop serves a class and the one above it.
    fn raises_aged(&self) -> bool {
        self.parts.config.queues.age_limit.is_some() && self.popper.applies_aging()
    }

    async fn fill_from_table(&mut self, free: FreeSlots, rows: usize, min_age: Duration) {
        if self.claimer.claim_oldest(rows, min_age, free).await == Look::FoundLittle {
            self.pause = match self.parts.config.mode {
                DispatchMode::PollingOnly => Some(self.parts.config.claim_interval),
                _ if !self.parts.redis.is_open() => Some(LOOK_WITHOUT_REDIS),
                _ => None,
            };
        }
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
