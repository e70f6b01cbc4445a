//! The settings of the loops of a worker.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_platform::circuit_breaker::Limits;
use tasker_queue::{DispatchMode, RedisConfig};

/// The identity of a worker, and the limits that its loops keep.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The id under which it claims.
    pub worker_id: Arc<str>,
    /// The task types that it runs, sorted.
    pub task_names: Vec<String>,
    /// The queues that it claims from, in order of priority.
    pub queues: Vec<ServedQueue>,
    /// Maximum number of tasks run at once.
    pub pool_size: u32,
    /// The way tasks get to it.
    pub mode: DispatchMode,
    /// The connection to Redis, for blocking pops.
    pub redis: RedisConfig,
    /// True if starved tasks are claimed as if one class higher.
    pub ages_priorities: bool,
    /// Time between polls for work in `PollingOnly`.
    pub claim_interval: Duration,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Time without a heartbeat after which a worker is declared dead.
    pub worker_timeout: Duration,
    /// Maximum time that a stop waits for running tasks.
    pub shutdown_timeout: Duration,
    /// The limits of the circuit breakers.
    pub breaker: Limits,
    /// The log lines about tasks.
    pub task_log: LoggedRuns,
}

/// A queue that a worker claims from.
#[derive(Debug, Clone)]
pub struct ServedQueue {
    /// The queue.
    pub queue: QueueName,
    /// Slots that only this queue may use.
    pub reserved: u32,
}

/// The runs that the task log has lines about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedRuns {
    /// None.
    None,
    /// Failed attempts, dead letters and discarded completions.
    Failed,
    /// The start and the completion of each run as well.
    All,
}

impl Settings {
    /// Returns the names of the queues in order of priority.
    pub(crate) fn queue_names(&self) -> Vec<QueueName> {
        self.queues.iter().map(|served| served.queue.clone()).collect()
    }
}
