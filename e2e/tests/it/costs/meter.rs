//! A system on a Postgres and a Redis of its own, which count what they are asked.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_testkit::{PostgresServer, Proxy, RedisServer, Running, System, eventually};

use super::bill::{Bill, Calls, Counts};
use crate::harness::{SOON, echo, id_of};

/// Counts statements. Nothing but the work writes WAL, as far as Postgres can be told so.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_preload_libraries", "pg_stat_statements"),
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1d"),
    ("max_wal_size", "10GB"),
];
/// What this meter itself asks has this in it, and is on no bill.
const OWN: &str = "/* meter */";

/// How long a chunk takes on a slow way to Postgres, and as long back.
pub(super) const WAY: Duration = Duration::from_millis(10);

/// A system whose costs are counted.
pub(super) struct Meter {
    pub(super) system: System,
    pub(super) server: Running,
    /// Makes the built-in types known, and serves a queue of its own.
    _elsewhere: Running,
    /// Past the links, which count only what the system asks.
    db: PgPool,
    to_postgres: Proxy,
    to_redis: Proxy,
    redis: RedisServer,
    _postgres: PostgresServer,
}

impl Meter {
    /// Starts a server, with its connections made, and no worker for the three classes.
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
        // what the test itself asks Redis goes past the link, which would wait for the test's own thread
        let system = System::on(&postgres_url, &redis.url())
            .with("REDIS_URL", &redis_url)
            // as by default: fewer leave none to be kept
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

    /// From now on each chunk takes so long on the way to Postgres, and back: while a commit takes its time, work gathers, on a
    /// machine of any speed.
    pub(super) fn slow_down(&self, way: Duration) {
        self.to_postgres.slow_down(way);
    }

    /// What `work` costs.
    pub(super) async fn measure(&self, work: impl AsyncFnOnce()) -> Bill {
        let reset = "SELECT /* meter */ pg_stat_statements_reset()";
        sqlx::query(reset)
            .execute(&self.db)
            .await
            .expect("counts begin anew");
        let (commands, wal, began) = (self.redis.calls(), self.wal().await, Instant::now());
        let trips = [&self.to_postgres, &self.to_redis].map(Proxy::round_trips);
        work().await;
        Bill::new(Counts {
            statements: self.statements().await,
            commands: grown(self.redis.calls(), &commands),
            postgres_trips: self.to_postgres.round_trips() - trips[0],
            redis_trips: self.to_redis.round_trips() - trips[1],
            wal: self.wal().await - wal,
            elapsed: began.elapsed(),
        })
    }

    /// What it costs that a worker with so many slots starts and does all that waits.
    pub(super) async fn drain(&self, pool_size: &str) -> Bill {
        self.measure(async || {
            let _worker = self.system.worker(&[("WORKER_POOL_SIZE", pool_size)]).await;
            self.until_all_ended().await;
        })
        .await
    }

    /// Waits until `tasks` holds none but dead letters.
    async fn until_all_ended(&self) {
        let sql = "SELECT /* meter */ NOT EXISTS (SELECT FROM tasks WHERE status <> 'dead_letter')";
        eventually("all tasks have ended", SOON, async || {
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
            .expect("a place in the WAL");
        bytes.unsigned_abs()
    }
}

/// Submits `count` echoes one after the other over each of so many connections.
pub(super) async fn submit_over(connections: usize, server: &Running, count: usize) {
    let one = async |first: usize| {
        for number in (first..count).step_by(connections) {
            server.submit(&echo(number)).await;
        }
    };
    join_all((0..connections).map(one)).await;
}

/// Submits these as one batch and returns their ids.
pub(super) async fn submit_all(server: &Running, tasks: impl Iterator<Item = Value>) -> Vec<String> {
    let tasks: Vec<Value> = tasks.collect();
    let (status, answer) = server.post("/tasks/submit/batch", &json!({"tasks": tasks})).await;
    assert_eq!(status, 202, "{answer}");
    let tasks = answer["tasks"].as_array().expect("tasks");
    tasks.iter().map(id_of).collect()
}

/// How much each number has grown; `info` is asked by the meter itself.
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
