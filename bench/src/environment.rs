//! The resources of all scenarios: binaries, Postgres and Redis, and a database and key prefix for each run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tasker_core::task::TaskId;
use tempfile::TempDir;
use url::Url;

use crate::arguments::Arguments;

/// The measured programs.
const PROGRAMS: [&str; 3] = ["tasker-server", "tasker-worker", "tasker"];
/// Response timeout of Redis, longer than the deletion of millions of keys takes.
const REDIS_ANSWER: Duration = Duration::from_mins(1);
/// Number of this program's connections to a measured database.
const POOL_SIZE: u32 = 8;
const REQUEST: Duration = Duration::from_secs(30);

/// The resources of all scenarios.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) arguments: Arguments,
    pub(crate) binaries: PathBuf,
    /// Connections to the database of the URL, used to create and drop the others.
    pub(crate) admin: PgPool,
    pub(crate) http: reqwest::Client,
    redis: redis::Client,
    folder: TempDir,
    /// Names of the sandboxes that have not been dropped yet.
    sandboxes: Mutex<BTreeSet<String>>,
}

/// The database and the Redis key prefix of one run.
#[derive(Debug)]
pub(crate) struct Sandbox {
    name: String,
    /// URL of the database.
    pub(crate) url: Url,
    /// Prefix of the Redis keys.
    pub(crate) prefix: String,
    /// Connections to the database.
    pub(crate) pool: PgPool,
    /// A connection to Redis.
    pub(crate) redis: MultiplexedConnection,
}

impl Environment {
    /// Finds the binaries and connects to Postgres and Redis.
    pub(crate) async fn new(mut arguments: Arguments) -> anyhow::Result<Self> {
        // absolute, since processes start in other working directories
        let binaries = match &arguments.binaries {
            Some(folder) => std::path::absolute(folder)?,
            None => own_folder()?,
        };
        arguments.venv = std::path::absolute(&arguments.venv)?;
        ensure_programs(&binaries)?;
        let admin = PgPoolOptions::new()
            .max_connections(2)
            .connect(arguments.database_url.as_str())
            .await
            .context("cannot use Postgres (DATABASE_URL)")?;
        let redis = redis::Client::open(arguments.redis_url.as_str()).context("cannot use REDIS_URL")?;
        // fails if a provider is installed already, which then stays
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "the provider is installed")]
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST).build()?;
        let environment = Self {
            binaries,
            admin,
            redis,
            arguments,
            http,
            folder: tempfile::tempdir()?,
            sandboxes: Mutex::default(),
        };
        environment.redis().await?;
        Ok(environment)
    }

    /// Opens a connection to Redis.
    pub(crate) async fn redis(&self) -> anyhow::Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(REDIS_ANSWER));
        let connection = self.redis.get_multiplexed_async_connection_with_config(&config);
        connection.await.context("cannot use Redis (REDIS_URL)")
    }

    /// Returns the version of Redis.
    pub(crate) async fn redis_version(&self) -> anyhow::Result<String> {
        let mut connection = self.redis().await?;
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").to_owned())
    }

    /// Builds the command of a program with only PATH in its environment, run outside the checkout, whose
    /// configuration must not apply.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.folder.path());
        command
    }

    /// Returns the path of a new log file.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder
            .path()
            .join(format!("{name}-{}.log", TaskId::generate()))
    }

    /// Creates an empty database with an unused key prefix.
    pub(crate) async fn sandbox(&self) -> anyhow::Result<Sandbox> {
        let name = format!("tasker_bench_{}", TaskId::generate().to_string().replace('-', ""));
        let prefix = format!("{name}:");
        self.known().insert(name.clone());
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&self.admin)
            .await
            .context("cannot create a database (DATABASE_URL)")?;
        let mut url = self.arguments.database_url.clone();
        url.set_path(&name);
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .connect(url.as_str())
            .await?;
        let redis = self.redis().await?;
        Ok(Sandbox {
            name,
            url,
            prefix,
            pool,
            redis,
        })
    }

    /// Drops the database and keys of a run, whose processes must have ended.
    pub(crate) async fn discard(&self, sandbox: Sandbox) -> anyhow::Result<()> {
        sandbox.pool.close().await;
        self.drop_sandbox(&sandbox.name).await
    }

    /// Drops the databases and keys of failed runs.
    pub(crate) async fn clean(&self) -> anyhow::Result<()> {
        let left = self.known().clone();
        for name in left {
            self.drop_sandbox(&name).await?;
        }
        Ok(())
    }

    async fn drop_sandbox(&self, name: &str) -> anyhow::Result<()> {
        sqlx::query(AssertSqlSafe(format!(
            "DROP DATABASE IF EXISTS {name} WITH (FORCE)"
        )))
        .execute(&self.admin)
        .await
        .with_context(|| format!("cannot drop the database {name}"))?;
        let mut connection = self.redis().await?;
        // RQ's keys have the name in the middle, so that a pattern for a prefix would miss them
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("*{name}*"))
                .arg("COUNT")
                .arg(1_000)
                .query_async(&mut connection)
                .await?;
            if !keys.is_empty() {
                // UNLINK frees large lists in the background; DEL would block Redis for the next scenario
                let _: u64 = redis::cmd("UNLINK")
                    .arg(&keys)
                    .query_async(&mut connection)
                    .await?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        self.known().remove(name);
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    /// Returns the name of the database, which is unique.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the Redis key of the load's queue.
    pub(crate) fn list(&self) -> String {
        format!("{}default", self.prefix)
    }

    /// Returns the length of the load's queue.
    pub(crate) async fn depth(&mut self) -> anyhow::Result<u64> {
        let list = self.list();
        Ok(redis::cmd("LLEN").arg(list).query_async(&mut self.redis).await?)
    }

    /// Pushes the ids of all pending tasks created since `since` to the tail of the queue, in order.
    pub(crate) async fn push_pending(&mut self, since: chrono::DateTime<chrono::Utc>) -> anyhow::Result<u64> {
        const AT_ONCE: usize = 5_000;
        let list = self.list();
        let ids = sqlx::query_scalar::<_, TaskId>(
            "SELECT id FROM tasks WHERE status = 'pending' AND created_at >= $1 ORDER BY enqueued_at, id",
        )
        .bind(since)
        // streamed: a backlog of millions of ids must not be in memory at once
        .fetch(&self.pool);
        let mut chunks = std::pin::pin!(ids.try_chunks(AT_ONCE));
        let mut pushed = 0;
        while let Some(chunk) = chunks.try_next().await? {
            let chunk: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            pushed += chunk.len() as u64;
            let _: u64 = redis::cmd("RPUSH")
                .arg(&list)
                .arg(&chunk)
                .query_async(&mut self.redis)
                .await?;
        }
        Ok(pushed)
    }
}

fn own_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot determine the path of this program")?;
    let folder = program.parent().context("this program is in no folder")?;
    Ok(folder.to_owned())
}

fn ensure_programs(folder: &Path) -> anyhow::Result<()> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|name| !folder.join(name).is_file())
        .collect();
    match missing.as_slice() {
        [] => {}
        [name, ..] => bail!(
            "{} is missing: run `cargo build --release --workspace --bins`, or name another folder with --binaries",
            folder.join(name).display()
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tasker-server"), "").expect("written");
        let error = ensure_programs(folder.path())
            .expect_err("two are missing")
            .to_string();
        assert!(
            error.contains("tasker-worker is missing") && error.contains("--binaries"),
            "{error}"
        );
    }
}
