//! Measures the CPU time and the Postgres statements of an idle system.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::arguments::Scenario;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::progress::progress;
use crate::scenarios::POOL_SIZE;
use crate::stats::count;
use crate::system::System;
use crate::usage;

/// Time for the work of the start to finish.
const SETTLE_TIME: Duration = Duration::from_secs(5);
const MEASURED_TIME: Duration = Duration::from_secs(20);

pub(super) async fn idle(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::Idle;
    let mut system = System::start(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let database = system.sandbox.url.path().trim_start_matches('/').to_owned();
    let statements = has_statements(&env.admin).await;
    progress(&format!("  {} s idle", MEASURED_TIME.as_secs()));
    sleep(SETTLE_TIME).await;
    let before = Snapshot::take(&system, &env.admin, &database, statements).await?;
    sleep(MEASURED_TIME).await;
    let after = Snapshot::take(&system, &env.admin, &database, statements).await?;
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
        Figure::new(
            scenario,
            "server, of a core",
            share(before.server, after.server),
            "%",
        ),
        Figure::new(
            scenario,
            "worker, of a core",
            share(before.worker, after.worker),
            "%",
        ),
        Figure::new(
            scenario,
            called,
            count(after.calls - before.calls) / seconds,
            "1/s",
        ),
    ])
}

/// The resources used up to one time.
struct Snapshot {
    at: Instant,
    server: Duration,
    worker: Duration,
    /// Statements or, without `pg_stat_statements`, transactions; nearly every statement is its own
    /// transaction.
    calls: i64,
}

impl Snapshot {
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
        // sent through the admin database, so that this query is not counted itself
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

/// Returns true if Postgres counts statements (`pg_stat_statements` is loaded).
async fn has_statements(admin: &PgPool) -> bool {
    let made = sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        .execute(admin)
        .await;
    let loaded = sqlx::query("SELECT FROM pg_stat_statements LIMIT 1")
        .execute(admin)
        .await;
    made.is_ok() && loaded.is_ok()
}
