//! Cancellation of runs: notices arrive over Redis at once, or from a poll of Postgres within a second.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tasker_store as store;
use tasker_store::cancel::cancel_requested;
use tracing::{debug, warn};

use crate::availability::STATEMENT_MAX;
use crate::runtime::Parts;

/// Time between polls for this worker's own cancelled runs, while any are in flight.
const POLL: Duration = Duration::from_secs(1);
/// Time between attempts to subscribe.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Receives cancellation notices from Redis and cancels the runs in flight here.
pub(crate) async fn listen(parts: Arc<Parts>) {
    loop {
        tokio::select! {
            biased;
            () = parts.no_more_completions.cancelled() => return,
            () = receive(&parts) => {}
            // Redis does not keep notices for a subscriber that was disconnected: `poll` finds those
        }
        tokio::select! {
            biased;
            () = parts.no_more_completions.cancelled() => return,
            () = tokio::time::sleep(RETRY_WAIT) => {}
        }
    }
}

async fn receive(parts: &Parts) {
    let mut cancellations = match parts.queue.cancellations().await {
        Ok(cancellations) => cancellations,
        Err(error) => return debug!(%error, "failed to subscribe to cancellations"),
    };
    while let Some(task) = cancellations.next().await {
        count_notices("redis", 1);
        // a notice names the task only; every run of it that is in flight is to stop
        parts.in_flight.cancel(task, None);
    }
}

/// Polls Postgres each second, while runs are in flight, for those that were cancelled.
pub(crate) async fn poll(parts: Arc<Parts>) {
    loop {
        tokio::select! {
            biased;
            () = parts.no_more_completions.cancelled() => return,
            () = async { parts.in_flight.until(true).await; tokio::time::sleep(POLL).await } => {}
        }
        if parts.in_flight.len() == 0 || !parts.postgres.is_available() {
            continue;
        }
        match store::bounded(STATEMENT_MAX, cancel_requested(&parts.db, &parts.worker_id)).await {
            Ok(runs) => {
                count_notices("poll", runs.len());
                for run in runs {
                    // by number: by now a later run of the task may be in flight, which was not cancelled
                    parts.in_flight.cancel(run.task, Some(run.number));
                }
            }
            Err(error) => {
                parts.postgres.mark_unavailable();
                warn!(%error, "failed to poll for cancelled runs");
            }
        }
    }
}

fn count_notices(by: &'static str, notices: usize) {
    counter!("tasker_cancellation_notices_total", "by" => by).increment(notices as u64);
}
