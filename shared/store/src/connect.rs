use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgExecutor, PgPool, Postgres, Transaction};
use tracing::log::LevelFilter;

use super::{Error, Result};
use crate::DatabaseConfig;
use crate::postgres_url::PostgresUrl;
use tasker_platform::tls;

/// Maximum wait for a connection; after it Postgres counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A connection that was idle for longer is pinged before use. A busy one is not, which saves the hot paths a
/// round trip.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// Timeout of that ping; after it the connection is closed.
pub(super) const PING_BEFORE_USE: Duration = Duration::from_millis(500);
/// Timeout of the ping of a connection that returns to the pool. A connection whose statement was abandoned
/// still has the answer to come; without a timeout, the connections to a Postgres that vanished would fill
/// the pool forever.
const PING_AFTER_USE: Duration = Duration::from_secs(2);
/// The reason why a new connection is rejected.
const NOT_READ_WRITE: &str =
    "Postgres is read-only, but `target_session_attrs` of its URL requires a server that accepts writes";
/// Statements slower than this are logged, without their parameters.
const SLOW_STATEMENT: Duration = Duration::from_secs(1);

/// Creates a pool that opens connections on demand. Does not connect yet, so it succeeds while Postgres is
/// unavailable.
pub fn connect(config: &DatabaseConfig, application_name: &str) -> Result<PgPool> {
    // sqlx uses the process-wide TLS provider, which has to be chosen before the first connection
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
        // idle connections of many processes would use up Postgres's `max_connections`
        .min_connections(0)
        .max_connections(config.pool_size)
        .idle_timeout(config.pool_idle)
        .max_lifetime(config.pool_lifetime)
        .acquire_timeout(url.connect_timeout.unwrap_or(ACQUIRE_TIMEOUT))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if read_write && !read_write_mode(connection).await? {
                    return Err(sqlx::Error::Configuration(NOT_READ_WRITE.into()));
                }
                Ok(())
            })
        })
        // replaced by the cheaper check below, which skips connections that were busy a moment ago
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                // an error makes sqlx close the connection and try the next one
                if meta.idle_for > TRUSTED_IDLE {
                    ping(connection, PING_BEFORE_USE).await?;
                }
                Ok(true)
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                ping(connection, PING_AFTER_USE).await?;
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// Abandons a statement that is not answered within `limit`. Postgres may still carry it out, so the outcome
/// of the error is unknown; the connection is closed unless the answer comes soon.
pub async fn bounded<T>(limit: Duration, statement: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, statement)
        .await
        .unwrap_or_else(|_| Err(Error::timed_out()))
}

/// Pings within `limit`, with the error that the hooks of the pool expect: it makes sqlx close the
/// connection.
pub(super) async fn ping(connection: &mut PgConnection, limit: Duration) -> sqlx::Result<()> {
    tokio::time::timeout(limit, connection.ping())
        .await
        .unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into())))
}

/// Begins a transaction. A caller whose future may be dropped half-way has to close the connection then: it
/// would return to the pool with a transaction still open.
pub async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>> {
    Ok(connection.begin().await?)
}

/// Commits a transaction. After an error it may be committed all the same, unless Postgres rolled it back.
pub async fn commit(transaction: Transaction<'_, Postgres>) -> Result<()> {
    transaction.commit().await.map_err(Error::of_commit)
}

/// Checks whether Postgres accepts writes (a standby does not), over a new connection, so that the answer
/// does not depend on a pool that is exhausted or full of dead connections.
pub async fn takes_writes(db: &PgPool, limit: Duration) -> Result<bool> {
    bounded(limit, async {
        let mut connection = db.connect_options().connect().await?;
        let takes_writes = connection_takes_writes(&mut connection).await?;
        // a failed close does not change the answer
        let _ = connection.close().await;
        Ok(takes_writes)
    })
    .await
}

/// Returns whether Postgres accepts writes over `db`: not on a standby, nor with
/// `default_transaction_read_only`.
pub async fn connection_takes_writes(db: impl PgExecutor<'_>) -> Result<bool> {
    Ok(read_write_mode(db).await?)
}

async fn read_write_mode(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    let row = sqlx::query!(r#"SELECT current_setting('transaction_read_only') = 'off' AS "takes_writes!""#)
        .fetch_one(db)
        .await?;
    Ok(row.takes_writes)
}

/// Checks that Postgres answers.
pub async fn is_up(db: &PgPool) -> Result<()> {
    sqlx::query!("SELECT 1 AS one").fetch_one(db).await?;
    Ok(())
}

/// The oldest major version of Postgres that Tasker works with.
const POSTGRES_MIN: u32 = 14;

/// Returns the version of Postgres in the form of `server_version_num`: 150018 for 15.18. `None` if it is not
/// reported.
///
/// Uses a new connection: a pool only reports a timeout, not why it has no connection.
pub async fn server_version(db: &PgPool) -> Result<Option<u32>> {
    bounded(db.options().get_acquire_timeout(), async {
        let connection = db.connect_options().connect().await?;
        let version = connection.server_version_num();
        // a failed close does not change the answer
        let _ = connection.close().await;
        Ok(version)
    })
    .await
}

/// Returns the reason why a Postgres with that `server_version_num` is not supported; `None` if it is.
pub fn unsupported_postgres(version: Option<u32>) -> Option<String> {
    let version = version.filter(|version| *version < POSTGRES_MIN * 10_000)?;
    let (major, minor) = (version / 10_000, version % 100);
    Some(format!(
        "Postgres {major}.{minor} is not supported; Tasker needs {POSTGRES_MIN} or newer"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pool_has_the_limits_of_its_configuration() {
        let config = DatabaseConfig {
            url: "postgres://t@127.0.0.1:1/t".into(),
            pool_size: 7,
            pool_idle: Duration::from_secs(90),
            pool_lifetime: Duration::from_mins(20),
        };
        let pool = connect(&config, "test").expect("a valid URL");
        let options = pool.options();
        assert_eq!(
            (options.get_min_connections(), options.get_max_connections()),
            (0, 7)
        );
        assert_eq!(options.get_idle_timeout(), Some(config.pool_idle));
        assert_eq!(options.get_max_lifetime(), Some(config.pool_lifetime));
    }

    #[test]
    fn an_old_postgres_is_named_with_its_version() {
        let old = unsupported_postgres(Some(130_022)).expect("too old");
        assert!(old.contains("13.22") && old.contains("14 or newer"), "{old}");
        for version in [None, Some(140_000), Some(150_018), Some(180_000)] {
            assert_eq!(unsupported_postgres(version), None);
        }
    }
}
