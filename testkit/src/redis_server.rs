use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::queue::connect;
use crate::{Certificates, Process, eventually, free_port};

/// Time for Redis to respond after its start.
const START: Duration = Duration::from_secs(20);

/// A private Redis without persistence on a loopback port that a test may stop, pause and restart.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    password: Option<String>,
    /// Port and certificate files for TLS.
    tls: Option<Tls>,
    settings: Vec<String>,
    process: Process,
    folder: TempDir,
}

#[derive(Debug)]
struct Tls {
    port: u16,
    certificate: PathBuf,
    key: PathBuf,
}

impl RedisServer {
    /// Starts `redis-server` and waits until it responds.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start() -> Self {
        Self::start_with(None, None, &[]).await
    }

    /// Starts it with additional settings, such as `("cluster-enabled", "yes")`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with_settings(settings: &[(&str, &str)]) -> Self {
        Self::start_with(None, None, settings).await
    }

    /// Starts it with a certificate of `certificates` for TLS at [`Self::tls_url`].
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        let tls = Tls {
            port: free_port(),
            certificate: certificates.certificate(),
            key: certificates.key(),
        };
        Self::start_with(None, Some(tls), &[]).await
    }

    /// Starts it with `password`, which must be valid in a URL without escapes.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with_password(password: &str) -> Self {
        Self::start_with(Some(password.to_owned()), None, &[]).await
    }

    async fn start_with(password: Option<String>, tls: Option<Tls>, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let port = free_port();
        let settings: Vec<String> = settings
            .iter()
            .flat_map(|(name, value)| {
                let words = value.split_whitespace().map(str::to_owned);
                std::iter::once(format!("--{name}")).chain(words)
            })
            .collect();
        let process = run(port, password.as_deref(), tls.as_ref(), &settings, &folder);
        let server = Self {
            port,
            password,
            tls,
            settings,
            process,
            folder,
        };
        server.answers().await;
        server
    }

    /// Returns its URL, with the password.
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => self.url_without_password(),
        }
    }

    /// Returns its URL for TLS.
    ///
    /// # Panics
    /// If it was started without TLS.
    pub fn tls_url(&self) -> String {
        let tls = self.tls.as_ref().expect("it was started with TLS");
        format!("rediss://127.0.0.1:{}", tls.port)
    }

    /// Returns its URL without the password.
    pub fn url_without_password(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns its process, for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it; all its data is lost.
    pub async fn stop(&mut self) {
        self.process.kill().await;
    }

    /// Starts it empty on the same port and waits until it responds.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.process = run(
            self.port,
            self.password.as_deref(),
            self.tls.as_ref(),
            &self.settings,
            &self.folder,
        );
        self.answers().await;
    }

    /// Returns the number of calls of each command by lower-case name, including calls from scripts.
    ///
    /// # Panics
    /// If Redis returns an error.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let info: String = connect(&self.url())
            .and_then(|mut connection| redis::cmd("INFO").arg("commandstats").query(&mut connection))
            .expect("Redis returns its statistics");
        info.lines().filter_map(calls_in).collect()
    }

    async fn answers(&self) {
        let ping =
            || connect(&self.url()).and_then(|mut connection| redis::cmd("PING").exec(&mut connection));
        eventually("the private Redis answers", START, async || ping().is_ok()).await;
    }
}

/// Parses a line of `INFO commandstats`: `cmdstat_rpush:calls=3,usec=12,…`.
fn calls_in(line: &str) -> Option<(String, u64)> {
    let (command, statistics) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let (calls, _) = statistics.strip_prefix("calls=")?.split_once(',')?;
    Some((command.to_owned(), calls.parse().ok()?))
}

fn run(
    port: u16,
    password: Option<&str>,
    tls: Option<&Tls>,
    settings: &[String],
    folder: &TempDir,
) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--port")
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder.path())
        .args(settings);
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    if let Some(tls) = tls {
        command
            .args(["--tls-auth-clients", "no", "--tls-port"])
            .arg(tls.port.to_string())
            .arg("--tls-cert-file")
            .arg(&tls.certificate)
            .arg("--tls-key-file")
            .arg(&tls.key)
            .arg("--tls-ca-cert-file")
            .arg(&tls.certificate);
    }
    Process::start("redis-server", command, folder.path())
}
