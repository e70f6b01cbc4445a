//! The fingerprint of a start, which is equal for equivalent requests.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tasker_core::json::canonical;
use tasker_store::workflow_start::{Deadline, NewWorkflow};
use tasker_workflow::DefinitionHash;

/// Returns the SHA-256 of the canonical request, after defaults and aliases, without its key and its
/// correlation id.
pub(super) fn fingerprint(workflow: &NewWorkflow, deadline: Option<Deadline>) -> [u8; 32] {
    let deadline = match deadline {
        None => json!(null),
        Some(Deadline::InSeconds(seconds)) => json!({ "in": seconds }),
        Some(Deadline::At(time)) => json!({ "at": time.to_rfc3339() }),
    };
    let definition = DefinitionHash(workflow.definition_hash);
    let text = format!(
        r#"{{"context":{},"deadline":{deadline},"definition":"{definition}","priority":{},"tags":{}}}"#,
        canonical(&workflow.context),
        workflow.priority,
        json!(workflow.tags),
    );
    Sha256::digest(text).into()
}
