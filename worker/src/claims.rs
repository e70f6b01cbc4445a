//! Claims: hints, or the oldest rows of the table, become runs in free slots.
//!
//! Hints are never put back unless their rows certainly were not claimed. A claim whose outcome is unknown is not repeated:
//! if it took place, the rows run under this worker without being held, and its heartbeat returns them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use metrics::{counter, histogram};
use tasker_shared::queue::Hint;
use tasker_shared::store::claim::{self, Claim, Claimant};
use tasker_shared::store::{self, Fault, fault};
use tasker_shared::task::{QueueName, TaskId};
use tracing::{error, warn};

use crate::execute;
use crate::net::{Net, Seen};
use crate::runtime::Parts;
use crate::slots::FreeSlots;

/// Claims for one group of slots.
pub(crate) struct Claimer {
    parts: Arc<Parts>,
    queues: Vec<QueueName>,
    net: Mutex<Net>,
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
        Self { parts, queues, net }
    }

    /// The queues that are claimed from, in their order.
    pub(crate) fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// What decides where the next claim comes from.
    pub(crate) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims what was popped from the list of `queue` and starts it in `free`.
    pub(crate) async fn claim_popped(&self, queue: QueueName, ids: Vec<TaskId>, free: FreeSlots) {
        let hints = |ids: &[TaskId]| -> Vec<Hint> { ids.iter().map(|id| (*id, queue.clone())).collect() };
        if self.parts.shutdown.soft().is_cancelled() {
            return self.parts.put_back(&hints(&ids)).await;
        }
        let ids: Vec<TaskId> = ids
            .into_iter()
            .filter(|id| !self.parts.held.contains(*id))
            .collect();
        if ids.is_empty() {
            return;
        }
        let began = Instant::now();
        // until what was claimed is held: two claims on their way could take a suspect each
        let turn = self.parts.suspect_turn.try_lock().ok();
        let claimant = self.claimant(turn.is_some());
        let claimed = twice_if_rolled_back(|| claim::claim(&self.parts.db, &claimant, &ids)).await;
        let claim = match claimed {
            Ok(claim) => claim,
            Err(error) => return self.claim_failed(&error, &hints(&ids)).await,
        };
        histogram!("task_claim_duration_seconds").record(began.elapsed());
        counter!("tasker_stale_hints_total").increment(ids.len().saturating_sub(claim.tasks.len()) as u64);
        self.parts.status.claimed();
        self.net().claimed(seen(&claim));
        if !claim.worker_is_alive {
            self.parts.put_back(&hints(&ids)).await;
            return self.parts.declared_dead();
        }
        if claim.paused.contains(&queue) {
            self.parts.put_back(&hints(&ids)).await;
        }
        self.start(claim, free).await;
    }

    /// Claims up to `rows` of the oldest pending rows, whether they have hints or not, and starts them in `free`.
    pub(crate) async fn claim_oldest(&self, rows: usize, free: FreeSlots) -> Look {
        let limit = i64::try_from(rows).unwrap_or(i64::MAX);
        let turn = self.parts.suspect_turn.try_lock().ok();
        let claimant = self.claimant(turn.is_some());
        let claimed = twice_if_rolled_back(|| claim::claim_oldest(&self.parts.db, &claimant, limit)).await;
        let claim = match claimed {
            Ok(claim) => claim,
            Err(error) => {
                self.claim_failed(&error, &[]).await;
                return Look::Failed;
            }
        };
        let found = claim.tasks.len();
        self.parts.status.claimed();
        self.net().looked(Instant::now(), seen(&claim));
        counter!("tasker_net_claims_total").increment(found as u64);
        if !claim.worker_is_alive {
            self.parts.declared_dead();
            return Look::Failed;
        }
        self.start(claim, free).await;
        if found < rows {
            Look::FoundLittle
        } else {
            Look::FoundAll
        }
    }

    fn claimant(&self, may_take_suspect: bool) -> Claimant<'_> {
        Claimant {
            worker_id: &self.parts.worker_id,
            queues: &self.queues,
            task_names: self.parts.registry.names(),
            holds_suspect: !may_take_suspect || self.parts.held.has_suspect(),
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
    async fn claim_failed(&self, error: &store::Error, hints: &[Hint]) {
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
async fn twice_if_rolled_back<F>(claim: impl Fn() -> F) -> Result<Claim, store::Error>
where
    F: Future<Output = Result<Claim, store::Error>>,
{
    match claim().await {
        Err(error) if fault(&error) == Fault::RolledBack => claim().await,
        other => other,
    }
}
