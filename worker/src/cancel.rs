//! Cancellation: the word comes over Redis at once, or by a look into Postgres a second later.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tasker_shared::store;
use tasker_shared::store::cancel::cancel_requested;
use tracing::{debug, warn};

use crate::gate::STATEMENT_MAX;
use crate::runtime::Parts;

/// Time between looks at this worker's own cancelled runs, while it holds any.
const LOOK: Duration = Duration::from_secs(1);
/// Time between tries to listen.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Listens for cancellations and tells the runs that are held here.
pub(crate) async fn listen(parts: Arc<Parts>) {
    loop {
        tokio::select! {
            biased;
            () = parts.no_more_ends.cancelled() => return,
            () = heed(&parts) => {}
            // the look below covers the time without a connection
        }
        tokio::select! {
            biased;
            () = parts.no_more_ends.cancelled() => return,
            () = tokio::time::sleep(RETRY_WAIT) => {}
        }
    }
}

async fn heed(parts: &Parts) {
    let mut cancellations = match parts.queue.cancellations().await {
        Ok(cancellations) => cancellations,
        Err(error) => return debug!(%error, "cannot listen for cancellations"),
    };
    while let Some(task) = cancellations.next().await {
        heard("redis", 1);
        parts.held.cancel(task, None);
    }
}

/// Looks each second, while runs are held, which of them were cancelled.
pub(crate) async fn look(parts: Arc<Parts>) {
    loop {
        tokio::select! {
            biased;
            () = parts.no_more_ends.cancelled() => return,
            () = async { parts.held.until(true).await; tokio::time::sleep(LOOK).await } => {}
        }
        if parts.held.len() == 0 || !parts.gate.is_open() {
            continue;
        }
        match store::bounded(STATEMENT_MAX, cancel_requested(&parts.db, &parts.worker_id)).await {
            Ok(runs) => {
                heard("poll", runs.len());
                for run in runs {
                    parts.held.cancel(run.task, Some(run.number));
                }
            }
            Err(error) => {
                parts.gate.close();
                warn!(%error, "cannot see which runs were cancelled");
            }
        }
    }
}

fn heard(by: &'static str, words: usize) {
    counter!("tasker_cancellation_notices_total", "by" => by).increment(words as u64);
}
