//! Submit: inserts many tasks with one statement, durable when it returns.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::task::{QueueName, TaskId, TaskStatus};

/// The time at which a new task may run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Due {
    /// At once.
    Now,
    /// This number of seconds from now, by Postgres's clock.
    InSeconds(f64),
    /// At this time; one in the past means at once.
    At(DateTime<Utc>),
}

/// The idempotency key of a new task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key as the client sent it.
    pub key: String,
    /// SHA-256 of the canonical request.
    pub fingerprint: [u8; 32],
}

/// A task to insert. All values have been validated.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// Its registered type.
    pub task_name: String,
    /// The queue it waits in.
    pub queue: QueueName,
    /// −100 to 100.
    pub priority: i16,
    /// JSON text of an object.
    pub parameters: String,
    /// JSON text of an object.
    pub metadata: String,
    /// At most 20.
    pub tags: Vec<String>,
    /// The maximum number of attempts.
    pub max_attempts: i32,
    /// Limit of one attempt.
    pub timeout_seconds: f64,
    /// Its idempotency key, if it has one.
    pub key: Option<NewKey>,
    /// Correlation id of its log lines.
    pub correlation_id: String,
    /// The submitter's W3C trace context.
    pub traceparent: Option<String>,
    /// The time at which it may run.
    pub due: Due,
}

impl NewTask {
    /// Returns whether the task is certainly pending after the insert.
    fn is_plain(&self) -> bool {
        // a time in the past also means pending, but Postgres's clock decides about it
        self.due == Due::Now && self.key.is_none()
    }
}

/// The result of [`insert`].
#[derive(Debug, Default)]
pub struct Inserted {
    /// The states of those tasks that have a key or are due later. A task without a key that is not in here
    /// is `pending`.
    special: HashMap<TaskId, TaskStatus>,
}

impl Inserted {
    /// Returns the state in which `task` was written; `None` if another task holds its key.
    pub fn status(&self, task: &NewTask) -> Option<TaskStatus> {
        match self.special.get(&task.id) {
            Some(status) => Some(*status),
            None if task.key.is_none() => Some(TaskStatus::Pending),
            None => None,
        }
    }
}

/// A statement that continues after the first part of its `WITH`: what it acknowledged survives a crash of
/// Postgres, whatever the server's default is. The statement has to read from `durable`: Postgres does not
/// execute a CTE that is not referenced.
///
/// `set_config` with `is_local` lasts until the end of the transaction, so a connection of a pooler is not
/// changed for its next user.
macro_rules! durably {
    ($rest:tt, $($argument:tt)*) => {
        sqlx::query!(
            r#"
        WITH durable AS MATERIALIZED (
            SELECT set_config('synchronous_commit',
                              CASE current_setting('synchronous_commit')
                                   WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
            "# + $rest,
            $($argument)*
        )
    };
}
pub(super) use durably;

/// Inserts `tasks` and their keys. A task whose key is taken is left out; two of `tasks` must not have the
/// same key. `key_ttl_seconds` is the minimum time for which a key is valid.
pub async fn insert(db: impl PgExecutor<'_>, tasks: &[NewTask], key_ttl_seconds: f64) -> Result<Inserted> {
    // one task with a key sends the whole batch the slower way: a second statement would cost a second
    // commit
    if tasks.iter().all(NewTask::is_plain) {
        insert_plain(db, tasks).await?;
        return Ok(Inserted::default());
    }
    insert_any(db, tasks, key_ttl_seconds).await
}

/// Inserts tasks that are due now and have no key. Without conflicts and due times to check, this costs
/// Postgres a quarter less.
async fn insert_plain(db: impl PgExecutor<'_>, tasks: &[NewTask]) -> Result<()> {
    let columns = Columns::of(tasks);
    let (counted_names, counted_queues, counts) = counts(tasks);
    durably!(
        r#"
        ), counted AS (
            -- grouped by the caller, since all of them are written: what this part costs is a sixth of what it would cost here
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, 'submitted', tasks
              FROM UNNEST($12::text[], $13::text[], $14::bigint[]) AS c(task_name, queue, tasks)
        )
        INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, max_attempts,
                           timeout_seconds, correlation_id, traceparent, enqueued_at)
        SELECT id, task_name, queue, priority, parameters::json, metadata::json,
               CASE WHEN tags IS NULL THEN '{}'::text[]
                    ELSE ARRAY(SELECT json_array_elements_text(tags::json)) END,
               'pending', max_attempts, timeout_seconds, correlation_id, traceparent, now()
          FROM durable,
               UNNEST($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[],
                      $8::integer[], $9::double precision[], $10::text[], $11::text[])
            AS t(id, task_name, queue, priority, parameters, metadata, tags, max_attempts, timeout_seconds,
                 correlation_id, traceparent)
        "#,
        columns.ids as _,
        columns.task_names as _,
        columns.queues as _,
        &columns.priorities,
        columns.parameters as _,
        columns.metadata as _,
        columns.tags as _,
        &columns.max_attempts,
        &columns.timeouts,
        columns.correlation_ids as _,
        columns.traceparents as _,
        counted_names as _,
        counted_queues as _,
        &counts,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Returns the number of `tasks` of each type and queue.
fn counts(tasks: &[NewTask]) -> (Vec<&str>, Vec<&str>, Vec<i64>) {
    // unordered: deltas are only appended, so that no row is locked
    let mut counts: HashMap<(&str, &str), i64> = HashMap::new();
    for task in tasks {
        *counts.entry((&task.task_name, task.queue.as_str())).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|((name, queue), count)| (name, queue, count))
        .collect()
}

async fn insert_any(db: impl PgExecutor<'_>, tasks: &[NewTask], key_ttl_seconds: f64) -> Result<Inserted> {
    let columns = Columns::of(tasks);
    let rows = durably!(
        r#"
        ), input AS MATERIALIZED (
            SELECT t.*, COALESCE(t.run_at, now() + make_interval(secs => t.delay_seconds)) AS due
              FROM durable,
                   UNNEST($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[],
                          $8::integer[], $9::double precision[], $10::text[], $11::bytea[], $12::text[], $13::text[],
                          $14::double precision[], $15::timestamptz[])
                AS t(id, task_name, queue, priority, parameters, metadata, tags, max_attempts, timeout_seconds,
                     idempotency_key, request_fingerprint, correlation_id, traceparent, delay_seconds, run_at)
        ), won AS (
            -- keys are locked in their own order, so that two flushes never wait for each other in a circle
            INSERT INTO task_keys (task_name, idempotency_key, task_id, fingerprint, expires_at)
            SELECT task_name, idempotency_key, id, request_fingerprint, now() + make_interval(secs => $16)
              FROM input
             WHERE idempotency_key IS NOT NULL
             ORDER BY task_name, idempotency_key
                ON CONFLICT DO NOTHING
            RETURNING task_id
        ), inserted AS (
            INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, max_attempts,
                               timeout_seconds, idempotency_key, request_fingerprint, correlation_id, traceparent,
                               run_at, enqueued_at)
            SELECT id, task_name, queue, priority, parameters::json, metadata::json,
                   CASE WHEN tags IS NULL THEN '{}'::text[]
                        ELSE ARRAY(SELECT json_array_elements_text(tags::json)) END,
                   CASE WHEN due > now() THEN 'scheduled' ELSE 'pending' END::task_status, max_attempts,
                   timeout_seconds, idempotency_key, request_fingerprint, correlation_id, traceparent,
                   due, CASE WHEN due > now() THEN NULL ELSE now() END
              FROM input
             WHERE idempotency_key IS NULL OR id IN (SELECT task_id FROM won)
            RETURNING id, task_name, queue, status, idempotency_key
        ), counted AS (
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, 'submitted', count(*) FROM inserted GROUP BY task_name, queue
        )
        SELECT id AS "id: TaskId", status AS "status: TaskStatus"
          FROM inserted
         WHERE status <> 'pending' OR idempotency_key IS NOT NULL
        "#,
        columns.ids as _,
        columns.task_names as _,
        columns.queues as _,
        &columns.priorities,
        columns.parameters as _,
        columns.metadata as _,
        columns.tags as _,
        &columns.max_attempts,
        &columns.timeouts,
        columns.keys as _,
        columns.fingerprints as _,
        columns.correlation_ids as _,
        columns.traceparents as _,
        columns.delays as _,
        columns.run_ats as _,
        key_ttl_seconds,
    )
    .fetch_all(db)
    .await?;
    Ok(Inserted {
        special: rows.into_iter().map(|row| (row.id, row.status)).collect(),
    })
}

/// The columns of a batch of tasks: one array per column, as `UNNEST` takes them.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<TaskId>,
    task_names: Vec<&'a str>,
    queues: Vec<&'a str>,
    priorities: Vec<i16>,
    parameters: Vec<&'a str>,
    metadata: Vec<&'a str>,
    tags: Vec<Option<String>>,
    max_attempts: Vec<i32>,
    timeouts: Vec<f64>,
    keys: Vec<Option<&'a str>>,
    fingerprints: Vec<Option<&'a [u8]>>,
    correlation_ids: Vec<&'a str>,
    traceparents: Vec<Option<&'a str>>,
    delays: Vec<Option<f64>>,
    run_ats: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Columns<'a> {
    fn of(tasks: &'a [NewTask]) -> Self {
        let mut columns = Self::default();
        for task in tasks {
            columns.push(task);
        }
        columns
    }

    fn push(&mut self, task: &'a NewTask) {
        let (delay, run_at) = match task.due {
            Due::Now => (None, None),
            Due::InSeconds(seconds) => (Some(seconds), None),
            Due::At(time) => (None, Some(time)),
        };
        // arrays of arrays cannot be unnested row by row, so tags are passed as JSON
        let tags = (!task.tags.is_empty()).then(|| serde_json::json!(task.tags).to_string());
        self.ids.push(task.id);
        self.task_names.push(&task.task_name);
        self.queues.push(task.queue.as_str());
        self.priorities.push(task.priority);
        self.parameters.push(&task.parameters);
        self.metadata.push(&task.metadata);
        self.tags.push(tags);
        self.max_attempts.push(task.max_attempts);
        self.timeouts.push(task.timeout_seconds);
        self.keys.push(task.key.as_ref().map(|key| key.key.as_str()));
        self.fingerprints
            .push(task.key.as_ref().map(|key| key.fingerprint.as_slice()));
        self.correlation_ids.push(&task.correlation_id);
        self.traceparents.push(task.traceparent.as_deref());
        self.delays.push(delay);
        self.run_ats.push(run_at);
    }
}
