//! Creation of the daily partitions.

use sqlx::PgExecutor;

use super::{Error, Result};

/// The tables that are partitioned by day.
pub const TABLES: [&str; 4] = [
    "finished_tasks",
    "task_events",
    "finished_workflows",
    "workflow_events",
];
/// The number of days ahead for which partitions are created.
pub const DAYS_AHEAD: i32 = 14;

/// Creates the missing partitions, up to [`DAYS_AHEAD`]; returns their number.
pub async fn ensure(db: impl PgExecutor<'_> + Copy) -> Result<i32> {
    let mut made = 0;
    for parent in TABLES {
        // one statement, and so one transaction, per table: failing to get a lock on one does not undo the
        // other
        made += sqlx::query_scalar!(
            r#"SELECT ensure_day_partitions($1::text::regclass, $2) AS "made!""#,
            parent,
            DAYS_AHEAD,
        )
        .fetch_one(db)
        .await?;
    }
    Ok(made)
}

/// Returns the number of whole days, from today on, for which every such table has a partition.
pub async fn days_ahead(db: impl PgExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        SELECT min(ahead) AS "days!"
          FROM (SELECT parent, (SELECT count(*) FROM generate_series(0, 13) AS day
                                 WHERE to_regclass(parent || '_' ||
                                       to_char((now() AT TIME ZONE 'UTC')::date + day, 'YYYYMMDD')) IS NOT NULL) AS ahead
                  FROM UNNEST($1::text[]) AS parents(parent)) AS counted
        "#,
        TABLES.as_slice() as _,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}
