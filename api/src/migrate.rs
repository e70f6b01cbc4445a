//! Migrations at start: patient with a Postgres that is not there yet, and never longer than `DB_MIGRATION_TIMEOUT`. Migrations
//! by hand: what there is, and what a run would do.

use std::fmt::Write as _;
use std::time::Duration;

use tasker_shared::store::migrations::{self, MigrateError, MigrationState, MigrationStatus};
use tasker_shared::store::{self, PgPool};
use tracing::{info, warn};

use crate::error::describe;

/// The first pause between tries; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why the schema is not there.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The time is over.
    #[error("migrations were not done within DB_MIGRATION_TIMEOUT")]
    TimedOut,
    /// A migration failed for good.
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
}

/// How patient to be.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The most time for everything.
    pub timeout: Duration,
    /// Further tries of migrations that fail for a reason that may pass.
    pub retries: u32,
}

/// Applies what is missing, once Postgres is there.
pub async fn run(db: &PgPool, patience: Patience) -> Result<(), Failure> {
    tokio::time::timeout(patience.timeout, patiently(db, patience.retries))
        .await
        .map_err(|_| Failure::TimedOut)?
}

/// Waits until somebody else has migrated.
pub async fn wait_for_schema(db: &PgPool, timeout: Duration) -> Result<(), Failure> {
    let wanted = migrations::wanted_version();
    let there = async {
        let mut pause = Pause::default();
        while !matches!(migrations::current_version(db).await, Ok(version) if version >= wanted) {
            info!(schema.wanted = wanted, "waiting for the schema");
            pause.sleep().await;
        }
    };
    tokio::time::timeout(timeout, there)
        .await
        .map_err(|_| Failure::TimedOut)
}

/// A line a migration: version, state, what it does.
pub fn table(migrations: &[MigrationStatus]) -> String {
    let mut text = format!("{:<16}{:<12}MIGRATION\n", "VERSION", "STATE");
    for migration in migrations {
        let state = migration.state.as_str();
        let _ = writeln!(
            text,
            "{:<16}{state:<12}{}",
            migration.version, migration.description
        );
    }
    text
}

/// What a run would execute, as SQL, and before it what is in its way.
pub fn plan(migrations: &[MigrationStatus]) -> String {
    let mut text = String::new();
    for migration in migrations {
        let why = match migration.state {
            MigrationState::Changed => "was applied with another text: a run would fail",
            MigrationState::Unfinished => {
                "began and did not end: a run would fail until it is mended by hand"
            }
            _ => continue,
        };
        let _ = writeln!(text, "-- {} {}: {why}", migration.version, migration.description);
    }
    let pending: Vec<_> = migrations
        .iter()
        .filter(|migration| migration.state == MigrationState::Pending)
        .collect();
    let _ = writeln!(text, "-- {} to apply", pending.len());
    for migration in pending {
        let transaction = if migration.without_transaction {
            ", without a transaction"
        } else {
            ""
        };
        let (version, description) = (migration.version, &migration.description);
        let sql = migration.sql.unwrap_or_default().trim_end();
        let _ = writeln!(text, "\n-- {version} {description}{transaction}\n{sql}");
    }
    text
}

async fn patiently(db: &PgPool, retries: u32) -> Result<(), Failure> {
    wait_for_postgres(db).await;
    log_pending(db).await;
    let mut pause = Pause::default();
    for tries_left in (0..=retries).rev() {
        match migrations::run(db).await {
            Ok(()) => {
                info!(
                    schema.version = migrations::wanted_version(),
                    "the schema is up to date"
                );
                return Ok(());
            }
            Err(error) if tries_left > 0 && migrations::may_pass(&error) => {
                warn!(%error, tries_left, "a migration failed and is tried again");
                pause.sleep().await;
                wait_for_postgres(db).await;
            }
            Err(error) => return Err(Failure::Migration(error)),
        }
    }
    Ok(())
}

async fn wait_for_postgres(db: &PgPool) {
    let mut pause = Pause::default();
    while let Err(error) = store::is_up(db).await {
        warn!(cause = describe(&error), "waiting for Postgres");
        pause.sleep().await;
    }
}

async fn log_pending(db: &PgPool) {
    for migration in migrations::status(db).await.unwrap_or_default() {
        let state = migration.state.as_str();
        info!(migration.version, migration.description, state, "migration");
    }
}

/// Pauses that grow.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE)
    }
}

impl Pause {
    async fn sleep(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}
