//! A worker for tests that registers the task types of the variable `TYPES`, a comma-separated list. Each
//! handler sleeps for its parameter `seconds`.

use std::time::Duration;

use serde_json::Value;
use tasker_worker::{Context, TaskError, TaskType, Worker};

#[tokio::main]
async fn main() {
    let types = std::env::var("TYPES").unwrap_or_default();
    let tasks = types.split(',').map(|name| TaskType::new(name, wait));
    let code = Worker::builder().register_all(tasks).run().await;
    std::process::exit(code)
}

async fn wait(context: Context, parameters: Value) -> Result<(), TaskError> {
    let seconds = parameters["seconds"].as_f64().unwrap_or_default();
    tokio::select! {
        () = context.cancelled().cancelled() => {}
        () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {}
    }
    Ok(())
}
