//! What a handler knows of the run it is in.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tasker_shared::json;
use tasker_shared::task::limits::PROGRESS_BYTES;
use tasker_shared::task::{Run, TaskId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::progress::Reports;

/// The run that a handler is in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    facts: RunFacts,
    cancelled: CancellationToken,
    reports: Reports,
    tracker: TaskTracker,
    span: Span,
}

/// What is known of a run when it begins.
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
    /// It has no JSON form.
    #[error("the progress report has no JSON form")]
    Encode(#[source] serde_json::Error),
    /// It is longer than 16,384 bytes of JSON.
    #[error("the progress report has {0} bytes of JSON, the limit is {PROGRESS_BYTES}")]
    TooLong(usize),
    /// It holds something that Postgres cannot store.
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

    /// The task's id. The same in every attempt: a good idempotency key for what the handler calls.
    pub fn task_id(&self) -> TaskId {
        self.inner.facts.run.task
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> i32 {
        self.inner.facts.attempt
    }

    /// How many attempts the task has in all.
    pub fn max_attempts(&self) -> i32 {
        self.inner.facts.max_attempts
    }

    /// How long this attempt may take.
    pub fn timeout(&self) -> Duration {
        self.inner.facts.timeout
    }

    /// The text that ties together what belongs together, from the submit or made for it.
    pub fn correlation_id(&self) -> &str {
        &self.inner.facts.correlation_id
    }

    /// The submitter's W3C trace context.
    pub fn traceparent(&self) -> Option<&str> {
        self.inner.facts.traceparent.as_deref()
    }

    /// The task's metadata: JSON text of an object.
    pub fn metadata(&self) -> &str {
        &self.inner.facts.metadata
    }

    /// Cancelled when somebody cancels the task. A handler that sees it should return soon, with whatever it likes.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.inner.cancelled
    }

    /// Whether somebody cancelled the task.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }

    /// The span of this run's log lines; handlers run inside it.
    pub fn span(&self) -> &Span {
        &self.inner.span
    }

    /// Where a handler spawns what has to come to an end of its own when the handler was dropped: the worker waits for it.
    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }

    /// Reports progress: any JSON of up to 16,384 bytes, shown by `GET /tasks/{id}`. The latest report is stored a moment later,
    /// so this may be called as often as one likes.
    pub fn progress(&self, report: impl Serialize) -> Result<(), ProgressError> {
        let text = serde_json::to_string(&report).map_err(ProgressError::Encode)?;
        if text.len() > PROGRESS_BYTES {
            return Err(ProgressError::TooLong(text.len()));
        }
        json::check(text.as_bytes(), json::Limits::default())
            .map_err(|fault| ProgressError::Unstorable(format!("`{}` {fault}", fault.pointer)))?;
        self.inner.reports.put(self.inner.facts.run, text);
        Ok(())
    }
}
