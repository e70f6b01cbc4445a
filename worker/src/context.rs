//! The context of a run, as its handler sees it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tasker_core::json;
use tasker_core::task::limits::PROGRESS_BYTES;
use tasker_core::task::{Run, TaskId};
use tasker_engine::Reports;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

/// The context of the run that a handler executes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    facts: RunFacts,
    cancelled: CancellationToken,
    reports: ReportSink,
    tracker: TaskTracker,
    span: Span,
}

/// The receiver of progress reports.
#[derive(Debug)]
enum ReportSink {
    /// A worker, which stores the latest one.
    Worker(Reports),
    /// A test, which sees all.
    Test(UnboundedSender<String>),
}

/// The facts about a run that are known when it begins.
#[derive(Debug)]
pub(crate) struct RunFacts {
    pub(crate) run: Run,
    pub(crate) attempt: i32,
    pub(crate) max_attempts: i32,
    pub(crate) timeout: Duration,
    pub(crate) correlation_id: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) metadata: String,
}

/// A progress report that cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// It cannot be encoded as JSON.
    #[error("the progress report cannot be encoded as JSON")]
    Encode(#[source] serde_json::Error),
    /// It is longer than 16,384 bytes of JSON.
    #[error("the progress report has {0} bytes of JSON, the limit is {PROGRESS_BYTES}")]
    TooLong(usize),
    /// It contains text or nesting that Postgres cannot store.
    #[error("the progress report cannot be stored: {0}")]
    Unstorable(String),
}

impl Context {
    pub(crate) fn new(
        facts: RunFacts,
        cancelled: CancellationToken,
        reports: Reports,
        tracker: TaskTracker,
        span: Span,
    ) -> Self {
        Self::with(facts, cancelled, ReportSink::Worker(reports), tracker, span)
    }

    /// Creates the context of a run in a test, which gets the progress reports as JSON texts.
    pub(crate) fn in_test(
        facts: RunFacts,
        cancelled: CancellationToken,
        reports: UnboundedSender<String>,
        tracker: TaskTracker,
        span: Span,
    ) -> Self {
        Self::with(facts, cancelled, ReportSink::Test(reports), tracker, span)
    }

    fn with(
        facts: RunFacts,
        cancelled: CancellationToken,
        reports: ReportSink,
        tracker: TaskTracker,
        span: Span,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                facts,
                cancelled,
                reports,
                tracker,
                span,
            }),
        }
    }

    /// Returns the task's id. It is the same in every attempt: a good idempotency key for calls to other
    /// services.
    pub fn task_id(&self) -> TaskId {
        self.inner.facts.run.task
    }

    /// Returns the number of this attempt, counted from 1.
    pub fn attempt(&self) -> i32 {
        self.inner.facts.attempt
    }

    /// Returns the maximum number of attempts of the task.
    pub fn max_attempts(&self) -> i32 {
        self.inner.facts.max_attempts
    }

    /// Returns the time limit of this attempt.
    pub fn timeout(&self) -> Duration {
        self.inner.facts.timeout
    }

    /// Returns the correlation id: from the submit, or generated when the task was submitted.
    pub fn correlation_id(&self) -> &str {
        &self.inner.facts.correlation_id
    }

    /// Returns the submitter's W3C trace context.
    pub fn traceparent(&self) -> Option<&str> {
        self.inner.facts.traceparent.as_deref()
    }

    /// Returns the task's metadata: JSON text of an object.
    pub fn metadata(&self) -> &str {
        &self.inner.facts.metadata
    }

    /// Returns a token that is cancelled when the task is cancelled, or when the run ends before its handler
    /// (timeout, shutdown of the worker). The handler should then return soon; its return value is ignored.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.inner.cancelled
    }

    /// Returns true if the token of [`Self::cancelled`] is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }

    /// Returns the span of this run's log lines, in which handlers run.
    pub fn span(&self) -> &Span {
        &self.inner.span
    }

    /// Returns the tracker for Tokio tasks that must finish even if the handler is dropped: the worker waits
    /// for them.
    pub fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }

    /// Reports progress: any JSON of up to 16,384 bytes, shown by `GET /tasks/{id}`. Only the latest report
    /// is stored, a moment later, so frequent calls are cheap.
    pub fn progress(&self, report: impl Serialize) -> Result<(), ProgressError> {
        let text = serde_json::to_string(&report).map_err(ProgressError::Encode)?;
        if text.len() > PROGRESS_BYTES {
            return Err(ProgressError::TooLong(text.len()));
        }
        json::check(text.as_bytes(), json::Limits::default())
            .map_err(|fault| ProgressError::Unstorable(format!("`{}` {fault}", fault.pointer)))?;
        match &self.inner.reports {
            ReportSink::Worker(reports) => reports.put(self.inner.facts.run, text),
            // fails if the test has ended, and then needs no reports
            ReportSink::Test(reports) => drop(reports.send(text)),
        }
        Ok(())
    }
}
