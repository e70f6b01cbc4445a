//! Waits for the end of a workflow.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tasker_core::task::{TaskId, TaskStatus};
use tasker_wire::{Workflow, WorkflowStep};

use super::show::error_text;
use crate::output::progress;
use tasker_client::{Client, ClientError};

/// Pause after an answer, since a server that stops answers at once.
const PAUSE: Duration = Duration::from_millis(200);
/// Number of attempts of a request after which the server counts as unreachable: a restart takes less.
const ATTEMPTS_MAX: u32 = 60;
/// Pause between these attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);
/// The maximum number of failed steps that a message names.
const FAILED_STEPS_MAX: usize = 10;

/// The state of a workflow to a process that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Live,
    /// A step has failed, and an operator decides.
    Blocked,
    Complete,
    /// It ended in another state.
    EndedOtherwise,
}

impl Phase {
    pub(super) fn of(workflow: &Workflow) -> Self {
        match (workflow.completed_at, workflow.status.as_str()) {
            (None, "blocked_by_failures") => Self::Blocked,
            (None, _) => Self::Live,
            (Some(_), "complete") => Self::Complete,
            (Some(_), _) => Self::EndedOtherwise,
        }
    }

    /// Returns the exit code of a command that stops in this phase.
    pub(super) fn exit_code(self) -> ExitCode {
        if self == Self::Complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Returns the record of a workflow as soon as it has ended, at the latest after `seconds`.
pub(super) async fn poll(client: &Client, id: TaskId, seconds: &str) -> anyhow::Result<(String, Workflow)> {
    let path = ["v1", "workflows", &id.to_string()];
    let answer = client.get(&path, &[("wait", seconds)]).await?;
    let workflow: Workflow = client.read(&answer)?;
    if workflow.completed_at.is_none() {
        tokio::time::sleep(PAUSE).await;
    }
    Ok((answer, workflow))
}

/// As [`poll`], but outlasts a restart of the server, for waits that may take hours.
pub(super) async fn poll_again(
    client: &Client,
    id: TaskId,
    seconds: &str,
) -> anyhow::Result<(String, Workflow)> {
    for attempt in 1..ATTEMPTS_MAX {
        match poll(client, id, seconds).await {
            Err(error) if is_passing(&error) => {
                if attempt == 1 {
                    progress(&format!("{error:#}; trying again"));
                }
            }
            result => return result,
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
    poll(client, id, seconds).await
}

/// Returns true for an error that ends when a server has restarted.
fn is_passing(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) => true,
        Some(ClientError::Rejected(problem)) => problem.status == 503,
        _ => false,
    }
}

/// Formats the failed steps of a blocked workflow, and the commands that help.
pub(super) fn blocked_text(workflow: &Workflow) -> String {
    let failed = |step: &&WorkflowStep| step.status == TaskStatus::DeadLetter;
    let failed: Vec<&WorkflowStep> = workflow.steps.iter().filter(failed).collect();
    let id = workflow.workflow_id;
    // writing to a `String` never fails
    let mut text = format!("workflow {id} is blocked by failed steps:");
    for step in failed.iter().take(FAILED_STEPS_MAX) {
        let _ = write!(text, "\n  {}: {}", step.name, error_text(step));
    }
    if failed.len() > FAILED_STEPS_MAX {
        let _ = write!(text, "\n  and {} more", failed.len() - FAILED_STEPS_MAX);
    }
    let _ = write!(
        text,
        "\nto continue it: tasker workflow retry {id}, or reset, resolve or skip a step; to end it: give-up"
    );
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// Returns a record with these steps: name, state and error.
    pub(in super::super) fn record(
        status: &str,
        ended: bool,
        steps: &[(&str, &str, Option<&str>)],
    ) -> String {
        let id = "0190a5f0-0000-7000-8000-000000000000";
        let time = "2030-01-02T03:04:05Z";
        let steps: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(index, (name, status, error))| {
                json!({"step_uuid": format!("0190a5f0-0000-7000-8000-{:012}", index + 1), "name": name,
                    "task_name": "echo", "queue": "default", "status": status, "attempts": 1,
                    "max_attempts": 3, "runs": 1, "created_at": "2026-11-30T10:00:00Z", "worker_id": null, "progress": null, "result": null, "error": error,
                    "reason": null, "run_at": null, "started_at": null, "completed_at": null})
            })
            .collect();
        json!({"workflow_id": id, "task_uuid": id, "name": "order", "namespace": "default",
            "version": "1.0.0", "status": status, "paused": false, "cancel_requested": false,
            "created_at": time, "completed_at": ended.then_some(time), "deadline": null, "priority": 0,
            "tags": [], "correlation_id": id, "context": {}, "output": null, "reason": null,
            "total_steps": steps.len(), "pending_steps": 0, "in_progress_steps": 0, "completed_steps": 0,
            "failed_steps": 0, "skipped_steps": 0, "ready_steps": 0, "completion_percentage": 0.0,
            "execution_status": "x", "recommended_action": "x", "health_status": "x", "steps": steps})
        .to_string()
    }

    pub(in super::super) fn workflow(
        status: &str,
        ended: bool,
        steps: &[(&str, &str, Option<&str>)],
    ) -> Workflow {
        serde_json::from_str(&record(status, ended, steps)).expect("a workflow")
    }

    #[test]
    fn only_a_complete_workflow_is_a_success() {
        for (status, ended, phase) in [
            ("steps_in_process", false, Phase::Live),
            ("waiting_for_retry", false, Phase::Live),
            ("blocked_by_failures", false, Phase::Blocked),
            ("complete", true, Phase::Complete),
            ("error", true, Phase::EndedOtherwise),
            ("cancelled", true, Phase::EndedOtherwise),
            ("resolved_manually", true, Phase::EndedOtherwise),
        ] {
            assert_eq!(Phase::of(&workflow(status, ended, &[])), phase, "{status}");
            let code = if phase == Phase::Complete {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
            assert_eq!(phase.exit_code(), code, "{status}");
        }
    }

    #[test]
    fn a_blocked_workflow_names_its_failed_steps_and_the_commands_that_help() {
        let steps = [
            ("check", "completed", None),
            ("pay", "dead_letter", Some("card\ndeclined")),
        ];
        let text = blocked_text(&workflow("blocked_by_failures", false, &steps));
        assert!(text.contains("\n  pay: card declined\n"), "{text}");
        assert!(!text.contains("check"), "{text}");
        assert!(text.contains("tasker workflow retry 0190a5f0"), "{text}");
    }

    #[test]
    fn only_an_error_that_a_restart_explains_is_waited_out() {
        let problem = |status: u16| {
            let text = json!({"type": "/problems/x", "title": "x", "status": status, "detail": "x",
                "code": "x", "request_id": "x"});
            let problem = serde_json::from_value(text).expect("a problem");
            anyhow::Error::from(ClientError::Rejected(Box::new(problem)))
        };
        assert!(is_passing(&problem(503)));
        assert!(!is_passing(&problem(404)));
        assert!(!is_passing(&ClientError::Header.into()));
    }

    #[test]
    fn a_message_names_ten_failed_steps() {
        let steps = [("pay", "dead_letter", None); 12];
        let text = blocked_text(&workflow("blocked_by_failures", false, &steps));
        assert_eq!(text.matches("pay").count(), 10, "{text}");
        assert!(text.contains("and 2 more"), "{text}");
    }
}
