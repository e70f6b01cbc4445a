//! The SQL statements of the baseline: simplified copies of Tasker's own.

use sqlx::PgConnection;
use tasker_core::task::TaskId;

/// Returns JSON parameters of `bytes` bytes, at least 8.
pub(super) fn parameters(bytes: u32) -> String {
    const EMPTY: &str = r#"{"x":""}"#;
    let filler = (bytes as usize).saturating_sub(EMPTY.len());
    format!(r#"{{"x":"{}"}}"#, ".".repeat(filler))
}

/// Inserts `count` tasks with a durable commit and returns their ids.
pub(super) async fn insert(
    db: &mut PgConnection,
    count: u64,
    parameters: &str,
) -> anyhow::Result<Vec<TaskId>> {
    let ids: Vec<TaskId> = (0..count).map(|_| TaskId::generate()).collect();
    let correlations: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let parameters: Vec<&str> = ids.iter().map(|_| parameters).collect();
    sqlx::query(
        "INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, max_attempts,
                            timeout_seconds, correlation_id, run_at, enqueued_at)
         SELECT id, 'noop', 'default', 0, parameters::json, '{}', '{}', 'pending', 4, 3600, correlation, now(), now()
           FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS t(id, parameters, correlation)",
    )
    .bind(&ids)
    .bind(&parameters)
    .bind(&correlations)
    .execute(db)
    .await?;
    Ok(ids)
}

/// Claims pending tasks for `worker` with an asynchronous commit and returns what a worker needs to run them.
pub(super) async fn claim(
    db: &mut PgConnection,
    worker: &str,
    ids: &[TaskId],
) -> anyhow::Result<Vec<Claimed>> {
    let claimed = sqlx::query_as(
        "WITH lazy AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
         UPDATE tasks t
            SET status = 'running', runs = t.runs + 1, worker_id = $1, started_at = now(), updated_at = now()
           FROM lazy
          WHERE t.id = ANY ($2::uuid[]) AND t.status::text = 'pending'
         RETURNING t.id, t.task_name, t.parameters::text",
    )
    .bind(worker)
    .bind(ids)
    .fetch_all(db)
    .await?;
    Ok(claimed)
}

/// A claimed run.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Claimed {
    id: TaskId,
    #[expect(dead_code, reason = "fetched because a worker needs it")]
    task_name: String,
    #[expect(dead_code, reason = "fetched because a worker needs it")]
    parameters: String,
}

/// Moves the runs of `worker` to `finished_tasks` with a durable commit; returns their number.
pub(super) async fn complete(
    db: &mut PgConnection,
    worker: &str,
    claimed: &[Claimed],
) -> anyhow::Result<u64> {
    let ids: Vec<TaskId> = claimed.iter().map(|claimed| claimed.id).collect();
    let results: Vec<&str> = claimed.iter().map(|_| "null").collect();
    let done = sqlx::query(
        "WITH gone AS (DELETE FROM tasks WHERE id = ANY ($2::uuid[]) AND worker_id = $1 RETURNING *)
         INSERT INTO finished_tasks
                (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                 crash_count, worker_id, correlation_id, timeout_seconds, created_at, enqueued_at, run_at, started_at,
                 updated_at, result, completed_at)
         SELECT id, task_name, queue, priority, parameters, metadata, tags, 'completed', runs, attempts + 1, max_attempts,
                crash_count, worker_id, correlation_id, timeout_seconds, created_at, enqueued_at, run_at, started_at,
                now(), i.result::json, now()
           FROM gone JOIN UNNEST($2::uuid[], $3::text[]) AS i(id, result) USING (id)",
    )
    .bind(worker)
    .bind(&ids)
    .bind(&results)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_long_as_asked() {
        for bytes in [8, 9, 100] {
            assert_eq!(parameters(bytes).len(), bytes as usize);
        }
    }
}
