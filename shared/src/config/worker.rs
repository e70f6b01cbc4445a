//! The configuration of `tasker-worker` and of workers built on the library.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use url::Url;

use super::allow::AllowList;
use super::backup::BackupConfig;
use super::connections::{DatabaseConfig, RedisConfig};
use super::environment::{DispatchMode, Environment, LogConfig, TaskLogMode};
use super::host::{Host, ProcessHost};
use super::problem::LoadError;
use super::queues::{QueueSlots, QueuesConfig, read_task_queues};
use super::reader::Reader;
use super::server::read_metrics_addr;
use super::services::{self, ServiceCommands};
use super::table::Binary;
use super::{duration, flags, healthcheck, templates};
use crate::circuit_breaker::Limits;
use crate::workflow::Template;

const HOUR: Duration = Duration::from_hours(1);
const POOL_SIZE_MAX: u32 = 10_000;
/// A breaker remembers the times of so many errors at most.
const BREAKER_ERRORS_MAX: u32 = 10_000;
/// Leaves room for host, pid and random part within 255 characters.
const ID_PREFIX_CHARS_MAX: usize = 63;

/// The server that a worker waits for at start.
#[derive(Debug, Clone)]
pub struct ApiAccess {
    /// Its address. What a worker asks of it needs no sign-in.
    pub url: Url,
}

/// The configuration of a worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The surroundings.
    pub environment: Environment,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Which log lines tasks get.
    pub task_log: TaskLogMode,
    /// How to reach Postgres.
    pub database: DatabaseConfig,
    /// How to reach Redis.
    pub redis: RedisConfig,
    /// How tasks travel to this worker.
    pub mode: DispatchMode,
    /// The queues of the deployment.
    pub queues: QueuesConfig,
    /// The queues that this worker drains, first ones first.
    pub task_queues: Vec<QueueSlots>,
    /// Tasks run at once.
    pub pool_size: u32,
    /// Prefix of the generated id.
    pub id_prefix: String,
    /// Where health and metrics are served.
    pub listen_addr: SocketAddr,
    /// A further address for health and metrics.
    pub metrics_addr: Option<SocketAddr>,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Silence after which a worker counts as dead.
    pub worker_timeout: Duration,
    /// How long a stop waits for tasks in progress.
    pub shutdown_timeout: Duration,
    /// When the circuit breakers open, and for how long.
    pub breaker: Limits,
    /// Time between looks for work in `PollingOnly`.
    pub claim_interval: Duration,
    /// The workflow templates that it publishes; nothing where no folder of them is named.
    pub templates: Option<Vec<Template>>,
    /// The server to wait for at start.
    pub api: Option<ApiAccess>,
    /// Private addresses that `http_request` may reach.
    pub http_request_allow: AllowList,
    /// What `task:backup` does; nothing where there is no such task.
    pub backup: Option<BackupConfig>,
    /// The commands of `service:command`; none where there is no such task.
    pub service_commands: ServiceCommands,
}

impl WorkerConfig {
    /// Reads the configuration of this process. The first of `args` is the program's name.
    pub fn load(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, LoadError> {
        Self::load_from(args, &ProcessHost)
    }

    /// Reads the configuration of this process from variables and files, for a program whose command line is its own.
    pub fn from_env() -> Result<Self, LoadError> {
        Self::load(["tasker-worker"])
    }

    /// Reads the configuration from `args` and the surroundings `host`.
    pub fn load_from(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        host: &dyn Host,
    ) -> Result<Self, LoadError> {
        let matches = flags::parse(flags::command(Binary::Worker), args)?;
        let (mut reader, environment) = Reader::new(host, flags::given(&matches, Binary::Worker));
        if flags::healthcheck(&matches) {
            return Err(healthcheck::asked_for(reader, Binary::Worker));
        }
        let config = Self::read(&mut reader, environment);
        Ok(reader.finish(config)?)
    }

    fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let (heartbeat_interval, worker_timeout) = read_liveness(reader);
        let queues = QueuesConfig::read(reader);
        let task_queues = read_task_queues(reader);
        let listen_addr = read_listen_addr(reader);
        let database = DatabaseConfig::read(reader, environment);
        let mode = DispatchMode::read(reader);
        Self {
            environment,
            log: LogConfig::read(reader, environment),
            task_log: TaskLogMode::read(reader, environment),
            backup: BackupConfig::read(reader, &database.url),
            database,
            redis: RedisConfig::read(reader, environment, mode),
            mode,
            queues,
            pool_size: read_pool_size(reader, &task_queues),
            task_queues,
            id_prefix: read_id_prefix(reader),
            listen_addr,
            metrics_addr: read_metrics_addr(reader, &[listen_addr], "WORKER_LISTEN_ADDR"),
            heartbeat_interval,
            worker_timeout,
            shutdown_timeout: reader.duration("SHUTDOWN_TIMEOUT", Duration::ZERO..=HOUR),
            breaker: read_breaker(reader),
            claim_interval: reader.duration("CLAIM_INTERVAL", Duration::from_millis(10)..=HOUR),
            templates: templates::read(reader),
            api: read_api(reader),
            http_request_allow: reader
                .parse("HTTP_REQUEST_ALLOW", AllowList::parse)
                .unwrap_or_default(),
            service_commands: services::read(reader),
        }
    }
}

/// Reads `HEARTBEAT_INTERVAL` and `WORKER_TIMEOUT`, which must leave room for a lost beat.
pub(super) fn read_liveness(reader: &mut Reader<'_>) -> (Duration, Duration) {
    let interval = reader.duration("HEARTBEAT_INTERVAL", Duration::from_millis(100)..=HOUR);
    let timeout = reader.duration("WORKER_TIMEOUT", Duration::from_millis(200)..=24 * HOUR);
    let least = interval * 2;
    if reader.sound(&["HEARTBEAT_INTERVAL", "WORKER_TIMEOUT"]) && timeout < least {
        let message = format!(
            "{} must be at least twice HEARTBEAT_INTERVAL, {}",
            duration::format(timeout),
            duration::format(least)
        );
        reader.problem("WORKER_TIMEOUT", message);
    }
    (interval, timeout)
}

/// Reads `BREAKER_ERRORS`, `BREAKER_WINDOW` and `BREAKER_COOLDOWN`.
pub(super) fn read_breaker(reader: &mut Reader<'_>) -> Limits {
    Limits {
        errors: reader.number("BREAKER_ERRORS", 1..=BREAKER_ERRORS_MAX),
        window: reader.duration("BREAKER_WINDOW", Duration::from_millis(100)..=HOUR),
        cooldown: reader.duration("BREAKER_COOLDOWN", Duration::from_millis(10)..=HOUR),
    }
}

fn read_pool_size(reader: &mut Reader<'_>, queues: &[QueueSlots]) -> u32 {
    let size = reader.number("WORKER_POOL_SIZE", 1..=POOL_SIZE_MAX);
    let reserved: u64 = queues.iter().map(|slots| u64::from(slots.reserved)).sum();
    if reader.sound(&["WORKER_POOL_SIZE", "TASK_QUEUES"]) && reserved > u64::from(size) {
        let message = format!("reserves {reserved} slots, but WORKER_POOL_SIZE is {size}");
        reader.problem("TASK_QUEUES", message);
    }
    size
}

fn read_id_prefix(reader: &mut Reader<'_>) -> String {
    let read = |text: &str| {
        let sound = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if sound && (1..=ID_PREFIX_CHARS_MAX).contains(&text.len()) {
            return Ok(text.to_owned());
        }
        Err(format!(
            "must be 1 to {ID_PREFIX_CHARS_MAX} letters, digits, dots, - or _"
        ))
    };
    reader.parse("WORKER_ID", read).unwrap_or_default()
}

fn read_listen_addr(reader: &mut Reader<'_>) -> SocketAddr {
    let read = |text: &str| {
        text.parse()
            .map_err(|_| "must be an address like 127.0.0.1:8081, where port 0 takes any free one")
    };
    let stand_in = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    reader.parse("WORKER_LISTEN_ADDR", read).unwrap_or(stand_in)
}

fn read_api(reader: &mut Reader<'_>) -> Option<ApiAccess> {
    let url = reader.parse("EXECUTION_BACKEND_API_URL", |text| match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("must be a URL like http://127.0.0.1:8000"),
    })?;
    Some(ApiAccess { url })
}
