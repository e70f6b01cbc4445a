use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{RETRIES, retried_quickly};
use tasker_worker::{AnyTaskType, Context, TaskError, TaskType};

/// The parameters of a task that simulates the processing of records.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    /// The pretended source of the records.
    data_source: String,
    /// The number of records and the time that they take.
    complexity: Complexity,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Complexity {
    /// 100 records in 5 seconds.
    Basic,
    /// 500 records in 15 seconds.
    Advanced,
    /// 1,000 records in 30 seconds.
    Complex,
}

impl Complexity {
    fn records(self) -> u32 {
        match self {
            Self::Basic => 100,
            Self::Advanced => 500,
            Self::Complex => 1_000,
        }
    }

    fn whole(self) -> Duration {
        Duration::from_secs(match self {
            Self::Basic => 5,
            Self::Advanced => 15,
            Self::Complex => 30,
        })
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            data_source: "default".to_owned(),
            complexity: Complexity::Basic,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    data_source: String,
    complexity: Complexity,
    records_processed: u32,
    status: &'static str,
}

pub(super) fn task() -> AnyTaskType {
    retried_quickly(TaskType::new("example_data_processing", run), RETRIES)
        .description("Processes 100, 500 or 1,000 simulated records and reports progress")
        .timeout(Duration::from_mins(10))
        .into()
}

async fn run(context: Context, parameters: Parameters) -> Result<Report, TaskError> {
    const STEPS: u32 = 20;
    let records = parameters.complexity.records();
    for step in 1..=STEPS {
        tokio::select! {
            () = tokio::time::sleep(parameters.complexity.whole() / STEPS) => {}
            () = context.cancelled().cancelled() => return Err(TaskError::fail("cancelled")),
        }
        context.progress(json!({"records": records * step / STEPS, "of": records}))?;
    }
    Ok(Report {
        data_source: parameters.data_source,
        complexity: parameters.complexity,
        records_processed: records,
        status: "completed",
    })
}
