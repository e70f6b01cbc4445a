//! The environment (`TASKER_ENV`), the dispatch mode and the logging configuration.

use std::collections::HashMap;
use std::fmt;

use tasker_platform::host::Host;
use tasker_platform::telemetry::{LogConfig, LogFormat};
use tasker_queue::DispatchMode;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::reader::Reader;

/// The environment that a process runs in (`TASKER_ENV`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine.
    Development,
    /// A test run.
    Test,
    /// Serving users.
    Production,
}

impl Environment {
    const CHOICES: [(&str, Self); 3] = [
        ("development", Self::Development),
        ("test", Self::Test),
        ("production", Self::Production),
    ];

    fn read(reader: &mut Reader<'_>) -> Self {
        let mode = reader.choice("DEBUG_MODE", &Self::CHOICES);
        let chosen = reader
            .choice("TASKER_ENV", &Self::CHOICES)
            .unwrap_or(Self::Development);
        let says_production = mode == Some(Self::Production);
        // `chosen` may be the default, which DEBUG_MODE overrides; only a value that was set contradicts it
        if says_production && chosen != Self::Production && reader.given("TASKER_ENV").is_some() {
            let message = format!("says production while TASKER_ENV says {chosen}; set one of them");
            reader.problem("DEBUG_MODE", message);
        }
        if says_production { Self::Production } else { chosen }
    }
}

/// Opens all sources of a configuration: `flags`, the variables of `host`, and the config files that these
/// two select.
pub(super) fn open<'a>(
    host: &'a dyn Host,
    flags: HashMap<&'static str, String>,
) -> (Reader<'a>, Environment) {
    let mut reader = Reader::new(host, flags);
    // before the files, which TASKER_ENV and TASKER_CONFIG_DIR select
    let environment = Environment::read(&mut reader);
    reader.load_files(&environment.to_string());
    (reader, environment)
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Production => "production",
        })
    }
}

/// Reads `DISPATCH_MODE` or its alias `TASKER_DEPLOYMENT_MODE`.
pub(super) fn read_mode(reader: &mut Reader<'_>) -> DispatchMode {
    let choices = [
        ("Hybrid", DispatchMode::Hybrid),
        ("EventDrivenOnly", DispatchMode::EventDrivenOnly),
        ("PollingOnly", DispatchMode::PollingOnly),
    ];
    let alias = reader.choice("TASKER_DEPLOYMENT_MODE", &choices);
    let mode = reader
        .choice("DISPATCH_MODE", &choices)
        .unwrap_or(DispatchMode::Hybrid);
    // the default of DISPATCH_MODE does not contradict the alias, only a value that was set does
    if reader.given("DISPATCH_MODE").is_none() {
        return alias.unwrap_or(mode);
    }
    if reader.valid(&["DISPATCH_MODE"]) && alias.is_some_and(|alias| alias != mode) {
        let message = "is an alias of DISPATCH_MODE and set to another value; set one of them";
        reader.problem("TASKER_DEPLOYMENT_MODE", message);
    }
    mode
}

/// The log lines that a worker writes about its tasks (`TASK_LOG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskLogMode {
    /// None.
    Off,
    /// Failed attempts, dead letters and discarded completions.
    Failures,
    /// The start and the completion of each run as well.
    All,
}

impl TaskLogMode {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let usual = match environment {
            Environment::Development => Self::All,
            Environment::Test | Environment::Production => Self::Failures,
        };
        let choices = [
            ("off", Self::Off),
            ("failures", Self::Failures),
            ("all", Self::All),
        ];
        reader.choice("TASK_LOG", &choices).unwrap_or(usual)
    }
}

/// Reads the logging and tracing configuration.
pub(super) fn read_log(reader: &mut Reader<'_>, environment: Environment) -> LogConfig {
    let usual = match environment {
        Environment::Production => LogFormat::Json,
        Environment::Development | Environment::Test => LogFormat::Pretty,
    };
    let choices = [("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
    let format = reader.choice("LOG_FORMAT", &choices).unwrap_or(usual);
    let debug = reader.switch("DEBUG");
    let valid = |text: &str| match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be log levels like info or info,tasker_server=debug"),
    };
    let filter = reader.parse("RUST_LOG", valid).unwrap_or_default();
    // RUST_LOG has a default, so DEBUG applies only where none was set
    let filter = match reader.given("RUST_LOG") {
        None if debug => "debug".to_owned(),
        _ => filter,
    };
    let collector = reader.parse("OTEL_EXPORTER_OTLP_ENDPOINT", |text| match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("must be a URL like http://127.0.0.1:4318"),
    });
    LogConfig {
        format,
        filter,
        collector,
    }
}
