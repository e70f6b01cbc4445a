//! The fingerprint of a request, which is equal for equivalent requests.

use chrono::SecondsFormat;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tasker_core::json::canonical;
use tasker_store::insert::{Due, NewTask};

/// Returns the SHA-256 of the canonical request, after defaults and aliases, without its key and its
/// correlation id.
pub fn fingerprint(task: &NewTask) -> [u8; 32] {
    Sha256::digest(canonical_request(task)).into()
}

/// Returns the canonical JSON of an object with these fields. They are written in the order of their names
/// here, so that the parameters, which may be long, are copied once.
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

#[cfg(test)]
mod tests {
    use tasker_core::task::{QueueName, TaskId};

    use super::*;

    /// Keys outlive an upgrade, so every release must compute the same fingerprint.
    #[test]
    fn the_canonical_request_is_the_same_text_in_every_release() {
        let task = NewTask {
            id: TaskId::generate(),
            task_name: "a \"b\"".into(),
            queue: QueueName::default_class(),
            priority: -3,
            parameters: r#" {"b":[1.0,2.50,1e300],"a":{"z":null,"y":"\u00e4"}} "#.into(),
            metadata: "{}".into(),
            tags: vec!["t".into()],
            max_attempts: 4,
            timeout_seconds: 3600.0,
            key: None,
            correlation_id: "c".into(),
            traceparent: None,
            due: Due::InSeconds(1.5),
        };
        assert_eq!(
            canonical_request(&task),
            r#"{"due":{"delay":1.5},"max_attempts":4,"metadata":{},"parameters":{"a":{"y":"ä","z":null},"b":[1,2.5,1e+300]},"priority":-3,"queue":"default","tags":["t"],"task_name":"a \"b\"","timeout":3600}"#
        );
    }
}
