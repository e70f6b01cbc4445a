//! The partitions of the tables that only grow.

use sqlx::PgExecutor;

use super::Result;

/// The tables that have a partition a day.
pub const TABLES: [&str; 2] = ["finished_tasks", "task_events"];
/// How many days ahead partitions are made.
pub const DAYS_AHEAD: i32 = 14;

/// Makes the partitions that are missing, up to [`DAYS_AHEAD`]; returns how many were.
pub async fn ensure(db: impl PgExecutor<'_> + Copy) -> Result<i32> {
    let mut made = 0;
    for parent in TABLES {
        // one statement, so one transaction, a table: a lock that cannot be had for one does not undo the other
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

/// For how many whole days from today on every such table has partitions.
pub async fn days_ahead(db: impl PgExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        SELECT min(ahead) AS "days!"
          FROM (SELECT parent, (SELECT count(*) FROM generate_series(0, 13) AS day
                                 WHERE to_regclass(parent || '_' ||
                                       to_char((now() AT TIME ZONE 'UTC')::date + day, 'YYYYMMDD')) IS NOT NULL) AS ahead
                  FROM UNNEST(ARRAY['finished_tasks', 'task_events']) AS parents(parent)) AS counted
        "#,
    )
    .fetch_one(db)
    .await
}
