//! Claims: turns hints, or the oldest pending rows, into runs in free slots.
//!
//! Hints are pushed again only if their rows were certainly not claimed. A claim with an unknown outcome is
//! not repeated: if it committed, its rows are `running` under this worker without being in flight, and the
//! heartbeat requeues them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use tasker_core::task::{Hint, QueueName, TaskId};
use tasker_queue::Popped;
use tasker_store::claim::{Claim, Claimant, Claimed, Poll};
use tasker_store::{self as store, ConnectionCache};
use tracing::{error, warn};

use crate::claim_statement::{Wanted, claim_in_time, time_limit};
use crate::execute::Executor;
use crate::fallback::{Enqueued, Fallback};
use crate::hints::Hints;
use crate::in_flight::InFlight;
use crate::readiness::Readiness;
use crate::reroute::Rerouter;
use crate::runner::Runner;
use crate::settings::Settings;
use crate::slots::FreeSlots;
use crate::stops::Stops;

/// The handles of claims, which all groups of slots share.
pub(crate) struct ClaimParts<R> {
    pub(crate) settings: Arc<Settings>,
    pub(crate) stops: Stops,
    pub(crate) connections: Arc<ConnectionCache>,
    pub(crate) readiness: Readiness,
    pub(crate) hints: Hints,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) executor: Arc<Executor<R>>,
}

/// Claims for one group of slots.
pub(crate) struct Claimer<R> {
    parts: Arc<ClaimParts<R>>,
    queues: Vec<QueueName>,
    fallback: Mutex<Fallback>,
    rerouter: Rerouter,
}

/// The result of a fallback poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollOutcome {
    /// It took as many rows as it could: there are more.
    Full,
    /// It took fewer rows: no others are pending.
    Partial,
    /// It got no answer, or the worker was declared dead.
    Failed,
}

impl<R: Runner> Claimer<R> {
    pub(crate) fn new(parts: Arc<ClaimParts<R>>, queues: Vec<QueueName>) -> Self {
        let fallback = Mutex::new(Fallback::new(parts.settings.mode, Instant::now()));
        Self {
            rerouter: Rerouter::new(parts.hints.clone()),
            parts,
            queues,
            fallback,
        }
    }

    /// Returns the queues that are claimed from, in their order.
    pub(crate) fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// Locks the state that decides whether the next claim pops or polls.
    pub(crate) fn fallback(&self) -> MutexGuard<'_, Fallback> {
        self.fallback.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the tasks of hints popped from `queue` and starts them in `free`.
    pub(crate) async fn claim_popped(&self, queue: QueueName, popped: Popped, mut free: FreeSlots) {
        let Popped {
            mut ids, task_names, ..
        } = popped;
        let hints = |ids: &[TaskId]| -> Vec<Hint> {
            let hint = |id: &TaskId| Hint {
                task_name: task_names.get(id).cloned(),
                ..Hint::of_id(*id, queue.clone())
            };
            ids.iter().map(hint).collect()
        };
        if self.parts.stops.no_more_claims.is_cancelled() {
            return self.parts.hints.return_hints(&hints(&ids)).await;
        }
        // a task whose earlier run is still in flight here cannot start: its hint is dropped, and a fallback
        // poll or the leader's rebuild finds the row if it is pending
        ids.retain(|id| !self.parts.in_flight.contains(*id));
        if ids.is_empty() {
            return;
        }
        let claimed = match self.claim_ready(&mut ids, &mut free).await {
            Ok(()) if ids.is_empty() => Ok(()),
            // the fast path left these rows as they were, so their hints may go back
            Ok(()) if self.parts.stops.no_more_claims.is_cancelled() => {
                return self.parts.hints.return_hints(&hints(&ids)).await;
            }
            Ok(()) => self.claim_rest(&queue, &ids, &hints, &mut free).await,
            Err(error) => Err(error),
        };
        if let Err(error) = claimed {
            self.claim_failed(&error, &hints(&ids)).await;
        }
    }

    /// Claims the tasks of `ids` that the fast path takes, starts them and removes them from `ids`.
    async fn claim_ready(&self, ids: &mut Vec<TaskId>, free: &mut FreeSlots) -> Result<(), store::Error> {
        // the fast path takes no suspects, so it needs no turn for one
        let claimant = self.claimant(false);
        // lives until the rows are in flight: meanwhile the heartbeat must not take them for lost
        // (`knows_claims_before`)
        let _claiming = self.parts.in_flight.claiming();
        // `worker_is_alive` is not read: a fast-path claim that took no row reports it as false
        let Claim { paused, tasks, .. } = self.claim(&claimant, Wanted::Ready(ids)).await?;
        if tasks.len() == ids.len() {
            ids.clear();
        } else {
            let taken: HashSet<TaskId> = tasks.iter().map(|task| task.run.task).collect();
            ids.retain(|id| !taken.contains(id));
        }
        self.parts.readiness.activity.claimed();
        self.parts.readiness.paused.add(&paused);
        self.fallback().claimed(enqueued(&tasks));
        self.parts.executor.start(tasks, free).await;
        Ok(())
    }

    /// Runs the full claim for hints that the fast path left: starts what it takes, reroutes or parks
    /// misrouted hints, pushes hints of paused queues again, and drops the stale ones.
    async fn claim_rest(
        &self,
        queue: &QueueName,
        ids: &[TaskId],
        hints: &impl Fn(&[TaskId]) -> Vec<Hint>,
        free: &mut FreeSlots,
    ) -> Result<(), store::Error> {
        // a worker runs one suspect at a time, and two concurrent claims could take one each. The turn lasts
        // until the rows are in flight, from when on `has_suspect` is true. A claim without the turn defers
        // suspects instead of waiting
        let turn = self.parts.in_flight.suspect_turn();
        let claimant = self.claimant(turn.is_some());
        let _claiming = self.parts.in_flight.claiming();
        let claim = self.claim(&claimant, Wanted::Popped(ids)).await?;
        let settled = claim.tasks.len() + claim.misrouted.len();
        counter!("tasker_stale_hints_total").increment(ids.len().saturating_sub(settled) as u64);
        if !claim.worker_is_alive {
            self.parts.hints.return_hints(&hints(ids)).await;
            self.parts.stops.declare_dead();
            return Ok(());
        }
        self.parts.readiness.paused.add(&claim.paused);
        // rows of a paused queue were not read, so all hints return to its list
        if claim.paused.contains(queue) {
            self.parts.hints.return_hints(&hints(ids)).await;
        }
        self.rerouter.reroute(claim.misrouted).await;
        self.fallback().claimed(enqueued(&claim.tasks));
        self.parts.executor.start(claim.tasks, free).await;
        Ok(())
    }

    /// Waits until the pause after misrouted hints is over.
    pub(crate) async fn misrouted_pause(&self) {
        self.rerouter.pause().await;
    }

    /// Claims up to `rows` of the oldest pending rows, with or without hints, starts them in `free` and
    /// removes their hints.
    pub(crate) async fn claim_oldest(
        &self,
        rows: usize,
        min_age: Duration,
        mut free: FreeSlots,
    ) -> PollOutcome {
        let after = self.fallback().begin_poll(Instant::now(), &self.queues);
        let poll = Poll {
            limit: i64::try_from(rows).unwrap_or(i64::MAX),
            min_age_seconds: min_age.as_secs_f64(),
            after: &after,
        };
        let turn = self.parts.in_flight.suspect_turn();
        let claimant = self.claimant(turn.is_some());
        let _claiming = self.parts.in_flight.claiming();
        let claimed = self.claim(&claimant, Wanted::Oldest(poll)).await;
        let claim = match claimed {
            Ok(claim) => claim,
            Err(error) => {
                self.claim_failed(&error, &[]).await;
                return PollOutcome::Failed;
            }
        };
        let found = claim.tasks.len();
        self.parts.readiness.activity.claimed();
        let more = !claim.stopped_at.is_empty();
        self.fallback()
            .polled(Instant::now(), enqueued(&claim.tasks), claim.stopped_at);
        counter!("tasker_fallback_polls_total").increment(1);
        counter!("tasker_fallback_claims_total").increment(found as u64);
        if !claim.worker_is_alive {
            self.parts.stops.declare_dead();
            return PollOutcome::Failed;
        }
        self.parts.readiness.paused.add(&claim.paused);
        self.remove_hints(&claim.tasks);
        self.parts.executor.start(claim.tasks, &mut free).await;
        if found < rows && !more {
            PollOutcome::Partial
        } else {
            PollOutcome::Full
        }
    }

    /// Removes the hints, if any, of tasks that a poll claimed.
    fn remove_hints(&self, tasks: &[Claimed]) {
        if tasks.is_empty() || !self.parts.hints.reach_redis() {
            return;
        }
        let hint = |task: &Claimed| Hint::new(task.run.task, task.queue.clone(), &*task.task_name);
        let hints: Vec<Hint> = tasks.iter().map(hint).collect();
        let queue = Arc::clone(self.parts.hints.queue());
        // in the background: the runs need not wait for Redis
        let shutdown = &self.parts.stops.shutdown;
        shutdown.spawn_named("removal of hints", async move {
            if let Err(error) = queue.remove(&hints).await {
                warn!(%error, "failed to remove the hints of claimed tasks; the leader removes them");
            }
        });
    }

    fn claimant(&self, may_take_suspect: bool) -> Claimant<'_> {
        Claimant {
            worker_id: &self.parts.settings.worker_id,
            queues: &self.queues,
            task_names: &self.parts.settings.task_names,
            runs_suspect: !may_take_suspect || self.parts.in_flight.has_suspect(),
        }
    }

    async fn claim(&self, claimant: &Claimant<'_>, wanted: Wanted<'_>) -> Result<Claim, store::Error> {
        let limit = time_limit(self.parts.settings.heartbeat_interval);
        claim_in_time(&self.parts.connections, claimant, wanted, limit).await
    }

    /// Pushes hints again, unless the claim may have committed.
    async fn claim_failed(&self, error: &store::Error, hints: &[Hint]) {
        self.parts.readiness.postgres.mark_unavailable();
        let unknown = error.kind().may_have_happened();
        let outcome = if unknown { "unknown" } else { "refused" };
        counter!("tasker_claim_failures_total", "outcome" => outcome).increment(1);
        if unknown {
            // pushing them could start nothing twice, but would leave stale hints if the claim committed; a
            // fallback poll or the leader's rebuild finds rows that are still pending
            error!(%error, hints = hints.len(), "claim outcome unknown");
        } else {
            warn!(%error, hints = hints.len(), "claim failed");
            self.parts.hints.return_hints(hints).await;
        }
    }
}

/// Returns the queue and the enqueue time of each claimed task.
fn enqueued(tasks: &[Claimed]) -> impl Iterator<Item = Enqueued<'_>> {
    tasks.iter().map(|task| (&task.queue, task.enqueued_at))
}
