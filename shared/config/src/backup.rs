//! Configuration of `task:backup`.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::reader::Reader;
use tasker_store::postgres_url::Client;

/// Maximum retention: a hundred years.
const DAYS_MAX: u32 = 36_500;
const KEEP_MAX: u32 = 100_000;
const DAY: Duration = Duration::from_hours(24);

/// The configuration of `task:backup`.
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// The folder of the dumps.
    pub dir: PathBuf,
    /// Number of newest dumps that are kept; `None` keeps all.
    pub keep: Option<u32>,
    /// Maximum age of a dump; `None` means no limit. The newest dump is kept at any age.
    pub max_age: Option<Duration>,
    /// A `postgres://` URL of the database.
    pub database_url: SecretString,
    /// `pg_dump`, by name or path.
    pub program: String,
}

impl BackupConfig {
    /// Reads the `BACKUP_` variables; `None` without `BACKUP_DIR`. `own_url` is the worker's database, the
    /// default.
    pub(super) fn read(reader: &mut Reader<'_>, own_url: &SecretString) -> Option<Self> {
        let dir = reader.parse("BACKUP_DIR", |text| {
            let dir = PathBuf::from(text);
            if dir.is_absolute() {
                Ok(dir)
            } else {
                Err("must be an absolute path")
            }
        });
        let keep = reader.number("BACKUP_KEEP", 0..=KEEP_MAX);
        let days = reader.number("BACKUP_RETENTION_DAYS", 0..=DAYS_MAX);
        let other_url = reader.secret("BACKUP_DATABASE_URL");
        if let Some(url) = &other_url {
            let url = ("BACKUP_DATABASE_URL", url.expose_secret());
            reader.check_postgres_url(url, Client::Backup, None);
        }
        let program = reader.text("BACKUP_PROGRAM").unwrap_or_default();
        Some(Self {
            // not earlier: the other variables are validated even while backups are off
            dir: dir?,
            keep: (keep > 0).then_some(keep),
            max_age: (days > 0).then(|| DAY * days),
            database_url: other_url.unwrap_or_else(|| own_url.clone()),
            program: program.trim().to_owned(),
        })
    }
}
