//! Library for Tasker workers: write task handlers and run them.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
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
//! async fn main() -> ExitCode {
//!     Worker::builder().register(TaskType::new("greet", greet)).run().await
//! }
//! ```
//!
//! A handler may run more than once for a task (its worker may crash, or its result may not be stored in
//! time): make it idempotent. The guarantees of a worker and its configuration are described in the project's
//! documentation.
//!
//! Inside, `tasker_engine` claims tasks and writes their completions; `handlers` runs them with the registered
//! handlers, `start` registers the worker and `http` serves its state.

mod builder;
pub mod builtin;
mod context;
mod handler;
mod handlers;
mod http;
mod identity;
mod registry;
mod results;
mod run_error;
mod runtime;
mod start;
mod task_type;

pub use builder::{Worker, WorkerBuilder};
pub use context::{Context, ProgressError};
pub use handler::TaskError;
pub use registry::RegistryError;
pub use run_error::RunError;
pub use task_type::TaskType;
pub use tasker_config::WorkerConfig;
pub use tasker_core::task::{Priority, QueueName, TaskId};
