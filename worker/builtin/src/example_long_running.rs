use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{RETRIES, retried_quickly};
use tasker_worker::{AnyTaskType, Context, TaskError, TaskType};

/// Time between progress reports.
const STEP: Duration = Duration::from_secs(1);

/// The parameters of a task that runs for a given time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    /// The duration in seconds.
    #[schemars(range(min = 0.0, max = 604_800.0))]
    duration: f64,
    /// Returned with the result.
    message: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            duration: 60.0,
            message: "Task completed".to_owned(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    message: String,
    duration_requested: f64,
    duration_actual: f64,
    status: &'static str,
}

pub(super) fn task() -> AnyTaskType {
    retried_quickly(TaskType::new("example_long_running", run), RETRIES)
        .description("Runs for `duration` seconds, reports progress and can be cancelled")
        .timeout(Duration::from_mins(5))
        .into()
}

async fn run(context: Context, parameters: Parameters) -> Result<Report, TaskError> {
    let began = Instant::now();
    let whole = Duration::try_from_secs_f64(parameters.duration).map_err(TaskError::fail)?;
    while let Some(left) = whole.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        tokio::select! {
            () = tokio::time::sleep(left.min(STEP)) => {}
            () = context.cancelled().cancelled() => return Err(TaskError::fail("cancelled")),
        }
        let done = (began.elapsed().as_secs_f64() / parameters.duration).min(1.0);
        context.progress(json!({"percent": (done * 100.0).round()}))?;
    }
    Ok(Report {
        message: parameters.message,
        duration_requested: parameters.duration,
        duration_actual: began.elapsed().as_secs_f64(),
        status: "completed",
    })
}
