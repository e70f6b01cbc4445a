//! Queues and their scaling.

use serde::{Deserialize, Serialize};

use tasker_core::task::QueueName;

/// The list of queues.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Queues {
    /// One entry per declared queue.
    pub queues: Vec<QueueInfo>,
}

/// A queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueInfo {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: QueueName,
    /// The key of its list in Redis.
    pub key: String,
    /// The length of that list: the pending tasks without those that `unroutable` counts; null while Redis is
    /// unavailable.
    pub depth: Option<u64>,
    /// Number of tasks that wait for a worker, counted in Postgres.
    pub pending: i64,
    /// Number of tasks that workers run.
    pub running: i64,
    /// Number of tasks that are due later. Of all queues together, only the 100,000 tasks due next are
    /// counted here and in `retry`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub scheduled: i64,
    /// Number of tasks that wait for their next attempt.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub retry: i64,
    /// Number of pending tasks whose type no live worker of the queue registers; null while Redis is
    /// unavailable.
    pub unroutable: Option<u64>,
    /// The time that the oldest pending task has waited.
    pub oldest_age_seconds: Option<f64>,
    /// True if an operator paused it.
    pub paused: bool,
    /// Number of live workers that serve it.
    pub workers: i64,
}

/// A queue to declare.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "team.mail"})))]
pub struct QueueRequest {
    /// Its name, which must not be an alias of another queue.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^[a-z0-9][a-z0-9_.-]{0,63}$",
            min_length = 1,
            max_length = 64,
            example = "team.mail"
        )
    )]
    pub name: String,
}

/// The number of workers that a queue needs, and the measurements behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueScaling {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: QueueName,
    /// Number of pending tasks that more workers like the present ones can run, without those of types that
    /// no live worker of the queue registers. With `types`, pending tasks of these types, registered or not.
    /// Counted up to 10,000; a larger backlog is the length of the list, without `types` and while Redis is
    /// available.
    pub backlog: i64,
    /// The requested task types; null for all.
    pub types: Option<Vec<String>>,
    /// The time that the oldest pending task has waited.
    pub oldest_age_seconds: Option<f64>,
    /// Number of tasks that workers run.
    pub running: i64,
    /// True if an operator paused it.
    pub paused: bool,
    /// Number of live workers that serve it; with `types`, those of them that register any of these.
    pub workers: i64,
    /// Number of tasks that these workers run at once, of all queues that they serve.
    pub slots: i64,
    /// The time that the rates are measured over; null while they are unknown, and with `types`, for which no
    /// rates are measured.
    pub window_seconds: Option<f64>,
    /// Tasks per second that arrived.
    pub arrival_rate: Option<f64>,
    /// Tasks per second whose runs completed.
    pub drain_rate: Option<f64>,
    /// The time until the queue is empty at these rates; null if never, or while they are unknown.
    pub time_to_drain_seconds: Option<f64>,
    /// The average time that a task occupies a slot, if known.
    pub slot_seconds: Option<f64>,
    /// The requested maximum time that a task waits.
    pub target_latency_seconds: f64,
    /// Number of workers like the present ones that are needed for it.
    pub suggested_workers: i64,
    /// The reason for the suggestion, for people.
    pub reason: String,
}
