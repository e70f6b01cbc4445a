//! Queues, and how many workers they need.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::task::QueueName;

/// The queues.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Queues {
    /// One entry a declared queue.
    pub queues: Vec<QueueInfo>,
}

/// A queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueInfo {
    /// Its name.
    #[schema(value_type = String)]
    pub name: QueueName,
    /// Its list in Redis.
    pub key: String,
    /// The length of that list: the pending tasks without those that `unroutable` counts; null while Redis is
    /// unavailable.
    pub depth: Option<u64>,
    /// Tasks that wait for a worker, as Postgres has it.
    pub pending: i64,
    /// Tasks that workers run.
    pub running: i64,
    /// Tasks with a time ahead. Of all queues together, only the 100,000 tasks due next are counted here and
    /// in `retry`.
    #[serde(default)]
    #[schema(required = true)]
    pub scheduled: i64,
    /// Tasks that wait for their next attempt.
    #[serde(default)]
    #[schema(required = true)]
    pub retry: i64,
    /// Pending tasks whose type no live worker of the queue registers; null while Redis is unavailable.
    pub unroutable: Option<u64>,
    /// How long the oldest pending task has waited.
    pub oldest_age_seconds: Option<f64>,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Live workers that serve it.
    pub workers: i64,
}

/// A queue to declare.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "team.mail"}))]
pub struct QueueRequest {
    /// Its name; no alias of another.
    #[schema(
        pattern = "^[a-z0-9][a-z0-9_.-]{0,63}$",
        min_length = 1,
        max_length = 64,
        example = "team.mail"
    )]
    pub name: String,
}

/// How many workers a queue needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueScaling {
    /// Its name.
    #[schema(value_type = String)]
    pub name: QueueName,
    /// Pending tasks that more of the present workers can run: those of types that no live worker of the
    /// queue registers are left out. With `types`, pending tasks of these types, whether registered or not.
    /// Counted up to 10,000; a larger backlog is the length of the list, without `types` and while Redis is
    /// available.
    pub backlog: i64,
    /// The types that were asked for; null if all are meant.
    pub types: Option<Vec<String>>,
    /// How long the oldest pending task has waited.
    pub oldest_age_seconds: Option<f64>,
    /// Tasks that workers run.
    pub running: i64,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Live workers that serve it; with `types`, those of them that register any of these.
    pub workers: i64,
    /// Tasks that those run at once, of this queue and of others that they serve.
    pub slots: i64,
    /// The time that the rates are measured over; null while they are not known, and with `types`, by which
    /// they are not measured.
    pub window_seconds: Option<f64>,
    /// Tasks per second that came.
    pub arrival_rate: Option<f64>,
    /// Tasks per second whose runs ended.
    pub drain_rate: Option<f64>,
    /// When the queue is empty at these rates; null if never, or while they are not known.
    pub time_to_drain_seconds: Option<f64>,
    /// How long a task keeps a slot, as far as known.
    pub slot_seconds: Option<f64>,
    /// How long a task may wait at most, as asked for.
    pub target_latency_seconds: f64,
    /// Workers like the present ones that are needed for it.
    pub suggested_workers: i64,
    /// Why, in words.
    pub reason: String,
}
