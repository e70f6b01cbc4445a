//! A worker for tests with misbehaving handlers: one never returns, one panics, one logs a lot.

use serde_json::Value;
use tasker_worker::{Context, TaskError, TaskType, Worker};

#[tokio::main]
async fn main() {
    let code = Worker::builder()
        .register(TaskType::blocking("stuck", stuck))
        .register(TaskType::new("panics", panics))
        .register(TaskType::new("talks", talks))
        .run()
        .await;
    std::process::exit(code)
}

fn stuck(_: Context, _: Value) -> Result<(), TaskError> {
    loop {
        std::thread::park();
    }
}

/// Panics with its parameters in the message, like a careless handler.
async fn panics(_: Context, parameters: Value) -> Result<(), TaskError> {
    panic!("cannot use {parameters}")
}

/// Logs as many lines as its parameter `lines` asks for.
async fn talks(_: Context, lines: Value) -> Result<(), TaskError> {
    for line in 0..lines["lines"].as_u64().unwrap_or_default() {
        tracing::info!(line, "a handler that talks");
    }
    Ok(())
}
