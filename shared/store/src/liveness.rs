//! Liveness: a worker shows that its process is alive, and the leader checks it.
//!
//! A worker holds the advisory lock of its [`LivenessKey`] in a session of its own. Postgres releases the
//! lock when that session ends, and when a process dies all its sessions end at once. A broken session does
//! not mean that the process died: sessions carry the key in their `application_name`, so a worker with
//! another session still counts as present.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgExecutor, PgPool, Row};

use super::{Error, ObservedPool, Result};
use tasker_core::task::limits::SUSPECT_CRASHES;

/// Timeout for opening a session.
const OPEN_LIMIT: Duration = Duration::from_secs(3);
/// The number of comparisons of two connections until they count as direct ones.
const POOLER_ROUNDS: usize = 5;

/// The advisory lock of a worker: a random positive number, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessKey(i64);

impl LivenessKey {
    /// Generates a key.
    pub fn generate() -> Self {
        Self(rand::random_range(1..=i64::MAX))
    }

    /// Returns the `application_name` of its worker's sessions.
    pub fn session_name(self) -> String {
        format!("tasker-w-{:016x}", self.0)
    }

    pub(super) fn number(self) -> i64 {
        self.0
    }
}

/// A session of a worker, separate from its pool. It notices without a statement that its connection was
/// closed.
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
            // the pool must never close this connection: that would release the lock
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options(db, &key.session_name()));
        // a listener without channels: sqlx offers no other way to wait for the end of a connection
        let mut listener = PgListener::connect_with(&connection).await?;
        // a new connection would not hold the lock, so the loss has to be reported
        listener.eager_reconnect(false);
        Ok(Self { listener, connection })
    }

    /// Returns the executor of this session's statements. If a statement's future is dropped half-way, the
    /// session can only be closed.
    pub fn executor(&mut self) -> impl PgExecutor<'_> {
        &mut self.listener
    }

    /// Returns when the connection has ended. Cancel-safe.
    pub async fn closed(&mut self) {
        while let Ok(Some(_)) = self.listener.try_recv().await {}
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // marks the pool as closed, so that the connection which the listener returns is closed instead of
        // kept
        drop(self.connection.close());
    }
}

/// Returns whether `db` is reached through a transaction pooler, where a session does not belong to one
/// client. Two connections in alternating transactions then see the same backend, or one of them sees
/// changing ones.
///
/// A pooler with other clients may happen to lend the same two backends once, but hardly in every round.
pub async fn behind_pooler(db: &PgPool) -> Result<bool> {
    let options = options(db, "tasker-worker");
    let (mut one, mut other) = (options.connect().await?, options.connect().await?);
    let mut own = None;
    let mut behind = false;
    for _ in 0..POOLER_ROUNDS {
        let first = backend(&mut one).await?;
        let mut open = other.begin().await?;
        // a pooler lends the second connection the backend that the first just used, or has to give the first
        // another one now
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

/// Returns the backend's process id, asked in a simple query: a statement prepared in one transaction would
/// be missing in the next if a pooler switched backends.
async fn backend(connection: &mut PgConnection) -> Result<i32> {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}

fn options(db: &PgPool, application_name: &str) -> PgConnectOptions {
    (*db.connect_options()).clone().application_name(application_name)
}

/// The leader's own session for checks of the fleet. Its observations are valid only as long as it lasts. Its
/// statements report their outcomes like those of its [`ObservedPool`].
#[derive(Debug)]
pub struct FleetObserver {
    db: ObservedPool,
    connection: PgConnection,
}

/// The result of one liveness check of the fleet.
#[derive(Debug, Clone, Default)]
pub struct FleetCheck {
    /// The time of the check, in seconds by Postgres's clock.
    pub at: f64,
    /// Whether workers die for other reasons than the tasks that they run.
    pub fleet_is_unhealthy: bool,
    /// The workers that are not declared dead.
    pub workers: Vec<WorkerCheck>,
}

/// The result of one liveness check of a worker.
#[derive(Debug, Clone)]
pub struct WorkerCheck {
    /// The worker's id.
    pub id: String,
    /// Its last heartbeat.
    pub last_heartbeat: DateTime<Utc>,
    /// Whether its heartbeat is overdue.
    pub unresponsive: bool,
    /// Whether its lock is held.
    pub holds_lock: bool,
    /// Whether one of its sessions is open.
    pub has_session: bool,
}

impl FleetObserver {
    /// Opens a session to the Postgres of `db`.
    pub async fn open(db: impl Into<ObservedPool>) -> Result<Self> {
        let db = db.into();
        let connection = options(db.pool(), "tasker-leader").connect().await;
        let connection = db.report_failure(connection.map_err(Error::from))?;
        Ok(Self { db, connection })
    }

    /// Checks all workers that are not declared dead. A heartbeat is overdue after `timeout_seconds`.
    pub async fn check(&mut self, timeout_seconds: f64) -> Result<FleetCheck> {
        // the two views are read once each, not once per worker: reading `pg_locks` blocks the lock manager
        // for a moment
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
        .await;
        let mut look = FleetCheck::default();
        for row in self.db.report(rows.map_err(Error::from))? {
            look.at = row.at;
            look.fleet_is_unhealthy = row.fleet_is_unhealthy;
            // one row comes back even without any worker
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

/// Declares vanished workers dead and returns their ids. A worker that has sent a heartbeat since the one
/// given here is alive and left unchanged.
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
    .map_err(Error::from)
}
