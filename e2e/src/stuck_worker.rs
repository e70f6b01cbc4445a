//! A worker for the tests whose task computes for ever and heeds nothing.

use std::process::ExitCode;

use serde_json::Value;
use tasker_worker::{Context, Task, TaskError, Worker};

#[tokio::main]
async fn main() -> ExitCode {
    Worker::builder()
        .register(Task::blocking("stuck", stuck))
        .run()
        .await
}

fn stuck(_: Context, _: Value) -> Result<(), TaskError> {
    loop {
        std::thread::park();
    }
}
