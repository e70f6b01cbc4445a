//! Liveness: how a worker shows that its process lives, and how the leader looks.
//!
//! A worker holds the advisory lock of its [`LivenessKey`] in a session of its own. Postgres frees the lock when that session
//! ends, and with the process all its sessions end at once. A session that broke is not a death: sessions carry the key in
//! their `application_name`, so a worker that has another one is still seen.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgExecutor, PgPool, Row};

use super::Result;
use crate::task::limits::SUSPECT_CRASHES;

/// How long it may take to open a session.
const OPEN_LIMIT: Duration = Duration::from_secs(3);
/// How often two connections are compared until they count as direct ones.
const POOLER_ROUNDS: usize = 5;

/// The advisory lock of a worker: random, positive, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessKey(i64);

impl LivenessKey {
    /// A new key.
    pub fn generate() -> Self {
        Self(rand::random_range(1..=i64::MAX))
    }

    /// The name of its worker's sessions.
    pub fn session_name(self) -> String {
        format!("tasker-w-{:016x}", self.0)
    }

    pub(super) fn number(self) -> i64 {
        self.0
    }
}

/// A session of a worker, apart from its pool. It notices at once, and without a statement, when its connection is closed.
#[derive(Debug)]
pub struct Session {
    listener: PgListener,
    connection: PgPool,
}

impl Session {
    /// Opens a session, named after `key`, to the Postgres of `db`.
    pub async fn open(db: &PgPool, key: LivenessKey) -> Result<Self> {
        let connection = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(OPEN_LIMIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options(db, &key.session_name()));
        // a listener that listens to nothing: sqlx's one way to wait for a connection's end
        let mut listener = PgListener::connect_with(&connection).await?;
        listener.eager_reconnect(false);
        Ok(Self { listener, connection })
    }

    /// What statements of this session run on. Dropped half-way, a statement leaves a session that is only good for closing.
    pub fn executor(&mut self) -> impl PgExecutor<'_> {
        &mut self.listener
    }

    /// Ends when the connection does. May be cancelled.
    pub async fn closed(&mut self) {
        while let Ok(Some(_)) = self.listener.try_recv().await {}
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // marks the pool, so that the connection that its listener gives back is closed instead of kept
        drop(self.connection.close());
    }
}

/// Whether `db` is reached through a transaction pooler, where a session is nobody's own: two connections that are in
/// transactions by turns then see the same backend, or one of them a changing one.
///
/// A pooler that others use as well may happen to lend the same two backends once, but hardly each time.
pub async fn behind_pooler(db: &PgPool) -> Result<bool> {
    let options = options(db, "tasker-worker");
    let (mut one, mut other) = (options.connect().await?, options.connect().await?);
    let mut own = None;
    let mut behind = false;
    for _ in 0..POOLER_ROUNDS {
        let first = backend(&mut one).await?;
        let mut open = other.begin().await?;
        // a pooler lends the other what it lent the one before, or has to lend the one another now
        let second = backend(&mut open).await?;
        behind = first == second
            || *own.get_or_insert((first, second)) != (first, second)
            || first != backend(&mut one).await?;
        open.rollback().await?;
        if behind {
            break;
        }
    }
    one.close().await?;
    other.close().await?;
    Ok(behind)
}

/// The backend that answers, asked in one message: what is prepared in one transaction would be missing in the next.
async fn backend(connection: &mut PgConnection) -> Result<i32> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

fn options(db: &PgPool, application_name: &str) -> PgConnectOptions {
    (*db.connect_options()).clone().application_name(application_name)
}

/// The leader's own session. What it saw counts only as long as it lasts.
#[derive(Debug)]
pub struct FleetObserver {
    connection: PgConnection,
}

/// What the leader sees of the fleet at one moment.
#[derive(Debug, Clone, Default)]
pub struct FleetCheck {
    /// When, in seconds by Postgres's clock.
    pub at: f64,
    /// Whether workers die for other reasons than the tasks that they run.
    pub fleet_is_unhealthy: bool,
    /// The workers that count as alive.
    pub workers: Vec<WorkerCheck>,
}

/// What the leader sees of one worker.
#[derive(Debug, Clone)]
pub struct WorkerCheck {
    /// Which worker.
    pub id: String,
    /// Its last heartbeat.
    pub last_heartbeat: DateTime<Utc>,
    /// Whether that is longer ago than workers may be silent.
    pub unresponsive: bool,
    /// Whether its lock is held.
    pub holds_lock: bool,
    /// Whether it has a session.
    pub has_session: bool,
}

impl FleetObserver {
    /// Opens a session to the Postgres of `db`.
    pub async fn open(db: &PgPool) -> Result<Self> {
        let connection = options(db, "tasker-leader").connect().await?;
        Ok(Self { connection })
    }

    /// Looks at all workers that count as alive. They may be silent for `timeout_seconds`.
    pub async fn check(&mut self, timeout_seconds: f64) -> Result<FleetCheck> {
        let rows = sqlx::query!(
            r#"
            WITH locks AS MATERIALIZED (
                SELECT (classid::bigint << 32) | objid::bigint AS key
                  FROM pg_locks
                 -- an advisory lock by one number, and not by two
                 WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ), sessions AS MATERIALIZED (
                SELECT application_name AS name
                  FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name LIKE 'tasker-w-%'
            )
            SELECT extract(epoch FROM statement_timestamp())::double precision AS "at!",
                   f.unhealthy AS "fleet_is_unhealthy!", w.id AS "id?", w.last_heartbeat AS "last_heartbeat?",
                   w.last_heartbeat <= now() - make_interval(secs => $1) AS silent,
                   w.liveness_key IN (SELECT key FROM locks) AS holds_lock,
                   'tasker-w-' || lpad(to_hex(w.liveness_key), 16, '0') IN (SELECT name FROM sessions) AS has_session
              FROM fleet_health f LEFT JOIN workers w ON w.status <> 'dead'
            "#,
            timeout_seconds,
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut look = FleetCheck::default();
        for row in rows {
            look.at = row.at;
            look.fleet_is_unhealthy = row.fleet_is_unhealthy;
            // one row comes back even when there is no worker
            let (Some(id), Some(last_heartbeat)) = (row.id, row.last_heartbeat) else {
                continue;
            };
            look.workers.push(WorkerCheck {
                id,
                last_heartbeat,
                unresponsive: row.silent.unwrap_or_default(),
                holds_lock: row.holds_lock.unwrap_or_default(),
                has_session: row.has_session.unwrap_or_default(),
            });
        }
        Ok(look)
    }
}

/// Declares workers dead that have vanished, and returns their ids. One that has sent a heartbeat since the one named here
/// lives.
pub async fn declare_vanished(
    db: impl PgExecutor<'_>,
    vanished: &[(String, DateTime<Utc>)],
) -> Result<Vec<String>> {
    let (ids, heartbeats): (Vec<&str>, Vec<DateTime<Utc>>) = vanished
        .iter()
        .map(|(id, heartbeat)| (id.as_str(), *heartbeat))
        .unzip();
    sqlx::query_scalar!(
        r#"
        UPDATE workers w
           SET status = 'dead', died_at = now(),
               ran_suspect = EXISTS (SELECT FROM tasks t
                                      WHERE t.worker_id = w.id AND t.status = 'running' AND t.crash_count >= $3)
          FROM UNNEST($1::text[], $2::timestamptz[]) AS v(id, last_heartbeat)
         WHERE w.id = v.id AND w.status <> 'dead' AND w.last_heartbeat = v.last_heartbeat
        RETURNING w.id
        "#,
        ids as _,
        &heartbeats,
        SUSPECT_CRASHES,
    )
    .fetch_all(db)
    .await
}
