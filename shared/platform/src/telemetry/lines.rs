//! The format of log lines: pretty ones begin with `[ORCHESTRATION]` or `[WORKER]`; JSON ones carry the same
//! tag in the field `component`.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::registry::LookupSpan;

use super::Component;
use super::LogFormat;
use super::stdout::{self, LinesGuard};

/// Returns the layer that writes lines to stdout, and the guard that flushes them.
pub(super) fn lines<S>(
    component: Component,
    format: LogFormat,
) -> (Box<dyn Layer<S> + Send + Sync>, LinesGuard)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (writer, guard) = stdout::writer();
    let lines: Box<dyn Layer<S> + Send + Sync> = match format {
        LogFormat::Pretty => {
            let inner = Format::default();
            let lines = layer().with_ansi(colours).with_writer(writer);
            Box::new(lines.event_format(Tagged {
                component,
                format,
                inner,
            }))
        }
        LogFormat::Json => {
            let inner = Format::default().json().flatten_event(true);
            let lines = layer().with_ansi(colours).with_writer(writer);
            let lines = lines.fmt_fields(JsonFields::new());
            Box::new(lines.event_format(Tagged {
                component,
                format,
                inner,
            }))
        }
    };
    (lines, guard)
}

/// Puts the tag of the component first into each line of `inner`, which has no way to be given a constant
/// field: as `[COMPONENT] ` before text, as the field `component` into a JSON object.
struct Tagged<F> {
    component: Component,
    format: LogFormat,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Tagged<F>
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
        let component = self.component.as_str();
        if self.format == LogFormat::Pretty {
            write!(writer, "[{component}] ")?;
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            // spliced into the text: parsing and writing each line again would cost more
            Some(rest) => write!(writer, "{{\"component\":\"[{component}]\",{rest}"),
            None => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::SubscriberBuilder;

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
        let format = Tagged {
            component: Component::Worker,
            format: LogFormat::Pretty,
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
    fn json_lines_carry_the_component_and_what_they_are_about() {
        let sink = Sink::default();
        let writer = sink.clone();
        let inner = Format::default().json().flatten_event(true);
        let subscriber = SubscriberBuilder::default()
            .fmt_fields(JsonFields::new())
            .with_writer(move || writer.clone())
            .event_format(Tagged {
                component: Component::Orchestration,
                format: LogFormat::Json,
                inner,
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _run = tracing::info_span!("task", task_id = "t1", correlation_id = "c1").entered();
            tracing::info!(n = 1, "hello");
        });
        let line: serde_json::Value = serde_json::from_str(&sink.text()).expect("JSON");
        assert_eq!(line["component"], "[ORCHESTRATION]");
        assert_eq!((&line["message"], &line["n"]), (&"hello".into(), &1.into()));
        assert_eq!(line["span"]["task_id"], "t1");
        assert_eq!(line["span"]["correlation_id"], "c1");
    }
}
