//! The configuration of `tasker-worker` and of workers built on the library.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use url::Url;

use super::allow::AllowList;
use super::backup::BackupConfig;
use super::builtin_tasks::BuiltinTasks;
use super::common::{read_breaker, read_liveness, read_metrics_addr};
use super::connections::{read_database, read_redis};
use super::environment::{Environment, TaskLogMode, open, read_log, read_mode};
use super::problem::LoadError;
use super::queues::{QueueSlots, QueuesConfig, read_task_queues};
use super::reader::Reader;
use super::services::{self, ServiceCommands};
use super::variable::Binary;
use super::{flags, healthcheck, templates};
use tasker_platform::circuit_breaker::Limits;
use tasker_platform::host::{Host, ProcessHost};
use tasker_platform::telemetry::LogConfig;
use tasker_queue::{DispatchMode, RedisConfig};
use tasker_store::DatabaseConfig;
use tasker_workflow::Definition;

/// The flag of `types`.
const JSON: &str = "json";
const HOUR: Duration = Duration::from_hours(1);
const POOL_SIZE_MAX: u32 = 10_000;
/// Leaves room for host, pid and random part within 255 characters.
const ID_PREFIX_CHARS_MAX: usize = 63;

/// The command that a worker's program was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Run the worker.
    Run,
    /// `types`: print the registered task types, then exit.
    Types {
        /// True for JSON instead of a table.
        json: bool,
    },
    /// `ping`: print the round-trip times of Postgres and Redis, then exit.
    Ping,
}

/// The server that a worker waits for at start.
#[derive(Debug, Clone)]
pub struct ApiAccess {
    /// Its address. A worker only calls routes that need no sign-in.
    pub url: Url,
}

/// The configuration of a worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The command that the program was started with.
    pub command: WorkerCommand,
    /// The environment (`TASKER_ENV`).
    pub environment: Environment,
    /// The logging configuration.
    pub log: LogConfig,
    /// The log lines that are written about tasks.
    pub task_log: TaskLogMode,
    /// The connection to Postgres.
    pub database: DatabaseConfig,
    /// The connection to Redis.
    pub redis: RedisConfig,
    /// The way tasks get to this worker.
    pub mode: DispatchMode,
    /// The queues of the deployment.
    pub queues: QueuesConfig,
    /// The queues that this worker claims from, in order of priority.
    pub task_queues: Vec<QueueSlots>,
    /// Maximum number of tasks run at once.
    pub pool_size: u32,
    /// Prefix of the generated id.
    pub id_prefix: String,
    /// The address that health and metrics are served on.
    pub listen_addr: SocketAddr,
    /// An additional address for health and metrics.
    pub metrics_addr: Option<SocketAddr>,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Time without a heartbeat after which a worker is declared dead.
    pub worker_timeout: Duration,
    /// Maximum time that a stop waits for running tasks.
    pub shutdown_timeout: Duration,
    /// The limits of the circuit breakers.
    pub breaker: Limits,
    /// Time between polls for work in `PollingOnly`.
    pub claim_interval: Duration,
    /// The workflow templates that it publishes; `None` if no folder is configured.
    pub templates: Option<Vec<Definition>>,
    /// The server to wait for at start.
    pub api: Option<ApiAccess>,
    /// Private addresses that `http_request` may reach.
    pub http_request_allow: AllowList,
    /// The configuration of `task:backup`; `None` if the task type does not exist.
    pub backup: Option<BackupConfig>,
    /// The commands of `service:command` and of the `service:NAME` types; empty if these types do not exist.
    pub service_commands: ServiceCommands,
    /// The built-in task types that `tasker-worker` registers.
    pub builtin_tasks: BuiltinTasks,
}

impl WorkerConfig {
    /// Reads the configuration of this process. The first of `args` is the program's name.
    pub fn load(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, LoadError> {
        Self::load_from(args, &ProcessHost)
    }

    /// Reads the configuration of this process from variables and files, for a program with its own command
    /// line.
    pub fn from_env() -> Result<Self, LoadError> {
        Self::load(["tasker-worker"])
    }

    /// Reads the configuration from `args` and the variables and files of `host`.
    pub fn load_from(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        host: &dyn Host,
    ) -> Result<Self, LoadError> {
        let matches = flags::parse(command_line(), args)?;
        let (mut reader, environment) = open(host, flags::given(&matches, Binary::Worker));
        if flags::healthcheck(&matches) {
            return Err(healthcheck::requested(reader, Binary::Worker));
        }
        let config = Self::read(&mut reader, subcommand(&matches), environment);
        Ok(reader.finish(config)?)
    }

    fn read(reader: &mut Reader<'_>, command: WorkerCommand, environment: Environment) -> Self {
        let (heartbeat_interval, worker_timeout) = read_liveness(reader);
        let queues = QueuesConfig::read(reader);
        let task_queues = read_task_queues(reader);
        let listen_addr = read_listen_addr(reader);
        // before the others: it is the default database of backups
        let database = read_database(reader, environment);
        let mode = read_mode(reader);
        let backup = BackupConfig::read(reader, &database.url);
        let service_commands = services::read(reader);
        let builtin_tasks = BuiltinTasks::read(reader, backup.is_some(), &service_commands);
        Self {
            command,
            environment,
            log: read_log(reader, environment),
            task_log: TaskLogMode::read(reader, environment),
            database,
            redis: read_redis(reader, environment, mode),
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
            backup,
            service_commands,
            builtin_tasks,
        }
    }
}

fn command_line() -> Command {
    let json = Arg::new(JSON)
        .long(JSON)
        .action(ArgAction::SetTrue)
        .help("Print JSON, with defaults and schemas, instead of a table");
    flags::command(Binary::Worker)
        .subcommand(
            Command::new("types")
                .about("List the task types that this worker registers")
                .arg(json),
        )
        .subcommand(
            Command::new("ping")
                .about("Check the connections to Postgres and Redis: exit code 0 if both answer, else 1"),
        )
}

fn subcommand(matches: &ArgMatches) -> WorkerCommand {
    match matches.subcommand() {
        Some(("types", types)) => WorkerCommand::Types {
            json: types.get_flag(JSON),
        },
        Some(_) => WorkerCommand::Ping,
        None => WorkerCommand::Run,
    }
}

fn read_pool_size(reader: &mut Reader<'_>, queues: &[QueueSlots]) -> u32 {
    let size = reader.number("WORKER_POOL_SIZE", 1..=POOL_SIZE_MAX);
    // u64, since the reservations of several queues may exceed u32
    let reserved: u64 = queues.iter().map(|slots| u64::from(slots.reserved)).sum();
    if reader.valid(&["WORKER_POOL_SIZE", "TASK_QUEUES"]) && reserved > u64::from(size) {
        let message = format!("reserves {reserved} slots, but WORKER_POOL_SIZE is {size}");
        reader.problem("TASK_QUEUES", message);
    }
    size
}

fn read_id_prefix(reader: &mut Reader<'_>) -> String {
    let read = |text: &str| {
        let valid = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if valid && (1..=ID_PREFIX_CHARS_MAX).contains(&text.len()) {
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
    let placeholder = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    reader.parse("WORKER_LISTEN_ADDR", read).unwrap_or(placeholder)
}

fn read_api(reader: &mut Reader<'_>) -> Option<ApiAccess> {
    let url = reader.parse("EXECUTION_BACKEND_API_URL", |text| match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("must be a URL like http://127.0.0.1:8000"),
    })?;
    Some(ApiAccess { url })
}
