//! Reads of workflows: one, a list, the steps of one, its history.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::records::earliest_end;
use super::{Error, Result};
use tasker_core::task::{QueueName, TaskId, TaskStatus};

/// A workflow's record, live or finished.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table, explained at `NewWorkflow`")]
pub struct WorkflowRecord {
    pub id: TaskId,
    pub namespace: String,
    pub name: String,
    pub version: String,
    pub definition_hash: Vec<u8>,
    pub context: String,
    /// One of the seven stored states.
    pub status: String,
    pub steps: i32,
    pub failed: i32,
    pub priority: i16,
    pub queues: Vec<QueueName>,
    pub tags: Vec<String>,
    pub correlation_id: String,
    pub created_at: DateTime<Utc>,
    pub deadline_at: Option<DateTime<Utc>>,
    pub paused_at: Option<DateTime<Utc>>,
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// Why it was stopped.
    pub reason: Option<String>,
    /// JSON text of its output.
    pub output: Option<String>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// Selects whole workflows, live and finished ones, into the CTE `found`; `$live` and `$finished` are the
/// conditions on the two tables, `$rest` ends the statement.
macro_rules! select_workflows {
    ($live:tt, $finished:tt, $rest:tt, $($argument:tt)*) => {
        sqlx::query_as!(
            WorkflowRecord,
            r#"
            WITH found AS (
                (SELECT id, namespace, name, version, definition_hash, context::text AS context, status::text AS status, steps,
                        failed, priority, queues, tags, correlation_id, created_at, deadline_at, paused_at,
                        cancel_requested_at, reason, NULL::text AS output, NULL::timestamptz AS finished_at
                   FROM workflows WHERE "# + $live + r#")
                 UNION ALL
                (SELECT id, namespace, name, version, definition_hash, context::text, status::text, steps,
                        failed, priority, queues, tags, correlation_id, created_at, deadline_at, paused_at,
                        cancel_requested_at, reason, output::text, finished_at
                   FROM finished_workflows WHERE "# + $finished + r#")
            )
            SELECT id AS "id!: TaskId", namespace AS "namespace!", name AS "name!", version AS "version!",
                   definition_hash AS "definition_hash!", context AS "context!", status AS "status!", steps AS "steps!",
                   failed AS "failed!", priority AS "priority!", queues AS "queues!: Vec<QueueName>", tags AS "tags!",
                   correlation_id AS "correlation_id!", created_at AS "created_at!", deadline_at, paused_at,
                   cancel_requested_at, reason, output, finished_at
              FROM found
            "# + $rest,
            $($argument)*
        )
    };
}

/// Returns one workflow; `None` if it does not exist.
pub async fn get(db: impl PgExecutor<'_>, id: TaskId) -> Result<Option<WorkflowRecord>> {
    select_workflows!(
        "id = $1",
        "id = $1 AND finished_at >= $2",
        "",
        id as _,
        earliest_end(id)
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Returns whether a workflow is alive.
pub async fn is_live(db: impl PgExecutor<'_>, id: TaskId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM workflows WHERE id = $1) AS "alive!""#,
        id as _
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// Returns the queues of the steps of a workflow; `None` if it does not exist.
pub async fn queues_of(db: impl PgExecutor<'_>, id: TaskId) -> Result<Option<Vec<QueueName>>> {
    sqlx::query_scalar!(
        r#"
        SELECT queues AS "queues!: Vec<QueueName>" FROM workflows WHERE id = $1
         UNION ALL
        SELECT queues FROM finished_workflows WHERE id = $1 AND finished_at >= $2
        "#,
        id as _,
        earliest_end(id),
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// A filter of a list of workflows; a field that is `None` does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One of the seven stored states.
    pub status: Option<String>,
    /// The namespace of the definition.
    pub namespace: Option<String>,
    /// The name of the definition.
    pub name: Option<String>,
    /// One of the tags.
    pub tag: Option<String>,
    /// Started at this time or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Started before this time.
    pub created_before: Option<DateTime<Utc>>,
    /// All queues of the workflow must be among these.
    pub queues: Option<Vec<QueueName>>,
}

/// Returns up to `limit` workflows below the id `below`, the newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    filter: &Filter,
    below: TaskId,
    limit: i64,
) -> Result<Vec<WorkflowRecord>> {
    // no workflow ended before it began, so partitions before the filter's begin are left out
    let since = filter.created_after.unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    select_workflows!(
        r#"id < $1 AND ($2::text IS NULL OR status::text = $2) AND ($3::text IS NULL OR namespace = $3)
           AND ($4::text IS NULL OR name = $4) AND ($5::text IS NULL OR $5 = ANY (tags)) AND created_at >= $6
           AND ($7::timestamptz IS NULL OR created_at < $7) AND ($8::text[] IS NULL OR queues <@ $8)
           ORDER BY id DESC LIMIT $9"#,
        r#"id < $1 AND ($2::text IS NULL OR status::text = $2) AND ($3::text IS NULL OR namespace = $3)
           AND ($4::text IS NULL OR name = $4) AND ($5::text IS NULL OR $5 = ANY (tags)) AND created_at >= $6
           AND finished_at >= $6
           AND ($7::timestamptz IS NULL OR created_at < $7) AND ($8::text[] IS NULL OR queues <@ $8)
           ORDER BY id DESC LIMIT $9"#,
        "ORDER BY id DESC LIMIT $9",
        below as _,
        filter.status,
        filter.namespace,
        filter.name,
        filter.tag,
        since,
        filter.created_before,
        filter.queues.as_deref() as _,
        limit,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// A step as a list shows it.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the columns of the tables, explained at `NewStep` and `TaskRecord`"
)]
pub struct StepRecord {
    pub id: TaskId,
    pub step: String,
    pub item: Option<i32>,
    pub task_name: String,
    pub queue: QueueName,
    pub status: TaskStatus,
    pub runs: i32,
    pub attempts: i32,
    pub max_attempts: i32,
    pub worker_id: Option<String>,
    pub progress: Option<String>,
    /// JSON text; only of a single step.
    pub result: Option<String>,
    pub error: Option<String>,
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub run_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
}

/// Returns up to `limit` steps of a workflow with ids above `above`, in the order of their ids; only one by
/// its name, or only those of a state, if given.
pub async fn steps(
    db: impl PgExecutor<'_>,
    workflow: TaskId,
    name: Option<&str>,
    status: Option<TaskStatus>,
    above: TaskId,
    limit: i64,
) -> Result<Vec<StepRecord>> {
    sqlx::query_as!(
        StepRecord,
        r#"
        SELECT id AS "id!: TaskId", step AS "step!", item, task_name AS "task_name!", queue AS "queue!: QueueName",
               status AS "status!: TaskStatus", runs AS "runs!", attempts AS "attempts!",
               max_attempts AS "max_attempts!", worker_id, progress::text AS progress, NULL::text AS result, error, reason,
               created_at AS "created_at!", run_at, started_at, completed_at
          FROM task_records
         WHERE workflow_id = $1 AND ends >= $2 AND id > $3 AND ($4::text IS NULL OR step = $4)
           AND ($5::text IS NULL OR status::text = $5)
         ORDER BY id
         LIMIT $6
        "#,
        workflow as _,
        earliest_end(workflow),
        above as _,
        name,
        status.map(TaskStatus::as_str),
        limit,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns one step of a workflow by its id; `None` if it has none of that id.
pub async fn step(db: impl PgExecutor<'_>, workflow: TaskId, id: TaskId) -> Result<Option<StepRecord>> {
    sqlx::query_as!(
        StepRecord,
        r#"
        SELECT id AS "id!: TaskId", step AS "step!", item, task_name AS "task_name!", queue AS "queue!: QueueName",
               status AS "status!: TaskStatus", runs AS "runs!", attempts AS "attempts!",
               max_attempts AS "max_attempts!", worker_id, progress::text AS progress, result::text AS result, error, reason,
               created_at AS "created_at!", run_at, started_at, completed_at
          FROM task_records
         WHERE id = $2 AND workflow_id = $1 AND ends >= $3
        "#,
        workflow as _,
        id as _,
        earliest_end(workflow),
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Returns the number of steps of a workflow in each state.
pub async fn counts(db: impl PgExecutor<'_>, workflow: TaskId) -> Result<HashMap<TaskStatus, i64>> {
    let rows = sqlx::query!(
        r#"
        SELECT status AS "status!: TaskStatus", count(*) AS "count!"
          FROM task_records
         WHERE workflow_id = $1 AND ends >= $2
         GROUP BY status
        "#,
        workflow as _,
        earliest_end(workflow),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.status, row.count)).collect())
}

/// A change of a workflow as a whole.
#[derive(Debug, Clone)]
pub struct WorkflowEvent {
    /// When it was.
    pub at: DateTime<Utc>,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// The step that it was about, if it was about one.
    pub step: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who asked for it.
    pub actor: Option<String>,
}

/// Returns the changes of a workflow, the oldest first; at most `limit`.
pub async fn history(db: impl PgExecutor<'_>, workflow: TaskId, limit: i64) -> Result<Vec<WorkflowEvent>> {
    sqlx::query_as!(
        WorkflowEvent,
        r#"
        SELECT at, from_status::text AS "from", to_status::text AS "to!", step, reason, actor
          FROM workflow_events
         WHERE workflow_id = $1 AND at >= $2
         ORDER BY at
         LIMIT $3
        "#,
        workflow as _,
        earliest_end(workflow),
        limit,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns the definition of that hash; `None` if it does not exist.
pub async fn definition(db: impl PgExecutor<'_>, hash: &[u8]) -> Result<Option<String>> {
    sqlx::query_scalar!(
        r#"SELECT definition::text AS "definition!" FROM workflow_definitions WHERE hash = $1"#,
        hash,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// The workflow that holds an idempotency key.
#[derive(Debug, Clone)]
pub struct KeyHolder {
    /// The workflow.
    pub workflow: TaskId,
    /// SHA-256 of the request that took the key.
    pub fingerprint: Vec<u8>,
}

/// Returns the holder of a key. A key that has expired and whose workflow is over is deleted here and
/// reported as free; the caller starts once more.
pub async fn key_holder(
    db: impl PgExecutor<'_>,
    namespace: &str,
    name: &str,
    key: &str,
) -> Result<Option<KeyHolder>> {
    sqlx::query_as!(
        KeyHolder,
        r#"
        WITH held AS (
            SELECT k.workflow_id, k.fingerprint,
                   k.expires_at <= now() AND NOT EXISTS (SELECT FROM workflows w WHERE w.id = k.workflow_id) AS lapsed
              FROM workflow_keys k
             WHERE namespace = $1 AND name = $2 AND idempotency_key = $3
        ), let_go AS (
            -- the DELETE sees the snapshot of the read: a key that another workflow has taken since is left alone
            DELETE FROM workflow_keys k USING held h
             WHERE k.namespace = $1 AND k.name = $2 AND k.idempotency_key = $3 AND k.workflow_id = h.workflow_id
               AND h.lapsed
        )
        SELECT workflow_id AS "workflow: TaskId", fingerprint FROM held WHERE NOT lapsed
        "#,
        namespace,
        name,
        key,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}
