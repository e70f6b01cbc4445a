//! The schema's version. Servers migrate; workers wait.

use std::borrow::Cow;

use sqlx::PgPool;
pub use sqlx::migrate::MigrateError;
use sqlx::migrate::Migrator;

use super::{Fault, Result, fault};

/// The migrations that this build carries.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// A migration, and whether the database has it.
#[derive(Debug, Clone)]
pub struct MigrationStatus {
    /// Its version: the time in its file's name.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// Whether it has been applied.
    pub applied: bool,
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
    Ok(applied(db).await?.into_iter().max().unwrap_or_default())
}

/// Every migration of this build, oldest first.
pub async fn status(db: &PgPool) -> Result<Vec<MigrationStatus>> {
    let applied = applied(db).await?;
    Ok(MIGRATOR
        .iter()
        .map(|migration| MigrationStatus {
            version: migration.version,
            description: migration.description.to_string(),
            applied: applied.contains(&migration.version),
        })
        .collect())
}

async fn applied(db: &PgPool) -> Result<Vec<i64>> {
    let known = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "known!""#)
        .fetch_one(db)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    // not a checked query: the table is sqlx's own, and is not there when the schema is
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(db)
        .await
}
