use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction};
use tracing::log::LevelFilter;

use super::Result;
use crate::config::DatabaseConfig;

/// How long a caller waits for a connection before Postgres counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A connection that was idle for longer is pinged before use; a busy one is not, which spares the hot paths a round trip.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How long that ping may take before the connection is given up.
pub(super) const PING_BEFORE_USE: Duration = Duration::from_millis(500);
/// How long a connection that is given back may take to show that it is sound. One whose statement was given up still has
/// its answer to come; without an end to that, the connections of a Postgres that vanished would fill the pool for ever.
const PING_AFTER_USE: Duration = Duration::from_secs(2);
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
                    bounded(PING_BEFORE_USE, connection.ping()).await?;
                }
                Ok(true)
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                bounded(PING_AFTER_USE, connection.ping()).await?;
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// Gives a statement up that is not answered within `limit`. It may take place all the same, so the error is one whose
/// outcome is unknown; its connection is closed if the answer does not come soon.
pub async fn bounded<T>(limit: Duration, statement: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, statement)
        .await
        .unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into())))
}

/// Begins a transaction. Where this may be given up half-way, the connection has to be closed then: it would go back into the
/// pool with a transaction that nobody knows of.
pub async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>> {
    connection.begin().await
}

/// Asks Postgres for an answer over a connection made for that, so that a pool without a free connection, or with dead ones,
/// hides nothing. Answers whether it takes writes: a standby does not.
pub async fn takes_writes(db: &PgPool, limit: Duration) -> Result<bool> {
    bounded(limit, async {
        let mut connection = db.connect_options().connect().await?;
        let row =
            sqlx::query!(r#"SELECT current_setting('transaction_read_only') = 'off' AS "takes_writes!""#)
                .fetch_one(&mut connection)
                .await?;
        // the answer is what counts
        let _ = connection.close().await;
        Ok(row.takes_writes)
    })
    .await
}

/// Asks Postgres for an answer.
pub async fn is_up(db: &PgPool) -> Result<()> {
    sqlx::query!("SELECT 1 AS one").fetch_one(db).await.map(drop)
}
