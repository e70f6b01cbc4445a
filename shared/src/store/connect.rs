use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgExecutor, PgPool, Postgres, Transaction};
use tracing::log::LevelFilter;

use super::Result;
use crate::config::{DatabaseConfig, PostgresUrl};
use crate::tls;

/// How long a caller waits for a connection before Postgres counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A connection that was idle for longer is pinged before use; a busy one is not, which spares the hot paths a round trip.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How long that ping may take before the connection is given up.
pub(super) const PING_BEFORE_USE: Duration = Duration::from_millis(500);
/// How long a connection that is given back may take to show that it is sound. One whose statement was given up still has
/// its answer to come; without an end to that, the connections of a Postgres that vanished would fill the pool for ever.
const PING_AFTER_USE: Duration = Duration::from_secs(2);
/// Why a connection is not used although it was made.
const NOT_READ_WRITE: &str = "Postgres takes no writes, which target_session_attrs of its URL demands";
/// Statements slower than this are logged, without their parameters.
const SLOW_STATEMENT: Duration = Duration::from_secs(1);

/// Makes a pool that opens connections as they are needed. Does not connect yet, so it succeeds while Postgres is away.
pub fn connect(config: &DatabaseConfig, application_name: &str) -> Result<PgPool> {
    // sqlx checks certificates by what the process has chosen
    tls::choose_provider();
    let url = PostgresUrl::of_process(config.url.expose_secret())
        .map_err(|faults| sqlx::Error::Configuration(faults.into()))?;
    let options = if url.names_application {
        url.options
    } else {
        url.options.application_name(application_name)
    };
    let options = options
        .log_statements(LevelFilter::Off)
        .log_slow_statements(LevelFilter::Warn, SLOW_STATEMENT);
    let read_write = url.read_write;
    Ok(PgPoolOptions::new()
        .min_connections(0)
        .max_connections(config.pool_size)
        .acquire_timeout(url.connect_timeout.unwrap_or(ACQUIRE_TIMEOUT))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if read_write && !connection_takes_writes(connection).await? {
                    return Err(sqlx::Error::Configuration(NOT_READ_WRITE.into()));
                }
                Ok(())
            })
        })
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
        let takes_writes = connection_takes_writes(&mut connection).await?;
        // the answer is what counts
        let _ = connection.close().await;
        Ok(takes_writes)
    })
    .await
}

/// Whether Postgres takes writes over `db`: a standby does not, nor one with `default_transaction_read_only`.
pub async fn connection_takes_writes(db: impl PgExecutor<'_>) -> Result<bool> {
    let row = sqlx::query!(r#"SELECT current_setting('transaction_read_only') = 'off' AS "takes_writes!""#)
        .fetch_one(db)
        .await?;
    Ok(row.takes_writes)
}

/// Asks Postgres for an answer.
pub async fn is_up(db: &PgPool) -> Result<()> {
    sqlx::query!("SELECT 1 AS one").fetch_one(db).await.map(drop)
}

/// The oldest major version of Postgres that Tasker works with.
const POSTGRES_MIN: u32 = 14;

/// Asks Postgres for its version, as `server_version_num` has it: 150018 for 15.18. `None` where it is not sent.
///
/// Over a connection made for that: a pool would keep to itself why it has none.
pub async fn server_version(db: &PgPool) -> Result<Option<u32>> {
    bounded(db.options().get_acquire_timeout(), async {
        let connection = db.connect_options().connect().await?;
        let version = connection.server_version_num();
        // the answer is what counts
        let _ = connection.close().await;
        Ok(version)
    })
    .await
}

/// Why a Postgres of that `server_version_num` is not supported.
pub fn unsupported_postgres(version: Option<u32>) -> Option<String> {
    let version = version.filter(|version| *version < POSTGRES_MIN * 10_000)?;
    let (major, minor) = (version / 10_000, version % 100);
    Some(format!(
        "the database is Postgres {major}.{minor}, and Tasker needs {POSTGRES_MIN} or newer"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_postgres_is_named_with_its_version() {
        let old = unsupported_postgres(Some(130_022)).expect("too old");
        assert!(old.contains("13.22") && old.contains("14 or newer"), "{old}");
        for version in [None, Some(140_000), Some(150_018), Some(180_000)] {
            assert_eq!(unsupported_postgres(version), None);
        }
    }
}
