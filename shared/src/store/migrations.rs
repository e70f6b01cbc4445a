//! The schema's version. Servers migrate; workers wait.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sqlx::PgPool;
pub use sqlx::migrate::MigrateError;
use sqlx::migrate::{Migration, Migrator};

use super::{Fault, Result, fault};

/// The migrations that this build carries.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// A migration, and what the database has of it.
#[derive(Debug, Clone)]
pub struct MigrationStatus {
    /// Its version: the time in its file's name.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// What the database has of it.
    pub state: MigrationState,
    /// Its statements; nothing for one that this build does not carry.
    pub sql: Option<&'static str>,
    /// Whether its statements run outside of a transaction.
    pub without_transaction: bool,
}

/// What the database has of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationState {
    /// Nothing yet.
    Pending,
    /// All of it.
    Applied,
    /// All of another text under the same version. Nothing is applied as long as that is so.
    Changed,
    /// It began, outside of a transaction, and did not end. Nothing is applied as long as that is so.
    Unfinished,
    /// All of one that a newer build has brought.
    Newer,
}

impl MigrationState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Changed => "changed",
            Self::Unfinished => "unfinished",
            Self::Newer => "newer",
        }
    }

    /// Whether it keeps others from being applied.
    pub fn is_in_the_way(self) -> bool {
        matches!(self, Self::Changed | Self::Unfinished)
    }
}

/// Applies what is missing, one process at a time: others wait for the advisory lock and then find nothing to do. A database
/// that is newer than this build is left as it is: during an upgrade old and new run side by side.
pub async fn run(db: &PgPool) -> std::result::Result<(), MigrateError> {
    let migrations = Cow::Borrowed(&*MIGRATOR.migrations);
    Migrator {
        migrations,
        ignore_missing: true,
        ..Migrator::DEFAULT
    }
    .run(db)
    .await
}

/// Whether migrations that failed so may succeed when they are tried again.
pub fn may_pass(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => fault(error) != Fault::Row,
        _ => false,
    }
}

/// The version that this build needs.
pub fn wanted_version() -> i64 {
    MIGRATOR
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}

/// The newest version that the database has; 0 for an empty one.
pub async fn current_version(db: &PgPool) -> Result<i64> {
    let applied = recorded(db).await?.into_iter().filter(|found| found.success);
    Ok(applied.map(|found| found.version).max().unwrap_or_default())
}

/// Every migration of this build and of the database, oldest first.
pub async fn status(db: &PgPool) -> Result<Vec<MigrationStatus>> {
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

/// What the database says of a migration.
#[derive(sqlx::FromRow)]
struct Found {
    version: i64,
    description: String,
    success: bool,
    checksum: Vec<u8>,
}

async fn recorded(db: &PgPool) -> Result<Vec<Found>> {
    let known = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "known!""#)
        .fetch_one(db)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    // not a checked query: the table is sqlx's own, and is not there when the schema is
    sqlx::query_as("SELECT version, description, success, checksum FROM _sqlx_migrations")
        .fetch_all(db)
        .await
}
