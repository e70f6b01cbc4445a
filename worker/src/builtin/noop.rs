use crate::builtin::echo::AnyObject;
use crate::builtin::{RETRIES, retried_quickly};
use crate::{Context, TaskError, TaskType};

pub(super) fn task() -> TaskType {
    let task = TaskType::new("noop", run);
    retried_quickly(task, RETRIES).description("Does nothing, with any object: for measurements and trials")
}

async fn run(_: Context, _: AnyObject) -> Result<(), TaskError> {
    Ok(())
}
