//! The JSON that travels over HTTP, as the server writes it and clients read it.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::role::Role;
use crate::task::{QueueName, TaskId, TaskStatus};

/// The answer to a submit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// The task.
    #[schema(value_type = uuid::Uuid)]
    pub task_id: TaskId,
    /// Its type.
    pub task_name: String,
    /// Its state now.
    #[schema(value_type = String, example = "pending")]
    pub status: TaskStatus,
    /// The queue it waits in.
    #[schema(value_type = String, example = "default")]
    pub queue: QueueName,
    /// Whether this is an earlier task with the same idempotency key.
    pub deduplicated: bool,
    /// What happened, for people.
    pub message: String,
}

/// The answer to a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BatchSubmitted {
    /// One entry a task, in the order of the request.
    pub tasks: Vec<Submitted>,
    /// How many there are.
    pub accepted: usize,
}

/// The whole record of a task.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[expect(
    missing_docs,
    reason = "the columns of the table, explained in the contract of the API"
)]
pub struct Task {
    #[schema(value_type = uuid::Uuid)]
    pub task_id: TaskId,
    pub task_name: String,
    #[schema(value_type = String)]
    pub queue: QueueName,
    pub priority: i16,
    #[schema(value_type = Object)]
    pub parameters: Box<RawValue>,
    #[schema(value_type = Object)]
    pub metadata: Box<RawValue>,
    pub tags: Vec<String>,
    #[schema(value_type = String)]
    pub status: TaskStatus,
    pub runs: i32,
    /// Attempts that ended: 0 while the first one runs.
    pub attempts: i32,
    pub max_attempts: i32,
    pub crash_count: i32,
    pub worker_id: Option<String>,
    pub idempotency_key: Option<String>,
    pub correlation_id: String,
    #[serde(serialize_with = "seconds")]
    pub timeout_seconds: f64,
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Box<RawValue>>,
    pub error: Option<String>,
    /// Why a dead letter is one: `exhausted`, `failed`, `timeout` or `crash_loop`.
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub enqueued_at: Option<DateTime<Utc>>,
    pub run_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub updated_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    #[schema(value_type = Option<Object>)]
    pub result: Option<Box<RawValue>>,
}

/// Where a task stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "a part of `Task`")]
pub struct TaskState {
    #[schema(value_type = uuid::Uuid)]
    pub task_id: TaskId,
    pub task_name: String,
    #[schema(value_type = String)]
    pub status: TaskStatus,
    #[schema(value_type = String)]
    pub queue: QueueName,
    pub attempts: i32,
    pub max_attempts: i32,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Box<RawValue>>,
    pub error: Option<String>,
}

/// Where an ended task stands, and its result.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskResult {
    /// Where it stands.
    #[serde(flatten)]
    pub state: TaskState,
    /// What its handler returned; null unless it completed.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Box<RawValue>>,
}

/// The history of a task.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// What happened, oldest first.
    pub events: Vec<HistoryEvent>,
}

/// A step in the life of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct HistoryEvent {
    pub at: DateTime<Utc>,
    #[schema(value_type = Option<String>)]
    pub from: Option<TaskStatus>,
    #[schema(value_type = String)]
    pub to: TaskStatus,
    pub run: Option<i32>,
    pub attempt: Option<i32>,
    pub worker_id: Option<String>,
    pub reason: Option<String>,
    pub error: Option<String>,
    pub actor: Option<String>,
}

/// Why a task is not running.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The task.
    #[schema(value_type = uuid::Uuid)]
    pub task_id: TaskId,
    /// Its state.
    #[schema(value_type = String)]
    pub status: TaskStatus,
    /// What keeps it from running, or that it runs or ran; the weightiest first, never empty.
    pub reasons: Vec<Reason>,
    /// Pending tasks of its queue before it; null unless it is pending, and beyond 10,000.
    pub position: Option<i64>,
    /// A rough guess, from the pace of its queue in the last minutes, or the time until it is due; null when nothing is known or
    /// something blocks it.
    pub estimated_wait_seconds: Option<f64>,
}

/// A reason for which a task is not running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// The reason as a word for programs.
    #[schema(example = "waits_its_turn")]
    pub code: String,
    /// The reason for people.
    pub detail: String,
}

/// One page of tasks, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskPage {
    /// The tasks; may be fewer than asked for before the end of the list.
    pub tasks: Vec<Task>,
    /// What to send as `cursor` for the next page; null at the end of the list.
    pub next_cursor: Option<String>,
}

/// Which dead letters are meant; what is left out does not narrow, so that `{}` means all of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterFilter {
    /// Only those of this type.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub task_name: Option<String>,
    /// Only those of this queue, by name or alias.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub queue: Option<String>,
    /// Only those that died for this reason: `exhausted`, `failed`, `timeout` or `crash_loop`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub reason: Option<String>,
    /// Only those that died before this time (RFC 3339), which is their `updated_at`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DateTime<Utc>, required = false)]
    pub before: Option<String>,
}

/// What a retry of many dead letters came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersRetried {
    /// Dead letters that matched.
    pub matched: u64,
    /// Those that are pending again.
    pub retried: u64,
    /// Those left as they were: another live task holds their idempotency key, or somebody else was at them.
    pub skipped: u64,
    /// Whether they were only counted.
    pub dry_run: bool,
}

/// What a purge of dead letters came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersPurged {
    /// Dead letters that matched.
    pub matched: u64,
    /// Those that are deleted.
    pub purged: u64,
    /// Those left as they were: somebody else was at them.
    pub skipped: u64,
    /// Whether they were only counted.
    pub dry_run: bool,
}

/// The registered task types.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskTypes {
    /// The types by name.
    pub types: Vec<TaskType>,
}

/// A registered task type.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskType {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The queue of its tasks unless the submit picks another; null: by priority.
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueName>,
    /// Retries after the first try.
    pub max_retries: i32,
    /// Limit of one attempt, in seconds.
    #[serde(serialize_with = "seconds")]
    pub timeout: f64,
    /// JSON Schema of its parameters.
    #[schema(value_type = Option<Object>)]
    pub parameters_schema: Option<Box<RawValue>>,
    /// Live workers that know it.
    pub workers: i64,
}

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
    /// The length of that list; null while Redis is away.
    pub depth: Option<u64>,
    /// Tasks that wait for a worker, as Postgres has it.
    pub pending: i64,
    /// Tasks that workers run.
    pub running: i64,
    /// How long the oldest pending task has waited.
    pub oldest_age_seconds: Option<f64>,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Live workers that serve it.
    pub workers: i64,
}

/// How many workers a queue needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueScaling {
    /// Its name.
    #[schema(value_type = String)]
    pub name: QueueName,
    /// Tasks that wait for a worker: the length of the list, or without Redis the pending tasks, counted up to 10,000.
    pub backlog: i64,
    /// How long the oldest pending task has waited.
    pub oldest_age_seconds: Option<f64>,
    /// Tasks that workers run.
    pub running: i64,
    /// Whether an operator paused it.
    pub paused: bool,
    /// Live workers that serve it.
    pub workers: i64,
    /// Tasks that those run at once, of this queue and of others that they serve.
    pub slots: i64,
    /// The time that the rates are measured over; null while they are not known.
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

/// How many tasks came and how they ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// By day, the oldest first.
    pub days: Vec<DayTotals>,
    /// By type, in the order of names, all those days together.
    pub types: Vec<TypeTotals>,
}

/// The totals of a day.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DayTotals {
    /// The day (UTC).
    pub day: NaiveDate,
    /// How many tasks did what.
    #[serde(flatten)]
    pub counts: TaskCounts,
}

/// The totals of a type.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TypeTotals {
    /// The type.
    pub task_name: String,
    /// How many tasks did what.
    #[serde(flatten)]
    pub counts: TaskCounts,
}

/// How many tasks did what. A task that an operator lets run again ends once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    /// Were submitted.
    pub submitted: i64,
    /// Ended well.
    pub completed: i64,
    /// Ended because somebody asked for it.
    pub cancelled: i64,
    /// Ended without success.
    pub dead_letter: i64,
    /// Attempts that failed and were to be tried again.
    pub retry_scheduled: i64,
    /// Were cancelled, and an operator let them run again.
    pub cancelled_retried: i64,
    /// Were dead letters, and an operator let them run again.
    pub dead_letter_retried: i64,
    /// Were dead letters, and deleted.
    pub purged: i64,
}

/// The workers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// One entry a worker, the newest first.
    pub workers: Vec<Worker>,
}

/// A worker.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Worker {
    /// Holds host and process id.
    pub id: String,
    pub hostname: String,
    /// The queues it serves, in order.
    pub queues: Vec<String>,
    /// Tasks it runs at once.
    pub pool_size: i32,
    /// Tasks it ran at its last heartbeat.
    pub active: i32,
    pub version: String,
    pub started_at: DateTime<Utc>,
    pub last_heartbeat: DateTime<Utc>,
    /// `alive`, `silent` (its heartbeat is overdue), `draining` or `dead`.
    pub status: String,
}

/// A token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessToken {
    /// What is sent as `Authorization: Bearer`.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// How long it holds, in seconds.
    pub expires_in: u64,
}

/// An API key that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// Its name, by which the history tells of it: letters, digits, `.`, `_` and `-`.
    #[schema(min_length = 1, max_length = 64, example = "deploy")]
    pub name: String,
    /// `viewer`, `submitter`, `operator` or `admin`.
    #[schema(example = "submitter")]
    pub role: String,
    /// The queues that it may see and use, by name or alias; every one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<String>>,
    /// How long it holds; for ever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// An API key that was just made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyCreated {
    /// The key, shown this once.
    pub key: String,
    /// What is stored of it.
    #[serde(flatten)]
    pub record: ApiKey,
}

/// What is stored of an API key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct ApiKey {
    pub id: Uuid,
    pub name: String,
    #[schema(value_type = String, example = "submitter")]
    pub role: Role,
    /// The queues that it may see and use; null for every one.
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Option<Vec<QueueName>>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    /// When it last signed somebody in; up to a minute old.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub revoked_by: Option<String>,
}

/// The API keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKeys {
    /// One entry a key, those that are not revoked first.
    pub keys: Vec<ApiKey>,
}

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of error; `about:blank#<code>` style URI reference.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request, and what helps.
    pub detail: String,
    /// The kind as a word for programs.
    pub code: String,
    /// Finds the request in the log.
    pub request_id: String,
    /// What was wrong where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemPointer>,
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemPointer {
    /// Where: a JSON pointer (RFC 6901) into the body, or the name of a query parameter or header.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// Reads a field that may be left out, and is no null: a client's empty variable must not widen what it asks to purge.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// Writes whole seconds as an integer, others with their fraction.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn seconds<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if seconds.fract() == 0.0 && seconds.abs() < EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and in range, as just checked"
        )]
        return serializer.serialize_i64(*seconds as i64);
    }
    serializer.serialize_f64(*seconds)
}
