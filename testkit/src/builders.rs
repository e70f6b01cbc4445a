//! Builders of valid values with defaults.

use tasker_core::task::{QueueName, TaskId};
use tasker_store::insert::{Due, NewKey, NewTask};
use tasker_store::templates::NewTemplate;
use tasker_store::workers::NewWorker;

/// Returns a task of type `name` in the default queue, due now, with 3 attempts and no idempotency key.
/// Tests set other fields by struct update: `NewTask { priority: 9, ..a_task("echo") }`.
pub fn a_task(name: &str) -> NewTask {
    NewTask {
        id: TaskId::generate(),
        task_name: name.to_owned(),
        queue: QueueName::default_class(),
        priority: 0,
        parameters: "{}".to_owned(),
        metadata: "{}".to_owned(),
        tags: Vec::new(),
        max_attempts: 3,
        timeout_seconds: 3600.0,
        key: None,
        correlation_id: "test".to_owned(),
        traceparent: None,
        due: Due::Now,
    }
}

/// Returns the idempotency key `key` with a constant request fingerprint.
pub fn a_key(key: &str) -> Option<NewKey> {
    Some(NewKey {
        key: key.to_owned(),
        fingerprint: [7; 32],
    })
}

/// Returns a worker that serves the three priority classes, registers `echo`, and has 10 slots.
pub fn a_worker(id: &str) -> NewWorker {
    NewWorker {
        id: id.to_owned(),
        hostname: "test".to_owned(),
        pid: 1,
        version: "0.0.0".to_owned(),
        queues: QueueName::classes().to_vec(),
        task_names: vec!["echo".to_owned()],
        pool_size: 10,
        liveness_key: None,
    }
}

/// Returns a version of the template `shapes/line`, which has two steps.
///
/// # Panics
/// If `version` is not a valid version.
pub fn a_template(version: &str) -> NewTemplate {
    let text = format!(
        "{{name: line, namespace: shapes, version: {version}, description: Two steps, steps: [
            {{name: first, handler: {{callable: echo}}}},
            {{name: second, handler: {{callable: echo}}, dependencies: [first]}}]}}"
    );
    let definition = tasker_workflow::from_text(&text, tasker_workflow::ReadOptions::default())
        .expect("a valid template")
        .definition;
    NewTemplate {
        template: definition.to_json(),
        namespace: definition.namespace,
        name: definition.name,
        version: definition.version.to_string(),
        description: definition.description,
        steps: 2,
    }
}
