//! Logs and metrics of a process.
//!
//! Log lines go to stdout. Pretty ones begin with `[ORCHESTRATION]` or `[WORKER]`; JSON ones carry
//! the same word in the field `component`.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, SubscriberBuilder};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// From a fast statement to the longest ordinary task.
const BUCKETS_SECONDS: [f64; 18] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 600.0,
];
/// The exporter drains its histograms on upkeep; more rarely, they would hold too many samples.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Which part of Tasker a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The server.
    Orchestration,
    /// A worker.
    Worker,
}

impl Component {
    /// The word in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orchestration => "ORCHESTRATION",
            Self::Worker => "WORKER",
        }
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not valid.
    #[error("the log filter is not valid")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Logging was set up before.
    #[error("logging is already set up")]
    Logging(#[source] tracing_subscriber::util::TryInitError),
    /// The metrics recorder could not be installed.
    #[error("the metrics recorder could not be installed")]
    Metrics(#[source] BuildError),
}

/// Sets up logging for the whole process.
pub fn init_logging(component: Component, config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(TelemetryError::Filter)?;
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = SubscriberBuilder::default()
        .with_env_filter(filter)
        .with_ansi(colours);
    match config.format {
        LogFormat::Pretty => {
            let format = Prefixed {
                component,
                inner: Format::default(),
            };
            builder.event_format(format).finish().try_init()
        }
        LogFormat::Json => {
            let format = Labelled {
                component,
                inner: Format::default().json().flatten_event(true),
            };
            builder
                .fmt_fields(JsonFields::new())
                .event_format(format)
                .finish()
                .try_init()
        }
    }
    .map_err(TelemetryError::Logging)
}

/// Writes `[COMPONENT] ` before each line of `inner`.
struct Prefixed<F> {
    component: Component,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Prefixed<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "[{}] ", self.component.as_str())?;
        self.inner.format_event(context, writer, event)
    }
}

/// Puts the field `component` first into each JSON object of `inner`, which has no way to be
/// given a constant field.
struct Labelled<F> {
    component: Component,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Labelled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => {
                write!(writer, "{{\"component\":\"{}\",{rest}", self.component.as_str())
            }
            None => writer.write_str(&line),
        }
    }
}

/// The metrics of this process.
#[derive(Debug, Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder behind the macros of the `metrics` crate, once in a process.
    pub fn install() -> Result<Self, TelemetryError> {
        let handle = builder().map_err(TelemetryError::Metrics)?.install_recorder();
        Ok(Self {
            handle: handle.map_err(TelemetryError::Metrics)?,
        })
    }

    /// A recorder that records nothing, for tests that run several systems in one process.
    pub fn detached() -> Self {
        Self {
            handle: PrometheusBuilder::new().build_recorder().handle(),
        }
    }

    /// The text for `GET /metrics`.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Drains the histograms' buffers until `stop`; without it they would grow while nobody scrapes.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => self.handle.run_upkeep(),
            }
        }
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic holds it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic holds it").clone()).expect("UTF-8")
        }
    }

    #[test]
    fn pretty_lines_begin_with_the_component() {
        let sink = Sink::default();
        let writer = sink.clone();
        let format = Prefixed {
            component: Component::Worker,
            inner: Format::default(),
        };
        let subscriber = SubscriberBuilder::default()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(format)
            .finish();
        tracing::subscriber::with_default(subscriber, || tracing::info!(n = 1, "hello"));
        assert!(sink.text().starts_with("[WORKER] "), "{}", sink.text());
        assert!(sink.text().contains("hello"), "{}", sink.text());
    }

    #[test]
    fn json_lines_carry_the_component_as_a_field() {
        let sink = Sink::default();
        let writer = sink.clone();
        let inner = Format::default().json().flatten_event(true);
        let subscriber = SubscriberBuilder::default()
            .fmt_fields(JsonFields::new())
            .with_writer(move || writer.clone())
            .event_format(Labelled {
                component: Component::Orchestration,
                inner,
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || tracing::info!(n = 1, "hello"));
        let line: serde_json::Value = serde_json::from_str(&sink.text()).expect("JSON");
        assert_eq!(line["component"], "ORCHESTRATION");
        assert_eq!((&line["message"], &line["n"]), (&"hello".into(), &1.into()));
    }

    #[test]
    fn seconds_become_a_histogram_with_buckets() {
        let recorder = builder().expect("buckets").build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("task_duration_seconds").record(0.02);
        });
        let text = handle.render();
        assert!(
            text.contains("task_duration_seconds_bucket{le=\"0.025\"} 1"),
            "{text}"
        );
    }
}
