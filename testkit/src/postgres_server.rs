use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::{Certificates, Process, eventually, free_port};

/// Time for Postgres to accept connections after its start, including crash recovery.
const START: Duration = Duration::from_mins(1);
/// The oldest version that Tasker supports.
const VERSION_MIN: u32 = 14;
/// The superuser of the cluster.
const USER: &str = "tasker";
/// The system user that runs Postgres if the tests run as root, which Postgres rejects; created by its
/// package.
const SYSTEM_USER: &str = "postgres";

/// A private Postgres on a loopback port that a test may crash, stop, pause and restart; it keeps its data.
///
/// It runs without fsync: a crash of the process alone does not lose the kernel's page cache.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    password: String,
    programs: PathBuf,
    settings: Vec<String>,
    process: Process,
    folder: TempDir,
    /// Folder of the TLS certificate.
    tls: Option<TempDir>,
}

impl PostgresServer {
    /// Creates an empty cluster, starts it, and waits until it accepts connections.
    ///
    /// # Panics
    /// If Postgres is not installed or does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a cluster with additional settings, such as `("autovacuum", "off")`.
    ///
    /// # Panics
    /// If Postgres is not installed or does not start.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().expect("a folder for the test");
        if is_root() {
            let (user, group) = system_user();
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group))
                .expect("root may give a folder away");
        }
        let password = password();
        init(&programs, folder.path(), &password);
        let port = free_port();
        let settings: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let server = Self {
            process: run(&programs, folder.path(), port, &settings),
            port,
            password,
            programs,
            settings,
            folder,
            tls: None,
        };
        server.answers().await;
        server
    }

    /// Starts a cluster with a certificate of `certificates` that accepts only TLS over TCP.
    ///
    /// # Panics
    /// If Postgres is not installed or does not start.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let key = folder.path().join("server.key");
        std::fs::copy(certificates.key(), &key).expect("a copy");
        // Postgres rejects a key file that others can read
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("its own file");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its own folder");
        if is_root() {
            let (user, group) = system_user();
            std::os::unix::fs::chown(&key, Some(user), Some(group)).expect("root may give a file away");
        }
        let certificate = folder.path().join("server.crt");
        std::fs::copy(certificates.certificate(), &certificate).expect("a copy");
        let access = folder.path().join("pg_hba.conf");
        std::fs::write(&access, "hostssl all all 127.0.0.1/32 scram-sha-256\n").expect("a file");
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let mut server = Self::start_with(&[
            ("ssl", "on"),
            ("ssl_cert_file", &path(&certificate)),
            ("ssl_key_file", &path(&key)),
            ("hba_file", &path(&access)),
        ])
        .await;
        server.tls = Some(folder);
        server
    }

    /// Returns the URL of its database, with the password.
    pub fn url(&self) -> String {
        format!(
            "postgres://{USER}:{}@127.0.0.1:{}/postgres",
            self.password, self.port
        )
    }

    /// Returns the postmaster process, for signals: `INT` is a fast shutdown, `QUIT` a crash.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Shuts it down: ends the sessions and writes all data.
    pub async fn stop(&mut self) {
        self.process.signal("INT");
        self.process.wait().await;
    }

    /// Ends all its processes immediately, like a crash; the next start runs recovery.
    pub async fn crash(&mut self) {
        self.process.signal("QUIT");
        self.process.wait().await;
    }

    /// Starts it with the same data and port, and waits until it accepts connections.
    pub async fn restart(&mut self) {
        self.process.signal("QUIT");
        self.process.wait().await;
        self.process = run(&self.programs, self.folder.path(), self.port, &self.settings);
        self.answers().await;
    }

    async fn answers(&self) {
        let url = self.url();
        eventually("the private Postgres answers", START, async || {
            let Ok(mut connection) = PgConnection::connect(&url).await else {
                return false;
            };
            connection.ping().await.is_ok()
        })
        .await;
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // SIGKILL would leave its child processes and shared memory behind
        self.process.signal("QUIT");
        self.process.signal("CONT");
        for _ in 0..500 {
            if self.process.ended().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn init(programs: &Path, folder: &Path, password: &str) {
    let file = folder.join("password");
    std::fs::write(&file, password).expect("the folder takes a file");
    if is_root() {
        let (user, group) = system_user();
        std::os::unix::fs::chown(&file, Some(user), Some(group)).expect("root may give a file away");
    }
    let mut initdb = as_system_user(&programs.join("initdb"));
    initdb
        .args([
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ])
        .arg("--pwfile")
        .arg(&file)
        .arg("-D")
        .arg(folder.join("data"))
        .current_dir(folder);
    let made = initdb.output().expect("initdb can be run");
    let _ = std::fs::remove_file(&file);
    assert!(
        made.status.success(),
        "initdb failed; must {SYSTEM_USER} enter {}? {}",
        folder.display(),
        String::from_utf8_lossy(&made.stderr)
    );
}

fn run(programs: &Path, folder: &Path, port: u16, settings: &[String]) -> Process {
    let mut command = as_system_user(&programs.join("postgres"));
    command
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-p")
        .arg(port.to_string())
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ])
        .args([
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "max_connections=200",
        ])
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .current_dir(folder);
    Process::start("postgres", command, folder)
}

fn as_system_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    if is_root() {
        let (user, group) = system_user();
        command.uid(user).gid(group);
    }
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn system_user() -> (u32, u32) {
    let id = |which: &str| {
        let answer = Command::new("id").args([which, SYSTEM_USER]).output();
        let answer = answer.expect("`id` can be run").stdout;
        String::from_utf8_lossy(&answer)
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("root needs a user {SYSTEM_USER} to run Postgres"))
    };
    (id("-u"), id("-g"))
}

/// Returns the folder of the newest server programs, from PATH or Debian's location.
fn programs() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let debian = debian.map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(debian)
        .filter(|folder| folder.join("initdb").exists())
        .filter_map(|folder| Some((version(&folder.join("postgres"))?, folder)))
        .filter(|(version, _)| *version >= VERSION_MIN)
        .max_by_key(|(version, _)| *version);
    found.expect("Postgres of version 14 or newer is installed").1
}

/// Parses the major version: 15 of `postgres (PostgreSQL) 15.18 (Debian 15.18-0)`.
fn version(postgres: &Path) -> Option<u32> {
    let answer = Command::new(postgres).arg("--version").output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let number = text.split_whitespace().nth(2)?;
    number
        .split(|sign: char| !sign.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

fn password() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_committed_outlives_a_crash() {
        let mut server = PostgresServer::start().await;
        let mut connection = PgConnection::connect(&server.url()).await.expect("a connection");
        sqlx::raw_sql("CREATE TABLE kept AS SELECT 7 AS number")
            .execute(&mut connection)
            .await
            .expect("a table");
        server.crash().await;
        assert!(connection.ping().await.is_err());
        server.restart().await;
        let mut connection = PgConnection::connect(&server.url()).await.expect("a connection");
        let number: i32 = sqlx::query_scalar("SELECT number FROM kept")
            .fetch_one(&mut connection)
            .await
            .expect("the row");
        assert_eq!(number, 7);
    }
}
