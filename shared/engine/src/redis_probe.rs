//! Health probes of Redis while it is unavailable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_platform::telemetry::Reminder;
use tasker_queue::ServerCheck;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::hints::Redis;

/// The first and the maximum wait between health probes while Redis is unavailable.
const PROBE_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// Probes Redis while it is unavailable, until the soft stop.
pub(crate) async fn probe(redis: Redis, check: Arc<ServerCheck>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = until_answered(&redis, &check) => {}
        }
    }
}

async fn until_answered(redis: &Redis, check: &ServerCheck) {
    let availability = &redis.availability;
    availability.until_unavailable().await;
    let mut wait = *PROBE_WAIT.start();
    let mut reminder = Reminder::default();
    while !availability.is_available() {
        tokio::time::sleep(wait).await;
        match redis.queue.allows_pops().await {
            // a Redis that answers but cannot be used (a version or setting is unsupported) stays unavailable
            Ok(()) if !check.is_unsupported() => availability.mark_available(),
            Ok(()) => availability.mark_unavailable(),
            Err(error) => {
                availability.mark_unavailable();
                if reminder.is_due(&error.to_string(), Instant::now()) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "Redis health probe failed"
                    );
                }
            }
        }
        wait = (wait * 2).min(*PROBE_WAIT.end());
    }
}
