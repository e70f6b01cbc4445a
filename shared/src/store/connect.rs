use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};
use tracing::log::LevelFilter;

use super::Result;
use crate::config::DatabaseConfig;

/// How long a caller waits for a connection before Postgres counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A connection that was idle for longer is pinged before use; a busy one is not, which spares the hot paths a round trip.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// Statements slower than this are logged, without their parameters.
const SLOW_STATEMENT: Duration = Duration::from_secs(1);

/// Makes a pool that opens connections as they are needed. Does not connect yet, so it succeeds while Postgres is away.
pub fn connect(config: &DatabaseConfig, application_name: &str) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(config.url.expose_secret())?
        .application_name(application_name)
        .log_statements(LevelFilter::Off)
        .log_slow_statements(LevelFilter::Warn, SLOW_STATEMENT);
    Ok(PgPoolOptions::new()
        .min_connections(0)
        .max_connections(config.pool_size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// Asks Postgres for an answer.
pub async fn is_up(db: &PgPool) -> Result<()> {
    sqlx::query!("SELECT 1 AS one").fetch_one(db).await.map(drop)
}
