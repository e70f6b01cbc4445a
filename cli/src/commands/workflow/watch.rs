//! `tasker workflow watch`: a line for each change.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_wire::{Workflow, WorkflowStep};

use super::show::{error_text, rest};
use super::wait::{self, Phase};
use crate::output::{Output, print_line, printable, progress};
use tasker_client::Client;

/// Seconds of one `?wait` request, and so the longest time until a change is printed.
const WAIT_STEP_SECONDS: &str = "1";
/// The width of the longest state, `resolved_manually`.
const STATUS_WIDTH: usize = 17;

/// A change of a step, or of the workflow, whose `step` is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Change {
    at: DateTime<Utc>,
    step: Option<String>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The states that were printed last.
#[derive(Debug, Default)]
struct Seen {
    steps: HashMap<TaskId, (TaskStatus, i32)>,
    phase: Option<Phase>,
}

/// Prints each change of a workflow until it ends.
pub(super) async fn watch(id: TaskId, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let mut seen = Seen::default();
    loop {
        let first = seen.phase.is_none();
        // the first answer is not delayed, and neither is an error: the URL may be wrong
        let (_, workflow) = if first {
            wait::poll(client, id, "0").await?
        } else {
            wait::poll_again(client, id, WAIT_STEP_SECONDS).await?
        };
        if let Some(note) = rest(&workflow).filter(|_| first) {
            progress(&note);
        }
        let width = name_width(&workflow);
        #[expect(
            clippy::disallowed_methods,
            reason = "for the reader; nothing is decided by it"
        )]
        let now = Utc::now();
        for change in seen.changes(&workflow, now) {
            print_line(&if output.is_json() {
                serde_json::to_string(&change)?
            } else {
                line(&change, width)
            })?;
        }
        let phase = Phase::of(&workflow);
        if matches!(phase, Phase::Complete | Phase::EndedOtherwise) {
            return Ok(phase.exit_code());
        }
    }
}

impl Seen {
    /// Returns the changes since the last call, in the order of their times; `now` stands for a time that the
    /// record does not have.
    fn changes(&mut self, workflow: &Workflow, now: DateTime<Utc>) -> Vec<Change> {
        let mut changes: Vec<Change> = workflow
            .steps
            .iter()
            .filter(|step| self.is_new(step))
            .map(|step| change(step, now))
            .collect();
        changes.sort_by_key(|change| change.at);
        let phase = Phase::of(workflow);
        let before = self.phase.replace(phase);
        // other states come and go with those of the steps
        if before != Some(phase) && phase != Phase::Live {
            changes.push(Change {
                at: workflow.completed_at.unwrap_or(now),
                step: None,
                status: workflow.status.clone(),
                attempt: None,
                detail: workflow
                    .reason
                    .clone()
                    .filter(|reason| *reason != workflow.status),
            });
        }
        changes
    }

    fn is_new(&mut self, step: &WorkflowStep) -> bool {
        let state = (step.status, step.attempts);
        let before = self.steps.insert(step.step_uuid, state);
        // a step begins in `waiting`
        before != Some(state) && (before.is_some() || step.status != TaskStatus::Waiting)
    }
}

fn change(step: &WorkflowStep, now: DateTime<Utc>) -> Change {
    let status = step.status;
    let at = match status {
        TaskStatus::Running => step.started_at,
        _ => step.completed_at,
    };
    let failed = matches!(status, TaskStatus::DeadLetter | TaskStatus::RetryScheduled);
    let attempt = match status {
        // counted when it ends
        TaskStatus::Running => Some(step.attempts + 1),
        _ => failed.then_some(step.attempts),
    };
    Change {
        at: at.unwrap_or(now),
        step: Some(step.name.clone()),
        status: status.to_string(),
        attempt,
        detail: failed.then(|| error_text(step)),
    }
}

/// Returns the width of the column of names.
fn name_width(workflow: &Workflow) -> usize {
    let names = workflow.steps.iter().map(|step| step.name.chars().count());
    names.max().unwrap_or(0).max("workflow".len())
}

fn line(change: &Change, width: usize) -> String {
    let time = change.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let name = change.step.as_deref().unwrap_or("workflow");
    let mut line = format!("{time}  {name:width$}  {:STATUS_WIDTH$}", change.status);
    // writing to a `String` never fails
    if let Some(attempt) = change.attempt {
        let _ = write!(line, "  attempt {attempt}");
    }
    if let Some(detail) = &change.detail {
        let _ = write!(line, "  {detail}");
    }
    printable(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::wait::tests::workflow;
    use super::*;

    fn lines(seen: &mut Seen, workflow: &Workflow) -> Vec<String> {
        let changes = seen.changes(workflow, DateTime::UNIX_EPOCH);
        let width = name_width(workflow);
        changes
            .iter()
            .map(|change| line(change, width))
            .map(|line| {
                line.split_once("  ")
                    .map(|(_, rest)| rest.to_owned())
                    .unwrap_or_default()
            })
            .collect()
    }

    #[test]
    fn a_line_is_printed_once_for_each_change_and_for_a_block_and_the_end() {
        let mut seen = Seen::default();
        let first = [("check", "running", None), ("pay", "waiting", None)];
        let mut first = workflow("steps_in_process", false, &first);
        first.steps[0].attempts = 0;
        assert_eq!(
            lines(&mut seen, &first),
            ["check     running            attempt 1"]
        );
        assert!(lines(&mut seen, &first).is_empty());
        let second = [
            ("check", "completed", None),
            ("pay", "dead_letter", Some("declined")),
        ];
        assert_eq!(
            lines(&mut seen, &workflow("blocked_by_failures", false, &second)),
            [
                "check     completed",
                "pay       dead_letter        attempt 1  declined",
                "workflow  blocked_by_failures"
            ]
        );
        let third = [("check", "completed", None), ("pay", "resolved_manually", None)];
        assert_eq!(
            lines(&mut seen, &workflow("complete", true, &third)),
            ["pay       resolved_manually", "workflow  complete"]
        );
    }

    #[test]
    fn a_second_attempt_is_a_change() {
        let mut seen = Seen::default();
        let mut retried = workflow(
            "waiting_for_retry",
            false,
            &[("a", "retry_scheduled", Some("no"))],
        );
        assert_eq!(lines(&mut seen, &retried).len(), 1);
        retried.steps[0].attempts = 2;
        assert_eq!(
            lines(&mut seen, &retried),
            ["a         retry_scheduled    attempt 2  no"]
        );
    }

    #[test]
    fn the_reason_of_an_end_is_printed_where_the_state_does_not_say_it() {
        let mut over = workflow("cancelled", true, &[]);
        over.reason = Some("cancelled".to_owned());
        assert_eq!(lines(&mut Seen::default(), &over), ["workflow  cancelled"]);
        over.status = "error".to_owned();
        over.reason = Some("deadline".to_owned());
        assert_eq!(
            lines(&mut Seen::default(), &over),
            ["workflow  error              deadline"]
        );
    }

    #[test]
    fn changes_are_in_the_order_of_their_times() {
        let mut both = workflow(
            "complete",
            true,
            &[("a", "completed", None), ("b", "completed", None)],
        );
        both.steps[0].completed_at = Some(DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(2));
        both.steps[1].completed_at = Some(DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(1));
        assert_eq!(
            lines(&mut Seen::default(), &both),
            ["b         completed", "a         completed", "workflow  complete"]
        );
    }
}
