//! Task types: a name, a handler, and the defaults for tasks of that type.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tasker_core::role::Role;
use tasker_core::task::retry::{Backoff, DEFAULT_MAX_RETRIES};
use tasker_core::task::{Priority, QueueName};
use tasker_store::task_types;

use crate::context::Context;
use crate::handler::Handler;
use crate::task_error::TaskError;

/// Time limit of one attempt by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_hours(1);

/// A task type to register with a worker: its name, its handler with its parameters `P` and its result `R`,
/// and the defaults of its tasks.
pub struct TaskType<P, R> {
    any: AnyTaskType,
    types: PhantomData<fn(P) -> R>,
}

/// A task type of any parameters and any result: the form in which a worker keeps its task types.
#[derive(Clone)]
pub struct AnyTaskType {
    pub(crate) name: String,
    pub(crate) handler: Handler,
    pub(crate) description: String,
    pub(crate) queue: Option<QueueName>,
    pub(crate) priority: Priority,
    pub(crate) max_retries: u32,
    pub(crate) timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) required_role: Option<Role>,
    pub(crate) reads_parameters: bool,
    parameters_schema: String,
    result_schema: String,
}

impl<P, R> TaskType<P, R> {
    /// Creates a task type whose handler is an async function or closure.
    ///
    /// The JSON Schema of its parameters is derived from `P`; the server rejects submits that do not match
    /// it. That of its result is derived from `R`, for those who read results.
    pub fn new<F, Fut>(name: impl Into<String>, handler: F) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema,
        F: Fn(Context, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
    {
        Self::with(name, Handler::new(handler))
    }

    /// Creates a task type whose handler blocks or computes: it runs on its own thread and does not delay
    /// other tasks.
    ///
    /// A thread cannot be stopped from outside: on timeout or cancellation the attempt ends at once, but its
    /// slot stays taken until the handler returns. Check [`Context::is_cancelled`] regularly.
    pub fn blocking<F>(name: impl Into<String>, handler: F) -> Self
    where
        P: DeserializeOwned + JsonSchema,
        R: Serialize + JsonSchema,
        F: Fn(Context, P) -> Result<R, TaskError> + Send + Sync + 'static,
    {
        Self::with(name, Handler::blocking(handler))
    }

    fn with(name: impl Into<String>, handler: Handler) -> Self
    where
        P: JsonSchema,
        R: JsonSchema,
    {
        let any = AnyTaskType {
            name: name.into(),
            handler,
            description: String::new(),
            queue: None,
            priority: 0,
            max_retries: DEFAULT_MAX_RETRIES,
            timeout: DEFAULT_TIMEOUT,
            backoff: Backoff::default(),
            required_role: None,
            reads_parameters: true,
            parameters_schema: schema_of::<P>(SchemaSettings::default().for_deserialize()),
            result_schema: schema_of::<R>(SchemaSettings::default().for_serialize()),
        };
        Self {
            any,
            types: PhantomData,
        }
    }

    /// Declares that the handler ignores its parameters, so that as a step of a workflow it is started
    /// without reading the context and the results of its parents. It is called with the parameters of its
    /// row.
    #[must_use]
    pub fn ignores_parameters(mut self) -> Self {
        self.any.reads_parameters = false;
        self
    }

    /// Sets the description, one line shown by `GET /tasks/types`.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.any.description = text.into();
        self
    }

    /// Sets the JSON Schema of its parameters in place of the one derived from `P`, for rules that are known
    /// only at run time. The handler still reads the parameters as a `P`.
    #[must_use]
    pub fn parameters_schema(mut self, schema: &Schema) -> Self {
        self.any.parameters_schema = schema.as_value().to_string();
        self
    }

    /// Sets the queue of its tasks, for submits with neither queue nor priority.
    #[must_use]
    pub fn queue(mut self, queue: QueueName) -> Self {
        self.any.queue = Some(queue);
        self
    }

    /// Sets the priority of its tasks, −100 to 100, for submits without one. 0 by default.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.any.priority = priority;
        self
    }

    /// Sets the number of retries after the first attempt, 0 to 100. 10 by default.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.any.max_retries = retries;
        self
    }

    /// Sets the time limit of one attempt, up to 7 days. One hour by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.any.timeout = timeout;
        self
    }

    /// Sets the delay between attempts: a random time of at most `base` after the first, doubling up to
    /// `cap`. 30 seconds and 6 hours by default, so that 10 retries span a few hours.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.any.backoff = Backoff { base, cap };
        self
    }

    /// Sets the role that a caller needs to submit its tasks, for tasks that act on the deployment itself. By
    /// default every caller that may submit tasks may submit these.
    ///
    /// If workers publish one type with different roles, the strictest applies. A later publication with a
    /// lower role, or without one, does not lower it.
    #[must_use]
    pub fn requires(mut self, role: Role) -> Self {
        self.any.required_role = Some(role);
        self
    }
}

impl AnyTaskType {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of retries after the first attempt.
    pub fn retries(&self) -> u32 {
        self.max_retries
    }

    /// Returns the delay after the first attempt and the maximum delay.
    pub fn delays(&self) -> (Duration, Duration) {
        (self.backoff.base, self.backoff.cap)
    }

    /// Returns the role that a caller needs to submit its tasks; `None` if any caller may who submits tasks.
    pub fn required_role(&self) -> Option<Role> {
        self.required_role
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
            parameters_schema: Some(self.parameters_schema.clone()),
            result_schema: Some(self.result_schema.clone()),
            required_role: self.required_role,
        }
    }
}

impl<P, R> From<TaskType<P, R>> for AnyTaskType {
    fn from(task: TaskType<P, R>) -> Self {
        task.any
    }
}

/// Returns the JSON Schema of `T` as JSON text.
fn schema_of<T: JsonSchema>(settings: SchemaSettings) -> String {
    let schema = settings.into_generator().into_root_schema_for::<T>();
    schema.as_value().to_string()
}

// not derived: that would demand the same of `P` and `R`
impl<P, R> Clone for TaskType<P, R> {
    fn clone(&self) -> Self {
        Self {
            any: self.any.clone(),
            types: PhantomData,
        }
    }
}

impl<P, R> fmt::Debug for TaskType<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskType")
            .field("name", &self.any.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AnyTaskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyTaskType")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(serde::Serialize, serde::Deserialize, JsonSchema)]
    struct Letter {
        #[serde(default)]
        subject: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
    }

    fn read(schema: Option<String>) -> Value {
        serde_json::from_str(&schema.expect("a schema")).expect("JSON")
    }

    #[test]
    fn parameters_are_published_as_they_are_read_and_results_as_they_are_written() {
        async fn same(_: Context, letter: Letter) -> Result<Letter, TaskError> {
            Ok(letter)
        }
        let published = AnyTaskType::from(TaskType::new("same", same)).published();
        let (parameters, result) = (read(published.parameters_schema), read(published.result_schema));
        assert_eq!(parameters["required"], Value::Null);
        assert_eq!(result["required"], json!(["subject"]));
        assert_eq!(published.required_role, None);
    }

    #[test]
    fn the_required_role_is_published() {
        let task = TaskType::blocking("nothing", |_, (): ()| Ok(())).requires(Role::Operator);
        let published = AnyTaskType::from(task).published();
        assert_eq!(published.required_role, Some(Role::Operator));
        assert_eq!(read(published.result_schema)["type"], "null");
    }
}
