//! Retention: whole partitions go when their last row is old enough, while everybody works on.
//!
//! A partition leaves in four steps. Each is a statement of its own, and where a partition stands is read from Postgres's
//! catalogue, so that a pass which was cut off anywhere is taken up by the next one, on whichever server:
//!
//! 1. It is marked, by a comment. What carries no mark was detached by somebody else and is theirs.
//! 2. It is detached by `DETACH PARTITION … CONCURRENTLY`: Postgres marks it as leaving, so that new statements do without it, and
//!    waits for the transactions that may still read it. While it waits it holds no lock. A transaction that stays open for
//!    long would hold up the duty, so the wait is given up after a time.
//! 3. If it was given up, `DETACH PARTITION … FINALIZE` ends it as soon as no older snapshot is left.
//! 4. It is a table of its own by now, which nobody reads, and is dropped.
//!
//! `DETACH … CONCURRENTLY` refuses to run in a transaction, so no `SET LOCAL` can bound its wait, and a session setting would leak
//! behind a pooler. It is cancelled instead, by its text.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgExecutor, PgPool};

use super::Result;
use super::dead_letters::Position;
use crate::task::TaskId;

const DAY_SECONDS: f64 = 86_400.0;
/// How long a detachment waits for transactions that may still read the partition.
const DETACH_MAX: Duration = Duration::from_secs(5);
/// How long the other steps wait for a lock. Longer than `deadlock_timeout`, after which autovacuum makes way.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1500ms'";
/// The comment on a partition that retention takes away.
const MARK: &str = "Tasker: past its retention, to be dropped";

/// How far a partition has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Stage {
    /// It is a partition as any other.
    Attached,
    /// Its detachment was given up half-way: statements do without it, but it is not free yet.
    Leaving,
    /// It is a table of its own.
    Detached,
}

/// A partition that is past its retention.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The table that it belongs to, quoted by Postgres.
    pub parent: String,
    /// Its name, quoted by Postgres.
    pub name: String,
    /// How far it has left.
    pub stage: Stage,
}

/// The partitions of `table` whose last row is at least `days` whole days (UTC) old, in the order in which they are to be
/// taken: what has begun to leave, then the others, the oldest first, then what has only to be dropped.
///
/// A detached table that was renamed since is somebody's archive and not among them.
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
}

/// Marks `partition` as retention's, to be told from one that an operator detaches.
pub async fn mark(db: impl PgExecutor<'_>, partition: &Partition) -> Result<()> {
    let statement = format!("COMMENT ON TABLE {} IS '{MARK}'", partition.name);
    run_with_lock_timeout(db, statement).await
}

/// Detaches `partition`, which nobody feels: statements go on meanwhile. Fails when transactions that may read it stay open for
/// some seconds; then it is leaving, and [`finish_detach`] comes next.
pub async fn detach(db: &PgPool, partition: &Partition) -> Result<()> {
    let Partition { parent, name, .. } = partition;
    let statement = format!("ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY");
    let mut detached = pin!(sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(db));
    if let Ok(result) = tokio::time::timeout(DETACH_MAX, &mut detached).await {
        return result.map(drop);
    }
    cancel(db, &statement).await?;
    detached.await.map(drop)
}

/// Cancels what runs `statement` in this database.
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
}

/// Ends a detachment that was given up. Fails as long as a transaction has a snapshot from before it began.
pub async fn finish_detach(db: impl PgExecutor<'_>, partition: &Partition) -> Result<()> {
    let Partition { parent, name, .. } = partition;
    let statement = format!("ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE");
    run_with_lock_timeout(db, statement).await
}

/// Drops `partition`, which must be detached.
pub async fn drop_table(db: impl PgExecutor<'_>, partition: &Partition) -> Result<()> {
    run_with_lock_timeout(db, format!("DROP TABLE {}", partition.name)).await
}

/// Runs a statement that waits for no lock for long. Both go in one message, which is one transaction.
async fn run_with_lock_timeout(db: impl PgExecutor<'_>, statement: String) -> Result<()> {
    // names come from the catalogue, quoted there; nothing else varies
    sqlx::raw_sql(AssertSqlSafe(format!("{LOCK_TIMEOUT}; {statement}")))
        .execute(db)
        .await
        .map(drop)
}

/// The time `days` days ago, by Postgres's clock.
pub async fn days_ago(db: impl PgExecutor<'_>, days: u32) -> Result<DateTime<Utc>> {
    sqlx::query_scalar!(
        r#"SELECT now() - make_interval(secs => $1) AS "time!""#,
        f64::from(days) * DAY_SECONDS,
    )
    .fetch_one(db)
    .await
}

/// A stretch of the list of dead letters.
#[derive(Debug, Clone, Copy)]
pub struct IdRange {
    /// Where it is, and by when its dead letters must have died.
    pub position: Position,
    /// Whether none comes after it.
    pub last: bool,
}

/// The next `count` of the dead letters that may have died by `as_of`, above the id `above`.
///
/// No index tells when they died: one on `updated_at` would make each progress report of a running task dearer. But what was
/// created later did not die earlier, so all that died by then are at the beginning of the list, with few others among them.
pub async fn dead_letters(
    db: impl PgExecutor<'_>,
    above: TaskId,
    as_of: DateTime<Utc>,
    count: i64,
) -> Result<IdRange> {
    const DAY_MILLIS: i64 = 24 * 3600 * 1000;
    // the time in an id is the server's clock: a day between it and Postgres's is allowed for
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
