//! Claims: hints, or the oldest rows of the table, become runs in free slots.
//!
//! Hints are never put back unless their rows certainly were not claimed. A claim whose outcome is unknown is not repeated:
//! if it took place, the rows run under this worker without being held, and its heartbeat returns them. A claim
//! on its way keeps the heartbeat from doing so, and is therefore given up after half a heartbeat interval.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_shared::queue::Popped;
use tasker_shared::store::claim::{Claim, Claimant, Claimed, Misrouted, Poll, claim, claim_oldest};
use tasker_shared::store::claim_ready::claim_ready;
use tasker_shared::store::{self, Fault, PgConnection, fault};
use tasker_shared::task::{Hint, QueueName, TaskId};
use tokio::sync::watch;
use tracing::{error, warn};

use crate::execute;
use crate::net::{Net, Seen};
use crate::runtime::Parts;
use crate::slots::FreeSlots;

/// How long a claim may take: half a heartbeat interval, within these.
const CLAIM_LIMIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

/// How long a claim loop leaves a list alone after it popped a task for another worker. Until the leader has split the queue, it
/// would pop the same one again.
const MISROUTED_PAUSE: Duration = Duration::from_millis(100);

/// Claims for one group of slots.
pub(crate) struct Claimer {
    parts: Arc<Parts>,
    queues: Vec<QueueName>,
    net: Mutex<Net>,
    /// Until when nothing is popped.
    popping_again: watch::Sender<Option<Instant>>,
}

/// What a claim asks for.
enum Wanted<'a> {
    /// Those of the tasks whose hints were popped that are ready.
    Ready(&'a [TaskId]),
    /// Tasks whose hints were popped.
    Popped(&'a [TaskId]),
    /// The oldest pending rows.
    Oldest(Poll<'a>),
}

/// What a look into the table found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// As many rows as it could take: there are more.
    FoundAll,
    /// Fewer: nothing else waits.
    FoundLittle,
    /// Nothing was answered.
    Failed,
}

impl Claimer {
    pub(crate) fn new(parts: Arc<Parts>, queues: Vec<QueueName>) -> Self {
        let net = Mutex::new(Net::new(parts.config.mode, Instant::now()));
        Self {
            parts,
            queues,
            net,
            popping_again: watch::Sender::new(None),
        }
    }

    /// The queues that are claimed from, in their order.
    pub(crate) fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// What decides where the next claim comes from.
    pub(crate) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims what was popped from `queue` and starts it in `free`.
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
        if self.parts.no_more_claims.is_cancelled() {
            return self.parts.put_back(&hints(&ids)).await;
        }
        ids.retain(|id| !self.parts.held.contains(*id));
        if ids.is_empty() {
            return;
        }
        let claimed = match self.claim_ready(&mut ids, &mut free).await {
            Ok(()) if ids.is_empty() => Ok(()),
            Ok(()) if self.parts.no_more_claims.is_cancelled() => {
                return self.parts.put_back(&hints(&ids)).await;
            }
            Ok(()) => self.claim_rest(&queue, &ids, &hints, &mut free).await,
            Err(error) => Err(error),
        };
        if let Err(error) = claimed {
            self.claim_failed(&error, &hints(&ids)).await;
        }
    }

    /// Claims and starts those of `ids` that need no second look, and takes them out of it.
    async fn claim_ready(&self, ids: &mut Vec<TaskId>, free: &mut FreeSlots) -> Result<(), store::Error> {
        let claimant = self.claimant(false);
        let _on_its_way = self.parts.held.claiming();
        let Claim { paused, tasks, .. } = self.claim_in_time(&claimant, Wanted::Ready(ids)).await?;
        if tasks.len() == ids.len() {
            ids.clear();
        } else {
            let taken: HashSet<TaskId> = tasks.iter().map(|task| task.run.task).collect();
            ids.retain(|id| !taken.contains(id));
        }
        self.parts.status.claimed();
        self.parts.paused.add(&paused);
        self.net().claimed(seen(&tasks));
        self.start(tasks, free).await;
        Ok(())
    }

    /// Claims and starts what can be taken of hints that the plain claim left, and does what follows for the others.
    async fn claim_rest(
        &self,
        queue: &QueueName,
        ids: &[TaskId],
        hints: &impl Fn(&[TaskId]) -> Vec<Hint>,
        free: &mut FreeSlots,
    ) -> Result<(), store::Error> {
        // until what was claimed is held: two claims on their way could take a suspect each
        let turn = self.parts.suspect_turn.try_lock().ok();
        let claimant = self.claimant(turn.is_some());
        let _on_its_way = self.parts.held.claiming();
        let claim = self.claim_in_time(&claimant, Wanted::Popped(ids)).await?;
        let settled = claim.tasks.len() + claim.misrouted.len();
        counter!("tasker_stale_hints_total").increment(ids.len().saturating_sub(settled) as u64);
        if !claim.worker_is_alive {
            self.parts.put_back(&hints(ids)).await;
            self.parts.declared_dead();
            return Ok(());
        }
        self.parts.paused.add(&claim.paused);
        if claim.paused.contains(queue) {
            self.parts.put_back(&hints(ids)).await;
        }
        self.reroute(claim.misrouted).await;
        self.net().claimed(seen(&claim.tasks));
        self.start(claim.tasks, free).await;
        Ok(())
    }

    /// Passes on what was popped and cannot run here: to the workers that register its type, or, where none does, to the parked
    /// hints.
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
            self.popping_again
                .send_replace(Some(Instant::now() + MISROUTED_PAUSE));
            if let Err(error) = self.parts.queue.reroute(&hints(routable)).await {
                warn!(%error, "cannot pass tasks on to the workers that register their types; polling finds them");
            }
        }
        if let Err(error) = self.parts.queue.park(&hints(unroutable)).await {
            warn!(%error, "cannot park the hints of tasks whose type no live worker registers");
        }
    }

    /// Waits while nothing is to be popped because tasks of other workers came.
    pub(crate) async fn may_pop(&self) {
        let until = *self.popping_again.borrow();
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Claims up to `rows` of the oldest pending rows, whether they have hints or not, and starts them in `free`. The hints of what
    /// it claimed are removed.
    pub(crate) async fn claim_oldest(&self, rows: usize, min_age: Duration, mut free: FreeSlots) -> Look {
        let after = self.net().begin_poll(Instant::now(), &self.queues);
        let poll = Poll {
            limit: i64::try_from(rows).unwrap_or(i64::MAX),
            min_age_seconds: min_age.as_secs_f64(),
            after: &after,
        };
        let turn = self.parts.suspect_turn.try_lock().ok();
        let claimant = self.claimant(turn.is_some());
        let _on_its_way = self.parts.held.claiming();
        let claimed = self.claim_in_time(&claimant, Wanted::Oldest(poll)).await;
        let claim = match claimed {
            Ok(claim) => claim,
            Err(error) => {
                self.claim_failed(&error, &[]).await;
                return Look::Failed;
            }
        };
        let found = claim.tasks.len();
        self.parts.status.claimed();
        let more = !claim.stopped_at.is_empty();
        self.net()
            .polled(Instant::now(), seen(&claim.tasks), claim.stopped_at);
        counter!("tasker_fallback_polls_total").increment(1);
        counter!("tasker_fallback_claims_total").increment(found as u64);
        if !claim.worker_is_alive {
            self.parts.declared_dead();
            return Look::Failed;
        }
        self.parts.paused.add(&claim.paused);
        self.remove_hints(&claim.tasks);
        self.start(claim.tasks, &mut free).await;
        if found < rows && !more {
            Look::FoundLittle
        } else {
            Look::FoundAll
        }
    }

    /// Removes the hints of tasks that were claimed without them, if they have any.
    fn remove_hints(&self, tasks: &[Claimed]) {
        if tasks.is_empty() || !self.parts.config.mode.uses_redis() || !self.parts.redis.is_open() {
            return;
        }
        let hint = |task: &Claimed| Hint::new(task.run.task, task.queue.clone(), &*task.task_name);
        let hints: Vec<Hint> = tasks.iter().map(hint).collect();
        let queue = Arc::clone(&self.parts.queue);
        self.parts.shutdown.spawn_named("removal of hints", async move {
            if let Err(error) = queue.remove(&hints).await {
                warn!(%error, "cannot remove the hints of claimed tasks; the leader does");
            }
        });
    }

    fn claimant(&self, may_take_suspect: bool) -> Claimant<'_> {
        Claimant {
            worker_id: &self.parts.worker_id,
            queues: &self.queues,
            task_names: self.parts.registry.names(),
            runs_suspect: !may_take_suspect || self.parts.held.has_suspect(),
        }
    }

    async fn start(&self, tasks: Vec<Claimed>, free: &mut FreeSlots) {
        self.parts.throughput.waited(tasks.iter());
        if !tasks.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
            histogram!("tasker_claim_batch_tasks").record(tasks.len() as f64);
        }
        for claimed in tasks {
            let slot = free
                .take_one()
                .expect("no more is claimed than there are free slots");
            execute::spawn(&self.parts, claimed, slot).await;
        }
    }

    /// Sends a claim, and once more if a deadlock rolled it back. One that is not answered in time has an unknown outcome, and
    /// its connection is closed: the answer may still come.
    async fn claim_in_time(
        &self,
        claimant: &Claimant<'_>,
        wanted: Wanted<'_>,
    ) -> Result<Claim, store::Error> {
        let began = Instant::now();
        let mut connection = self.parts.kept.take().await?;
        let sent = async {
            match wanted.send(&mut connection, claimant).await {
                Err(error) if fault(&error) == Fault::RolledBack => {
                    wanted.send(&mut connection, claimant).await
                }
                other => other,
            }
        };
        let half = self.parts.config.heartbeat_interval / 2;
        let limit = half.clamp(*CLAIM_LIMIT.start(), *CLAIM_LIMIT.end());
        if let Ok(answer) = tokio::time::timeout(limit, sent).await {
            if answer.is_ok() {
                self.parts.kept.release(connection);
                histogram!("task_claim_duration_seconds").record(began.elapsed());
            }
            return answer;
        }
        connection.discard();
        Err(store::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }

    /// Puts hints back only if their rows certainly were not claimed.
    async fn claim_failed(&self, error: &store::Error, hints: &[Hint]) {
        self.parts.gate.close();
        let unknown = fault(error) == Fault::Unknown;
        let outcome = if unknown { "unknown" } else { "refused" };
        counter!("tasker_claim_failures_total", "outcome" => outcome).increment(1);
        if unknown {
            error!(%error, hints = hints.len(), "the outcome of a claim is unknown");
        } else {
            warn!(%error, hints = hints.len(), "a claim failed");
            self.parts.put_back(hints).await;
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

/// The claimed tasks as the net sees them.
fn seen(tasks: &[Claimed]) -> impl Iterator<Item = Seen<'_>> {
    tasks.iter().map(|task| (&task.queue, task.enqueued_at))
}
