//! Dispatch: pops hints and has their rows claimed into free slots. Every few seconds, and always while Redis
//! is unavailable, it has the oldest pending rows claimed without hints (see [`crate::fallback`]).
//!
//! One loop serves all queues of the worker in strict order; each queue with reserved slots has its own loop
//! beside it. Batches need no timer: while a claim is pending, slots become free, and the next pop fills all
//! of them. A worker with few slots and long tasks never waits for a batch.
//!
//! Strict order has one exception: starved tasks, which waited longer than `PRIORITY_AGE_LIMIT`, alternate
//! with the class above theirs in loops that serve both classes, the higher one first (see [`crate::aging`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, counter};
use tasker_core::task::QueueName;
use tasker_queue::{self as queue, DispatchMode, Popper};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::aging::Aging;
use crate::claims::{ClaimParts, Claimer, PollOutcome};
use crate::fallback::Source;
use crate::heartbeat::Sharing;
use crate::readiness::Readiness;
use crate::runner::Runner;
use crate::settings::Settings;
use crate::slots::{FreeSlots, Slots};
use crate::stops::Stops;

/// Time between polls that find no more rows, while Redis is unavailable.
const POLL_WITHOUT_REDIS: Duration = Duration::from_secs(1);
/// The minimum that a worker may pop from a list that it shares: below it, round trips cost more than
/// fairness gains.
const FAIR_SHARE_MIN: usize = 16;
/// Maximum number of concurrent claims of one loop: while one waits for Postgres, the next is popped. More of
/// them would only be smaller.
const CLAIMS_AT_ONCE: u32 = 2;

/// The claim loop of one group of slots.
pub(crate) struct ClaimLoop<R> {
    settings: Arc<Settings>,
    stops: Stops,
    readiness: Readiness,
    sharing: Arc<Sharing>,
    claimer: Arc<Claimer<R>>,
    /// One permit for each concurrent claim.
    claims: Arc<Semaphore>,
    popper: Popper,
    aging: Aging,
    counters: PopCounters,
    slots: Slots,
    /// Hints left in the lists after the last pop, when they are shared with other workers.
    left: Option<u64>,
    /// Time to wait before the next claim; `None` if the last poll left rows or the loop pops.
    pause: Option<Duration>,
}

/// Counters of pops, looked up once.
struct PopCounters {
    with_hints: Counter,
    empty: Counter,
    failed: Counter,
    hints: Counter,
}

impl PopCounters {
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

impl<R: Runner> ClaimLoop<R> {
    pub(crate) fn new(
        parts: &Arc<ClaimParts<R>>,
        sharing: &Arc<Sharing>,
        queues: Vec<QueueName>,
        slots: usize,
    ) -> Result<Self, queue::Error> {
        let settings = Arc::clone(&parts.settings);
        let popper = Popper::new(
            Arc::clone(parts.hints.queue()),
            &settings.redis,
            &queues,
            &settings.task_names,
        )?;
        Ok(Self {
            settings,
            stops: parts.stops.clone(),
            readiness: parts.readiness.clone(),
            sharing: Arc::clone(sharing),
            claimer: Arc::new(Claimer::new(Arc::clone(parts), queues)),
            claims: Arc::new(Semaphore::new(CLAIMS_AT_ONCE as usize)),
            popper,
            aging: Aging::default(),
            counters: PopCounters::new(),
            slots: Slots::new(slots),
            left: None,
            pause: None,
        })
    }

    /// Claims until the worker may claim no more, then waits for the pending claims.
    pub(crate) async fn run(mut self) {
        let stop = self.stops.no_more_claims.clone();
        let unblocker = self.popper.unblocker();
        let unblock = async {
            stop.cancelled().await;
            if let Err(error) = unblocker.unblock().await {
                debug!(%error, "failed to interrupt a blocking pop");
            }
            std::future::pending::<()>().await;
        };
        // the loop is not cancelled from outside: dropped during a pop, it would lose hints that Redis has
        // already removed. It checks for the stop where it has neither hints nor rows, and a blocking pop is
        // ended through Redis
        tokio::select! {
            biased;
            () = self.claim_until_stopped() => {}
            () = unblock => {}
        }
        // all permits are free once the last claims have started their runs
        let _ = self.claims.acquire_many(CLAIMS_AT_ONCE).await;
    }

    async fn claim_until_stopped(&mut self) {
        let stop = self.stops.no_more_claims.clone();
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

    /// Waits until work may be claimed and a slot is free. `None` if all queues were paused or Postgres
    /// became unavailable. Safe to cancel.
    async fn ready(&mut self) -> Option<(OwnedSemaphorePermit, FreeSlots)> {
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
            self.pause = None;
        }
        self.claimer.misrouted_pause().await;
        self.readiness.postgres.until_available().await;
        // before the check: a queue that is resumed right after it still wakes this loop
        let resumed = self.readiness.paused.resumed();
        let serving = self.readiness.paused.leave_out(self.claimer.queues());
        if serving.is_empty() {
            resumed.await;
            return None;
        }
        self.popper.serve(&serving);
        if self.settings.mode == DispatchMode::EventDrivenOnly {
            self.readiness.redis.until_available().await;
        }
        let claim = Arc::clone(&self.claims)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        // while another claim is pending, a small one gains nothing: wait for half of the slots, or for that
        // claim
        tokio::select! {
            biased;
            () = self.slots.half_free() => {}
            _ = self.claims.acquire_many(CLAIMS_AT_ONCE - 1) => {}
        }
        let free = self.slots.take_free().await;
        // the wait may have been long, and a claim may have failed meanwhile
        self.readiness.postgres.is_available().then_some((claim, free))
    }

    /// Pops or polls once, claims, and starts the runs.
    async fn fill(&mut self, claim: OwnedSemaphorePermit, free: FreeSlots) {
        let redis_answers = self.readiness.redis.is_available();
        let source = self
            .claimer
            .fallback()
            .next(Instant::now(), free.count(), redis_answers);
        match source {
            Source::Lists(block) => self.fill_from_lists(claim, free, block).await,
            Source::Table { rows, min_age } => self.fill_from_table(free, rows, min_age).await,
        }
    }

    async fn fill_from_lists(&mut self, claim: OwnedSemaphorePermit, free: FreeSlots, block: Duration) {
        let sharing = self.sharing.count();
        let count = fair_share(free.count(), self.left, sharing);
        let starved_first = self.applies_aging() && self.aging.is_due(Instant::now());
        let popped = if starved_first {
            self.popper.pop_starved_first(count, sharing > 1).await
        } else {
            self.popper.pop(count, block, sharing > 1).await
        };
        match popped {
            Ok(popped) => {
                self.counters.popped(popped.ids.len());
                // an empty pop ends the turn too: it did not block, so the next one has to
                let had_their_turn = starved_first && (popped.starved || popped.queue.is_none());
                self.aging
                    .popped(Instant::now(), had_their_turn, popped.starved_left);
                if popped.starved {
                    counter!("tasker_priority_aging_hints_total").increment(popped.ids.len() as u64);
                }
                self.left = popped.left;
                self.readiness.activity.popped();
                self.claimer.fallback().popped(popped.queue.is_none());
                let Some(queue) = popped.queue.clone() else {
                    return;
                };
                let claimer = Arc::clone(&self.claimer);
                // spawned, so that the next pop overlaps with this claim; `claim` bounds how many there are
                self.stops.shutdown.spawn_named("claim", async move {
                    claimer.claim_popped(queue, popped, free).await;
                    drop(claim);
                });
            }
            Err(error) => {
                self.counters.failed.increment(1);
                debug!(error = &error as &dyn std::error::Error, "pop failed");
                // recorded as a turn of starved tasks: if their command is what fails, the next pop works
                // without it
                self.aging.popped(Instant::now(), true, false);
                self.readiness.redis.mark_unavailable();
            }
        }
    }

    /// Returns true if this loop serves a class and the one above it, and aging is on.
    fn applies_aging(&self) -> bool {
        self.settings.ages_priorities && self.popper.applies_aging()
    }

    async fn fill_from_table(&mut self, free: FreeSlots, rows: usize, min_age: Duration) {
        if self.claimer.claim_oldest(rows, min_age, free).await == PollOutcome::Partial {
            self.pause = match self.settings.mode {
                DispatchMode::PollingOnly => Some(self.settings.claim_interval),
                _ if !self.readiness.redis.is_available() => Some(POLL_WITHOUT_REDIS),
                _ => None,
            };
        }
    }
}

/// Returns the number of hints to pop into `free` slots: `free`, unless other workers share lists in which
/// few are left.
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
