use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::retried_quickly;
use tasker_worker::{AnyTaskType, Context, TaskError, TaskType};

/// The parameters of a task that fails on demand.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    /// True to fail, which is the default.
    should_fail: bool,
    /// The error text of the failure.
    error_message: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            should_fail: true,
            error_message: "Task failed as requested".to_owned(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    message: &'static str,
    attempt: i32,
}

pub(super) fn task() -> AnyTaskType {
    retried_quickly(TaskType::new("example_failing", run), 2)
        .description("Fails unless `should_fail` is false: shows retries and dead letters")
        .into()
}

async fn run(context: Context, parameters: Parameters) -> Result<Report, TaskError> {
    if parameters.should_fail {
        return Err(TaskError::retry(parameters.error_message));
    }
    Ok(Report {
        message: "Task completed",
        attempt: context.attempt(),
    })
}
