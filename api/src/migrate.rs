//! Migrations: applied at start, waiting for Postgres for up to `DB_MIGRATION_TIMEOUT`, and the output of the
//! commands that list them.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tasker_store::migrations::{self, MigrationError, MigrationState, MigrationStatus, Stage};
use tasker_store::{self as store, PgPool};
use tracing::{info, warn};

/// The first pause between attempts; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// The maximum pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The duration from which a running migration or its wait for the lock is logged.
const LOCK_QUIET: Duration = Duration::from_secs(3);

/// The reason for which the migrations failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// `DB_MIGRATION_TIMEOUT` is over; the last state.
    #[error("migrations did not finish within DB_MIGRATION_TIMEOUT: {0}")]
    TimedOut(String),
    /// A migration failed and retrying cannot help.
    #[error("{0}")]
    Migration(String),
    /// The version of Postgres is not supported.
    #[error("{0}")]
    Unsupported(String),
}

/// The time limit and number of retries.
#[derive(Debug, Clone, Copy)]
pub struct RetryLimits {
    /// The time limit of the whole run.
    pub timeout: Duration,
    /// The number of retries after a transient failure.
    pub retries: u32,
}

/// Applies the pending migrations once Postgres is available.
pub async fn run(db: &PgPool, limits: RetryLimits) -> Result<(), Failure> {
    let progress = Progress::default();
    tokio::time::timeout(limits.timeout, run_with_retries(db, limits.retries, &progress))
        .await
        .map_err(|_| Failure::TimedOut(progress.get()))?
}

/// Waits until another process has applied the migrations.
pub async fn wait_for_schema(db: &PgPool, timeout: Duration) -> Result<(), Failure> {
    let wanted = migrations::wanted_version();
    let progress = Progress::default();
    let there = async {
        let mut pause = Pause::default();
        loop {
            wait_for_postgres(db, &progress).await?;
            let found = migrations::current_version(db).await;
            progress.set(match &found {
                // a newer schema fits too: during a rolling upgrade old servers run on it
                Ok(version) if *version >= wanted => return Ok(()),
                Ok(version) => format!("the schema has version {version}, and this server needs {wanted}"),
                Err(error) => error.to_string(),
            });
            info!(
                schema.wanted = wanted,
                state = progress.get(),
                "waiting for the schema"
            );
            pause.sleep().await;
        }
    };
    tokio::time::timeout(timeout, there)
        .await
        .map_err(|_| Failure::TimedOut(progress.get()))?
}

/// Returns a table with one row per migration: version, state, description.
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

/// Returns the SQL that a run would execute, after comments on what would make it fail.
pub fn plan(migrations: &[MigrationStatus]) -> String {
    let mut text = String::new();
    for migration in migrations {
        let why = match migration.state {
            MigrationState::Changed => "was changed after it was applied: a run would fail",
            MigrationState::Unfinished => "did not finish: a run would fail until it is repaired by hand",
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

async fn run_with_retries(db: &PgPool, retries: u32, progress: &Progress) -> Result<(), Failure> {
    wait_for_postgres(db, progress).await?;
    // the usual case at a restart, also for a role that may not change the schema
    if is_up_to_date(db).await {
        log_up_to_date();
        return Ok(());
    }
    let mut pause = Pause::default();
    for tries_left in (0..=retries).rev() {
        match apply(db, progress).await {
            Ok(()) => break,
            Err(error) if tries_left > 0 && migrations::is_transient(&error) => {
                warn!(%error, tries_left, "migration failed; retrying");
                pause.sleep().await;
                wait_for_postgres(db, progress).await?;
            }
            Err(error) => return Err(Failure::Migration(explain(db, &error).await)),
        }
    }
    log_up_to_date();
    Ok(())
}

/// Applies the pending migrations, and logs when that or the wait for the lock takes long.
async fn apply(db: &PgPool, progress: &Progress) -> Result<(), MigrationError> {
    let run = migrations::run(db, |stage| {
        progress.set(match stage {
            Stage::Connecting => "Postgres did not answer",
            Stage::WaitingForLock => "another process held the lock of the migrations",
            Stage::Applying => "a migration was still running",
        });
    });
    // pinned, so that the same run goes on after the message
    let mut run = std::pin::pin!(run);
    if let Ok(outcome) = tokio::time::timeout(LOCK_QUIET, &mut run).await {
        return outcome;
    }
    info!(state = progress.get(), "migrations still in progress");
    run.await
}

/// Returns the error of a failed migration and its remedies.
async fn explain(db: &PgPool, error: &MigrationError) -> String {
    let mut text = error.to_string();
    let Some(cause) = error.statement() else {
        return text;
    };
    let remedies = migrations::remedies(db, cause).await.unwrap_or_default();
    if !remedies.is_empty() {
        let _ = write!(text, "; remedy: {}", remedies.join("; "));
    }
    text
}

async fn wait_for_postgres(db: &PgPool, progress: &Progress) -> Result<(), Failure> {
    let mut pause = Pause::default();
    loop {
        match store::server_version(db).await {
            Ok(version) => {
                return store::unsupported_postgres(version)
                    .map_or(Ok(()), |why| Err(Failure::Unsupported(why)));
            }
            Err(error) => {
                warn!(cause = %error, "waiting for Postgres");
                progress.set(format!("Postgres cannot be used: {error}"));
            }
        }
        pause.sleep().await;
    }
}

/// Returns true if no migration is pending, so that neither the lock nor the right to create tables is
/// needed.
async fn is_up_to_date(db: &PgPool) -> bool {
    let status = migrations::status(db).await.unwrap_or_default();
    for migration in &status {
        let state = migration.state.as_str();
        info!(migration.version, migration.description, state, "migration");
    }
    let done = |migration: &MigrationStatus| {
        matches!(migration.state, MigrationState::Applied | MigrationState::Newer)
    };
    // empty if the status could not be read
    !status.is_empty() && status.iter().all(done)
}

fn log_up_to_date() {
    info!(
        schema.version = migrations::wanted_version(),
        "schema is up to date"
    );
}

/// The current state of the migrations, reported when the time is over.
#[derive(Debug)]
struct Progress(Mutex<String>);

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new("Postgres did not answer".to_owned()))
    }
}

impl Progress {
    fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A pause that doubles with each use.
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
