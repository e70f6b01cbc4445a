//! The index of finished steps on partitions of `finished_tasks` that were created before it.
//!
//! Building it with the migration would block every completion while the partitions are read. Here it is
//! built without a lock that blocks writers, one partition after the other, and attached to the index of the
//! parent table. What has been reached is read from Postgres's catalog, so an interrupted run is continued by
//! the next one, on any server.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgExecutor, PgPool};

use super::{Error, Result, bounded};

/// Lock timeout of the statements that wait for a lock on an index. Longer than `deadlock_timeout`, after
/// which autovacuum gives way.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1500ms'";
/// Timeout of what comes before a build.
const LOOK_UP_MAX: Duration = Duration::from_secs(10);
/// The advisory lock of the session that builds.
const LOCK: &str = "index of finished steps";

/// A partition without the index.
#[derive(Debug, Clone)]
struct Missing {
    /// The index of the parent table, quoted by Postgres.
    parent: String,
    /// The partition, quoted by Postgres.
    partition: String,
    /// The index that it is to have, quoted by Postgres, without and with its schema.
    name: String,
    index: String,
    /// Whether an index of that name exists, and whether its build was completed.
    exists: bool,
    valid: bool,
}

/// Builds the index on all partitions that do not have it; returns their number. If another session is doing
/// so, none is built here.
///
/// Uses a connection of its own: a build may last for hours, and it cannot be part of a transaction.
pub async fn build(db: &PgPool) -> Result<usize> {
    if bounded(LOOK_UP_MAX, missing(db)).await?.is_empty() {
        return Ok(0);
    }
    let connected = async { Ok(db.connect_options().connect().await?) };
    let mut connection = bounded(LOOK_UP_MAX, connected).await?;
    let built = build_locked(&mut connection).await;
    // gives the lock back as well; without a close, the end of the session does
    let _ = connection.close().await;
    built
}

async fn build_locked(connection: &mut PgConnection) -> Result<usize> {
    let is_alone = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "locked!""#,
        LOCK,
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_alone {
        return Ok(0);
    }
    let mut built = 0;
    for missing in missing(&mut *connection).await? {
        let Missing {
            parent,
            partition,
            name,
            index,
            exists,
            valid,
        } = missing;
        if exists && !valid {
            run(connection, format!("DROP INDEX CONCURRENTLY {index}")).await?;
        }
        if !(exists && valid) {
            let create = format!(
                "CREATE INDEX CONCURRENTLY {name} ON {partition} (workflow_id, step, item) \
                 WHERE workflow_id IS NOT NULL"
            );
            run(connection, create).await?;
        }
        let attach = format!("{LOCK_TIMEOUT}; ALTER INDEX {parent} ATTACH PARTITION {index}");
        run(connection, attach).await?;
        built += 1;
    }
    Ok(built)
}

/// Returns the partitions without an attached index, the newest first, since they are read most.
async fn missing(db: impl PgExecutor<'_>) -> Result<Vec<Missing>> {
    sqlx::query_as!(
        Missing,
        r#"
        SELECT format('%I.%I', pn.nspname, pc.relname) AS "parent!", format('%I.%I', n.nspname, c.relname) AS "partition!",
               format('%I', c.relname || '_steps') AS "name!", format('%I.%I', n.nspname, c.relname || '_steps') AS "index!",
               own.indexrelid IS NOT NULL AS "exists!", COALESCE(own.indisvalid, false) AS "valid!"
          FROM pg_index p
          JOIN pg_class pc ON pc.oid = p.indexrelid
          JOIN pg_namespace pn ON pn.oid = pc.relnamespace
          JOIN pg_inherits i ON i.inhparent = p.indrelid AND NOT i.inhdetachpending
          JOIN pg_class c ON c.oid = i.inhrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN LATERAL (
                    SELECT x.indexrelid, x.indisvalid
                      FROM pg_index x JOIN pg_class xc ON xc.oid = x.indexrelid
                     WHERE x.indrelid = c.oid AND xc.relname = c.relname || '_steps'
                    ) AS own ON true
         WHERE p.indexrelid = to_regclass('finished_steps')
           AND NOT EXISTS (SELECT FROM pg_inherits a JOIN pg_index x ON x.indexrelid = a.inhrelid
                            WHERE a.inhparent = p.indexrelid AND x.indrelid = c.oid)
         ORDER BY c.relname DESC
        "#,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Runs statements unprepared: `CONCURRENTLY` fails inside a transaction.
async fn run(connection: &mut PgConnection, statements: String) -> Result<()> {
    // the names come from Postgres's catalog, quoted there; no part is user input
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await
        .map(drop)
        .map_err(Error::from)
}
