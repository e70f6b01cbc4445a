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
//! Inside, each step of a task has a module: `dispatch` pops hints and `claims` claims their rows into free
//! slots, `execute` runs a handler, `completions` and `completion_writer` store the outcome; `in_flight` has
//! every run in between.

mod activity;
mod aging;
mod availability;
mod builder;
pub mod builtin;
mod cancel;
mod claims;
mod completion;
mod completion_metrics;
mod completion_writer;
mod completions;
mod context;
mod dispatch;
mod engine;
mod execute;
mod fallback;
mod handler;
mod handlers;
mod heartbeat;
mod hints;
mod http;
mod identity;
mod in_flight;
mod liveness;
mod monitor;
mod panics;
mod progress;
mod queue_counters;
mod readiness;
mod redis_probe;
mod registry;
mod reminder;
mod results;
mod run_error;
mod runner;
mod runtime;
mod serving;
mod settings;
mod slots;
mod spans;
mod start;
mod statement_limit;
mod stops;
mod task_log;
mod task_type;

pub use builder::{Worker, WorkerBuilder};
pub use context::{Context, ProgressError};
pub use handler::TaskError;
pub use registry::RegistryError;
pub use run_error::RunError;
pub use task_type::TaskType;
pub use tasker_config::WorkerConfig;
pub use tasker_core::task::{Priority, QueueName, TaskId};
