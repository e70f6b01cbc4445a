//! Retention: drops whole daily partitions without blocking writers.
//!
//! A partition is removed in four steps. Each is a statement of its own, and the step that a partition has
//! reached is read from Postgres's catalog, so the next run, on any server, continues one that was
//! interrupted:
//!
//! 1. Mark it, by a comment. A partition without the mark was detached by an operator and is left alone.
//! 2. Detach it by `DETACH PARTITION … CONCURRENTLY`: Postgres marks it as pending detach, so that new
//!    statements do without it, and waits for the transactions that may still read it. It holds no lock while
//!    it waits. A long-running transaction would block the duty, so the wait has a timeout.
//! 3. After a timeout, `DETACH PARTITION … FINALIZE` completes it as soon as no older snapshot is left.
//! 4. Drop the table, which is detached and no longer read.
//!
//! `DETACH … CONCURRENTLY` cannot run in a transaction, so no `SET LOCAL` can bound its wait, and a session
//! setting would leak behind a pooler. It is cancelled by its text instead.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgExecutor};

use super::dead_letters::Position;
use super::{Error, Result};
use tasker_core::task::TaskId;

const DAY_SECONDS: f64 = 86_400.0;
/// Timeout of a detach that waits for transactions that may still read the partition.
const DETACH_MAX: Duration = Duration::from_secs(5);
/// Lock timeout of the other steps. Longer than `deadlock_timeout`, after which autovacuum gives way.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1500ms'";
/// The comment that marks a partition as being removed.
const MARK: &str = "Tasker: past its retention, to be dropped";

/// The stage of a partition's removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Stage {
    /// Attached as any other partition.
    Attached,
    /// Its detach was interrupted: statements do without it, but it is not a table of its own yet.
    Leaving,
    /// Detached: a table of its own.
    Detached,
}

/// A partition that is past its retention.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The table that it belongs to, quoted by Postgres.
    pub parent: String,
    /// Its name, quoted by Postgres.
    pub name: String,
    /// The stage of its removal.
    pub stage: Stage,
}

/// Returns the partitions of `table` whose last row is at least `days` whole days (UTC) old, in the order in
/// which to remove them: interrupted ones, then the others from the oldest on, then those that only have to
/// be dropped.
///
/// A detached table that was renamed since is an operator's archive and not among them.
pub async fn past(db: impl PgExecutor<'_>, table: &str, days: u32) -> Result<Vec<Partition>> {
    sqlx::query_as!(
        Partition,
        r#"
        WITH parent AS (
            SELECT c.oid, c.relname, c.relnamespace, n.nspname
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = $1::text::regclass
        ), children AS (
            SELECT c.oid, c.relname, i.inhdetachpending AS leaving,
                   substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)$')::timestamptz AS ends
              FROM parent p
              JOIN pg_inherits i ON i.inhparent = p.oid
              JOIN pg_class c ON c.oid = i.inhrelid AND c.relnamespace = p.relnamespace
        ), found AS (
            SELECT relname, ends, CASE WHEN leaving THEN 'leaving' ELSE 'attached' END AS stage
              FROM children
             WHERE CASE WHEN leaving THEN obj_description(oid, 'pg_class') = $3
                        -- seconds, since a day of the session's time zone may have 23 or 25 hours
                        ELSE ends <= date_trunc('day', now(), 'UTC') - make_interval(secs => $2) END
            UNION ALL
            SELECT c.relname, NULL, 'detached'
              FROM parent p
              JOIN pg_class c ON c.relnamespace = p.relnamespace AND c.relkind = 'r' AND NOT c.relispartition
                             AND c.relname ~ ('^' || p.relname || '_[0-9]{8}$')
             WHERE obj_description(c.oid, 'pg_class') = $3
        )
        SELECT format('%I.%I', p.nspname, p.relname) AS "parent!", format('%I.%I', p.nspname, f.relname) AS "name!",
               f.stage AS "stage!: Stage"
          FROM parent p CROSS JOIN found f
         ORDER BY array_position(ARRAY['leaving', 'attached', 'detached'], f.stage), f.ends, f.relname
        "#,
        table,
        f64::from(days) * DAY_SECONDS,
        MARK,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Marks `partition` as removed by retention, to distinguish it from one that an operator detaches.
pub async fn mark(db: impl PgExecutor<'_>, partition: &Partition) -> Result<()> {
    let statement = format!("COMMENT ON TABLE {} IS '{MARK}'", partition.name);
    run_with_lock_timeout(db, statement).await
}

/// Detaches `partition` without blocking other statements. Fails if transactions that may read it stay open
/// for some seconds; then its stage is [`Stage::Leaving`], and [`finish_detach`] comes next.
pub async fn detach(db: impl PgExecutor<'_> + Copy, partition: &Partition) -> Result<()> {
    let Partition { parent, name, .. } = partition;
    let statement = format!("ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY");
    // sent alone and unprepared: `CONCURRENTLY` fails inside a transaction
    let mut detached = pin!(sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(db));
    if let Ok(result) = tokio::time::timeout(DETACH_MAX, &mut detached).await {
        return result.map(drop).map_err(Error::from);
    }
    // dropping the future would only abandon the answer; Postgres would go on waiting
    cancel(db, &statement).await?;
    // still awaited: it fails as cancelled, or succeeds if it was done just before
    detached.await.map(drop).map_err(Error::from)
}

/// Cancels the backend that runs `statement` in this database.
async fn cancel(db: impl PgExecutor<'_>, statement: &str) -> Result<()> {
    sqlx::query!(
        "SELECT pg_cancel_backend(pid)
           FROM pg_stat_activity
          WHERE datname = current_database() AND state = 'active' AND query = $1 AND pid <> pg_backend_pid()",
        statement,
    )
    .fetch_all(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// Completes an interrupted detach. Fails as long as a transaction has a snapshot from before it began.
pub async fn finish_detach(db: impl PgExecutor<'_>, partition: &Partition) -> Result<()> {
    let Partition { parent, name, .. } = partition;
    let statement = format!("ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE");
    run_with_lock_timeout(db, statement).await
}

/// Drops `partition`, which must be detached.
pub async fn drop_table(db: impl PgExecutor<'_>, partition: &Partition) -> Result<()> {
    run_with_lock_timeout(db, format!("DROP TABLE {}", partition.name)).await
}

/// Runs a statement with a lock timeout. Both go in one message, which is one transaction.
async fn run_with_lock_timeout(db: impl PgExecutor<'_>, statement: String) -> Result<()> {
    // the names come from Postgres's catalog, quoted there; no part is user input
    sqlx::raw_sql(AssertSqlSafe(format!("{LOCK_TIMEOUT}; {statement}")))
        .execute(db)
        .await
        .map(drop)
        .map_err(Error::from)
}

/// Returns the time `days` days ago, by Postgres's clock.
pub async fn days_ago(db: impl PgExecutor<'_>, days: u32) -> Result<DateTime<Utc>> {
    sqlx::query_scalar!(
        r#"SELECT now() - make_interval(secs => $1) AS "time!""#,
        f64::from(days) * DAY_SECONDS,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// A range of ids in the list of dead letters.
#[derive(Debug, Clone, Copy)]
pub struct IdRange {
    /// The range, and the time by which its dead letters must have died.
    pub position: Position,
    /// Whether it is the last one.
    pub last: bool,
}

/// Returns the range of the next `count` dead letters that may have died by `as_of`, above the id `above`.
///
/// The time of death has no index: one on `updated_at` would make every progress report of a running
/// task more expensive. But a task created later cannot have died earlier, so all that died by then are at
/// the beginning of the list, with few others among them.
pub async fn dead_letters(
    db: impl PgExecutor<'_>,
    above: TaskId,
    as_of: DateTime<Utc>,
    count: i64,
) -> Result<IdRange> {
    const DAY_MILLIS: i64 = 24 * 3600 * 1000;
    // the time in an id is the server's clock, which may differ from Postgres's by up to a day
    let ceiling = TaskId::first_at(as_of.timestamp_millis() + DAY_MILLIS);
    let end = sqlx::query_scalar!(
        r#"
        SELECT id AS "id: TaskId" FROM tasks WHERE status = 'dead_letter' AND id > $1 AND id < $2
         ORDER BY id OFFSET $3::bigint - 1 LIMIT 1
        "#,
        above as _,
        ceiling as _,
        count,
    )
    .fetch_optional(db)
    .await?;
    Ok(IdRange {
        position: Position {
            above,
            up_to: end.unwrap_or(ceiling),
            as_of,
        },
        last: end.is_none(),
    })
}
