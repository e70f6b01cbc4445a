//! Measures a drain with millions of finished and a million pending tasks in the database, compared with an
//! empty one.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{self, Figure, RATE};
use crate::progress::progress;
use crate::rows::{self, Done};
use crate::scenarios::{POOL_SIZE, drain, memory_figures};
use crate::stats::count;
use crate::system::System;

/// Number of finished tasks inserted by one statement.
const ROWS_AT_ONCE: u32 = 500_000;
/// Number of tasks behind the measured ones that must have left the list too: by then the measured ones have
/// finished.
const OVERRUN: u64 = 20_000;

pub(super) async fn drain_deep(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::DrainDeep;
    let tasks = env.arguments.tasks;
    let new = drain::drain(env, scenario, (1, POOL_SIZE), tasks).await?;
    let new_rate = figures::value(&new, scenario, RATE).unwrap_or_default();
    let mut system = System::start(env).await?;
    make_history(&system.sandbox.pool, env.arguments.finished).await?;
    let since = rows::now(&system.sandbox.pool).await?;
    let accepted = driver::batch(env, &system.server.url, tasks).await?.tasks;
    let until = rows::now(&system.sandbox.pool).await?;
    make_backlog(&mut system, until, env.arguments.backlog).await?;
    settle(env, &system.sandbox.pool).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let behind = u64::from(env.arguments.backlog).saturating_sub(OVERRUN);
    system.until_depth(behind).await?;
    let peaks = system.peaks()?;
    system.stop_workers().await?;
    let done = Done::between(&system.sandbox.pool, (since, until), accepted).await?;
    system.stop().await?;
    let mut figures = vec![
        Figure::new(scenario, "new system", new_rate, "tasks/s"),
        Figure::new(scenario, RATE, done.drain_rate()?, "tasks/s"),
        Figure::new(scenario, "to the new system", done.drain_rate()? / new_rate, "×"),
        Figure::new(
            scenario,
            "finished before",
            count(env.arguments.finished),
            "tasks",
        ),
        Figure::new(scenario, "waiting behind", count(env.arguments.backlog), "tasks"),
    ];
    figures.extend(memory_figures(scenario, peaks));
    Ok(figures)
}

/// Inserts finished tasks with completion times in the last six hours.
async fn make_history(db: &PgPool, rows: u32) -> anyhow::Result<()> {
    let mut made = 0;
    while made < rows {
        let next = (made + ROWS_AT_ONCE).min(rows);
        progress(&format!("  {next} of {rows} finished rows"));
        sqlx::query(
            "INSERT INTO finished_tasks
                    (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                     crash_count, worker_id, correlation_id, timeout_seconds, created_at, enqueued_at, run_at,
                     started_at, updated_at, result, completed_at)
             SELECT id, 'noop', 'default', 0, json_build_object('x', repeat('.', 92)), '{}', '{}', 'completed', 1, 1, 4,
                    0, 'worker-of-the-past', id::text, 3600, at, at, at, at, at, 'null', at
               FROM (SELECT at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
                                 || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid AS id
                       FROM (SELECT i, now() - interval '6 hours' * (1 - i / $3::float8) AS at
                               FROM generate_series($1 + 1, $2) AS i) AS times) AS ids",
        )
        .bind(i64::from(made))
        .bind(i64::from(next))
        .bind(i64::from(rows))
        .execute(db)
        .await?;
        made = next;
    }
    Ok(())
}

/// Inserts pending tasks behind those submitted before `since`, and pushes their hints.
async fn make_backlog(system: &mut System<'_>, since: DateTime<Utc>, rows: u32) -> anyhow::Result<()> {
    progress(&format!("  {rows} waiting rows"));
    sqlx::query(
        "INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, max_attempts,
                            timeout_seconds, correlation_id, run_at, enqueued_at)
         SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
                 || substr(md5(i::text), 1, 3) || '9' || substr(md5(i::text), 4, 15))::uuid,
                'noop', 'default', 0, json_build_object('x', repeat('.', 92)), '{}', '{}', 'pending', 4, 3600, i::text,
                now(), now()
           FROM generate_series(1, $1) AS i",
    )
    .bind(i64::from(rows))
    .execute(&system.sandbox.pool)
    .await?;
    let pushed = system.sandbox.push_pending(since).await?;
    anyhow::ensure!(
        pushed == u64::from(rows),
        "{rows} rows were inserted, {pushed} found"
    );
    Ok(())
}

/// Runs vacuum and a checkpoint, which in production follow while such a history grows over hours.
async fn settle(env: &Environment, db: &PgPool) -> anyhow::Result<()> {
    progress("  vacuum and checkpoint");
    for table in ["VACUUM ANALYZE finished_tasks", "VACUUM ANALYZE tasks"] {
        sqlx::query(table).execute(db).await?;
    }
    sqlx::query("CHECKPOINT").execute(&env.admin).await?;
    Ok(())
}
