//! The one table of configuration variables. Flags, help, defaults, config-file keys and the
//! check of `.env.example` all come from here.

/// Which binary reads a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedBy {
    /// The server and the worker.
    Both,
    /// `tasker-server`.
    Server,
    /// `tasker-worker`, and every worker built on the library.
    Worker,
}

/// The binary whose configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `tasker-server`.
    Server,
    /// `tasker-worker`, and every worker built on the library.
    Worker,
}

impl UsedBy {
    /// Whether `binary` reads the variable.
    pub fn includes(self, binary: Binary) -> bool {
        matches!(
            (self, binary),
            (Self::Both, _) | (Self::Server, Binary::Server) | (Self::Worker, Binary::Worker)
        )
    }
}

/// One configuration variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The environment variable; in lower case the key of config files, with `-` the flag.
    pub name: &'static str,
    /// The default as one would write it.
    pub default: Option<&'static str>,
    /// One sentence for `--help`.
    pub help: &'static str,
    /// Who reads it.
    pub used_by: UsedBy,
    /// Its value never appears in a message.
    pub secret: bool,
}

impl Variable {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The long command-line flag without its dashes: `heartbeat-interval`.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// The key in config files: `heartbeat_interval`.
    pub fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// The entry of that name.
///
/// # Panics
/// When the name is not in the table: a mistake in this crate that every load would show.
pub(super) fn variable(name: &str) -> &'static Variable {
    VARIABLES
        .iter()
        .find(|variable| variable.name == name)
        .expect("only variables of the table are read")
}

const fn entry(
    used_by: UsedBy,
    name: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Variable {
    Variable {
        name,
        default,
        help,
        used_by,
        secret: false,
    }
}

use UsedBy::{Both, Server, Worker};

/// Every variable, in the order of `--help` and `.env.example`.
pub static VARIABLES: &[Variable] = &[
    entry(
        Both,
        "TASKER_ENV",
        Some("development"),
        "development, test or production",
    ),
    entry(Both, "DEBUG_MODE", None, "production means TASKER_ENV=production"),
    entry(
        Both,
        "TASKER_CONFIG_DIR",
        None,
        "Folder of base.toml and <TASKER_ENV>.toml; ./config if it exists",
    ),
    entry(
        Both,
        "DATABASE_URL",
        None,
        "Postgres, as postgres://user:password@host:port/database",
    )
    .secret(),
    entry(Both, "POSTGRES_URL", None, "Used when DATABASE_URL is not set").secret(),
    entry(
        Both,
        "POSTGRES_HOST",
        None,
        "Used with the next four when neither URL is set",
    ),
    entry(Both, "POSTGRES_PORT", Some("5432"), "Port of POSTGRES_HOST"),
    entry(Both, "POSTGRES_USER", Some("postgres"), "User at POSTGRES_HOST"),
    entry(
        Both,
        "POSTGRES_PASSWORD",
        None,
        "Password at POSTGRES_HOST; joins a DATABASE_URL or POSTGRES_URL that has none",
    )
    .secret(),
    entry(
        Both,
        "POSTGRES_DB",
        None,
        "Database at POSTGRES_HOST; the name of the user when not set",
    ),
    entry(
        Both,
        "DB_POOL_SIZE",
        Some("20"),
        "Most connections to Postgres, opened as needed",
    ),
    entry(
        Both,
        "REDIS_URL",
        Some("redis://127.0.0.1:6379"),
        "Redis, as redis:// or rediss:// (TLS)",
    )
    .secret(),
    entry(
        Both,
        "REDIS_PASSWORD",
        None,
        "Joins a REDIS_URL that has no password",
    )
    .secret(),
    entry(
        Both,
        "REDIS_CA_FILE",
        None,
        "File of certificates in PEM, one of which signed that of a rediss:// server; else the system's",
    ),
    entry(
        Both,
        "TASKER_DEPLOYMENT_MODE",
        Some("Hybrid"),
        "Hybrid, EventDrivenOnly (Redis only) or PollingOnly (no Redis)",
    ),
    entry(
        Both,
        "QUEUE_KEY_PREFIX",
        Some("rq:queue:"),
        "Prefix of the Redis lists, so that deployments can share a Redis",
    ),
    entry(
        Both,
        "EXTRA_QUEUES",
        None,
        "Comma list of queues to declare beside high_priority, default, low_priority",
    ),
    entry(
        Both,
        "PRIORITY_AGE_LIMIT",
        Some("10m"),
        "A task that waited longer is taken as one class higher; 0 is off",
    ),
    entry(
        Both,
        "HEARTBEAT_INTERVAL",
        Some("10s"),
        "Time between the heartbeats of a worker",
    ),
    entry(
        Both,
        "WORKER_TIMEOUT",
        Some("30s"),
        "Silence after which a worker counts as dead; at least 2 heartbeats",
    ),
    entry(
        Both,
        "SHUTDOWN_TIMEOUT",
        Some("30s"),
        "How long a stop waits for work in progress",
    ),
    entry(
        Both,
        "BREAKER_ERRORS",
        Some("5"),
        "So many errors of Postgres or Redis open its circuit breaker",
    ),
    entry(
        Both,
        "BREAKER_WINDOW",
        Some("60s"),
        "Errors that are older do not count for a circuit breaker",
    ),
    entry(
        Both,
        "BREAKER_COOLDOWN",
        Some("5s"),
        "How long an open circuit breaker waits before it tries one call",
    ),
    entry(
        Both,
        "METRICS_PORT",
        None,
        "A further port for health and metrics",
    ),
    entry(
        Server,
        "EXECUTION_BACKEND_API_USER",
        None,
        "The user who may do everything; without one there is no sign-in. Must be set in production",
    ),
    entry(
        Server,
        "EXECUTION_BACKEND_API_PASSWORD",
        None,
        "That user's password; 12 characters or more in production",
    )
    .secret(),
    entry(
        Both,
        "LOG_FORMAT",
        None,
        "json or pretty; json in production, else pretty",
    ),
    entry(
        Both,
        "RUST_LOG",
        Some("info"),
        "Log levels, as level or target=level, comma separated",
    ),
    entry(
        Both,
        "DEBUG",
        Some("false"),
        "true is RUST_LOG=debug where RUST_LOG is not set",
    ),
    entry(
        Both,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "OTLP collector for spans (HTTP, protobuf), as http://host:4318",
    ),
    entry(
        Server,
        "LISTEN_ADDRS",
        Some("127.0.0.1:8000,127.0.0.1:8080"),
        "Comma list of addresses to serve HTTP on",
    ),
    entry(
        Server,
        "TOKEN_SECRET",
        None,
        "What tokens are signed with, 32 bytes or more; must be set in production",
    )
    .secret(),
    entry(
        Server,
        "RATE_LIMIT_PER_KEY",
        None,
        "Requests a second of one key, like 1000/s, or off; 1000/s in production, else off",
    ),
    entry(
        Server,
        "METRICS_AUTH",
        Some("false"),
        "true asks for sign-in (viewer) at /metrics",
    ),
    entry(
        Server,
        "TRUSTED_PROXIES",
        None,
        "Comma list of proxies (10.0.0.0/8) whose X-Forwarded-For tells the client's address",
    ),
    entry(
        Server,
        "TLS_CERT_FILE",
        None,
        "File of the certificate, and those that lead to its root, in PEM; with it, HTTPS is served",
    ),
    entry(
        Server,
        "TLS_KEY_FILE",
        None,
        "File of the private key of that certificate, in PEM",
    ),
    entry(
        Server,
        "MAX_CONNECTIONS",
        Some("10000"),
        "Connections of clients at once, a quarter of them for one address; one more is closed at once",
    ),
    entry(
        Server,
        "MAX_BODY_BYTES",
        Some("1048576"),
        "Largest body of a request, and of each task in a batch",
    ),
    entry(
        Server,
        "IDEMPOTENCY_TTL",
        Some("24h"),
        "How long an idempotency key holds at least",
    ),
    entry(
        Server,
        "RETENTION_DAYS",
        Some("7"),
        "Days that finished tasks and the history of tasks are kept; 0 keeps them for ever",
    ),
    entry(
        Server,
        "DEAD_LETTER_RETENTION_DAYS",
        Some("90"),
        "Days that dead letters are kept; 0 keeps them for ever",
    ),
    entry(
        Server,
        "LEADER_TERM",
        Some("30s"),
        "How long a leader's lease lasts without renewal; at least 5s",
    ),
    entry(
        Server,
        "DISTRIBUTED_MODE",
        Some("true"),
        "false where there is one server only: started again, it leads at once, without waiting for its old lease to end",
    ),
    entry(
        Server,
        "CLEANUP_INTERVAL",
        Some("1m"),
        "Time between the leader's clean-ups; at least 1s",
    ),
    entry(
        Server,
        "DEPLOYMENT_MODE",
        Some("standard"),
        "standard, migrate-only (migrate, then exit) or no-migrate",
    ),
    entry(
        Server,
        "RUN_MIGRATIONS",
        Some("true"),
        "false skips the migrations at start",
    ),
    entry(
        Server,
        "DB_MIGRATION_TIMEOUT",
        Some("300"),
        "Most time for the migrations, in seconds",
    ),
    entry(
        Server,
        "DB_MIGRATION_RETRIES",
        Some("3"),
        "Further tries of migrations after a lost connection",
    ),
    entry(
        Worker,
        "TASK_QUEUES",
        Some("high_priority,default,low_priority"),
        "Queues to drain, first ones first; name:N reserves N slots",
    ),
    entry(Worker, "WORKER_POOL_SIZE", Some("10"), "Tasks run at once"),
    entry(
        Worker,
        "WORKER_ID",
        Some("worker"),
        "Prefix of the generated id of the worker",
    ),
    entry(
        Worker,
        "WORKER_LISTEN_ADDR",
        Some("127.0.0.1:0"),
        "Address for health and metrics; port 0 takes any free one, which is logged",
    ),
    entry(
        Worker,
        "TASK_LOG",
        None,
        "Log lines about tasks: off, failures or all; all in development, else failures",
    ),
    entry(
        Worker,
        "CLAIM_INTERVAL",
        Some("1s"),
        "Time between looks for work in PollingOnly",
    ),
    entry(
        Worker,
        "TASKER_TEMPLATE_PATH",
        None,
        "Folder of workflow templates (*.yaml, *.yml, *.json), which the worker publishes at its start",
    ),
    entry(
        Worker,
        "EXECUTION_BACKEND_API_URL",
        None,
        "The server that a worker waits for at start",
    ),
    entry(
        Worker,
        "HTTP_REQUEST_ALLOW",
        None,
        "Comma list of hosts and networks (10.0.0.0/8) that http_request may reach although private",
    ),
    entry(
        Worker,
        "BACKUP_DIR",
        None,
        "Folder for the dumps of task:backup; without it there is no such task",
    ),
    entry(
        Worker,
        "BACKUP_KEEP",
        Some("7"),
        "So many of the newest dumps are kept; 0 keeps all",
    ),
    entry(
        Worker,
        "BACKUP_RETENTION_DAYS",
        Some("0"),
        "Days that dumps are kept, the newest always; 0 keeps them for ever",
    ),
    entry(
        Worker,
        "BACKUP_DATABASE_URL",
        None,
        "The database to dump, where it is not the worker's",
    )
    .secret(),
    entry(
        Worker,
        "BACKUP_PROGRAM",
        Some("pg_dump"),
        "pg_dump, by name or path; as new as Postgres or newer",
    ),
    entry(
        Worker,
        "SERVICE_COMMANDS",
        None,
        "JSON object of the commands that service:command may start; without it there is no such task",
    )
    .secret(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_example_file_names_every_variable_and_its_default() {
        let example = include_str!("../../../.env.example");
        for variable in VARIABLES {
            let value = variable.default.unwrap_or("");
            let line = format!("{}={value}", variable.name);
            let named = example.lines().any(|text| {
                let text = text.trim_start_matches(['#', ' ']);
                match variable.default {
                    Some(_) => text == line,
                    None => text.starts_with(&line),
                }
            });
            assert!(named, ".env.example has no line `{line}`");
        }
    }

    #[test]
    fn names_are_unique_and_upper_case() {
        let mut seen = HashSet::new();
        for variable in VARIABLES {
            assert!(seen.insert(variable.name), "{} is listed twice", variable.name);
            assert_eq!(variable.name, variable.name.to_ascii_uppercase());
        }
    }
}
