//! Gates: whether Postgres and Redis answered the last time they were asked.
//!
//! Work is taken only while the last word from Postgres was a good one: any statement that fails closes its gate, and only a
//! heartbeat that was written opens it. A pop that fails closes the gate of Redis, and a ping that is answered opens it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::runtime::Parts;

/// The first and the longest wait between pings while Redis is away.
const PING_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// Open while a service answers.
#[derive(Debug)]
pub(crate) struct Gate {
    service: &'static str,
    open: watch::Sender<bool>,
}

impl Gate {
    /// An open gate; `service` is whose.
    pub(crate) fn new(service: &'static str) -> Self {
        Self {
            service,
            open: watch::Sender::new(true),
        }
    }

    /// Notes that the service failed.
    pub(crate) fn close(&self) {
        if self.open.send_replace(false) {
            warn!("{} does not answer as it should", self.service);
        }
    }

    /// Notes that the service answers.
    pub(crate) fn open(&self) {
        if !self.open.send_replace(true) {
            info!("{} answers again", self.service);
        }
    }

    /// Whether the gate is open.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until the gate is open.
    pub(crate) async fn opened(&self) {
        // the sender lives in this struct, so the channel cannot be closed
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Waits until the gate is closed.
    pub(crate) async fn closed(&self) {
        let _ = self.open.subscribe().wait_for(|open| !*open).await;
    }
}

/// Pings Redis while its gate is closed, until the soft stop.
pub(crate) async fn watch_redis(parts: Arc<Parts>) {
    loop {
        tokio::select! {
            biased;
            () = parts.shutdown.soft().cancelled() => return,
            () = until_redis_answers(&parts) => {}
        }
    }
}

async fn until_redis_answers(parts: &Parts) {
    parts.redis.closed().await;
    let mut wait = *PING_WAIT.start();
    loop {
        tokio::time::sleep(wait).await;
        if parts.queue.is_up().await.is_ok() {
            return parts.redis.open();
        }
        wait = (wait * 2).min(*PING_WAIT.end());
    }
}
