//! `tasker-worker`: a worker with the built-in tasks.

use mimalloc::MiMalloc;
use tasker_config::{LoadError, Problems};
use tasker_worker::{Worker, WorkerConfig};

/// The problem of a worker without task types.
const NO_TYPES: &str = "leaves this worker without a task type: list built-in task types, or run a program with types of \
    its own";

/// mimalloc: the system allocator took a quarter of the CPU time of a busy worker.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() {
    let code = match WorkerConfig::load(std::env::args_os()) {
        Ok(mut config) => match tasker_builtin::all(&config) {
            none if none.is_empty() => LoadError::from(Problems::one("BUILTIN_TASKS", NO_TYPES)).report(),
            tasks => {
                tasker_builtin::add_example_workflow(&mut config);
                Worker::builder().register_all(tasks).run_with(config).await
            }
        },
        Err(error) => error.report(),
    };
    // returning would wait for threads of blocking handlers
    std::process::exit(code)
}
