//! The settings of logs and traces.

use url::Url;

/// The format of log lines (`LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Pretty,
}

/// The logging and tracing configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The format of the lines.
    pub format: LogFormat,
    /// Filter directives in the syntax of `RUST_LOG`, already validated.
    pub filter: String,
    /// The OTLP collector that spans are sent to.
    pub collector: Option<Url>,
}
