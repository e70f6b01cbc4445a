//! Which surroundings, which mode, and how logs are written.

use std::fmt;

use tracing_subscriber::EnvFilter;
use url::Url;

use super::reader::Reader;

/// The surroundings that a process runs in (`TASKER_ENV`).
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

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mode = reader.choice("DEBUG_MODE", &Self::CHOICES);
        let chosen = reader
            .choice("TASKER_ENV", &Self::CHOICES)
            .unwrap_or(Self::Development);
        let says_production = mode == Some(Self::Production);
        if says_production && chosen != Self::Production && reader.given("TASKER_ENV").is_some() {
            let message = format!("says production while TASKER_ENV says {chosen}; set one of them");
            reader.problem("DEBUG_MODE", message);
        }
        if says_production { Self::Production } else { chosen }
    }
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

/// How tasks travel from the server to the workers (`TASKER_DEPLOYMENT_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchMode {
    /// Redis, with Postgres as the net below it.
    Hybrid,
    /// Redis only.
    EventDrivenOnly,
    /// Postgres only, looked at each `CLAIM_INTERVAL`; no Redis is needed.
    PollingOnly,
}

impl DispatchMode {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let choices = [
            ("Hybrid", Self::Hybrid),
            ("EventDrivenOnly", Self::EventDrivenOnly),
            ("PollingOnly", Self::PollingOnly),
        ];
        reader
            .choice("TASKER_DEPLOYMENT_MODE", &choices)
            .unwrap_or(Self::Hybrid)
    }

    /// Whether ids go over Redis.
    pub fn uses_redis(self) -> bool {
        !matches!(self, Self::PollingOnly)
    }
}

/// The shape of log lines (`LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Which log lines a worker writes about its tasks (`TASK_LOG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskLogMode {
    /// None.
    Off,
    /// Failed attempts, dead letters and discarded completions.
    Failures,
    /// The start and the end of each run as well.
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

/// What is logged, in which shape, and where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The shape of the lines.
    pub format: LogFormat,
    /// Directives as `RUST_LOG` has them; known to be valid.
    pub filter: String,
    /// The OTLP collector that spans go to.
    pub collector: Option<Url>,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
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
        let filter = match reader.given("RUST_LOG") {
            None if debug => "debug".to_owned(),
            _ => filter,
        };
        let collector = reader.parse("OTEL_EXPORTER_OTLP_ENDPOINT", |text| match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            _ => Err("must be a URL like http://127.0.0.1:4318"),
        });
        Self {
            format,
            filter,
            collector,
        }
    }
}
