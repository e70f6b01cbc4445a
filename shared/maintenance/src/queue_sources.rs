//! The sources of measurements of the queues, which several duties read.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_queue::RedisQueues;
use tasker_store::{DeclaredQueues, ObservedPool};

/// The places that a duty reads to measure the queues.
#[derive(Debug, Clone)]
pub struct QueueSources {
    /// Postgres.
    pub db: ObservedPool,
    /// Redis; `None` in `PollingOnly`.
    pub redis: Option<Arc<RedisQueues>>,
    /// The declared queues.
    pub queues: DeclaredQueues,
    /// Time without a heartbeat after which a worker does not count as live.
    pub worker_timeout: Duration,
}

impl QueueSources {
    /// Returns the lengths of the lists of `queues`; `None` without Redis or while it is unavailable, which
    /// must not hide what comes from Postgres.
    pub(crate) async fn depths(&self, queues: &[QueueName]) -> Option<Vec<u64>> {
        self.redis.as_ref()?.depths(queues).await.ok()
    }
}
