//! Secrets, passwords and the rules of production.

use super::*;

#[test]
fn every_problem_is_listed_at_once_by_name_and_without_secrets() {
    let host = FakeHost::with(&[
        ("DATABASE_URL", "mysql://root:hunter2@db"),
        ("REDIS_URL", "hunter3"),
        ("DB_POOL_SIZE", "0"),
        ("WORKER_TIMEOUT", "15s"),
        ("TASK_QUEUES", "default,Urgent"),
        ("LOG_FORMAT", "xml"),
    ]);
    let text = text(worker(&host));
    assert!(text.starts_with("6 problems in the configuration:"), "{text}");
    for name in [
        "DATABASE_URL: must be a URL like postgres://",
        "REDIS_URL: must be a URL like redis://",
        "DB_POOL_SIZE: must be a whole number from 1 to 1000 (is `0`)",
        "WORKER_TIMEOUT: 15s must be at least twice HEARTBEAT_INTERVAL, 20s",
        "TASK_QUEUES: `Urgent` is not a queue name",
        "LOG_FORMAT: must be one of json, pretty (is `xml`)",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn a_worker_needs_no_secret_that_it_does_not_use() {
    let host = FakeHost::with(&[DATABASE, ("TASKER_ENV", "production")]);
    assert!(worker(&host).is_ok());
    // an environment that it shares with the server may hold any of them, or a part
    let host = FakeHost::with(&[
        DATABASE,
        ("TASKER_ENV", "production"),
        ("EXECUTION_BACKEND_API_USER", "ops"),
        ("TOKEN_SECRET", "change-me"),
        ("DISPATCH_MODE", "PollingOnly"),
        ("REDIS_PASSWORD", "change-me"),
    ]);
    assert!(worker(&host).is_ok(), "{}", text(worker(&host)));
}

#[test]
fn the_password_of_postgres_joins_a_url_that_has_none() {
    let bare = "postgres://t@db/t?sslmode=require";
    for name in ["DATABASE_URL", "POSTGRES_URL"] {
        let host = FakeHost::with(&[(name, bare), ("POSTGRES_PASSWORD_FILE", "/run/secret")])
            .file("/run/secret", "p@ss w/rd\n");
        let with_password = "postgres://t:p%40ss%20w%2Frd@db/t?sslmode=require";
        let database = server(&[], &host).expect("valid").database;
        assert_eq!(database.url.expose_secret(), with_password);
        let host = FakeHost::with(&[(name, bare), ("POSTGRES_PASSWORD", "p@ss w/rd")]);
        let database = worker(&host).expect("valid").database;
        assert_eq!(database.url.expose_secret(), with_password);
        for own in ["postgres://t:own@db/t", "postgres://db/t?user=t&password=own"] {
            let host = FakeHost::with(&[(name, own), ("POSTGRES_PASSWORD", "other")]);
            let database = server(&[], &host).expect("valid").database;
            assert_eq!(database.url.expose_secret(), own);
        }
        let host = FakeHost::with(&[(name, bare)]);
        assert_eq!(
            server(&[], &host).expect("valid").database.url.expose_secret(),
            bare
        );
        let sample = [(name, bare), ("POSTGRES_PASSWORD", "change-me-1")];
        let host = FakeHost::with(&[&PRODUCTION[..], &sample].concat());
        assert!(text(server(&[], &host)).contains("POSTGRES_PASSWORD: the password is a sample"));
    }
}

#[test]
fn production_is_said_by_either_variable_and_logs_json() {
    let [_, user, password, secret] = PRODUCTION;
    let host = FakeHost::with(&[DATABASE, ("DEBUG_MODE", "production"), user, password, secret]);
    let config = server(&[], &host).expect("valid");
    assert_eq!(config.environment, Environment::Production);
    assert_eq!(config.log.format, LogFormat::Json);
    let host = FakeHost::with(&[DATABASE, ("DEBUG_MODE", "production"), ("TASKER_ENV", "test")]);
    assert!(text(server(&[], &host)).contains("DEBUG_MODE: says production while"));
}

#[test]
fn only_loopback_is_listened_on_without_sign_in() {
    for addr in [
        "0.0.0.0:8000",
        "[::]:8000",
        "10.0.0.1:80",
        "127.0.0.1:80,192.168.0.1:80",
    ] {
        let host = FakeHost::with(&[DATABASE, ("LISTEN_ADDRS", addr)]);
        let text = text(server(&[], &host));
        assert!(
            text.contains("LISTEN_ADDRS: ") && text.contains("without sign-in"),
            "{text}"
        );
        let [user, password] = CREDENTIALS;
        let host = FakeHost::with(&[DATABASE, ("LISTEN_ADDRS", addr), user, password]);
        assert!(server(&[], &host).expect("valid").sign_in.admin.is_some());
        // a process that only migrates does not listen
        let host = FakeHost::with(&[DATABASE, ("LISTEN_ADDRS", addr)]);
        assert!(server(&["migrate", "run"], &host).is_ok());
    }
    let host = FakeHost::with(&[DATABASE, ("LISTEN_ADDRS", "127.0.0.1:0,[::1]:8000")]);
    assert_eq!(server(&[], &host).expect("valid").listen_addrs.len(), 2);
}

#[test]
fn a_server_without_sign_in_listens_beyond_loopback_when_sign_in_is_switched_off() {
    let beyond = ("LISTEN_ADDRS", "0.0.0.0:8000");
    // YAML and TOML read an unquoted `off` as a boolean
    for off in ["off", "OFF", "false"] {
        let host = FakeHost::with(&[DATABASE, beyond, ("SIGN_IN", off)]);
        let config = server(&[], &host).expect("valid");
        assert!(config.sign_in.admin.is_none(), "{off}");
    }
    let host = FakeHost::with(&[DATABASE, beyond]).file("config/base.toml", "sign_in = false");
    assert!(server(&[], &host).is_ok());
    let host = FakeHost::with(&[DATABASE, beyond, ("SIGN_IN", "on")]);
    assert!(text(server(&[], &host)).contains("or, where every client may do everything, set SIGN_IN=off"));
    let host = FakeHost::with(&[DATABASE, ("SIGN_IN", "never")]);
    assert!(text(server(&[], &host)).contains("SIGN_IN: must be one of on, off"));
}

#[test]
fn sign_in_is_not_switched_off_in_production() {
    let host = FakeHost::with(&[DATABASE, ("TASKER_ENV", "production"), ("SIGN_IN", "off")]);
    let problems = text(server(&[], &host));
    assert!(
        problems
            .contains("SIGN_IN: is off, and TASKER_ENV=production does not start without sign-in; remove it"),
        "{problems}"
    );
    // a process that only migrates has no sign-in
    assert!(server(&["migrate", "run"], &host).is_ok());
}

#[test]
fn credentials_beside_a_sign_in_that_is_switched_off_are_a_contradiction() {
    let [user, password] = CREDENTIALS;
    let host = FakeHost::with(&[DATABASE, user, password, ("SIGN_IN", "off")]);
    let problems = text(server(&[], &host));
    for name in ["EXECUTION_BACKEND_API_USER", "EXECUTION_BACKEND_API_PASSWORD"] {
        let problem = format!("{name}: is set while SIGN_IN=off; remove SIGN_IN");
        assert!(problems.contains(&problem), "{problems}");
    }
    assert!(!problems.contains(password.1), "{problems}");
}

#[test]
fn production_without_secrets_does_not_start_and_names_them_all() {
    let production = ("TASKER_ENV", "production");
    let problems = text(server(&[], &FakeHost::with(&[DATABASE, production])));
    assert!(problems.starts_with("3 problems"), "{problems}");
    for name in [
        "EXECUTION_BACKEND_API_USER",
        "EXECUTION_BACKEND_API_PASSWORD",
        "TOKEN_SECRET",
    ] {
        assert!(problems.contains(&format!("{name}: is not set")), "{problems}");
    }
    for (password, secret) in [
        ("hunter2", "tiny"),
        ("change-me-please", "replace-me-with-a-long-random-secret"),
        ("zqzqzqzqzqzq", "zqzqzqzqzqzqzqzqzqzqzqzqzqzqzqzqzq"),
    ] {
        let host = FakeHost::with(&[
            DATABASE,
            production,
            ("EXECUTION_BACKEND_API_USER", "ops"),
            ("EXECUTION_BACKEND_API_PASSWORD", password),
            ("TOKEN_SECRET", secret),
        ]);
        let problems = text(server(&[], &host));
        assert!(problems.starts_with("2 problems"), "{problems}");
        for name in ["EXECUTION_BACKEND_API_PASSWORD", "TOKEN_SECRET"] {
            assert!(problems.contains(&format!("  {name}: ")), "{problems}");
        }
        assert!(
            !problems.contains(password) && !problems.contains(secret),
            "{problems}"
        );
    }
    for args in [&["migrate", "run"][..], &["--deployment-mode", "migrate-only"]] {
        assert!(
            server(args, &FakeHost::with(&[DATABASE, production])).is_ok(),
            "{args:?}"
        );
    }
}

#[test]
fn production_does_not_start_with_a_sample_as_password_of_postgres_or_redis() {
    let parts = [("POSTGRES_HOST", "db"), ("POSTGRES_PASSWORD", "change-me-1")];
    for (settings, names) in [
        (
            &[("DATABASE_URL", "postgres://t:postgres@db/t")][..],
            &["DATABASE_URL"][..],
        ),
        (
            &[("POSTGRES_URL", "postgres://db/t?password=ch%61ngeme")],
            &["POSTGRES_URL"],
        ),
        (&parts, &["POSTGRES_PASSWORD"]),
        (
            &[
                DATABASE,
                ("REDIS_URL", "redis://:ch%61ngeme@cache"),
                ("REDIS_PASSWORD", "123456"),
            ],
            &["REDIS_URL", "REDIS_PASSWORD"],
        ),
    ] {
        let host = FakeHost::with(&[&PRODUCTION, settings].concat());
        for problems in [text(server(&[], &host)), text(worker(&host))] {
            assert_eq!(
                problems.matches("the password is a sample").count(),
                names.len(),
                "{problems}"
            );
            for name in names {
                assert!(problems.contains(&format!("{name}: the password")), "{problems}");
            }
            for value in ["t:postgres", "ngeme", "change-me", "123456"] {
                assert!(!problems.contains(value), "{problems}");
            }
        }
        assert!(
            server(&[], &FakeHost::with(settings)).is_ok(),
            "development takes it"
        );
    }
    let unlocked = [&PRODUCTION[..], &[("DATABASE_URL", "postgres://t@db/t")]].concat();
    assert!(server(&[], &FakeHost::with(&unlocked)).is_ok(), "no password");
}

#[test]
fn production_has_a_rate_limit_and_development_none() {
    let limit = |extra: &[(&str, &str)]| {
        let host = FakeHost::with(&[&[DATABASE], extra].concat());
        server(&[], &host)
            .expect("valid")
            .sign_in
            .rate_limit
            .map(std::num::NonZeroU32::get)
    };
    assert_eq!(limit(&[]), None);
    assert_eq!(limit(&PRODUCTION), Some(1_000));
    assert_eq!(
        limit(&[&PRODUCTION[..], &[("RATE_LIMIT_PER_KEY", "off")]].concat()),
        None
    );
    assert_eq!(limit(&[("RATE_LIMIT_PER_KEY", "5/s")]), Some(5));
}

#[test]
fn a_broken_config_file_does_not_leak_its_lines() {
    let host = FakeHost::with(&[DATABASE]).file(
        "config/base.toml",
        "retention_days = 3\nredis_password = hunter2\n",
    );
    let text = text(server(&[], &host));
    assert!(text.contains("(line 2)") && !text.contains("hunter2"), "{text}");
}

#[test]
fn every_problem_of_backups_and_services_is_named_without_a_secret() {
    let host = FakeHost::with(&[
        DATABASE,
        ("BACKUP_DIR", "backups"),
        ("BACKUP_RETENTION_DAYS", "-1"),
        ("BACKUP_DATABASE_URL", "mysql://hunter2@db"),
        (
            "SERVICE_COMMANDS",
            r#"{"a b": {"command": ["x"]}, "web": {"env": {"KEY": "hunter2"}}}"#,
        ),
    ]);
    let text = text(worker(&host));
    for part in [
        "BACKUP_DIR: must be an absolute path",
        "BACKUP_RETENTION_DAYS: must be",
        "BACKUP_DATABASE_URL: must be",
        "SERVICE_COMMANDS: `a b`: its name",
        "SERVICE_COMMANDS: `web`: `command` must be",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_url_that_is_rejected_is_not_repeated_with_its_password() {
    let host = FakeHost::with(&[
        DATABASE,
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "htp://u:hunter2@collector"),
    ]);
    let problems = text(server(&[], &host));
    assert!(problems.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}
