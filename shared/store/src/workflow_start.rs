//! Starts workflows: writes them, their steps, joins and keys with one statement, durable when it returns.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::insert::{NewKey, durably};
use super::{Error, Result};
use tasker_core::task::{QueueName, TaskId};

/// A workflow to start. All values have been validated.
#[derive(Debug, Clone)]
pub struct NewWorkflow {
    /// Its id.
    pub id: TaskId,
    /// The namespace of its definition.
    pub namespace: String,
    /// The name of its definition.
    pub name: String,
    /// The version of its definition.
    pub version: String,
    /// SHA-256 of its definition.
    pub definition_hash: [u8; 32],
    /// JSON text of its definition.
    pub definition: String,
    /// JSON text of an object.
    pub context: String,
    /// −100 to 100.
    pub priority: i16,
    /// At most 20.
    pub tags: Vec<String>,
    /// Correlation id of the log lines of its steps.
    pub correlation_id: String,
    /// The caller's W3C trace context.
    pub traceparent: Option<String>,
    /// Its idempotency key, if it has one.
    pub key: Option<NewKey>,
    /// Whether its first unhandled dead letter ends it.
    pub gives_up: bool,
    /// When it has to be over; in seconds from now, or a time.
    pub deadline: Deadline,
    /// Its steps, at least one.
    pub steps: Vec<NewStep>,
    /// Its joins.
    pub joins: Vec<NewJoin>,
}

/// When a workflow has to be over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deadline {
    /// This number of seconds after its start, by Postgres's clock.
    InSeconds(f64),
    /// At this time.
    At(DateTime<Utc>),
}

/// A step of a new workflow.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// The task type that runs it.
    pub task_name: String,
    /// The queue it waits in once it is ready.
    pub queue: QueueName,
    /// −100 to 100.
    pub priority: i16,
    /// JSON text of an object: its inputs, where they are known at the start.
    pub parameters: String,
    /// The maximum number of attempts.
    pub max_attempts: i32,
    /// Limit of one attempt.
    pub timeout_seconds: f64,
    /// Whether it has parents; otherwise it is pending at once.
    pub waits: bool,
    /// Where its edges lead: ids, as the text of an array, since arrays of arrays cannot be unnested.
    pub targets: String,
    /// The kinds of its edges, as the text of an array; see the comments of `tasks.kinds`.
    pub kinds: String,
    /// JSON text: how its inputs are made and how it is retried, if not by default.
    pub options: Option<String>,
}

/// A join of a new workflow.
#[derive(Debug, Clone)]
pub struct NewJoin {
    /// Its id.
    pub id: TaskId,
    /// The number of edges that lead into it.
    pub size: i32,
    /// Where it leads when all of them have arrived; as the targets of a step.
    pub targets: String,
    /// Their kinds; as those of a step.
    pub kinds: String,
}

/// Starts `workflows`; returns the ids of those that were written, with the time. One that is not returned
/// has a key that another workflow holds. Two of `workflows` must not have the same key.
#[expect(clippy::too_many_lines, reason = "one statement, with its many columns")]
pub async fn start(
    db: impl PgExecutor<'_>,
    workflows: &[NewWorkflow],
    key_ttl_seconds: f64,
) -> Result<HashMap<TaskId, DateTime<Utc>>> {
    let columns = Columns::of(workflows);
    let definitions: BTreeMap<&[u8; 32], &str> = workflows
        .iter()
        .map(|workflow| (&workflow.definition_hash, workflow.definition.as_str()))
        .collect();
    let (hashes, texts): (Vec<&[u8]>, Vec<&str>) = definitions
        .into_iter()
        .map(|(hash, text)| (hash.as_slice(), text))
        .unzip();
    let steps = StepColumns::of(workflows);
    let joins = JoinColumns::of(workflows);
    let rows = durably!(
        r#"
        ), won AS (
            -- keys are locked in their own order, so that two statements never wait for each other in a circle
            INSERT INTO workflow_keys (namespace, name, idempotency_key, workflow_id, fingerprint, expires_at)
            SELECT namespace, name, idempotency_key, id, fingerprint, now() + make_interval(secs => $1)
              FROM durable, UNNEST($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[])
                              AS k(id, namespace, name, idempotency_key, fingerprint)
             WHERE idempotency_key IS NOT NULL
             ORDER BY namespace, name, idempotency_key
                ON CONFLICT DO NOTHING
            RETURNING workflow_id
        ), used AS (
            -- once a day: a definition that is started all the time is not written each time
            UPDATE workflow_definitions SET last_used_at = now()
             WHERE hash = ANY ($7::bytea[]) AND last_used_at < now() - interval '1 day'
            RETURNING hash
        ), defined AS (
            INSERT INTO workflow_definitions (hash, definition)
            SELECT hash, definition::json
              FROM durable, UNNEST($7::bytea[], $8::text[]) AS d(hash, definition)
             -- the count is there for the order: one that is being deleted as unused is waited for, then inserted
             WHERE (SELECT count(*) FROM used) >= 0
             ORDER BY hash
                ON CONFLICT DO NOTHING
        ), started AS (
            INSERT INTO workflows (id, namespace, name, version, definition_hash, context, steps, priority, queues, tags,
                                   correlation_id, traceparent, idempotency_key, root_id, deadline_at, gives_up)
            SELECT id, namespace, name, version, definition_hash, context::json, steps, priority,
                   ARRAY(SELECT json_array_elements_text(queues::json)), ARRAY(SELECT json_array_elements_text(tags::json)),
                   correlation_id, traceparent, idempotency_key, id,
                   COALESCE(deadline_at, now() + make_interval(secs => deadline_seconds)), gives_up
              FROM durable,
                   UNNEST($2::uuid[], $3::text[], $4::text[], $9::text[], $10::bytea[], $11::text[], $12::integer[],
                          $13::smallint[], $14::text[], $15::text[], $16::text[], $17::text[], $5::text[],
                          $18::double precision[], $19::timestamptz[], $38::boolean[])
                     AS w(id, namespace, name, version, definition_hash, context, steps, priority, queues, tags,
                          correlation_id, traceparent, idempotency_key, deadline_seconds, deadline_at, gives_up)
             WHERE idempotency_key IS NULL OR id IN (SELECT workflow_id FROM won)
            RETURNING id, created_at, correlation_id, traceparent, tags
        ), joined AS (
            INSERT INTO step_joins (id, workflow_id, size, pending, targets, kinds)
            SELECT j.id, workflow_id, size, size, targets::uuid[], kinds::smallint[]
              FROM UNNEST($20::uuid[], $21::uuid[], $22::integer[], $23::text[], $24::text[])
                     AS j(id, workflow_id, size, targets, kinds)
              JOIN started s ON s.id = j.workflow_id
        ), born AS (
            INSERT INTO tasks (id, workflow_id, step, task_name, queue, priority, parameters, metadata, tags, status,
                               max_attempts, timeout_seconds, correlation_id, traceparent, enqueued_at, targets, kinds, options)
            SELECT t.id, workflow_id, step, task_name, queue, priority, parameters::json, '{}', s.tags,
                   CASE WHEN waits THEN 'waiting' ELSE 'pending' END::task_status, max_attempts, timeout_seconds,
                   s.correlation_id, s.traceparent, CASE WHEN waits THEN NULL ELSE now() END, targets::uuid[],
                   kinds::smallint[], options::json
              FROM UNNEST($25::uuid[], $26::uuid[], $27::text[], $28::text[], $29::text[], $30::smallint[], $31::text[],
                          $32::integer[], $33::double precision[], $34::boolean[], $35::text[], $36::text[], $37::text[])
                     AS t(id, workflow_id, step, task_name, queue, priority, parameters, max_attempts, timeout_seconds,
                          waits, targets, kinds, options)
              JOIN started s ON s.id = t.workflow_id
            RETURNING task_name, queue
        ), counted AS (
            INSERT INTO task_total_deltas (task_name, queue, event, tasks)
            SELECT task_name, queue, 'submitted', count(*) FROM born GROUP BY task_name, queue
        )
        SELECT id AS "id: TaskId", created_at FROM started
        "#,
        key_ttl_seconds,
        columns.ids as _,
        columns.namespaces as _,
        columns.names as _,
        columns.keys as _,
        columns.fingerprints as _,
        hashes as _,
        texts as _,
        columns.versions as _,
        columns.hashes as _,
        columns.contexts as _,
        &columns.steps,
        &columns.priorities,
        &columns.queues,
        &columns.tags,
        columns.correlation_ids as _,
        columns.traceparents as _,
        columns.deadline_seconds as _,
        columns.deadlines as _,
        joins.ids as _,
        joins.workflows as _,
        &joins.sizes,
        joins.targets as _,
        joins.kinds as _,
        steps.ids as _,
        steps.workflows as _,
        steps.names as _,
        steps.task_names as _,
        steps.queues as _,
        &steps.priorities,
        steps.parameters as _,
        &steps.max_attempts,
        &steps.timeouts,
        &steps.waits,
        steps.targets as _,
        steps.kinds as _,
        steps.options as _,
        &columns.gives_up,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.created_at)).collect())
}

/// Returns the processes that would end a step without advancing its workflow, since they are from before
/// workflows: live workers, and the leader. No workflow may be started while there are any.
pub async fn old_processes(db: impl PgExecutor<'_>) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        SELECT id AS "id!" FROM workers WHERE status <> 'dead' AND protocol < 2
         UNION ALL
        SELECT holder FROM leader_lease WHERE holder IS NOT NULL AND expires_at > now() AND protocol_term <> term
        "#,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// The columns of the workflows: one array per column, as `UNNEST` takes them.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<TaskId>,
    namespaces: Vec<&'a str>,
    names: Vec<&'a str>,
    versions: Vec<&'a str>,
    hashes: Vec<&'a [u8]>,
    contexts: Vec<&'a str>,
    steps: Vec<i32>,
    priorities: Vec<i16>,
    queues: Vec<String>,
    tags: Vec<String>,
    correlation_ids: Vec<&'a str>,
    traceparents: Vec<Option<&'a str>>,
    keys: Vec<Option<&'a str>>,
    fingerprints: Vec<Option<&'a [u8]>>,
    deadline_seconds: Vec<Option<f64>>,
    deadlines: Vec<Option<DateTime<Utc>>>,
    gives_up: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(workflows: &'a [NewWorkflow]) -> Self {
        let mut columns = Self::default();
        for workflow in workflows {
            columns.push(workflow);
        }
        columns
    }

    fn push(&mut self, workflow: &'a NewWorkflow) {
        let mut queues: Vec<&str> = workflow.steps.iter().map(|step| step.queue.as_str()).collect();
        queues.sort_unstable();
        queues.dedup();
        let (seconds, at) = match workflow.deadline {
            Deadline::InSeconds(seconds) => (Some(seconds), None),
            Deadline::At(time) => (None, Some(time)),
        };
        self.ids.push(workflow.id);
        self.namespaces.push(&workflow.namespace);
        self.names.push(&workflow.name);
        self.versions.push(&workflow.version);
        self.hashes.push(&workflow.definition_hash);
        self.contexts.push(&workflow.context);
        self.steps
            .push(i32::try_from(workflow.steps.len()).unwrap_or(i32::MAX));
        self.priorities.push(workflow.priority);
        // arrays of arrays cannot be unnested row by row, so they are passed as JSON
        self.queues.push(serde_json::json!(queues).to_string());
        self.tags.push(serde_json::json!(workflow.tags).to_string());
        self.correlation_ids.push(&workflow.correlation_id);
        self.traceparents.push(workflow.traceparent.as_deref());
        self.keys.push(workflow.key.as_ref().map(|key| key.key.as_str()));
        self.fingerprints
            .push(workflow.key.as_ref().map(|key| key.fingerprint.as_slice()));
        self.deadline_seconds.push(seconds);
        self.deadlines.push(at);
        self.gives_up.push(workflow.gives_up);
    }
}

/// The columns of the joins.
#[derive(Default)]
struct JoinColumns<'a> {
    ids: Vec<TaskId>,
    workflows: Vec<TaskId>,
    sizes: Vec<i32>,
    targets: Vec<&'a str>,
    kinds: Vec<&'a str>,
}

impl<'a> JoinColumns<'a> {
    fn of(workflows: &'a [NewWorkflow]) -> Self {
        let mut columns = Self::default();
        for workflow in workflows {
            for join in &workflow.joins {
                columns.ids.push(join.id);
                columns.workflows.push(workflow.id);
                columns.sizes.push(join.size);
                columns.targets.push(&join.targets);
                columns.kinds.push(&join.kinds);
            }
        }
        columns
    }
}

/// The columns of the steps.
#[derive(Default)]
struct StepColumns<'a> {
    ids: Vec<TaskId>,
    workflows: Vec<TaskId>,
    names: Vec<&'a str>,
    task_names: Vec<&'a str>,
    queues: Vec<&'a str>,
    priorities: Vec<i16>,
    parameters: Vec<&'a str>,
    max_attempts: Vec<i32>,
    timeouts: Vec<f64>,
    waits: Vec<bool>,
    targets: Vec<&'a str>,
    kinds: Vec<&'a str>,
    options: Vec<Option<&'a str>>,
}

impl<'a> StepColumns<'a> {
    fn of(workflows: &'a [NewWorkflow]) -> Self {
        let mut columns = Self::default();
        for workflow in workflows {
            for step in &workflow.steps {
                columns.push(workflow.id, step);
            }
        }
        columns
    }

    fn push(&mut self, workflow: TaskId, step: &'a NewStep) {
        self.ids.push(step.id);
        self.workflows.push(workflow);
        self.names.push(&step.name);
        self.task_names.push(&step.task_name);
        self.queues.push(step.queue.as_str());
        self.priorities.push(step.priority);
        self.parameters.push(&step.parameters);
        self.max_attempts.push(step.max_attempts);
        self.timeouts.push(step.timeout_seconds);
        self.waits.push(step.waits);
        self.targets.push(&step.targets);
        self.kinds.push(&step.kinds);
        self.options.push(step.options.as_deref());
    }
}
