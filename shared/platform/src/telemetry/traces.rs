//! Traces: spans of requests and of runs, for a collector that speaks OTLP over HTTP.
//!
//! The process never waits for the collector: ended spans go to a bounded queue, a dedicated thread sends
//! them, and spans that do not fit are dropped. Without `OTEL_EXPORTER_OTLP_ENDPOINT` spans with the target
//! [`SPANS`] are never built.
//!
//! A trace travels as W3C `traceparent`: from the submitter in a header, through the row, to the worker that
//! runs the task.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, Span as SdkSpan, SpanData, SpanExporter, SpanProcessor,
};
use tokio::runtime::{Builder, Runtime};
use tracing::{Level, Metadata, Span, Subscriber, info, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use super::{Component, TelemetryError};
use crate::tls;

/// The target of spans that are for the collector only.
pub const SPANS: &str = "tasker::spans";
/// The target of spans that are for log lines only; log filters see it as part of the worker.
pub const LINES: &str = "tasker_worker::lines";

/// Maximum time for an answer of the collector.
const EXPORT_MAX: Duration = Duration::from_secs(5);
/// Maximum time to send the last spans when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// The exporter of spans; empty without a collector.
#[derive(Debug, Default)]
#[must_use = "the last spans are sent by `flush`"]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends the spans that have ended, for at most a few seconds. Spans that end later are dropped.
    pub async fn flush(self) {
        let Some(provider) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_MAX));
        // the exporter has logged its failures
        let _ = tokio::time::timeout(FLUSH_MAX, flushed).await;
    }
}

/// Returns the layer that sends spans to the collector at `endpoint`, to whose path `/v1/traces` is added.
pub(super) fn start<S>(
    component: Component,
    endpoint: &Url,
) -> Result<(impl Layer<S> + Send + Sync + use<S>, Traces), TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new()?)
        .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
        .with_timeout(EXPORT_MAX)
        .build()
        .map_err(|error| TelemetryError::Traces(error.into()))?;
    let processor = BatchSpanProcessor::builder(ReportingExporter::new(exporter)).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Counting { next: processor })
        .with_resource(resource(component))
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("tasker"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(is_for_collector));
    Ok((layer, Traces(Some(provider))))
}

/// Returns whether spans with this metadata go to the collector. Events never do: they are log lines.
fn is_for_collector(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target() != LINES
}

fn resource(component: Component) -> Resource {
    let resource =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let name = match component {
        Component::Orchestration => "tasker-server",
        Component::Worker => "tasker-worker",
    };
    // the builder has read the variable, which a name set here would override
    match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource.build(),
        None => resource.with_service_name(name).build(),
    }
}

/// Makes `span` a child of the span that `traceparent` names, and with `linked` also links it, as is usual
/// for the consumer of a message. Must be called before the span is used.
pub fn follow(span: &Span, traceparent: Option<&str>, linked: bool) {
    if span.is_disabled() {
        return;
    }
    let Some(parent) = traceparent.and_then(parse) else {
        return;
    };
    // fails only without a collector, where it has no effect
    let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
    if linked {
        span.add_link(parent);
    }
}

/// Returns the `traceparent` of `span`, if it goes to a collector.
pub fn traceparent_of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let this = context.span();
    let this = this.span_context();
    this.is_valid().then(|| {
        let flags = this.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", this.trace_id(), this.span_id())
    })
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace_id = TraceId::from_hex(parts.next()?).ok()?;
    let span_id = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

/// An HTTP client on its own runtime, so that neither a busy nor a stopping process delays it.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    /// `Some` until it is dropped.
    runtime: Option<Runtime>,
}

impl Client {
    fn new() -> Result<Self, TelemetryError> {
        let http = tls::http_client().timeout(EXPORT_MAX).build();
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            http: http.map_err(|error| TelemetryError::Traces(error.into()))?,
            runtime: Some(runtime.map_err(|error| TelemetryError::Traces(error.into()))?),
        })
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let runtime = self.runtime.as_ref().ok_or("the process ends")?;
            // blocks only the thread of the exporter
            runtime.block_on(self.http.send_bytes(request))
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // the drop may happen within another runtime, in which a blocking shutdown panics
            runtime.shutdown_background();
        }
    }
}

/// A processor that counts ended spans and passes them on.
#[derive(Debug)]
struct Counting<P> {
    next: P,
}

/// Counts spans at one stage. The counter is looked up each time, since tracing is set up before metrics.
fn count(stage: &'static str, spans: usize) {
    counter!("tasker_spans_total", "stage" => stage).increment(spans as u64);
}

impl<P: SpanProcessor> SpanProcessor for Counting<P> {
    fn on_start(&self, span: &mut SdkSpan, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        count("ended", 1);
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// An exporter that logs once when the collector becomes unavailable and once when it is available again.
#[derive(Debug)]
struct ReportingExporter<E> {
    next: E,
    unavailable: AtomicBool,
}

impl<E> ReportingExporter<E> {
    fn new(next: E) -> Self {
        Self {
            next,
            unavailable: AtomicBool::new(false),
        }
    }
}

impl<E: SpanExporter> SpanExporter for ReportingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.next.export(batch).await;
        count(if sent.is_ok() { "exported" } else { "failed" }, spans);
        // swapped, so that each change is logged once
        match (&sent, self.unavailable.swap(sent.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                warn!(%error, "failed to send spans to the collector; dropping them until it is available");
            }
            (Ok(()), true) => info!("sent spans to the collector again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}
