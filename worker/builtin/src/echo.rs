use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{RETRIES, retried_quickly};
use tasker_worker::{AnyTaskType, Context, TaskError, TaskType};

/// Any JSON object, stored as its text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct AnyObject(Box<RawValue>);

impl JsonSchema for AnyObject {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyObject".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object"})
    }
}

pub(super) fn task() -> AnyTaskType {
    retried_quickly(TaskType::new("echo", run), RETRIES)
        .description("Returns its parameters")
        .into()
}

async fn run(_: Context, parameters: AnyObject) -> Result<AnyObject, TaskError> {
    Ok(parameters)
}
