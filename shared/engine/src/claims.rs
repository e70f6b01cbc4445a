//! Claims: turns hints, or the oldest pending rows, into runs in free slots.
//!
//! Hints are pushed again only if their rows were certainly not claimed. A claim with an unknown outcome is
//! not repeated: if it committed, its rows are `running` under this worker without being in flight, and the
//! heartbeat requeues them. The heartbeat cannot do so while a claim is pending, so a claim is abandoned
//! after half a heartbeat interval.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_core::task::{Hint, QueueName, TaskId};
use tasker_queue::Popped;
use tasker_store::claim::{Claim, Claimant, Claimed, Misrouted, Poll, claim, claim_oldest};
use tasker_store::claim_ready::claim_ready;
use tasker_store::{self as store, ConnectionCache, PgConnection, retry_rolled_back};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing::{error, warn};

use crate::execute::Executor;
use crate::fallback::{Enqueued, Fallback};
use crate::hints::Hints;
use crate::in_flight::InFlight;
use crate::readiness::Readiness;
use crate::runner::Runner;
use crate::settings::Settings;
use crate::slots::FreeSlots;
use crate::stops::Stops;

/// Bounds of the time limit of a claim, which is half a heartbeat interval.
const CLAIM_LIMIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

/// Pause of a claim loop after it popped hints of other workers' task types. Until the leader has split the
/// queue, it would pop the same ones again.
const MISROUTED_PAUSE: Duration = Duration::from_millis(100);

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
    /// The end of the pause after misrouted hints.
    pops_resume_at: watch::Sender<Option<Instant>>,
}

/// The kind of a claim, with the rows that it asks for.
enum Wanted<'a> {
    /// The fast-path claim of popped hints: takes the rows that are ready.
    Ready(&'a [TaskId]),
    /// The full claim of popped hints.
    Popped(&'a [TaskId]),
    /// A fallback poll for the oldest pending rows.
    Oldest(Poll<'a>),
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
            parts,
            queues,
            fallback,
            pops_resume_at: watch::Sender::new(None),
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
        let Claim { paused, tasks, .. } = self.claim_in_time(&claimant, Wanted::Ready(ids)).await?;
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
        let claim = self.claim_in_time(&claimant, Wanted::Popped(ids)).await?;
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
        self.reroute(claim.misrouted).await;
        self.fallback().claimed(enqueued(&claim.tasks));
        self.parts.executor.start(claim.tasks, free).await;
        Ok(())
    }

    /// Moves popped hints that cannot run here: to the list of the workers that register the type, or, if no
    /// live worker does, to the parked hints.
    async fn reroute(&self, misrouted: Vec<Misrouted>) {
        if misrouted.is_empty() {
            return;
        }
        counter!("tasker_misrouted_hints_total").increment(misrouted.len() as u64);
        let (routable, unroutable): (Vec<_>, Vec<_>) = misrouted.into_iter().partition(|task| task.routable);
        let hints = |tasks: Vec<Misrouted>| -> Vec<Hint> {
            let tasks = tasks.into_iter();
            tasks
                .map(|task| Hint::new(task.id, task.queue, task.task_name))
                .collect()
        };
        if !routable.is_empty() {
            self.pops_resume_at
                .send_replace(Some(Instant::now() + MISROUTED_PAUSE));
            if let Err(error) = self.parts.hints.queue().reroute(&hints(routable)).await {
                warn!(%error, "failed to reroute hints to the workers that register their types; fallback polls find the tasks");
            }
        }
        if let Err(error) = self.parts.hints.queue().park(&hints(unroutable)).await {
            warn!(%error, "failed to park the hints of tasks whose type no live worker registers");
        }
    }

    /// Waits until the pause after misrouted hints is over.
    pub(crate) async fn misrouted_pause(&self) {
        let until = *self.pops_resume_at.borrow();
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
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
        let claimed = self.claim_in_time(&claimant, Wanted::Oldest(poll)).await;
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

    /// Sends a claim, and repeats it while deadlocks roll it back. A claim that is not answered in time
    /// has an unknown outcome; its connection is closed, since the answer may still arrive on it.
    async fn claim_in_time(
        &self,
        claimant: &Claimant<'_>,
        wanted: Wanted<'_>,
    ) -> Result<Claim, store::Error> {
        let began = Instant::now();
        // never contended: the lock only lends the connection to one attempt after the other
        let connection = AsyncMutex::new(self.parts.connections.take().await?);
        let (lent, wanted) = (&connection, &wanted);
        let sent = retry_rolled_back(|| async move {
            let mut connection = lent.lock().await;
            wanted.send(&mut connection, claimant).await
        });
        let half = self.parts.settings.heartbeat_interval / 2;
        let limit = half.clamp(*CLAIM_LIMIT.start(), *CLAIM_LIMIT.end());
        if let Ok(answer) = tokio::time::timeout(limit, sent).await {
            if answer.is_ok() {
                self.parts.connections.release(connection.into_inner());
                histogram!("task_claim_duration_seconds").record(began.elapsed());
            }
            return answer;
        }
        connection.into_inner().discard();
        Err(store::Error::timed_out())
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

impl Wanted<'_> {
    async fn send(&self, db: &mut PgConnection, claimant: &Claimant<'_>) -> Result<Claim, store::Error> {
        match self {
            Self::Ready(ids) => claim_ready(db, claimant, ids).await,
            Self::Popped(ids) => claim(db, claimant, ids).await,
            Self::Oldest(poll) => claim_oldest(db, claimant, *poll).await,
        }
    }
}

/// Returns the queue and the enqueue time of each claimed task.
fn enqueued(tasks: &[Claimed]) -> impl Iterator<Item = Enqueued<'_>> {
    tasks.iter().map(|task| (&task.queue, task.enqueued_at))
}
