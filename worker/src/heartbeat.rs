//! Heartbeat: says that this worker lives, learns how many share its queues, and takes back what it runs without knowing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::counter;
use tasker_shared::store::{recover, workers};
use tracing::warn;

use crate::runtime::Parts;

/// The first and the longest wait while heartbeats fail.
const RETRY_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

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

/// Beats until the last end is written. While the gate is closed it beats faster: only a heartbeat opens it.
pub(crate) async fn run(parts: Arc<Parts>) {
    let mut wait = *RETRY_WAIT.start();
    loop {
        if beat(&parts).await {
            wait = *RETRY_WAIT.start();
        }
        let pause = async {
            if parts.gate.is_open() {
                tokio::select! {
                    () = tokio::time::sleep(parts.config.heartbeat_interval) => {}
                    () = parts.gate.closed() => {}
                }
            } else {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(*RETRY_WAIT.end());
            }
        };
        tokio::select! {
            biased;
            () = parts.no_more_ends.cancelled() => return,
            () = pause => {}
        }
    }
}

/// Runs of this worker that it does not hold go back: the replies to their claims were lost.
async fn take_back_unheld(parts: &Parts) {
    match recover::take_back_unheld(&parts.db, &parts.worker_id, &parts.held.all()).await {
        Ok(ended) if ended.is_empty() => {}
        Ok(ended) => {
            warn!(runs = ended.len(), "runs whose claims were not heard of go back");
            counter!("tasker_unheld_runs_total").increment(ended.len() as u64);
            parts.put_back_pending(ended).await;
        }
        // the next heartbeat looks again, and this one tells whether Postgres is well
        Err(error) => warn!(%error, "cannot see which runs are not held"),
    }
}

async fn beat(parts: &Parts) -> bool {
    take_back_unheld(parts).await;
    let active = i32::try_from(parts.held.len()).unwrap_or(i32::MAX);
    let timeout = parts.config.worker_timeout.as_secs_f64();
    match workers::heartbeat(&parts.db, &parts.worker_id, active, timeout).await {
        Ok(heartbeat) if heartbeat.alive => {
            let sharing = usize::try_from(heartbeat.sharing).unwrap_or(1);
            parts.heartbeat.sharing.store(sharing, Ordering::Relaxed);
            parts.gate.open();
            true
        }
        Ok(_) => {
            parts.declared_dead();
            false
        }
        Err(error) => {
            parts.gate.close();
            warn!(%error, "a heartbeat was not written");
            false
        }
    }
}
