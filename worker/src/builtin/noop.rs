use crate::builtin::echo::AnyObject;
use crate::{Context, Task, TaskError};

pub(super) fn task() -> Task {
    Task::new("noop", run).description("Does nothing, with any object: for measurements and trials")
}

async fn run(_: Context, _: AnyObject) -> Result<(), TaskError> {
    Ok(())
}
