use crate::echo::AnyObject;
use crate::{RETRIES, retried_quickly};
use tasker_worker::{AnyTaskType, Context, TaskError, TaskType};

pub(super) fn task() -> AnyTaskType {
    let task = TaskType::new("noop", run);
    retried_quickly(task, RETRIES)
        .ignores_parameters()
        .description("Accepts any object and returns at once: for benchmarks and tests")
        .into()
}

async fn run(_: Context, _: AnyObject) -> Result<(), TaskError> {
    Ok(())
}
