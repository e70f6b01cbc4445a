//! `tasker-worker`: a worker with the built-in tasks.

use mimalloc::MiMalloc;
use tasker_worker::{Worker, WorkerConfig};

/// mimalloc: the system allocator took a quarter of the CPU time of a busy worker.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() {
    let code = match WorkerConfig::load(std::env::args_os()) {
        Ok(config) => {
            let tasks = tasker_builtin::all(&config);
            Worker::builder().register_all(tasks).run_with(config).await
        }
        Err(error) => error.report(),
    };
    // returning would wait for threads of blocking handlers
    std::process::exit(code)
}
