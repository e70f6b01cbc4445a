//! Runs single handlers in tests, without Postgres and Redis.
//!
//! ```
//! use serde_json::json;
//! use tasker_worker::{Context, TaskError, TaskType, testing};
//!
//! async fn double(context: Context, number: i64) -> Result<i64, TaskError> {
//!     context.progress("multiplying")?;
//!     Ok(number * 2)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let outcome = testing::run(TaskType::new("double", double), json!(21)).await;
//! assert_eq!(outcome.result.unwrap(), json!(42));
//! assert_eq!(outcome.progress, [json!("multiplying")]);
//! # }
//! ```
//!
//! Parameters and result pass through JSON as in a worker: parameters that do not fit the handler's type, and
//! results that cannot be stored, are errors. The JSON Schema is not applied; the server does that before it
//! accepts a task. A run is one attempt without a time limit, and is not retried: choose the number of the
//! attempt with [`TestRun::attempt`]. A panic of the handler panics in the test.
//!
//! [`TestRun::start`] returns a run that the test can observe and cancel:
//!
//! ```
//! # use serde_json::json;
//! # use tasker_worker::{Context, TaskError, TaskType, testing};
//! async fn until_cancelled(context: Context, (): ()) -> Result<(), TaskError> {
//!     context.progress("waiting")?;
//!     context.cancelled().cancelled().await;
//!     Err(TaskError::fail("cancelled"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut run = testing::run(TaskType::new("until_cancelled", until_cancelled), json!(null)).start();
//! assert_eq!(run.progress().await, Some(json!("waiting")));
//! run.cancel();
//! let error = run.outcome().await.result.unwrap_err();
//! assert_eq!(error.text(), "cancelled");
//! # }
//! ```

use std::future::IntoFuture;
use std::panic::resume_unwind;
use std::pin::Pin;

use serde_json::Value;
use tasker_core::task::{Run, TaskId};
use tasker_engine::CANCEL_GRACE;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use crate::context::{Context, RunFacts};
use crate::handler::Handler;
use crate::task_error::TaskError;
use crate::task_type::AnyTaskType;

/// Returns a run of the task type's handler with these parameters. Await it for its [`Outcome`].
pub fn run(task: impl Into<AnyTaskType>, parameters: Value) -> TestRun {
    let task = task.into();
    TestRun {
        max_attempts: task.max_retries.cast_signed() + 1,
        task,
        parameters,
        task_id: TaskId::generate(),
        attempt: 1,
        metadata: Value::Object(serde_json::Map::new()),
    }
}

/// A run that has not started: its facts can still be set. Await it, or [`start`](Self::start) it.
#[derive(Debug)]
#[must_use = "a run starts when it is awaited"]
pub struct TestRun {
    task: AnyTaskType,
    parameters: Value,
    task_id: TaskId,
    attempt: i32,
    max_attempts: i32,
    metadata: Value,
}

/// A run that was started.
#[derive(Debug)]
pub struct StartedRun {
    handler: JoinHandle<Result<String, TaskError>>,
    cancelled: CancellationToken,
    tracker: TaskTracker,
    reports: mpsc::UnboundedReceiver<String>,
    seen: Vec<Value>,
}

/// The outcome of a run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The handler's result, as it would be stored, or its error.
    pub result: Result<Value, TaskError>,
    /// The progress reports, in order. A worker stores the latest one only.
    pub progress: Vec<Value>,
}

impl TestRun {
    /// Sets the task's id. A new one by default.
    pub fn task_id(mut self, id: TaskId) -> Self {
        self.task_id = id;
        self
    }

    /// Sets the number of the attempt, counted from 1. 1 by default.
    pub fn attempt(mut self, attempt: i32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Sets the task's metadata, a JSON object. Empty by default.
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = metadata;
        self
    }

    /// Starts the run in a task or, for a blocking handler, on a thread of its own.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(self) -> StartedRun {
        let (reporter, reports) = mpsc::unbounded_channel();
        let (cancelled, tracker, span) = (CancellationToken::new(), TaskTracker::new(), Span::current());
        let facts = RunFacts {
            run: Run {
                task: self.task_id,
                number: self.attempt,
            },
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            timeout: self.task.timeout,
            correlation_id: self.task_id.to_string(),
            traceparent: None,
            metadata: self.metadata.to_string(),
        };
        let context = Context::in_test(facts, cancelled.clone(), reporter, tracker.clone(), span.clone());
        let parameters = self.parameters.to_string();
        let handler = match self.task.handler {
            Handler::Async(handler) => tokio::spawn(handler(context, parameters).instrument(span)),
            Handler::Blocking(handler) => {
                tokio::task::spawn_blocking(move || span.in_scope(|| handler(context, parameters)))
            }
        };
        StartedRun {
            handler,
            cancelled,
            tracker,
            reports,
            seen: Vec::new(),
        }
    }
}

impl IntoFuture for TestRun {
    type Output = Outcome;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.start().outcome().await })
    }
}

impl StartedRun {
    /// Waits for the next progress report. `None` if the handler returned without another one.
    pub async fn progress(&mut self) -> Option<Value> {
        let report = value(&self.reports.recv().await?);
        self.seen.push(report.clone());
        Some(report)
    }

    /// Cancels the run, as the cancellation of its task would.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Waits until the handler has returned.
    ///
    /// # Panics
    /// If the handler panicked, with its message; or if it did not return within five seconds after it was
    /// cancelled, when a worker would give up on it.
    pub async fn outcome(mut self) -> Outcome {
        let ignored = async {
            self.cancelled.cancelled().await;
            tokio::time::sleep(CANCEL_GRACE).await;
        };
        let returned = tokio::select! {
            biased;
            returned = &mut self.handler => returned,
            () = ignored => {
                self.handler.abort();
                panic!("the handler did not return within {CANCEL_GRACE:?} after it was cancelled")
            }
        };
        let result = returned.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        self.tracker.close();
        self.tracker.wait().await;
        while let Ok(report) = self.reports.try_recv() {
            self.seen.push(value(&report));
        }
        Outcome {
            result: result.map(|text| value(&text)),
            progress: self.seen,
        }
    }
}

/// Returns the value of a text that was encoded as JSON before.
fn value(text: &str) -> Value {
    let mut reader = serde_json::Deserializer::from_str(text);
    // the depth was checked when it was encoded, and its limit is above serde_json's own
    reader.disable_recursion_limit();
    serde::Deserialize::deserialize(&mut reader).expect("it was encoded as JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::TaskType;

    async fn facts(context: Context, (): ()) -> Result<Value, TaskError> {
        Ok(json!([
            context.task_id().to_string(),
            context.attempt(),
            context.max_attempts(),
            context.metadata()
        ]))
    }

    #[tokio::test]
    async fn a_handler_sees_the_facts_that_the_test_sets() {
        let id = TaskId::generate();
        let run = run(TaskType::new("facts", facts).max_retries(4), Value::Null);
        let outcome = run.task_id(id).attempt(3).metadata(json!({"a": 1})).await;
        assert_eq!(
            outcome.result.expect("a result"),
            json!([id.to_string(), 3, 5, r#"{"a":1}"#])
        );
    }

    #[tokio::test]
    async fn parameters_of_another_type_and_results_that_cannot_be_stored_are_errors() {
        async fn nul(_: Context, (): ()) -> Result<String, TaskError> {
            Ok("\0".to_owned())
        }
        let outcome = run(TaskType::new("facts", facts), json!(1)).await;
        let error = outcome.result.expect_err("an error").text();
        assert!(error.starts_with("invalid_parameters"), "{error}");
        let outcome = run(TaskType::new("nul", nul), Value::Null).await;
        let error = outcome.result.expect_err("an error").text();
        assert!(error.starts_with("result_unstorable"), "{error}");
    }

    #[tokio::test]
    async fn a_blocking_handler_is_cancelled_and_all_its_reports_are_seen() {
        let counts = |context: Context, (): ()| {
            context.progress(1)?;
            while !context.is_cancelled() {
                std::thread::yield_now();
            }
            context.progress(2)?;
            Err::<(), _>(TaskError::fail("cancelled"))
        };
        let mut run = run(TaskType::blocking("counts", counts), Value::Null).start();
        assert_eq!(run.progress().await, Some(json!(1)));
        run.cancel();
        let outcome = run.outcome().await;
        assert!(matches!(outcome.result, Err(TaskError::Fail(_))));
        assert_eq!(outcome.progress, [json!(1), json!(2)]);
    }

    #[tokio::test]
    #[should_panic(expected = "out of cheese")]
    async fn a_panic_of_the_handler_is_one_of_the_test() {
        async fn panics(_: Context, (): ()) -> Result<(), TaskError> {
            panic!("out of cheese")
        }
        run(TaskType::new("panics", panics), Value::Null).await;
    }

    #[tokio::test]
    #[should_panic(expected = "did not return within 5s after it was cancelled")]
    async fn a_handler_that_ignores_its_cancellation_fails_the_test() {
        async fn ignores(_: Context, (): ()) -> Result<(), TaskError> {
            std::future::pending().await
        }
        let run = run(TaskType::new("ignores", ignores), Value::Null).start();
        run.cancel();
        run.outcome().await;
    }
}
