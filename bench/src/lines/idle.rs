//! What a system costs that has nothing to do.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::arguments::Choice;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::lines::{POOL_SIZE, progress};
use crate::stats::count;
use crate::system::System;
use crate::usage;

/// What a start leaves to be done is done by then.
const CALM: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(20);

pub(super) async fn idle(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let line = Choice::Idle;
    let mut system = System::start(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let database = system.sandbox.url.path().trim_start_matches('/').to_owned();
    let statements = has_statements(&env.admin).await;
    progress(&format!("  {} s of nothing", WATCHED.as_secs()));
    sleep(CALM).await;
    let before = Look::take(&system, &env.admin, &database, statements).await?;
    sleep(WATCHED).await;
    let after = Look::take(&system, &env.admin, &database, statements).await?;
    system.stop().await?;
    let seconds = (after.at - before.at).as_secs_f64();
    let share =
        |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / seconds * 100.0;
    let called = if statements {
        "Postgres statements"
    } else {
        "Postgres transactions"
    };
    Ok(vec![
        Figure::new(line, "server, of a core", share(before.server, after.server), "%"),
        Figure::new(line, "worker, of a core", share(before.worker, after.worker), "%"),
        Figure::new(line, called, count(after.calls - before.calls) / seconds, "1/s"),
    ])
}

/// What had been used at one time.
struct Look {
    at: Instant,
    server: Duration,
    worker: Duration,
    /// Statements or, where those are not counted, transactions; nearly every statement is one of its own.
    calls: i64,
}

impl Look {
    async fn take(
        system: &System<'_>,
        admin: &PgPool,
        database: &str,
        statements: bool,
    ) -> anyhow::Result<Self> {
        let sql = if statements {
            "SELECT COALESCE(sum(calls), 0)::bigint FROM pg_stat_statements s
               JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1"
        } else {
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1"
        };
        // asked through another database, so that the question is not counted
        let calls = sqlx::query_scalar(sql).bind(database).fetch_one(admin).await?;
        let mut worker = Duration::ZERO;
        for service in &system.workers {
            worker += usage::processor_time(service.process.pid())?;
        }
        Ok(Self {
            at: Instant::now(),
            server: usage::processor_time(system.server.process.pid())?,
            worker,
            calls,
        })
    }
}

/// Whether Postgres counts statements.
async fn has_statements(admin: &PgPool) -> bool {
    let made = sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        .execute(admin)
        .await;
    let loaded = sqlx::query("SELECT FROM pg_stat_statements LIMIT 1")
        .execute(admin)
        .await;
    made.is_ok() && loaded.is_ok()
}
