//! The registered task types.

use sqlx::PgExecutor;

use super::{Error, Result};
use tasker_core::role::Role;
use tasker_core::task::QueueName;

/// A task type as a worker publishes it.
#[derive(Debug, Clone)]
pub struct TaskType {
    /// Its name.
    pub name: String,
    /// A one-line description.
    pub description: String,
    /// The queue of its tasks, unless the submit or the priority selects another.
    pub queue: Option<QueueName>,
    /// The default priority of its tasks.
    pub priority: i16,
    /// Retries after the first try.
    pub max_retries: i32,
    /// Limit of one attempt.
    pub timeout_seconds: f64,
    /// JSON text of the JSON Schema of its parameters.
    pub parameters_schema: Option<String>,
    /// JSON text of the JSON Schema of its result.
    pub result_schema: Option<String>,
    /// The role that a submit requires; `None` for any role that may submit.
    pub required_role: Option<Role>,
}

/// A task type as it is registered.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The latest publication.
    pub task_type: TaskType,
    /// Live workers that register it.
    pub workers: i64,
}

/// Publishes the task types of a worker. The newest publication of a name is valid, except for the required
/// role: the strictest published one is kept, so that a worker with other settings or of an earlier release
/// cannot open a type to more callers. An identical publication changes no rows.
pub async fn publish(db: impl PgExecutor<'_>, types: &[TaskType]) -> Result<()> {
    let names: Vec<&str> = types.iter().map(|t| t.name.as_str()).collect();
    let descriptions: Vec<&str> = types.iter().map(|t| t.description.as_str()).collect();
    let queues: Vec<Option<&str>> = types
        .iter()
        .map(|t| t.queue.as_ref().map(QueueName::as_str))
        .collect();
    let priorities: Vec<i16> = types.iter().map(|t| t.priority).collect();
    let retries: Vec<i32> = types.iter().map(|t| t.max_retries).collect();
    let timeouts: Vec<f64> = types.iter().map(|t| t.timeout_seconds).collect();
    let schemas: Vec<Option<&str>> = types.iter().map(|t| t.parameters_schema.as_deref()).collect();
    let results: Vec<Option<&str>> = types.iter().map(|t| t.result_schema.as_deref()).collect();
    let roles: Vec<Option<&str>> = types.iter().map(|t| t.required_role.map(Role::as_str)).collect();
    sqlx::query!(
        r#"
        INSERT INTO task_types AS known (name, description, queue, priority, max_retries, timeout_seconds, parameters_schema,
                                         result_schema, required_role)
        SELECT name, description, queue, priority, max_retries, timeout_seconds, parameters_schema::json,
               result_schema::json, required_role
          FROM UNNEST($1::text[], $2::text[], $3::text[], $4::smallint[], $5::integer[], $6::double precision[], $7::text[],
                      $8::text[], $9::text[])
            AS t(name, description, queue, priority, max_retries, timeout_seconds, parameters_schema, result_schema,
                 required_role)
         ORDER BY name
            ON CONFLICT (name) DO UPDATE
           SET description = excluded.description, queue = excluded.queue, priority = excluded.priority,
               max_retries = excluded.max_retries, timeout_seconds = excluded.timeout_seconds,
               parameters_schema = excluded.parameters_schema, result_schema = excluded.result_schema,
               required_role = CASE WHEN known.required_role IS NULL
                                      OR array_position($10::text[], excluded.required_role)
                                         > array_position($10::text[], known.required_role)
                                    THEN excluded.required_role ELSE known.required_role END,
               updated_at = now()
         WHERE (known.description, known.queue, known.priority, known.max_retries, known.timeout_seconds,
                known.parameters_schema::text, known.result_schema::text)
               IS DISTINCT FROM
               (excluded.description, excluded.queue, excluded.priority, excluded.max_retries, excluded.timeout_seconds,
                excluded.parameters_schema::text, excluded.result_schema::text)
            OR (known.required_role IS NULL AND excluded.required_role IS NOT NULL)
            OR array_position($10::text[], excluded.required_role) > array_position($10::text[], known.required_role)
        "#,
        names as _,
        descriptions as _,
        queues as _,
        &priorities,
        &retries,
        &timeouts,
        schemas as _,
        results as _,
        roles as _,
        Role::NAMES as _,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Returns all registered types by name. A worker whose last heartbeat is older than `timeout_seconds` does
/// not count as live.
pub async fn all(db: impl PgExecutor<'_>, timeout_seconds: f64) -> Result<Vec<Registered>> {
    let rows = sqlx::query!(
        r#"
        SELECT name, description, queue AS "queue: QueueName", priority, max_retries, timeout_seconds,
               parameters_schema::text AS parameters_schema, result_schema::text AS result_schema, required_role,
               (SELECT count(*) FROM workers w
                 WHERE w.status = 'alive' AND w.last_heartbeat > now() - make_interval(secs => $1)
                   AND t.name = ANY (w.task_names)) AS "workers!"
          FROM task_types t
         ORDER BY name
        "#,
        timeout_seconds,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Registered {
            task_type: TaskType {
                name: row.name,
                description: row.description,
                queue: row.queue,
                priority: row.priority,
                max_retries: row.max_retries,
                timeout_seconds: row.timeout_seconds,
                parameters_schema: row.parameters_schema,
                result_schema: row.result_schema,
                required_role: row.required_role.as_deref().map(role_or_strictest),
            },
            workers: row.workers,
        })
        .collect())
}

/// Returns the role of that name. A name that only a later release knows is read as the strictest role.
fn role_or_strictest(name: &str) -> Role {
    Role::parse(name).unwrap_or(Role::Admin)
}
