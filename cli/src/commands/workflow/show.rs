//! One workflow on the terminal: its fields, its steps, its history.

use std::io;

use chrono::{DateTime, SecondsFormat, Utc};
use tasker_core::task::TaskId;
use tasker_wire::{Workflow, WorkflowChange, WorkflowHistory, WorkflowStep};

use crate::output::{Output, print_line, print_table, printable, progress};
use crate::record::Record;
use tasker_client::Client;

/// Maximum length of an error text in a table.
const ERROR_CHARS_MAX: usize = 60;
/// Fields of a record that are shown elsewhere: the second name of the id, and the steps, which are a table.
const NOT_FIELDS: [&str; 2] = ["task_uuid", "steps"];

/// Prints a workflow and its steps.
pub(super) async fn get(
    id: TaskId,
    wait: Option<u32>,
    client: &Client,
    output: Output,
) -> anyhow::Result<()> {
    let seconds = wait.map(|seconds| seconds.to_string());
    let query: Vec<_> = seconds.iter().map(|seconds| ("wait", seconds.as_str())).collect();
    let answer = client.get(&["v1", "workflows", &id.to_string()], &query).await?;
    print(&answer, client, output)
}

/// Prints a record of the server.
pub(super) fn print(answer: &str, client: &Client, output: Output) -> anyhow::Result<()> {
    if output.is_json() {
        return Ok(print_line(answer)?);
    }
    print_table(&["FIELD", "VALUE"], &fields(&client.read::<Record>(answer)?))?;
    let workflow: Workflow = client.read(answer)?;
    print_line("")?;
    print_steps(&workflow.steps)?;
    if let Some(note) = rest(&workflow) {
        progress(&note);
    }
    Ok(())
}

fn fields(record: &Record) -> Vec<Vec<String>> {
    let rows = record.rows().into_iter();
    rows.filter(|row| !NOT_FIELDS.contains(&row[0].as_str()))
        .collect()
}

/// Returns a note about steps that a record leaves out, since it holds at most 1,000.
pub(super) fn rest(workflow: &Workflow) -> Option<String> {
    let shown = workflow.steps.len();
    let left_out = usize::try_from(workflow.total_steps).is_ok_and(|total| total > shown);
    left_out.then(|| {
        format!(
            "showing {shown} of {} steps; all of them: tasker workflow steps {}",
            workflow.total_steps, workflow.workflow_id
        )
    })
}

/// Prints steps as a table.
pub(super) fn print_steps(steps: &[WorkflowStep]) -> io::Result<()> {
    let heads = [
        "STEP", "STATUS", "TYPE", "QUEUE", "ATTEMPTS", "STARTED", "ENDED", "ID", "ERROR",
    ];
    let rows: Vec<_> = steps.iter().map(step_row).collect();
    print_table(&heads, &rows)
}

fn step_row(step: &WorkflowStep) -> Vec<String> {
    vec![
        step.name.clone(),
        step.status.to_string(),
        step.task_name.clone(),
        step.queue.to_string(),
        format!("{}/{}", step.attempts, step.max_attempts),
        optional_time(step.started_at),
        optional_time(step.completed_at),
        step.step_uuid.to_string(),
        error_text(step),
    ]
}

/// Returns the beginning of the error of a step, else its reason, else `-`; without control characters.
pub(super) fn error_text(step: &WorkflowStep) -> String {
    let text = step.error.as_deref().or(step.reason.as_deref()).unwrap_or("-");
    printable(&text.chars().take(ERROR_CHARS_MAX).collect::<String>())
}

/// Prints the changes of a workflow.
pub(super) async fn history(id: TaskId, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client
        .get(&["v1", "workflows", &id.to_string(), "history"], &[])
        .await?;
    if output.is_json() {
        return Ok(print_line(&answer)?);
    }
    let rows: Vec<_> = client
        .read::<WorkflowHistory>(&answer)?
        .events
        .into_iter()
        .map(change_row)
        .collect();
    Ok(print_table(
        &["TIME", "FROM", "TO", "STEP", "REASON", "ACTOR"],
        &rows,
    )?)
}

fn change_row(change: WorkflowChange) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        time(change.at),
        or_dash(change.from),
        change.to,
        or_dash(change.step),
        or_dash(change.reason),
        or_dash(change.actor),
    ]
}

/// Formats a time with its date, to the second.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Formats a time, `-` for `None`.
pub(super) fn optional_time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

#[cfg(test)]
mod tests {
    use super::super::wait::tests::{record, workflow};
    use super::*;

    #[test]
    fn the_id_and_the_steps_are_not_shown_twice() {
        let text = record("complete", true, &[("a", "completed", None)]);
        let rows = fields(&serde_json::from_str(&text).expect("a record"));
        let names: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
        assert!(
            names.contains(&"workflow_id") && names.contains(&"status"),
            "{names:?}"
        );
        assert!(
            !names.contains(&"task_uuid") && !names.contains(&"steps"),
            "{names:?}"
        );
    }

    #[test]
    fn a_step_is_a_row_with_its_whole_id_and_the_beginning_of_its_error() {
        let steps = [("pay", "dead_letter", Some("card declined"))];
        let step = &workflow("blocked_by_failures", false, &steps).steps[0];
        let row = step_row(step);
        assert_eq!(row[..2], ["pay", "dead_letter"]);
        assert_eq!(row[4], "1/3");
        assert_eq!(row[7], step.step_uuid.to_string());
        assert_eq!(row[8], "card declined");
    }

    #[test]
    fn a_note_names_the_number_of_steps_only_where_some_are_left_out() {
        let mut long = workflow("steps_in_process", false, &[("a", "running", None)]);
        assert_eq!(rest(&long), None);
        long.total_steps = 5_000;
        let note = rest(&long).expect("a note");
        assert!(note.starts_with("showing 1 of 5000 steps"), "{note}");
    }
}
