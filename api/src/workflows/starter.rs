//! Writes a workflow and pushes the hints of its first steps.

use std::future::ready;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tasker_core::task::{Hint, TaskId};
use tasker_store::workflow_start::{self, NewWorkflow};
use tasker_store::workflows::{self, KeyHolder};
use tasker_store::{bounded, retry_rolled_back};

use super::build::build;
use super::request::{Source, StartRequest};
use super::templates;
use crate::auth::Caller;
use crate::db::write_failed;
use crate::error::ApiError;
use crate::known_names::NamesSnapshot;
use crate::state::parts::WorkflowStarts;
use crate::submit::intake;
use crate::validation_error::ValidationErrorKind;

/// Timeout of the insert.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Number of attempts to take a key that another workflow has just let go.
const KEY_TRIES: usize = 3;

/// The outcome of a start.
#[derive(Debug)]
pub enum Started {
    /// It was written.
    New(Box<NewWorkflow>, DateTime<Utc>),
    /// An earlier workflow has the same key and the same request.
    Earlier(TaskId),
}

/// Starts the workflow of a request.
pub async fn start(
    starts: &WorkflowStarts,
    caller: &Caller,
    request: StartRequest,
) -> Result<Started, ApiError> {
    let old = workflow_start::old_processes(&starts.db).await?;
    if !old.is_empty() {
        return Err(ApiError::OldProcesses(old));
    }
    let definition = match &request.source {
        Source::Inline(definition) => definition.as_ref().clone(),
        Source::Template {
            name,
            namespace,
            version,
        } => templates::find(&starts.db, name, namespace.as_deref(), version.as_deref()).await?,
    };
    let environment = starts.environment.to_string();
    let check = |names: NamesSnapshot| {
        let rules = intake::rules(&names);
        let built = build(&request, &definition, &environment, starts.max_age, rules);
        ready(built.map_err(ApiError::Invalid))
    };
    let workflow = starts.names.checked(check).await?;
    let types = starts.names.types.current();
    for step in &workflow.steps {
        caller.check_submit(types.required_role(&step.task_name), &step.queue)?;
    }
    write(starts, workflow).await
}

async fn write(starts: &WorkflowStarts, workflow: NewWorkflow) -> Result<Started, ApiError> {
    for _ in 0..KEY_TRIES {
        let one = std::slice::from_ref(&workflow);
        let ttl = starts.key_ttl.as_secs_f64();
        let written =
            retry_rolled_back(|| bounded(WRITE_TIMEOUT, workflow_start::start(&starts.db, one, ttl)));
        let written = written.await.map_err(write_failed)?;
        if let Some(created_at) = written.get(&workflow.id) {
            starts.pusher.push(roots(&workflow)).await;
            return Ok(Started::New(Box::new(workflow), *created_at));
        }
        let Some(key) = &workflow.key else { break };
        let holder = workflows::key_holder(&starts.db, &workflow.namespace, &workflow.name, &key.key);
        match holder.await? {
            Some(KeyHolder {
                workflow,
                fingerprint,
            }) if fingerprint == key.fingerprint => {
                return Ok(Started::Earlier(workflow));
            }
            Some(_) => {
                return Err(ApiError::invalid(
                    ValidationErrorKind::KeyReused,
                    "/idempotency_key",
                    "was used before for a different request",
                ));
            }
            // it has just been let go
            None => {}
        }
    }
    Err(ApiError::Overloaded(
        "The idempotency key changes hands too often.",
    ))
}

/// Returns the hints of the steps that are pending at once.
fn roots(workflow: &NewWorkflow) -> Vec<Hint> {
    let roots = workflow.steps.iter().filter(|step| !step.waits);
    roots
        .map(|step| {
            let hint = Hint::new(step.id, step.queue.clone(), step.task_name.clone());
            hint.with_priority(step.priority)
        })
        .collect()
}
