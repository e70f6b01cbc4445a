//! Cancellation of runs: notices arrive over Redis at once, or from a poll of Postgres within a second.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tasker_queue::RedisQueues;
use tasker_store::cancel::cancel_requested;
use tasker_store::{self as store, PgPool};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::availability::Availability;
use crate::in_flight::InFlight;
use crate::statement_limit::STATEMENT_MAX;

/// Time between polls for this worker's own cancelled runs, while any are in flight.
const POLL: Duration = Duration::from_secs(1);
/// Time between attempts to subscribe.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The handles of the listener for notices.
pub(crate) struct Listener {
    pub(crate) queue: Arc<RedisQueues>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) stop: CancellationToken,
}

/// The handles of the poll.
pub(crate) struct Poller {
    pub(crate) db: PgPool,
    pub(crate) worker_id: Arc<str>,
    pub(crate) postgres: Arc<Availability>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) stop: CancellationToken,
}

/// Receives cancellation notices from Redis and cancels the runs in flight here.
pub(crate) async fn listen(listener: Listener) {
    loop {
        tokio::select! {
            biased;
            () = listener.stop.cancelled() => return,
            () = receive(&listener) => {}
            // Redis does not keep notices for a subscriber that was disconnected: `poll` finds those
        }
        tokio::select! {
            biased;
            () = listener.stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_WAIT) => {}
        }
    }
}

async fn receive(listener: &Listener) {
    let mut cancellations = match listener.queue.cancellations().await {
        Ok(cancellations) => cancellations,
        Err(error) => return debug!(%error, "failed to subscribe to cancellations"),
    };
    while let Some(task) = cancellations.next().await {
        count_notices("redis", 1);
        // a notice names the task only; every run of it that is in flight is to stop
        listener.in_flight.cancel(task, None);
    }
}

/// Polls Postgres each second, while runs are in flight, for those that were cancelled.
pub(crate) async fn poll(poller: Poller) {
    loop {
        tokio::select! {
            biased;
            () = poller.stop.cancelled() => return,
            () = async { poller.in_flight.until(true).await; tokio::time::sleep(POLL).await } => {}
        }
        if poller.in_flight.len() == 0 || !poller.postgres.is_available() {
            continue;
        }
        match store::bounded(STATEMENT_MAX, cancel_requested(&poller.db, &poller.worker_id)).await {
            Ok(runs) => {
                count_notices("poll", runs.len());
                for run in runs {
                    // by number: by now a later run of the task may be in flight, which was not cancelled
                    poller.in_flight.cancel(run.task, Some(run.number));
                }
            }
            Err(error) => {
                poller.postgres.mark_unavailable();
                warn!(%error, "failed to poll for cancelled runs");
            }
        }
    }
}

fn count_notices(by: &'static str, notices: usize) {
    counter!("tasker_cancellation_notices_total", "by" => by).increment(notices as u64);
}
