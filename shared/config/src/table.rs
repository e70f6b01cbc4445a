//! The table of configuration variables. Flags, help, defaults, config-file keys and the check of
//! `.env.example` are all derived from it.

use super::variable::UsedBy::{self, Both, Server, Worker};
use super::variable::Variable;

/// Returns the entry named `name`.
///
/// # Panics
/// If the name is not in the table, which is a bug in this crate that every load would show.
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

/// All variables, in the order of `--help` and `.env.example`.
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
        "Password at POSTGRES_HOST; added to a DATABASE_URL or POSTGRES_URL that has none",
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
        "Maximum number of connections to Postgres, opened as needed",
    ),
    entry(
        Both,
        "DB_POOL_IDLE",
        Some("10m"),
        "Time without use after which a connection to Postgres is closed",
    ),
    entry(
        Both,
        "DB_POOL_LIFETIME",
        Some("1h"),
        "Age at which a connection to Postgres is closed once it is not in use",
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
        "Password for Redis; added to a REDIS_URL that has none",
    )
    .secret(),
    entry(
        Both,
        "REDIS_CA_FILE",
        None,
        "PEM file of CA certificates to verify a rediss:// server with; default: the system's",
    ),
    entry(
        Both,
        "DISPATCH_MODE",
        Some("Hybrid"),
        "Hybrid, EventDrivenOnly (Redis only) or PollingOnly (no Redis)",
    ),
    entry(Both, "TASKER_DEPLOYMENT_MODE", None, "Alias of DISPATCH_MODE"),
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
        "A task that waited longer is claimed as if one priority class higher; 0 is off",
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
        "Time without a heartbeat after which a worker is declared dead; at least 2 heartbeats",
    ),
    entry(
        Both,
        "SHUTDOWN_TIMEOUT",
        Some("30s"),
        "Maximum time that a stop waits for work in progress",
    ),
    entry(
        Both,
        "BREAKER_ERRORS",
        Some("5"),
        "Number of errors within BREAKER_WINDOW that opens the circuit breaker of Postgres or Redis",
    ),
    entry(
        Both,
        "BREAKER_WINDOW",
        Some("60s"),
        "Age after which an error no longer counts for a circuit breaker",
    ),
    entry(
        Both,
        "BREAKER_COOLDOWN",
        Some("5s"),
        "Time that a circuit breaker stays open before it tries one call",
    ),
    entry(
        Both,
        "METRICS_PORT",
        None,
        "Additional port for health and metrics",
    ),
    entry(
        Server,
        "SIGN_IN",
        Some("on"),
        "off lets a server without credentials listen beyond loopback; every client may do everything. Not in production",
    ),
    entry(
        Server,
        "EXECUTION_BACKEND_API_USER",
        None,
        "Name of the admin user; without one sign-in is off. Must be set in production",
    ),
    entry(
        Server,
        "EXECUTION_BACKEND_API_PASSWORD",
        None,
        "Password of the admin user; 12 characters or more in production",
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
        "true means RUST_LOG=debug where RUST_LOG is not set",
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
        "Key that signs tokens, 32 bytes or more; must be set in production",
    )
    .secret(),
    entry(
        Server,
        "RATE_LIMIT_PER_KEY",
        None,
        "Maximum requests per second of one API key, like 1000/s, or off; 1000/s in production, else off",
    ),
    entry(
        Server,
        "METRICS_AUTH",
        Some("false"),
        "true requires sign-in (role viewer) for /metrics",
    ),
    entry(
        Server,
        "TRUSTED_PROXIES",
        None,
        "Comma list of proxies (10.0.0.0/8) whose X-Forwarded-For header is trusted",
    ),
    entry(
        Server,
        "TLS_CERT_FILE",
        None,
        "PEM file of the server certificate and its chain; with it, HTTPS is served",
    ),
    entry(
        Server,
        "TLS_KEY_FILE",
        None,
        "PEM file of the private key of that certificate",
    ),
    entry(
        Server,
        "MAX_CONNECTIONS",
        Some("10000"),
        "Maximum number of client connections, a quarter of them per address; further ones are closed at once",
    ),
    entry(
        Server,
        "MAX_BODY_BYTES",
        Some("1048576"),
        "Maximum size of a request body, and of each task in a batch",
    ),
    entry(
        Server,
        "IDEMPOTENCY_TTL",
        Some("24h"),
        "Minimum time that an idempotency key holds",
    ),
    entry(
        Server,
        "RETENTION_DAYS",
        Some("7"),
        "Days that finished tasks and task history are kept; 0 keeps them forever",
    ),
    entry(
        Server,
        "DEAD_LETTER_RETENTION_DAYS",
        Some("90"),
        "Days that dead letters are kept; 0 keeps them forever",
    ),
    entry(
        Server,
        "WORKFLOW_MAX_AGE_DAYS",
        Some("365"),
        "Days after which a workflow without a deadline ends as error; 1 to 3650",
    ),
    entry(
        Server,
        "LEADER_TERM",
        Some("30s"),
        "Duration of the leader's lease without renewal; at least 5s",
    ),
    entry(
        Server,
        "DISTRIBUTED_MODE",
        Some("true"),
        "false where there is one server only: after a restart it leads at once, without waiting for its old lease to expire",
    ),
    entry(
        Server,
        "CLEANUP_INTERVAL",
        Some("1m"),
        "Time between the leader's cleanup runs; at least 1s",
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
        "Maximum time for the migrations, in seconds",
    ),
    entry(
        Server,
        "DB_MIGRATION_RETRIES",
        Some("3"),
        "Retries of migrations after a lost connection",
    ),
    entry(
        Worker,
        "TASK_QUEUES",
        Some("high_priority,default,low_priority"),
        "Queues to claim from, in order of priority; name:N reserves N slots",
    ),
    entry(
        Worker,
        "WORKER_POOL_SIZE",
        Some("10"),
        "Maximum number of tasks run at once",
    ),
    entry(
        Worker,
        "WORKER_ID",
        Some("worker"),
        "Prefix of the worker's generated id",
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
        "Time between polls for work in PollingOnly",
    ),
    entry(
        Worker,
        "TASKER_TEMPLATE_PATH",
        None,
        "Folder of workflow templates (*.yaml, *.yml, *.json), which the worker publishes when it starts",
    ),
    entry(
        Worker,
        "EXECUTION_BACKEND_API_URL",
        None,
        "The server that a worker waits for at start",
    ),
    entry(
        Worker,
        "BUILTIN_TASKS",
        Some("all"),
        "Built-in task types that tasker-worker registers: a comma list, all or none",
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
        "Folder for the dumps of task:backup; without it the task type does not exist",
    ),
    entry(
        Worker,
        "BACKUP_KEEP",
        Some("7"),
        "Number of newest dumps that are kept; 0 keeps all",
    ),
    entry(
        Worker,
        "BACKUP_RETENTION_DAYS",
        Some("0"),
        "Days that dumps are kept, the newest always; 0 keeps them forever",
    ),
    entry(
        Worker,
        "BACKUP_DATABASE_URL",
        None,
        "URL of the database to dump; default: the worker's",
    )
    .secret(),
    entry(
        Worker,
        "BACKUP_PROGRAM",
        Some("pg_dump"),
        "pg_dump, by name or path; at least as new as Postgres",
    ),
    entry(
        Worker,
        "SERVICE_COMMANDS",
        None,
        "JSON object of the commands that service:command and service:NAME may start; without it these types do not exist",
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
