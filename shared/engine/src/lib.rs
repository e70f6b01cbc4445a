//! The engine of a worker: claims tasks, has a [`Runner`] run them, and writes their completions.
//!
//! Each step of a task has a module: `dispatch` pops hints and `claims` claims their rows into free slots,
//! `execute` hands a run to the runner and keeps its limits, `completions` and `completion_writer` store the
//! outcome; `in_flight` has every run in between. [`Engine`] builds, starts and stops them.

mod activity;
mod aging;
mod availability;
mod cancel;
mod claim_statement;
mod claims;
mod completion;
mod completion_metrics;
mod completion_writer;
mod completions;
mod dispatch;
mod engine;
mod execute;
mod fallback;
mod heartbeat;
mod hints;
mod in_flight;
mod liveness;
mod monitor;
pub mod panics;
mod progress;
mod queue_counters;
mod readiness;
mod redis_probe;
mod reroute;
mod runner;
mod serving;
mod settings;
mod slots;
mod spans;
mod statement_limit;
mod statements;
mod step_follow;
mod step_inputs;
mod stops;
mod task_log;

pub use engine::{Engine, EngineError};
pub use execute::CANCEL_GRACE;
pub use monitor::Monitor;
pub use progress::Reports;
pub use runner::{Execution, Outcome, Runner};
pub use settings::{LoggedRuns, ServedQueue, Settings};
pub use slots::Slot;
pub use stops::{Stops, StopsOnDrop};
