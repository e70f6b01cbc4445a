//! The configuration of `tasker-server`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::common::{read_breaker, read_liveness, read_metrics_addr};
use super::connections::{read_database, read_redis};
use super::environment::{Environment, open, read_log, read_mode};
use super::problem::LoadError;
use super::queues::{QueuesConfig, list};
use super::reader::Reader;
use super::sign_in::SignInConfig;
use super::tls::ServerTls;
use super::variable::Binary;
use super::{flags, healthcheck};
use tasker_core::duration;
use tasker_platform::circuit_breaker::Limits;
use tasker_platform::host::{Host, ProcessHost};
use tasker_platform::telemetry::LogConfig;
use tasker_queue::{DispatchMode, RedisConfig};
use tasker_store::DatabaseConfig;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A smaller maximum could not hold one submit; a larger one would no longer bound memory well.
const BODY_BYTES: RangeInclusive<usize> = 1_024..=64 * 1_024 * 1_024;
/// Each connection takes an open file and up to some tens of kilobytes of memory.
const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;
/// Up to ten years; 0 keeps rows forever.
const RETENTION_DAYS: RangeInclusive<u32> = 0..=3_650;

/// The command that the server was started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCommand {
    /// Serve, after migrating as `DEPLOYMENT_MODE` says.
    Serve,
    /// `migrate run`: migrate, then exit.
    MigrateRun,
    /// `migrate dry-run`: print the SQL that `migrate run` would execute, then exit.
    MigrateDryRun,
    /// `migrate status`: print the applied and the pending migrations, then exit.
    MigrateStatus,
}

/// The way the schema is migrated (`DEPLOYMENT_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentMode {
    /// Migrate, then serve.
    Standard,
    /// Migrate, then exit.
    MigrateOnly,
    /// Serve without migrating; the schema is migrated elsewhere.
    NoMigrate,
}

/// The configuration of `tasker-server`.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The command that the server was started with.
    pub command: ServerCommand,
    /// The environment (`TASKER_ENV`).
    pub environment: Environment,
    /// The logging configuration.
    pub log: LogConfig,
    /// The connection to Postgres.
    pub database: DatabaseConfig,
    /// The connection to Redis.
    pub redis: RedisConfig,
    /// The way tasks get to the workers.
    pub mode: DispatchMode,
    /// The queues.
    pub queues: QueuesConfig,
    /// The addresses that HTTP is served on.
    pub listen_addrs: Vec<SocketAddr>,
    /// The sign-in configuration.
    pub sign_in: SignInConfig,
    /// An additional address for health and metrics.
    pub metrics_addr: Option<SocketAddr>,
    /// The TLS settings of HTTPS; `None` serves plain HTTP.
    pub tls: Option<ServerTls>,
    /// Maximum number of client connections.
    pub max_connections: usize,
    /// Maximum size of a request body, and of each task in a batch.
    pub max_body_bytes: usize,
    /// Minimum time that an idempotency key holds.
    pub idempotency_ttl: Duration,
    /// Whole days (UTC) that finished tasks and the history of all tasks are kept; `None` keeps them forever.
    pub retention_days: Option<u32>,
    /// Days that dead letters are kept; `None` keeps them forever.
    pub dead_letter_retention_days: Option<u32>,
    /// The deadline of workflows that set none.
    pub workflow_max_age: Duration,
    /// The way the schema is migrated.
    pub deployment_mode: DeploymentMode,
    /// False skips the migrations at start.
    pub run_migrations: bool,
    /// Maximum time that migrations may take.
    pub migration_timeout: Duration,
    /// Retries of migrations after a lost connection.
    pub migration_retries: u32,
    /// Maximum time that a stop waits for requests in progress.
    pub shutdown_timeout: Duration,
    /// The limits of the circuit breakers.
    pub breaker: Limits,
    /// Duration of the leader's lease without renewal.
    pub leader_term: Duration,
    /// True if there may be other servers, whose leases are respected at start.
    pub distributed: bool,
    /// Time between the heartbeats of a worker.
    pub heartbeat_interval: Duration,
    /// Time without a heartbeat after which a worker is declared dead.
    pub worker_timeout: Duration,
    /// Time between the leader's cleanup runs.
    pub cleanup_interval: Duration,
}

impl ServerConfig {
    /// Reads the configuration of this process. The first of `args` is the program's name.
    pub fn load(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, LoadError> {
        Self::load_from(args, &ProcessHost)
    }

    /// Reads the configuration from `args` and the variables and files of `host`.
    pub fn load_from(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
        host: &dyn Host,
    ) -> Result<Self, LoadError> {
        let matches = flags::parse(command_line(), args)?;
        let (mut reader, environment) = open(host, flags::given(&matches, Binary::Server));
        if flags::healthcheck(&matches) {
            return Err(healthcheck::requested(reader, Binary::Server));
        }
        let config = Self::read(&mut reader, subcommand(&matches), environment);
        Ok(reader.finish(config)?)
    }

    fn read(reader: &mut Reader<'_>, command: ServerCommand, environment: Environment) -> Self {
        let (heartbeat_interval, worker_timeout) = read_liveness(reader);
        let listen_addrs = read_listen_addrs(reader);
        let deployment_mode = read_deployment_mode(reader);
        let mode = read_mode(reader);
        // a process that only migrates needs neither sign-in nor secrets
        let serves = command == ServerCommand::Serve && deployment_mode != DeploymentMode::MigrateOnly;
        let idempotency_ttl = reader.duration("IDEMPOTENCY_TTL", SECOND..=365 * DAY);
        Self {
            command,
            environment,
            log: read_log(reader, environment),
            database: read_database(reader, environment),
            redis: read_redis(reader, environment, mode),
            mode,
            queues: QueuesConfig::read(reader),
            metrics_addr: read_metrics_addr(reader, &listen_addrs, "LISTEN_ADDRS"),
            sign_in: SignInConfig::read(reader, environment, serves, &listen_addrs),
            listen_addrs,
            tls: ServerTls::read(reader),
            max_connections: reader.number("MAX_CONNECTIONS", CONNECTIONS),
            max_body_bytes: reader.number("MAX_BODY_BYTES", BODY_BYTES),
            retention_days: read_retention(reader, "RETENTION_DAYS", idempotency_ttl),
            dead_letter_retention_days: read_retention(reader, "DEAD_LETTER_RETENTION_DAYS", idempotency_ttl),
            workflow_max_age: DAY * reader.number("WORKFLOW_MAX_AGE_DAYS", 1..=3650_u32),
            idempotency_ttl,
            deployment_mode,
            run_migrations: reader.switch("RUN_MIGRATIONS"),
            migration_timeout: reader.duration("DB_MIGRATION_TIMEOUT", SECOND..=DAY),
            migration_retries: reader.number("DB_MIGRATION_RETRIES", 0..=100),
            shutdown_timeout: reader.duration("SHUTDOWN_TIMEOUT", Duration::ZERO..=HOUR),
            breaker: read_breaker(reader),
            leader_term: reader.duration("LEADER_TERM", 5 * SECOND..=HOUR),
            distributed: reader.switch("DISTRIBUTED_MODE"),
            heartbeat_interval,
            worker_timeout,
            cleanup_interval: reader.duration("CLEANUP_INTERVAL", SECOND..=DAY),
        }
    }
}

fn command_line() -> Command {
    let migrate = Command::new("migrate")
        .about("Run or inspect the migrations")
        .subcommand_required(true)
        .subcommand(Command::new("run").about("Apply the pending migrations, then exit"))
        .subcommand(
            Command::new("dry-run")
                .about("Print the SQL that `migrate run` would execute, without executing it"),
        )
        .subcommand(Command::new("status").about("List the applied and the pending migrations"));
    flags::command(Binary::Server).subcommand(migrate)
}

fn subcommand(matches: &ArgMatches) -> ServerCommand {
    match matches
        .subcommand_matches("migrate")
        .and_then(ArgMatches::subcommand_name)
    {
        None => ServerCommand::Serve,
        Some("status") => ServerCommand::MigrateStatus,
        Some("dry-run") => ServerCommand::MigrateDryRun,
        Some(_) => ServerCommand::MigrateRun,
    }
}

/// Reads a number of days; `None` for 0. It must cover `idempotency_ttl`, since a key is deleted with its
/// task.
fn read_retention(reader: &mut Reader<'_>, name: &'static str, idempotency_ttl: Duration) -> Option<u32> {
    let days = Some(reader.number(name, RETENTION_DAYS)).filter(|days| *days > 0);
    let kept = days.map_or(Duration::MAX, |days| DAY * days);
    if reader.valid(&["IDEMPOTENCY_TTL", name]) && kept < idempotency_ttl {
        let ttl = duration::format(idempotency_ttl);
        reader.problem(
            name,
            format!("must be at least as long as IDEMPOTENCY_TTL, {ttl}, or 0"),
        );
    }
    days
}

fn read_deployment_mode(reader: &mut Reader<'_>) -> DeploymentMode {
    let choices = [
        ("standard", DeploymentMode::Standard),
        ("migrate-only", DeploymentMode::MigrateOnly),
        ("no-migrate", DeploymentMode::NoMigrate),
    ];
    reader
        .choice("DEPLOYMENT_MODE", &choices)
        .unwrap_or(DeploymentMode::Standard)
}

fn read_listen_addrs(reader: &mut Reader<'_>) -> Vec<SocketAddr> {
    reader.parse("LISTEN_ADDRS", listen_addrs).unwrap_or_default()
}

fn listen_addrs(text: &str) -> Result<Vec<SocketAddr>, String> {
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for item in list(text) {
        let addr: SocketAddr = item
            .parse()
            .map_err(|_| "must be a comma list of addresses like 127.0.0.1:8000".to_owned())?;
        // port 0 asks the system for a free port each time, so it may be listed twice
        if addr.port() != 0 && addrs.contains(&addr) {
            return Err(format!("names {addr} twice"));
        }
        addrs.push(addr);
    }
    if addrs.is_empty() {
        Err("must name at least one address".to_owned())
    } else {
        Ok(addrs)
    }
}
