//! Actions of an operator on workflows and steps.

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tasker_core::task::TaskId;
use tasker_wire::{WorkflowAction, WorkflowStep};

use super::show::print_steps;
use crate::commands::values::JsonArg;
use crate::output::{Output, print_line, print_table};
use tasker_client::Client;

/// An action on one step.
#[derive(Debug)]
pub(super) enum StepAction {
    Reset,
    Resolve {
        result: Option<JsonArg>,
        reason: Option<String>,
    },
    Skip,
}

/// The body of a request to change a step.
#[derive(Debug, Serialize)]
struct StepBody {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl StepAction {
    fn into_body(self) -> anyhow::Result<StepBody> {
        let (action, result, reason) = match self {
            Self::Reset => ("reset_for_retry", None, None),
            Self::Resolve { result, reason } => {
                ("resolve_manually", result.map(JsonArg::read).transpose()?, reason)
            }
            Self::Skip => ("skip", None, None),
        };
        Ok(StepBody {
            action,
            result,
            reason,
        })
    }
}

/// Applies `action`, a segment of the path, to a whole workflow.
pub(super) async fn whole(id: TaskId, action: &str, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client
        .post(&["v1", "workflows", &id.to_string(), action], &json!({}))
        .await?;
    if output.is_json() {
        return Ok(print_line(&answer)?);
    }
    let done: WorkflowAction = client.read(&answer)?;
    let row = vec![
        done.workflow_id.to_string(),
        done.status,
        done.cancelled.to_string(),
        done.stopping.to_string(),
        done.changed.to_string(),
    ];
    Ok(print_table(
        &["WORKFLOW", "STATUS", "CANCELLED", "STOPPING", "CHANGED"],
        &[row],
    )?)
}

/// Applies `action` to one step and prints the step.
pub(super) async fn step(
    id: TaskId,
    step: &str,
    action: StepAction,
    client: &Client,
    output: Output,
) -> anyhow::Result<()> {
    let path = ["v1", "workflows", &id.to_string(), "workflow_steps", step];
    let answer = client.patch(&path, &action.into_body()?).await?;
    if output.is_json() {
        return Ok(print_line(&answer)?);
    }
    Ok(print_steps(&[client.read::<WorkflowStep>(&answer)?])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(action: StepAction) -> String {
        serde_json::to_string(&action.into_body().expect("a body")).expect("JSON")
    }

    #[test]
    fn a_step_is_changed_by_the_names_of_the_api_and_keeps_the_digits_of_its_result() {
        assert_eq!(body(StepAction::Reset), r#"{"action":"reset_for_retry"}"#);
        assert_eq!(body(StepAction::Skip), r#"{"action":"skip"}"#);
        let resolve = StepAction::Resolve {
            result: JsonArg::parse(r#"{"n":1.10}"#).ok(),
            reason: Some("by hand".to_owned()),
        };
        assert_eq!(
            body(resolve),
            r#"{"action":"resolve_manually","result":{"n":1.10},"reason":"by hand"}"#
        );
    }
}
