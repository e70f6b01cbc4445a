//! What makes two requests the same.

use chrono::SecondsFormat;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tasker_shared::json::canonical;
use tasker_shared::store::insert::{Due, NewTask};

/// SHA-256 over the canonical request, after defaults and aliases, without its key and its correlation id.
pub fn fingerprint(task: &NewTask) -> [u8; 32] {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::from(text));
    let due = match task.due {
        Due::Now => Value::Null,
        Due::InSeconds(seconds) => json!({ "delay": seconds }),
        Due::At(time) => json!({ "run_at": time.to_rfc3339_opts(SecondsFormat::Nanos, true) }),
    };
    let request = json!({
        "task_name": task.task_name,
        "queue": task.queue.as_str(),
        "priority": task.priority,
        "parameters": parsed(&task.parameters),
        "metadata": parsed(&task.metadata),
        "tags": task.tags,
        "max_attempts": task.max_attempts,
        "timeout": task.timeout_seconds,
        "due": due,
    });
    Sha256::digest(canonical(&request)).into()
}
