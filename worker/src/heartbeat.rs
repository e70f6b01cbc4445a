//! Heartbeats: report this worker as alive, return the number of workers that share its queues, and requeue
//! runs whose claim response was lost. [`crate::liveness`] schedules them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::counter;
use tasker_store::liveness::Session;
use tasker_store::workers::Work;
use tasker_store::{self as store, recover, workers};
use tokio::runtime::Handle;
use tracing::warn;

use crate::runtime::Parts;

/// The answer of the last heartbeat.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    sharing: AtomicUsize,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            sharing: AtomicUsize::new(1),
        }
    }
}

impl Heartbeat {
    /// Returns the number of live workers that share a queue with this one, itself included.
    pub(crate) fn sharing(&self) -> usize {
        self.sharing.load(Ordering::Relaxed).max(1)
    }
}

/// Requeues runs of this worker that are not in flight: the responses to their claims were lost. To be called
/// before the heartbeat, which moves the time up to which claims count as lost.
pub(crate) async fn requeue_lost_claims(parts: &Arc<Parts>, session: &mut Session, main: &Handle) {
    match recover::reclaim_lost_claims(session.executor(), &parts.worker_id, &parts.in_flight.all()).await {
        Ok(ended) if ended.is_empty() => {}
        Ok(ended) => {
            warn!(runs = ended.len(), "requeued runs whose claim response was lost");
            counter!("tasker_lost_claim_runs_total").increment(ended.len() as u64);
            let parts = Arc::clone(parts);
            // on the main runtime, where the Redis connections live; not awaited, since that runtime may be
            // blocked
            parts.shutdown.tracker().clone().spawn_on(
                async move {
                    parts.return_pending_hints(ended).await;
                },
                main,
            );
        }
        // the next heartbeat repeats this, and the one that follows now shows if Postgres is available
        Err(error) => warn!(%error, "failed to requeue runs whose claim response was lost"),
    }
}

/// Writes one heartbeat and applies its answer: Postgres is available, or this worker was declared dead.
pub(crate) async fn beat(parts: &Parts, session: &mut Session) -> store::Result<workers::Heartbeat> {
    let totals = parts.queue_counters.totals();
    let work = Work {
        active: i32::try_from(parts.in_flight.len()).unwrap_or(i32::MAX),
        ended: &totals.ended,
        busy_seconds: &totals.busy_seconds,
    };
    let timeout = parts.config.worker_timeout.as_secs_f64();
    let heartbeat = workers::heartbeat(session.executor(), &parts.worker_id, work, timeout).await?;
    if heartbeat.alive {
        let sharing = usize::try_from(heartbeat.sharing).unwrap_or(1);
        parts.heartbeat.sharing.store(sharing, Ordering::Relaxed);
        parts.postgres.mark_available();
    } else {
        parts.declared_dead();
    }
    Ok(heartbeat)
}
