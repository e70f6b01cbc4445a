//! Library for Tasker workers: write task handlers and run them.
//!
//! ```no_run
//! use tasker_worker::{Context, TaskError, TaskType, Worker};
//!
//! /// Parameters of the task; its JSON Schema is derived from this type.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Greet {
//!     name: String,
//! }
//!
//! async fn greet(_: Context, task: Greet) -> Result<String, TaskError> {
//!     Ok(format!("hello {}", task.name))
//! }
//!
//! #[tokio::main]
//! async fn main() {
//!     let code = Worker::builder().register(TaskType::new("greet", greet)).run().await;
//!     std::process::exit(code)
//! }
//! ```
//!
//! A handler may run more than once for a task (its worker may crash, or its result may not be stored in
//! time): make it idempotent. The guarantees of a worker and its configuration are described in the project's
//! documentation.
//!
//! # State of handlers
//!
//! A handler may be a closure that captures what all runs share: a connection pool, an HTTP client, settings.
//! It is called for many runs at the same time, so each call takes a clone; wrap what is not cheap to clone
//! in an [`Arc`](std::sync::Arc).
//!
//! ```
//! use std::sync::Arc;
//!
//! use tasker_worker::{Context, TaskError, TaskType};
//!
//! struct Greeter {
//!     greeting: String,
//! }
//!
//! async fn greet(greeter: Arc<Greeter>, _: Context, name: String) -> Result<String, TaskError> {
//!     Ok(format!("{} {name}", greeter.greeting))
//! }
//!
//! fn greetings(greeter: Arc<Greeter>) -> TaskType<String, String> {
//!     TaskType::new("greet", move |context, name| greet(Arc::clone(&greeter), context, name))
//!         .description("Greets by name")
//! }
//!
//! let greeter = Arc::new(Greeter { greeting: "hello".to_owned() });
//! let worker = tasker_worker::Worker::builder().register(greetings(greeter));
//! ```
//!
//! # Tests
//!
//! [`testing`] runs one handler without Postgres and Redis.
//!
//! # Modules
//!
//! Inside, `tasker_engine` claims tasks and writes their completions; `handlers` runs them with the
//! registered handlers, `start` registers the worker and `http` serves its state. `commands` has what a
//! worker's program does instead of starting.

mod builder;
mod commands;
mod context;
mod handler;
mod handlers;
mod http;
mod identity;
mod publish;
mod registry;
mod results;
mod run_error;
mod runtime;
mod start;
mod task_error;
mod task_type;
pub mod testing;

pub use builder::{Worker, WorkerBuilder};
pub use context::{Context, ProgressError};
pub use registry::RegistryError;
pub use run_error::RunError;
pub use task_error::TaskError;
pub use task_type::{AnyTaskType, TaskType};
pub use tasker_config::{WorkerCommand, WorkerConfig};
pub use tasker_core::role::Role;
pub use tasker_core::task::{Priority, QueueName, TaskId};
