//! Schema migrations: servers run them, workers wait for the version that they need.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError, Migration, Migrator};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgExecutor, PgPool};

use super::{Error, ErrorKind, Result, bounded};

/// Timeout for opening the session of the migrations.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Timeout for closing it; after it the connection is dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// SQLSTATE of a write to a read-only server.
const READ_ONLY: &str = "25006";
/// SQLSTATE of a missing privilege.
const NO_PRIVILEGE: &str = "42501";
/// SQLSTATE of an unqualified name without any usable schema.
const NO_SCHEMA: &str = "3F000";

/// The migrations in this build.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// A migration and its state in the database.
#[derive(Debug, Clone)]
pub struct MigrationStatus {
    /// Its version: the timestamp in its file name.
    pub version: i64,
    /// The description in its file name.
    pub description: String,
    /// Its state in the database.
    pub state: MigrationState,
    /// Its statements; `None` for a migration that is not in this build.
    pub sql: Option<&'static str>,
    /// Whether its statements run outside a transaction.
    pub without_transaction: bool,
}

/// The state of a migration in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationState {
    /// Not applied yet.
    Pending,
    /// Applied.
    Applied,
    /// Applied with a different text under the same version. No migrations are applied until that is
    /// resolved.
    Changed,
    /// Started outside a transaction and not finished. No migrations are applied until that is resolved.
    Unfinished,
    /// Applied, by a newer build.
    Newer,
}

impl MigrationState {
    /// Returns the name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Changed => "changed",
            Self::Unfinished => "unfinished",
            Self::Newer => "newer",
        }
    }

    /// Returns whether it blocks the other migrations.
    pub fn blocks_migrations(self) -> bool {
        matches!(self, Self::Changed | Self::Unfinished)
    }
}

/// The stage that [`run`] has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Opening a connection.
    Connecting,
    /// Waiting for the lock, which one process at a time holds.
    WaitingForLock,
    /// Applying migrations.
    Applying,
}

/// The reason why migrations failed.
#[derive(Debug)]
pub enum MigrationError {
    /// A statement of the migration with this version failed.
    Migration(i64, Error),
    /// The connection or a statement of the migration table failed.
    Statement(Error),
    /// The migrations in the database do not fit this build.
    Mismatch(MigrateError),
}

impl MigrationError {
    /// Returns the error of Postgres, or of the connection to it.
    pub fn statement(&self) -> Option<&Error> {
        match self {
            Self::Migration(_, error) | Self::Statement(error) => Some(error),
            Self::Mismatch(_) => None,
        }
    }
}

impl From<MigrateError> for MigrationError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::ExecuteMigration(error, version) => Self::Migration(version, error.into()),
            MigrateError::Execute(error) => Self::Statement(error.into()),
            other => Self::Mismatch(other),
        }
    }
}

impl From<Error> for MigrationError {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl fmt::Display for MigrationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Migration(version, error) => write!(formatter, "migration {version} failed: {error}"),
            Self::Statement(error) => write!(formatter, "a migration failed: {error}"),
            Self::Mismatch(error) => write!(formatter, "the migrations cannot be applied: {error}"),
        }
    }
}

impl std::error::Error for MigrationError {}

/// Applies the missing migrations, one process at a time: others wait for the advisory lock and then find all
/// applied. A database that is newer than this build is left unchanged: during an upgrade old and new
/// processes run side by side.
///
/// The lock belongs to a separate session, which ends with this call, so a failed attempt does not block the
/// next one.
pub async fn run(db: &PgPool, began: impl Fn(Stage)) -> std::result::Result<(), MigrationError> {
    began(Stage::Connecting);
    let opened = async { Ok(db.connect_options().connect().await?) };
    let mut connection = bounded(CONNECT_LIMIT, opened).await?;
    let outcome = apply(&mut connection, began).await;
    let closed = bounded(CLOSE_LIMIT, async { Ok(connection.close().await?) }).await;
    outcome?;
    Ok(closed?)
}

async fn apply(
    connection: &mut PgConnection,
    began: impl Fn(Stage),
) -> std::result::Result<(), MigrationError> {
    began(Stage::WaitingForLock);
    // reported first: staying in that stage means that another process is migrating
    connection.lock().await?;
    began(Stage::Applying);
    let migrations = Cow::Borrowed(&*MIGRATOR.migrations);
    Migrator {
        migrations,
        // a newer build's migrations are in the database during an upgrade
        ignore_missing: true,
        // taken above already, with a stage of its own
        locking: false,
        ..Migrator::DEFAULT
    }
    .run(connection)
    .await?;
    Ok(())
}

/// Returns whether failed migrations may succeed on another attempt: the connection was lost, or another
/// session was in the way.
pub fn is_transient(error: &MigrationError) -> bool {
    error.statement().is_some_and(|error| {
        // a read-only server counts as unavailable, but waiting does not make it writable
        let is_refused = error.code().is_some_and(|code| code == READ_ONLY);
        (error.is_unavailable() && !is_refused) || error.kind() == ErrorKind::RolledBack
    })
}

/// Returns the remedies for a migration that failed with `error`, as SQL or in words; empty if none is known.
pub async fn remedies(db: &PgPool, error: &Error) -> Result<Vec<String>> {
    match error.code().as_deref() {
        Some(READ_ONLY) => Ok(vec![
            "connect to a Postgres server that accepts writes: this one is a standby, or has default_transaction_read_only".to_owned(),
        ]),
        Some(NO_PRIVILEGE | NO_SCHEMA) => missing_grants(db).await,
        _ => Ok(Vec::new()),
    }
}

/// Returns the grants that the role of `db` lacks for migrations.
async fn missing_grants(db: &PgPool) -> Result<Vec<String>> {
    let found = sqlx::query!(
        r#"
        WITH place AS (SELECT coalesce(current_schema(), 'public') AS schema)
        SELECT quote_ident(current_user) AS "role!", quote_ident(p.schema) AS "schema!", n.oid IS NOT NULL AS "exists!",
               has_schema_privilege(n.oid, 'USAGE') AS uses, has_schema_privilege(n.oid, 'CREATE') AS creates,
               (SELECT quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class c
                 WHERE c.relnamespace = n.oid AND c.relname IN ('_sqlx_migrations', 'tasks')
                   AND NOT pg_has_role(current_user, c.relowner, 'USAGE')
                 LIMIT 1) AS owner
          FROM place p LEFT JOIN pg_namespace n ON n.nspname = p.schema
        "#
    )
    .fetch_one(db)
    .await?;
    let (role, schema) = (found.role, found.schema);
    let mut grants = Vec::new();
    if !found.exists {
        grants.push(format!("CREATE SCHEMA {schema} AUTHORIZATION {role}"));
    } else if found.uses == Some(false) {
        grants.push(format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"));
    } else if found.creates == Some(false) {
        grants.push(format!("GRANT CREATE ON SCHEMA {schema} TO {role}"));
    }
    if let Some(owner) = found.owner {
        grants.push(format!("GRANT {owner} TO {role}"));
    }
    Ok(grants)
}

/// Returns the schema version that this build needs.
pub fn wanted_version() -> i64 {
    MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}

/// Returns the newest schema version that is applied; 0 for an empty database.
pub async fn current_version(db: impl PgExecutor<'_> + Copy) -> Result<i64> {
    let applied = recorded(db).await?.into_iter().filter(|found| found.success);
    Ok(applied.map(|found| found.version).max().unwrap_or_default())
}

/// Returns every migration of this build and of the database, oldest first.
pub async fn status(db: &PgPool) -> Result<Vec<MigrationStatus>> {
    // rows that are left in the map after this are of other builds
    let mut found: BTreeMap<i64, Found> = recorded(db)
        .await?
        .into_iter()
        .map(|found| (found.version, found))
        .collect();
    let own = MIGRATOR.iter().map(|migration| MigrationStatus {
        version: migration.version,
        description: migration.description.to_string(),
        state: state_of(migration, found.remove(&migration.version).as_ref()),
        sql: Some(migration.sql.as_str()),
        without_transaction: migration.no_tx,
    });
    let mut all: Vec<_> = own.collect();
    all.extend(found.into_values().map(|found| MigrationStatus {
        version: found.version,
        state: if found.success {
            MigrationState::Newer
        } else {
            MigrationState::Unfinished
        },
        description: found.description,
        sql: None,
        without_transaction: false,
    }));
    all.sort_by_key(|migration| migration.version);
    Ok(all)
}

fn state_of(migration: &Migration, found: Option<&Found>) -> MigrationState {
    match found {
        None => MigrationState::Pending,
        Some(found) if !found.success => MigrationState::Unfinished,
        Some(found) if found.checksum != *migration.checksum => MigrationState::Changed,
        Some(_) => MigrationState::Applied,
    }
}

/// A row of the database's table of migrations.
#[derive(sqlx::FromRow)]
struct Found {
    version: i64,
    description: String,
    success: bool,
    checksum: Vec<u8>,
}

async fn recorded(db: impl PgExecutor<'_> + Copy) -> Result<Vec<Found>> {
    let known = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "known!""#)
        .fetch_one(db)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    // not a checked query: the table belongs to sqlx, and is absent from the schema that queries are checked
    // against
    sqlx::query_as("SELECT version, description, success, checksum FROM _sqlx_migrations")
        .fetch_all(db)
        .await
        .map_err(Error::from)
}
