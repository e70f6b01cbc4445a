//! Heartbeat: says that this worker lives, learns how many share its queues, and takes back what it runs without knowing. When
//! that happens is decided in [`crate::liveness`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::counter;
use tasker_shared::store::liveness::Session;
use tasker_shared::store::workers::Work;
use tasker_shared::store::{self, recover, workers};
use tokio::runtime::Handle;
use tracing::warn;

use crate::runtime::Parts;

/// What the last heartbeat brought back.
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
    /// Live workers that share a queue with this one, itself included.
    pub(crate) fn sharing(&self) -> usize {
        self.sharing.load(Ordering::Relaxed).max(1)
    }
}

/// Runs of this worker that it does not hold go back: the replies to their claims were lost. To be called before the heartbeat.
pub(crate) async fn reclaim_lost_claims(parts: &Arc<Parts>, session: &mut Session, main: &Handle) {
    match recover::reclaim_lost_claims(session.executor(), &parts.worker_id, &parts.held.all()).await {
        Ok(ended) if ended.is_empty() => {}
        Ok(ended) => {
            warn!(runs = ended.len(), "runs whose claims were not heard of go back");
            counter!("tasker_lost_claim_runs_total").increment(ended.len() as u64);
            let parts = Arc::clone(parts);
            // connections to Redis belong to the main runtime, which may be held up
            parts.shutdown.tracker().clone().spawn_on(
                async move {
                    parts.put_back_pending(ended).await;
                },
                main,
            );
        }
        // the next heartbeat looks again, and this one tells whether Postgres is well
        Err(error) => warn!(%error, "cannot see which runs are not held"),
    }
}

/// Says that this worker lives, and heeds what the fleet says to that.
pub(crate) async fn beat(parts: &Parts, session: &mut Session) -> store::Result<workers::Heartbeat> {
    let totals = parts.throughput.totals();
    let work = Work {
        active: i32::try_from(parts.held.len()).unwrap_or(i32::MAX),
        ended: &totals.ended,
        busy_seconds: &totals.busy_seconds,
    };
    let timeout = parts.config.worker_timeout.as_secs_f64();
    let heartbeat = workers::heartbeat(session.executor(), &parts.worker_id, work, timeout).await?;
    if heartbeat.alive {
        let sharing = usize::try_from(heartbeat.sharing).unwrap_or(1);
        parts.heartbeat.sharing.store(sharing, Ordering::Relaxed);
        parts.gate.open();
    } else {
        parts.declared_dead();
    }
    Ok(heartbeat)
}
