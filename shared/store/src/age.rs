//! Counts of starved tasks: those that have waited longer than the priority age limit.

use sqlx::PgExecutor;

use super::Result;
use tasker_core::task::QueueName;

/// Returns the number of pending tasks of each of `names` that became pending more than `limit_seconds` ago,
/// at most `most` per queue. Paused queues are left out.
pub async fn starved(
    db: impl PgExecutor<'_>,
    names: &[QueueName],
    limit_seconds: f64,
    most: i64,
) -> Result<Vec<(QueueName, i64)>> {
    // the inner LIMIT stops the count, so that a long backlog costs no more than `most` rows
    let rows = sqlx::query!(
        r#"
        SELECT q.name AS "name!: QueueName", aged.count AS "count!"
          FROM UNNEST($1::text[]) AS q(name)
         CROSS JOIN LATERAL (
                   SELECT count(*)
                     FROM (SELECT FROM tasks t
                            WHERE t.queue = q.name AND t.status = 'pending'
                              AND t.enqueued_at < now() - make_interval(secs => $2)
                            LIMIT $3) AS bounded
               ) AS aged
         WHERE NOT EXISTS (SELECT FROM queues d WHERE d.name = q.name AND d.paused_at IS NOT NULL)
        "#,
        names as _,
        limit_seconds,
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.count)).collect())
}
