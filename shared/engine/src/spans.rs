//! The spans of a run: one for log lines, and around it one for a collector, which continues the trace of the
//! task's submitter. Each is built only if log lines or traces are enabled.

use tasker_platform::telemetry::traces::{self, LINES, SPANS};
use tasker_store::claim::Claimed;
use tracing::field::Empty;
use tracing::{Span, info_span};

/// The spans of a run.
pub(crate) struct RunSpans {
    lines: Span,
    trace: Span,
}

impl RunSpans {
    pub(crate) fn of(claimed: &Claimed) -> Self {
        let trace = info_span!(
            target: SPANS,
            "run",
            otel.name = %format_args!("process {}", claimed.queue),
            otel.kind = "consumer",
            otel.status_code = Empty,
            error.type = Empty,
            messaging.system = "tasker",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = %claimed.queue,
            messaging.message.id = %claimed.run.task,
            messaging.message.conversation_id = claimed.correlation_id,
            tasker.task_name = claimed.task_name,
            tasker.attempt = claimed.attempts + 1,
            tasker.run = claimed.run.number,
        );
        traces::follow(&trace, claimed.traceparent.as_deref(), true);
        let lines = info_span!(
            target: LINES,
            parent: &trace,
            "task",
            task_id = %claimed.run.task,
            task_name = %claimed.task_name,
            run = claimed.run.number,
            correlation_id = %claimed.correlation_id,
        );
        Self { lines, trace }
    }

    /// Returns the span that handlers run in.
    pub(crate) fn lines(&self) -> &Span {
        &self.lines
    }

    /// Records in the trace that the run ended without a result, with the reason as `error.type`.
    pub(crate) fn failed(&self, how: &'static str) {
        self.trace.record("otel.status_code", "ERROR");
        self.trace.record("error.type", how);
    }
}
