//! Whole configurations, from variables and files defined by the tests.

mod secrets;

use std::time::Duration;

use secrecy::ExposeSecret as _;

use tasker_platform::host::fake::FakeHost;
use tasker_platform::telemetry::{LogConfig, LogFormat};

use super::*;
use tasker_platform::healthcheck::Healthcheck;

const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://t:vR7.qz2Lm@db/t");
const CREDENTIALS: [(&str, &str); 2] = [
    ("EXECUTION_BACKEND_API_USER", "ops"),
    ("EXECUTION_BACKEND_API_PASSWORD", "kV8.mq2Zr-w7"),
];
const PRODUCTION: [(&str, &str); 4] = [
    ("TASKER_ENV", "production"),
    CREDENTIALS[0],
    CREDENTIALS[1],
    ("TOKEN_SECRET", "bT9u0Yk3xQvG7rLwZ2hNcE5sJ8aMfD1pO6iUeXtW4yA="),
];

fn server(args: &[&str], host: &FakeHost) -> Result<ServerConfig, LoadError> {
    ServerConfig::load_from([&["tasker-server"], args].concat(), host)
}

fn worker(host: &FakeHost) -> Result<WorkerConfig, LoadError> {
    WorkerConfig::load_from(["tasker-worker"], host)
}

fn text<T: std::fmt::Debug>(result: Result<T, LoadError>) -> String {
    result.expect_err("problems").to_string()
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let server = server(&[], &FakeHost::with(&[DATABASE])).expect("valid");
    assert_eq!(server.command, ServerCommand::Serve);
    assert_eq!(server.environment, Environment::Development);
    assert_eq!(
        server.log,
        LogConfig {
            format: LogFormat::Pretty,
            filter: "info".into(),
            collector: None,
        }
    );
    assert_eq!(server.redis.url.expose_secret(), "redis://127.0.0.1:6379");
    assert_eq!(server.redis.key_prefix, "rq:queue:");
    assert_eq!(server.database.pool_size, 20);
    assert_eq!(server.listen_addrs.len(), 2);
    assert_eq!(server.metrics_addr, None);
    assert_eq!(server.max_body_bytes, 1_048_576);
    assert_eq!(server.idempotency_ttl, Duration::from_hours(24));
    assert_eq!(
        (server.retention_days, server.dead_letter_retention_days),
        (Some(7), Some(90))
    );
    assert_eq!(server.deployment_mode, DeploymentMode::Standard);
    assert!(server.run_migrations);
    assert_eq!(server.migration_timeout, Duration::from_mins(5));
    assert_eq!(server.migration_retries, 3);
    assert_eq!(server.queues.age_limit, Some(Duration::from_mins(10)));
    assert_eq!(server.cleanup_interval, Duration::from_mins(1));
    let worker = worker(&FakeHost::with(&[DATABASE])).expect("valid");
    let queues: Vec<_> = worker
        .task_queues
        .iter()
        .map(|slots| slots.queue.as_str())
        .collect();
    assert_eq!(queues, ["high_priority", "default", "low_priority"]);
    assert_eq!((worker.pool_size, worker.id_prefix.as_str()), (10, "worker"));
    assert_eq!(worker.listen_addr.to_string(), "127.0.0.1:0");
    assert_eq!(worker.heartbeat_interval, Duration::from_secs(10));
    assert_eq!(worker.worker_timeout, Duration::from_secs(30));
    assert_eq!(worker.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(worker.claim_interval, Duration::from_secs(1));
    assert_eq!(worker.mode, DispatchMode::Hybrid);
    assert!(worker.api.is_none());
}

#[test]
fn flags_beat_variables_beat_files() {
    let host = FakeHost::with(&[DATABASE, ("RETENTION_DAYS", "2"), ("LEADER_TERM", "20s")])
        .file(
            "config/base.toml",
            "retention_days = 3\nleader_term = \"21s\"\ndb_pool_size = 4",
        )
        .file(
            "config/development.toml",
            "db_pool_size = 5\nextra_queues = [\"a\", \"b\"]",
        );
    let config = server(&["--retention-days", "1"], &host).expect("valid");
    assert_eq!(config.retention_days, Some(1));
    assert_eq!(config.leader_term, Duration::from_secs(20));
    assert_eq!(config.database.pool_size, 5);
    assert_eq!(config.queues.known.len(), 5);
}

#[test]
fn the_times_of_the_pool_are_durations_of_variables_or_files() {
    let database = |host: &FakeHost| {
        let (server, worker) = (server(&[], host).expect("valid"), worker(host).expect("valid"));
        let times = (server.database.pool_idle, server.database.pool_lifetime);
        assert_eq!(times, (worker.database.pool_idle, worker.database.pool_lifetime));
        times
    };
    let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
    assert_eq!(database(&FakeHost::with(&[DATABASE])), (10 * minute, hour));
    let host = FakeHost::with(&[DATABASE, ("DB_POOL_IDLE", "90s")]).file(
        "config/base.toml",
        "db_pool_idle = \"5m\"\ndb_pool_lifetime = \"30m\"",
    );
    assert_eq!(database(&host), (Duration::from_secs(90), 30 * minute));
    let host = FakeHost::with(&[DATABASE, ("DB_POOL_IDLE", "soon"), ("DB_POOL_LIFETIME", "0")]);
    for problems in [text(server(&[], &host)), text(worker(&host))] {
        assert!(problems.contains("DB_POOL_IDLE: "), "{problems}");
        assert!(
            problems.contains("DB_POOL_LIFETIME: must be from 1s to 1d"),
            "{problems}"
        );
    }
}

#[test]
fn a_retention_of_no_days_keeps_for_ever_and_a_key_is_not_outlived_by_its_task() {
    let with = |days: &str, ttl: &str| {
        let host = FakeHost::with(&[DATABASE, ("RETENTION_DAYS", days), ("IDEMPOTENCY_TTL", ttl)]);
        server(&[], &host)
    };
    assert_eq!(with("0", "60d").expect("valid").retention_days, None);
    assert_eq!(with("2", "48h").expect("valid").retention_days, Some(2));
    assert!(
        text(with("2", "49h")).contains("RETENTION_DAYS: must be at least as long as IDEMPOTENCY_TTL, 2d1h")
    );
}

#[test]
fn a_value_is_read_from_a_file_less_the_newlines_at_its_end() {
    let host =
        FakeHost::with(&[DATABASE, ("REDIS_PASSWORD_FILE", "/run/secret")]).file("/run/secret", "p@ss\r\n\n");
    let config = server(&[], &host).expect("valid");
    assert_eq!(config.redis.url.expose_secret(), "redis://:p%40ss@127.0.0.1:6379");
}

#[test]
fn a_variable_and_its_file_together_are_a_problem() {
    let host = FakeHost::with(&[DATABASE, ("DATABASE_URL_FILE", "/f")]).file("/f", "x");
    assert!(text(server(&[], &host)).contains("DATABASE_URL: is set, and so is DATABASE_URL_FILE"));
    let host = FakeHost::with(&[DATABASE, ("REDIS_PASSWORD_FILE", "/gone")]);
    assert!(text(server(&[], &host)).contains("REDIS_PASSWORD_FILE: `/gone` cannot be read"));
    for odd in ["p@ss\nword", "\u{feff}p@ss"] {
        let host = FakeHost::with(&[DATABASE, ("REDIS_PASSWORD_FILE", "/f")]).file("/f", odd);
        assert!(text(server(&[], &host)).contains("REDIS_PASSWORD_FILE: `/f` holds control characters"));
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let host = FakeHost::with(&[DATABASE, ("RETENTION_DAYS", ""), ("POSTGRES_URL", "")]);
    assert_eq!(server(&[], &host).expect("valid").retention_days, Some(7));
}

#[test]
fn the_parts_of_postgres_make_a_url() {
    let host = FakeHost::with(&[
        ("POSTGRES_HOST", "db.example"),
        ("POSTGRES_USER", "al:ice"),
        ("POSTGRES_PASSWORD", "p@ss w/rd"),
    ]);
    let config = server(&[], &host).expect("valid");
    let url = config.database.url.expose_secret();
    assert_eq!(
        url,
        "postgres://al%3Aice:p%40ss%20w%2Frd@db.example:5432/al%3Aice"
    );
    assert!(text(server(&[], &FakeHost::default())).contains("DATABASE_URL: is not set"));
}

#[test]
fn a_host_may_be_an_address_of_ipv6_and_not_several() {
    for spelling in ["::1", "[::1]"] {
        let host = FakeHost::with(&[("POSTGRES_HOST", spelling), ("POSTGRES_USER", "t")]);
        let config = server(&[], &host).expect("valid");
        assert_eq!(config.database.url.expose_secret(), "postgres://t@[::1]:5432/t");
    }
    let host = FakeHost::with(&[("POSTGRES_HOST", "one,two")]);
    assert!(text(server(&[], &host)).contains("POSTGRES_HOST: names several hosts"));
    let host = FakeHost::with(&[
        DATABASE,
        ("LISTEN_ADDRS", "[::1]:8000"),
        ("TRUSTED_PROXIES", "::1,[fd00::]/8"),
    ]);
    assert!(server(&[], &host).is_ok());
}

#[test]
fn a_backup_signs_in_as_the_worker_does() {
    let host = FakeHost::with(&[
        ("DATABASE_URL", "postgres://t@db/t"),
        ("POSTGRES_PASSWORD", "vR7.qz2Lm"),
        ("BACKUP_DIR", "/backups"),
    ]);
    let backup = worker(&host).expect("valid").backup.expect("a folder is set");
    assert_eq!(backup.database_url.expose_secret(), "postgres://t:vR7.qz2Lm@db/t");
}

#[test]
fn tasks_are_logged_in_development_and_their_failures_elsewhere() {
    let mode = |variables: &[(&str, &str)]| {
        let host = FakeHost::with(&[&[DATABASE], variables].concat());
        worker(&host).map(|worker| worker.task_log)
    };
    assert_eq!(mode(&[]).expect("valid"), TaskLogMode::All);
    let test = ("TASKER_ENV", "test");
    assert_eq!(mode(&[test]).expect("valid"), TaskLogMode::Failures);
    assert_eq!(
        mode(&[("TASKER_ENV", "production")]).expect("valid"),
        TaskLogMode::Failures
    );
    for (value, chosen) in [
        ("off", TaskLogMode::Off),
        ("failures", TaskLogMode::Failures),
        ("ALL", TaskLogMode::All),
    ] {
        assert_eq!(mode(&[test, ("TASK_LOG", value)]).expect("valid"), chosen);
    }
    let problem = text(mode(&[("TASK_LOG", "some")]));
    assert!(
        problem.contains("TASK_LOG: must be one of off, failures, all"),
        "{problem}"
    );
}

#[test]
fn the_dispatch_mode_has_an_alias_that_must_not_differ_from_it() {
    let mode = |variables: &[(&str, &str)]| {
        let host = FakeHost::with(&[&[DATABASE], variables].concat());
        worker(&host).map(|worker| worker.mode)
    };
    let (name, alias) = ("DISPATCH_MODE", "TASKER_DEPLOYMENT_MODE");
    assert_eq!(mode(&[]).expect("valid"), DispatchMode::Hybrid);
    for variables in [
        &[(name, "PollingOnly")][..],
        &[(alias, "PollingOnly")],
        &[(alias, "pollingonly"), (name, "PollingOnly")],
    ] {
        assert_eq!(
            mode(variables).expect("valid"),
            DispatchMode::PollingOnly,
            "{variables:?}"
        );
    }
    for (named, other) in [("PollingOnly", "EventDrivenOnly"), ("Hybrid", "PollingOnly")] {
        let error = mode(&[(name, named), (alias, other)]).expect_err("problems");
        assert_eq!(error.report(), EXIT_CONFIG);
        let problem = error.to_string();
        assert!(problem.starts_with("1 problem in"), "{problem}");
        assert!(
            problem.contains("TASKER_DEPLOYMENT_MODE: is an alias of DISPATCH_MODE"),
            "{problem}"
        );
    }
    let problem = text(mode(&[(alias, "Polling")]));
    assert!(
        problem.contains("TASKER_DEPLOYMENT_MODE: must be one of Hybrid"),
        "{problem}"
    );
    let config = server(&["--dispatch-mode", "PollingOnly"], &FakeHost::with(&[DATABASE]));
    assert_eq!(config.expect("valid").mode, DispatchMode::PollingOnly);
}

#[test]
fn debug_means_the_debug_level_unless_rust_log_is_set() {
    let host = FakeHost::with(&[DATABASE, ("DEBUG", "true")]);
    assert_eq!(server(&[], &host).expect("valid").log.filter, "debug");
    let host = FakeHost::with(&[DATABASE, ("DEBUG", "true"), ("RUST_LOG", "warn")]);
    assert_eq!(server(&[], &host).expect("valid").log.filter, "warn");
}

#[test]
fn reserved_slots_fit_the_pool() {
    let host = FakeHost::with(&[DATABASE, ("TASK_QUEUES", "high:8,default:3")]);
    assert!(text(worker(&host)).contains("TASK_QUEUES: reserves 11 slots, but WORKER_POOL_SIZE is 10"));
}

#[test]
fn a_config_file_with_a_mistake_is_named() {
    let host = FakeHost::with(&[DATABASE, ("TASKER_CONFIG_DIR", "/etc/t")]).file(
        "/etc/t/base.toml",
        "retention_day = 3\ntasker_env = \"test\"\n[section]\na = 1",
    );
    let text = text(server(&[], &host));
    for part in [
        "has an unknown key `retention_day`",
        "cannot set `tasker_env`",
        "has an unknown key `section`",
    ] {
        assert!(text.contains(&format!("/etc/t/base.toml: {part}")), "{text}");
    }
    let host = FakeHost::with(&[DATABASE, ("TASKER_CONFIG_DIR", "/nowhere")]);
    assert!(server(&[], &host).is_err());
}

#[test]
fn migrations_by_hand_take_flags_before_and_after() {
    let host = FakeHost::with(&[DATABASE]);
    for args in [
        ["migrate", "status", "--db-pool-size", "2"],
        ["--db-pool-size", "2", "migrate", "status"],
    ] {
        let config = server(&args, &host).expect("valid");
        assert_eq!(config.command, ServerCommand::MigrateStatus);
        assert_eq!(config.database.pool_size, 2);
    }
}

#[test]
fn a_worker_is_run_unless_a_command_is_given_whose_flags_stand_before_or_after() {
    let command = |args: &[&str]| {
        let args = [&["tasker-worker"], args].concat();
        WorkerConfig::load_from(args, &FakeHost::with(&[DATABASE])).map(|config| config.command)
    };
    assert_eq!(command(&[]).expect("valid"), WorkerCommand::Run);
    for args in [["ping", "--db-pool-size=2"], ["--db-pool-size=2", "ping"]] {
        assert_eq!(command(&args).expect("valid"), WorkerCommand::Ping);
    }
    for (args, json) in [(&["types"][..], false), (&["types", "--json"], true)] {
        assert_eq!(command(args).expect("valid"), WorkerCommand::Types { json });
    }
    assert!(matches!(command(&["sing"]), Err(LoadError::Usage(_))));
    assert!(matches!(command(&["--json"]), Err(LoadError::Usage(_))));
}

#[test]
fn a_wrong_command_line_and_help_end_with_the_usual_codes() {
    let host = FakeHost::default();
    let code = |args: &[&str]| server(args, &host).expect_err("no configuration");
    assert!(matches!(code(&["--nonsense"]), LoadError::Usage(error) if error.use_stderr()));
    assert!(matches!(code(&["--help"]), LoadError::Usage(error) if !error.use_stderr()));
    let help = code(&["--help"]).to_string();
    assert!(
        help.contains("--leader-term") && help.contains("[env: LEADER_TERM] [default: 30s]"),
        "{help}"
    );
    assert!(!help.contains("--task-queues"), "{help}");
}

#[test]
fn a_health_check_reads_the_address_of_the_instance_and_ignores_other_problems() {
    let host = FakeHost::with(&[
        ("DB_POOL_SIZE", "many"),
        ("LISTEN_ADDRS", "0.0.0.0:9000,127.0.0.1:9001"),
        ("TLS_CERT_FILE", "/nowhere"),
    ]);
    let asked = server(&["--healthcheck"], &host);
    let wanted = Healthcheck::new(([127, 0, 0, 1], 9000).into(), true);
    assert!(
        matches!(&asked, Err(LoadError::Healthcheck(Ok(check))) if *check == wanted),
        "{asked:?}"
    );
    let asked = server(&["--healthcheck"], &FakeHost::with(&[("LISTEN_ADDRS", "here")]));
    assert!(
        matches!(&asked, Err(LoadError::Healthcheck(Err(problems))) if problems.concern("LISTEN_ADDRS")),
        "{asked:?}"
    );
}

#[test]
fn backups_and_services_are_off_unless_they_are_configured() {
    let config = worker(&FakeHost::with(&[DATABASE])).expect("valid");
    assert!(config.backup.is_none() && config.service_commands.is_empty());
    let host = FakeHost::with(&[DATABASE, ("BACKUP_DIR", "/backups"), ("BACKUP_KEEP", "0")]);
    let backup = worker(&host).expect("valid").backup.expect("configured");
    assert_eq!(
        (backup.keep, backup.max_age, backup.program.as_str()),
        (None, None, "pg_dump")
    );
}

#[test]
fn the_commands_of_services_stand_in_a_variable_or_as_tables_in_a_file() {
    let json = r#"{"web": {"command": ["npm", "start"], "env": {"PORT": "3000"}}}"#;
    let toml = "[service_commands.web]\ncommand = [\"npm\", \"start\"]\nenv = { PORT = \"3000\" }\n";
    for host in [
        FakeHost::with(&[DATABASE, ("SERVICE_COMMANDS", json)]),
        FakeHost::with(&[DATABASE]).file("config/base.toml", toml),
    ] {
        let config = worker(&host).expect("valid");
        let web = &config.service_commands["web"];
        assert_eq!(
            (web.program.as_str(), &web.arguments[..]),
            ("npm", &["start".to_owned()][..])
        );
        assert_eq!(web.env["PORT"].expose_secret(), "3000");
    }
}

#[test]
fn the_built_in_tasks_are_chosen_by_a_variable_or_a_key_and_misspellings_come_with_the_nearest_names() {
    let config = worker(&FakeHost::with(&[DATABASE])).expect("valid");
    assert_eq!(config.builtin_tasks, BuiltinTasks::All);
    for host in [
        FakeHost::with(&[DATABASE, ("BUILTIN_TASKS", "noop, echo")]),
        FakeHost::with(&[DATABASE]).file("config/base.toml", "builtin_tasks = [\"noop\", \"echo\"]\n"),
    ] {
        let chosen = worker(&host).expect("valid").builtin_tasks;
        assert!(chosen.includes("noop") && chosen.includes("echo"));
        assert!(!chosen.includes("example_failing"));
    }
    let commands = r#"{"web": {"command": ["npm"]}}"#;
    let host = FakeHost::with(&[
        DATABASE,
        ("BUILTIN_TASKS", "ehco,service:web,task:backup"),
        ("SERVICE_COMMANDS", commands),
        ("WORKER_POOL_SIZE", "many"),
    ]);
    let error = worker(&host)
        .expect_err("two names are no types here")
        .to_string();
    for part in [
        "BUILTIN_TASKS: `ehco` is not a built-in task type",
        "the nearest first: echo, ",
        "BUILTIN_TASKS: `task:backup` exists only if BACKUP_DIR is set",
        "WORKER_POOL_SIZE",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("`service:web`"), "{error}");
}
