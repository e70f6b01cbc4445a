//! The fingerprint of a request: equal for requests that mean the same.

use chrono::SecondsFormat;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tasker_shared::json::canonical;
use tasker_shared::store::insert::{Due, NewTask};

/// Returns the SHA-256 of the canonical request, after defaults and aliases, without its key and its correlation id.
pub fn fingerprint(task: &NewTask) -> [u8; 32] {
    Sha256::digest(canonical_request(task)).into()
}

/// The canonical form of an object with these fields. They are written here in the order of their names, so that the
/// parameters, which may be long, are copied once.
fn canonical_request(task: &NewTask) -> String {
    let due = match task.due {
        Due::Now => Value::Null,
        Due::InSeconds(seconds) => json!({ "delay": seconds }),
        Due::At(time) => json!({ "run_at": time.to_rfc3339_opts(SecondsFormat::Nanos, true) }),
    };
    let plain = |value: Value| canonical(&value.to_string());
    format!(
        r#"{{"due":{},"max_attempts":{},"metadata":{},"parameters":{},"priority":{},"queue":{},"tags":{},"task_name":{},"timeout":{}}}"#,
        plain(due),
        task.max_attempts,
        canonical(&task.metadata),
        canonical(&task.parameters),
        task.priority,
        plain(json!(task.queue.as_str())),
        plain(json!(task.tags)),
        plain(json!(task.task_name)),
        plain(json!(task.timeout_seconds)),
    )
}
