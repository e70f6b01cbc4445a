//! The built-in task types against real Postgres and Redis, each test with its own.

mod backup;
#[path = "../../../tests/it/harness.rs"]
mod harness;
mod service;

use harness::{RunningWorker, System};

/// Starts a worker with the built-in task types.
fn built_in_worker(system: &System, settings: &[(&str, &str)]) -> RunningWorker {
    system.worker(tasker_builtin::all(&system.config(settings)), settings)
}
