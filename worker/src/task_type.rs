//! Task types: a name, a handler, and the defaults for tasks of that type.

use std::future::Future;
use std::time::Duration;

use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tasker_core::task::retry::{Backoff, DEFAULT_MAX_RETRIES};
use tasker_core::task::{Priority, QueueName};
use tasker_store::task_types;

use crate::context::Context;
use crate::handler::{Handler, TaskError};

/// Time limit of one attempt by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_hours(1);

/// A task type to register with a worker: its name, its handler and the defaults of its tasks.
#[derive(Clone)]
pub struct TaskType {
    pub(crate) name: String,
    pub(crate) handler: Handler,
    pub(crate) description: String,
    pub(crate) queue: Option<QueueName>,
    pub(crate) priority: Priority,
    pub(crate) max_retries: u32,
    pub(crate) timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) schema: Option<serde_json::Value>,
}

impl TaskType {
    /// Creates a task type whose handler is an async function.
    ///
    /// The JSON Schema of its parameters is derived from `P`; the server rejects submits that do not match
    /// it.
    pub fn new<P, R, F, Fut>(name: impl Into<String>, handler: F) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize,
        F: Fn(Context, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
    {
        Self::with(name, Handler::new(handler), schema_for!(P).to_value())
    }

    /// Creates a task type whose handler blocks or computes: it runs on its own thread and does not delay
    /// other tasks.
    ///
    /// A thread cannot be stopped from outside: on timeout or cancellation the attempt ends at once, but its
    /// slot stays taken until the handler returns. Check [`Context::is_cancelled`] regularly.
    pub fn blocking<P, R, F>(name: impl Into<String>, handler: F) -> Self
    where
        P: DeserializeOwned + JsonSchema,
        R: Serialize,
        F: Fn(Context, P) -> Result<R, TaskError> + Send + Sync + 'static,
    {
        Self::with(name, Handler::blocking(handler), schema_for!(P).to_value())
    }

    fn with(name: impl Into<String>, handler: Handler, schema: serde_json::Value) -> Self {
        Self {
            name: name.into(),
            handler,
            description: String::new(),
            queue: None,
            priority: 0,
            max_retries: DEFAULT_MAX_RETRIES,
            timeout: DEFAULT_TIMEOUT,
            backoff: Backoff::default(),
            schema: Some(schema),
        }
    }

    /// Sets the description, one line shown by `GET /tasks/types`.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Sets the queue of its tasks, for submits with neither queue nor priority.
    #[must_use]
    pub fn queue(mut self, queue: QueueName) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets the priority of its tasks, −100 to 100, for submits without one. 0 by default.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the number of retries after the first attempt, 0 to 100. 10 by default.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets the time limit of one attempt, up to 7 days. One hour by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the delay between attempts: a random time of at most `base` after the first, doubling up to
    /// `cap`. 30 seconds and 6 hours by default, so that 10 retries span a few hours.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.backoff = Backoff { base, cap };
        self
    }

    /// Returns the form in which the type is published to the server.
    pub(crate) fn published(&self) -> task_types::TaskType {
        task_types::TaskType {
            name: self.name.clone(),
            description: self.description.clone(),
            queue: self.queue.clone(),
            priority: self.priority,
            max_retries: self.max_retries.cast_signed(),
            timeout_seconds: self.timeout.as_secs_f64(),
            parameters_schema: self.schema.as_ref().map(ToString::to_string),
        }
    }
}

impl std::fmt::Debug for TaskType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskType")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
