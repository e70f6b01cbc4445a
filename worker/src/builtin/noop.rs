use crate::builtin::echo::AnyObject;
use crate::builtin::{RETRIES, retried_quickly};
use crate::{AnyTaskType, Context, TaskError, TaskType};

pub(super) fn task() -> AnyTaskType {
    let task = TaskType::new("noop", run);
    retried_quickly(task, RETRIES)
        .description("Accepts any object and returns at once: for benchmarks and tests")
        .into()
}

async fn run(_: Context, _: AnyObject) -> Result<(), TaskError> {
    Ok(())
}
