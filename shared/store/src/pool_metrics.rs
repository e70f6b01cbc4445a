//! Metrics of the connection pool.

use metrics::gauge;
use sqlx::PgPool;

/// Updates the metrics of the Postgres connection pool.
#[expect(clippy::cast_precision_loss, reason = "a pool is far below 2^52")]
pub fn show_pool(db: &PgPool) {
    let (open, idle) = (f64::from(db.size()), db.num_idle() as f64);
    gauge!("tasker_db_pool_max_connections").set(f64::from(db.options().get_max_connections()));
    gauge!("tasker_db_pool_connections", "state" => "idle").set(idle);
    // the two numbers are read one after the other, so idle may exceed open
    gauge!("tasker_db_pool_connections", "state" => "used").set((open - idle).max(0.0));
}
