//! Logs, metrics and traces of a process.

mod catalogue;
mod lines;
mod log_config;
mod process;
mod prometheus;
mod reminder;
mod stdout;
pub mod traces;

use metrics_exporter_prometheus::BuildError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, registry};

pub use catalogue::{Kind, METRICS, Metric, Shown};
pub use log_config::{LogConfig, LogFormat};
pub use process::hostname;
pub use prometheus::Metrics;
pub use reminder::Reminder;
use stdout::LinesGuard;
pub use traces::Traces;

/// The part of Tasker that a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The server.
    Orchestration,
    /// A worker.
    Worker,
}

impl Component {
    /// Returns the name in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orchestration => "ORCHESTRATION",
            Self::Worker => "WORKER",
        }
    }
}

/// The reason why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not valid.
    #[error("the log filter is not valid")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Logging was set up before.
    #[error("logging is already set up")]
    Logging(#[source] TryInitError),
    /// The metrics recorder could not be installed.
    #[error("the metrics recorder could not be installed")]
    Metrics(#[source] BuildError),
    /// The exporter of spans could not be set up.
    #[error("spans cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT")]
    Traces(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The buffered log lines and spans. On drop it writes the lines, for little more than a second.
#[derive(Debug)]
#[must_use = "the last lines and spans are sent by `flush`"]
pub struct Logging {
    traces: Traces,
    _lines: LinesGuard,
}

impl Logging {
    /// Sends the spans that have ended, for at most a few seconds, and then writes the buffered lines.
    pub async fn flush(self) {
        self.traces.flush().await;
    }
}

/// Sets up logging for the whole process, and tracing if a collector is configured.
pub fn init_logging(component: Component, config: &LogConfig) -> Result<Logging, TelemetryError> {
    let filter = filter(&config.filter)?;
    let Some(collector) = &config.collector else {
        let (lines, guard) = lines::lines(component, config.format);
        let subscriber = registry().with(lines).with(filter);
        subscriber.try_init().map_err(TelemetryError::Logging)?;
        return Ok(Logging {
            traces: Traces::default(),
            _lines: guard,
        });
    };
    // the filter applies to the lines only: RUST_LOG must not decide which spans are sent
    let (spans, traces) = traces::start(component, collector)?;
    let (lines, guard) = lines::lines(component, config.format);
    let subscriber = registry().with(lines.with_filter(filter)).with(spans);
    subscriber.try_init().map_err(TelemetryError::Logging)?;
    Ok(Logging {
        traces,
        _lines: guard,
    })
}

/// Returns the log filter, which excludes the spans for the collector.
fn filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    let filter = EnvFilter::try_new(directives).map_err(TelemetryError::Filter)?;
    let off = format!("{}=off", traces::SPANS);
    Ok(filter.add_directive(off.parse().map_err(TelemetryError::Filter)?))
}
