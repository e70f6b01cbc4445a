//! A system with a private Postgres and Redis, whose statements, commands and round trips are counted.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_testkit::{PostgresServer, Proxy, RedisServer, Running, System, eventually};

use super::cost_report::{Calls, CostReport, Counts};
use crate::harness::{SOON, echo, id_of};

/// Settings that count statements, and that prevent WAL of other origin than the measured work.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_preload_libraries", "pg_stat_statements"),
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1d"),
    ("max_wal_size", "10GB"),
];
/// Marks the meter's own statements, which are not counted.
const OWN: &str = "/* meter */";

/// One-way delay of a slow link to Postgres.
pub(super) const LINK_DELAY: Duration = Duration::from_millis(10);

/// A system whose costs are measured.
pub(super) struct Meter {
    pub(super) system: System,
    pub(super) server: Running,
    /// A worker that registers the built-in types and serves another queue.
    _elsewhere: Running,
    /// Connections that bypass the proxies, which count only the system's round trips.
    db: PgPool,
    to_postgres: Proxy,
    to_redis: Proxy,
    redis: RedisServer,
    _postgres: PostgresServer,
}

impl Meter {
    /// Starts a server with open connections, and no worker for the three classes.
    pub(super) async fn start() -> Self {
        let postgres = PostgresServer::start_with(&SETTINGS).await;
        let redis = RedisServer::start().await;
        let db = PgPoolOptions::new()
            .max_connections(1)
            .connect(&postgres.url())
            .await
            .expect("a connection");
        sqlx::query("CREATE EXTENSION pg_stat_statements")
            .execute(&db)
            .await
            .expect("the extension is installed with Postgres (package postgresql, or postgresql-contrib)");
        let (to_postgres, postgres_url) = Proxy::before_url(&postgres.url()).await;
        let (to_redis, redis_url) = Proxy::before_url(&redis.url()).await;
        // the test's own Redis commands bypass the proxy, which runs on the test's thread and would deadlock
        let system = System::on(&postgres_url, &redis.url())
            .with("REDIS_URL", &redis_url)
            // the default: with fewer connections none are left for the connection cache
            .with("DB_POOL_SIZE", "20")
            .with("EXTRA_QUEUES", "elsewhere");
        let server = system.server(&[]).await;
        let elsewhere = system.worker(&[("TASK_QUEUES", "elsewhere")]).await;
        Self {
            system,
            server,
            _elsewhere: elsewhere,
            db,
            to_postgres,
            to_redis,
            redis,
            _postgres: postgres,
        }
    }

    /// Delays each chunk to and from Postgres by `delay`: during a slow commit further work accumulates,
    /// independent of the speed of the machine.
    pub(super) fn slow_down(&self, delay: Duration) {
        self.to_postgres.slow_down(delay);
    }

    /// Measures the cost of `work`.
    pub(super) async fn measure(&self, work: impl AsyncFnOnce()) -> CostReport {
        let reset = "SELECT /* meter */ pg_stat_statements_reset()";
        sqlx::query(reset)
            .execute(&self.db)
            .await
            .expect("the counts are reset");
        let (commands, wal, began) = (self.redis.calls(), self.wal().await, Instant::now());
        let trips = [&self.to_postgres, &self.to_redis].map(Proxy::round_trips);
        work().await;
        CostReport::new(Counts {
            statements: self.statements().await,
            commands: grown(self.redis.calls(), &commands),
            postgres_trips: self.to_postgres.round_trips() - trips[0],
            redis_trips: self.to_redis.round_trips() - trips[1],
            wal: self.wal().await - wal,
            elapsed: began.elapsed(),
        })
    }

    /// Measures a worker with `pool_size` slots that starts and runs all pending tasks.
    pub(super) async fn drain(&self, pool_size: &str) -> CostReport {
        self.measure(async || {
            let _worker = self.system.worker(&[("WORKER_POOL_SIZE", pool_size)]).await;
            self.until_all_finished().await;
        })
        .await
    }

    /// Waits until the table `tasks` contains only dead letters.
    async fn until_all_finished(&self) {
        let sql = "SELECT /* meter */ NOT EXISTS (SELECT FROM tasks WHERE status <> 'dead_letter')";
        eventually("all tasks have finished", SOON, async || {
            sqlx::query_scalar(sql)
                .fetch_one(&self.db)
                .await
                .expect("an answer")
        })
        .await;
    }

    async fn statements(&self) -> Vec<(String, u64)> {
        let sql = "SELECT /* meter */ query, calls FROM pg_stat_statements WHERE toplevel";
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&self.db).await.expect("counts");
        rows.into_iter()
            .filter(|(text, _)| !text.contains(OWN))
            .map(|(text, calls)| (text, calls.unsigned_abs()))
            .collect()
    }

    async fn wal(&self) -> u64 {
        let sql = "SELECT /* meter */ (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let bytes: i64 = sqlx::query_scalar(sql)
            .fetch_one(&self.db)
            .await
            .expect("a position in the WAL");
        bytes.unsigned_abs()
    }
}

/// Submits `count` echoes in total over `connections` connections.
pub(super) async fn submit_over(connections: usize, server: &Running, count: usize) {
    let one = async |first: usize| {
        for number in (first..count).step_by(connections) {
            server.submit(&echo(number)).await;
        }
    };
    join_all((0..connections).map(one)).await;
}

/// Submits the tasks as one batch and returns their ids.
pub(super) async fn submit_all(server: &Running, tasks: impl Iterator<Item = Value>) -> Vec<String> {
    let tasks: Vec<Value> = tasks.collect();
    let (status, answer) = server.post("/tasks/submit/batch", &json!({"tasks": tasks})).await;
    assert_eq!(status, 202, "{answer}");
    let tasks = answer["tasks"].as_array().expect("tasks");
    tasks.iter().map(id_of).collect()
}

/// Returns the growth of each count, except of `info`, which the meter itself sends.
fn grown(after: Calls, before: &Calls) -> Calls {
    let grown = |(name, calls): (String, u64)| {
        let calls = calls - before.get(&name).copied().unwrap_or_default();
        (name, calls)
    };
    after
        .into_iter()
        .map(grown)
        .filter(|(name, _)| name != "info")
        .collect()
}
