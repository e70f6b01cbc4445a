//! An overview of maintenance and the fleet, for the health route.

use sqlx::PgExecutor;

use super::Result;
use tasker_core::task::QueueName;

/// The time span over which throughput is measured.
const THROUGHPUT_SECONDS: f64 = 60.0;

/// The leader's lease and the workers of each queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overview {
    /// The server that leads, or led last; `None` if the lease was released.
    pub holder: Option<String>,
    /// The term of the lease.
    pub term: i64,
    /// Seconds until the lease runs out; below 0 if it has.
    pub lease_seconds: Option<f64>,
    /// Whether many workers died recently, so that deaths are not attributed to tasks.
    pub fleet_unhealthy: bool,
    /// The workers of each queue.
    pub pools: Vec<Pool>,
}

/// The workers that serve a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// The queue.
    pub queue: QueueName,
    /// Live workers.
    pub healthy: i64,
    /// Workers that are unresponsive, or that died and still have a row.
    pub unhealthy: i64,
    /// Runs that ended per second recently; `None` until it is known.
    pub throughput: Option<f64>,
}

/// Returns the overview of `queues`. A worker whose last heartbeat is older than `timeout_seconds` does not
/// count as live.
pub async fn overview(
    db: impl PgExecutor<'_>,
    queues: &[QueueName],
    timeout_seconds: f64,
) -> Result<Overview> {
    let rows = sqlx::query!(
        r#"
        SELECT l.holder, l.term,
               CASE WHEN isfinite(l.expires_at)
                    THEN extract(epoch FROM l.expires_at - now())::double precision END AS lease_seconds,
               f.unhealthy AS "fleet_unhealthy!",
               q.name AS "queue!: QueueName",
               fleet.healthy AS "healthy!", fleet.unhealthy AS "unhealthy!",
               pace.throughput
          FROM leader_lease l
         CROSS JOIN fleet_health f
         CROSS JOIN UNNEST($1::text[]) WITH ORDINALITY AS q(name, place)
         CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE alive) AS healthy, count(*) FILTER (WHERE NOT alive) AS unhealthy
              FROM (SELECT status <> 'dead' AND last_heartbeat > now() - make_interval(secs => $2) AS alive
                      FROM workers WHERE q.name = ANY (queues)) AS serving) AS fleet
         CROSS JOIN LATERAL (
            SELECT (max(ended) - min(ended))
                   / NULLIF(extract(epoch FROM max(at) - min(at)), 0)::double precision AS throughput
              FROM queue_samples WHERE queue = q.name AND at > now() - make_interval(secs => $3)) AS pace
         ORDER BY q.place
        "#,
        queues as _,
        timeout_seconds,
        THROUGHPUT_SECONDS,
    )
    .fetch_all(db)
    .await?;
    let mut overview = Overview::default();
    for row in rows {
        overview.holder = row.holder;
        overview.term = row.term;
        overview.lease_seconds = row.lease_seconds;
        overview.fleet_unhealthy = row.fleet_unhealthy;
        overview.pools.push(Pool {
            queue: row.queue,
            healthy: row.healthy,
            unhealthy: row.unhealthy,
            throughput: row.throughput,
        });
    }
    Ok(overview)
}
