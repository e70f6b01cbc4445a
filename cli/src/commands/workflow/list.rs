//! Lists of workflows and of their steps, page by page.

use clap::Args;
use clap::builder::PossibleValuesParser;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_wire::{WorkflowSteps, WorkflowSummary, Workflows};
use tasker_workflow::states::WorkflowState;

use super::show::{optional_time, print_steps, time};
use crate::output::{Output, print_line, print_table};
use tasker_client::Client;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only workflows in this stored state.
    #[arg(long, value_parser = PossibleValuesParser::new(stored_states()))]
    status: Option<String>,
    /// Only workflows of this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// Only workflows of this name.
    #[arg(long)]
    name: Option<String>,
    /// Only workflows with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Maximum number of workflows.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Continue after an earlier page, with the cursor that it printed and the same filter.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StepsArgs {
    /// Id of the workflow.
    id: TaskId,
    /// Only steps in this state.
    #[arg(long, value_parser = PossibleValuesParser::new(TaskStatus::NAMES))]
    status: Option<String>,
    /// Maximum number of steps.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Continue after an earlier page, with the cursor that it printed and the same filter.
    #[arg(long)]
    cursor: Option<String>,
}

/// Returns the names of the states that a workflow can be found by; the others are derived from its steps.
fn stored_states() -> impl Iterator<Item = &'static str> {
    let is_stored = |name: &&str| name.parse().is_ok_and(WorkflowState::is_stored);
    WorkflowState::NAMES.iter().copied().filter(is_stored)
}

/// Prints a page of workflows.
pub(super) async fn list(args: ListArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let parameters = [
        ("status", args.status),
        ("namespace", args.namespace),
        ("name", args.name),
        ("tag", args.tag),
        ("limit", Some(args.limit.to_string())),
        ("cursor", args.cursor),
    ];
    let answer = client.get(&["v1", "workflows"], &given(&parameters)).await?;
    if output.is_json() {
        return Ok(print_line(&answer)?);
    }
    let page: Workflows = client.read(&answer)?;
    let heads = [
        "WORKFLOW",
        "NAMESPACE",
        "NAME",
        "VERSION",
        "STATUS",
        "STEPS",
        "CREATED",
        "ENDED",
        "TAGS",
    ];
    let rows: Vec<_> = page.workflows.iter().map(row).collect();
    print_table(&heads, &rows)?;
    print_cursor(page.next_cursor)
}

/// Prints a page of the steps of a workflow.
pub(super) async fn steps(args: StepsArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let parameters = [
        ("status", args.status),
        ("limit", Some(args.limit.to_string())),
        ("cursor", args.cursor),
    ];
    let path = ["v1", "workflows", &args.id.to_string(), "workflow_steps"];
    let answer = client.get(&path, &given(&parameters)).await?;
    if output.is_json() {
        return Ok(print_line(&answer)?);
    }
    let page: WorkflowSteps = client.read(&answer)?;
    print_steps(&page.steps)?;
    print_cursor(page.next_cursor)
}

/// Returns the parameters that have a value.
fn given<'p>(parameters: &'p [(&'p str, Option<String>)]) -> Vec<(&'p str, &'p str)> {
    parameters
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect()
}

fn print_cursor(cursor: Option<String>) -> anyhow::Result<()> {
    if let Some(cursor) = cursor {
        print_line(&format!("more: --cursor {cursor}"))?;
    }
    Ok(())
}

fn row(workflow: &WorkflowSummary) -> Vec<String> {
    vec![
        workflow.workflow_id.to_string(),
        workflow.namespace.clone(),
        workflow.name.clone(),
        workflow.version.clone(),
        status(workflow),
        workflow.total_steps.to_string(),
        time(workflow.created_at),
        optional_time(workflow.completed_at),
        workflow.tags.join(","),
    ]
}

/// Formats the state of a workflow and the requests that do not show in it yet.
fn status(workflow: &WorkflowSummary) -> String {
    let mut status = workflow.status.clone();
    if workflow.paused {
        status.push_str(" (paused)");
    }
    if workflow.cancel_requested && workflow.completed_at.is_none() {
        status.push_str(" (stopping)");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_shows_requests_that_are_under_way() {
        let text = r#"{"workflow_id":"0190a5f0-0000-7000-8000-000000000000",
            "task_uuid":"0190a5f0-0000-7000-8000-000000000000","name":"n","namespace":"s","version":"1.0.0",
            "status":"steps_in_process","paused":true,"cancel_requested":true,"total_steps":2,
            "tags":["a","b"],"created_at":"2030-01-02T03:04:05.678Z","completed_at":null}"#;
        let summary: WorkflowSummary = serde_json::from_str(text).expect("a summary");
        let row = row(&summary);
        assert_eq!(row[4], "steps_in_process (paused) (stopping)");
        assert_eq!(row[6..], ["2030-01-02T03:04:05Z", "-", "a,b"]);
    }
}
