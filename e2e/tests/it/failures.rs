//! Failing attempts, retries and dead letters.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{SOON, Small};

/// Returns the history of a task as `(to, reason)`.
async fn story(small: &Small, id: &str) -> Vec<Value> {
    let (_, history) = small.server.get(&format!("/tasks/{id}/history")).await;
    history["events"].as_array().expect("events").clone()
}

fn states(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["to"].as_str()).collect()
}

#[sqlx::test(migrations = false)]
async fn a_task_that_keeps_failing_is_retried_then_kept_as_a_dead_letter_with_its_story(db: PgPool) {
    let small = Small::start(&db).await;
    let failing = json!({
        "task_name": "example_failing", "parameters": {"error_message": "no luck"}, "max_retries": 1,
    });
    let id = small.server.submit(&failing).await;
    let task = small.server.wait_for(&id, "dead_letter", SOON).await;
    assert_eq!(
        (&task["attempts"], &task["max_attempts"], &task["runs"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(
        (&task["reason"], &task["error"]),
        (&json!("exhausted"), &json!("no luck"))
    );
    let events = story(&small, &id).await;
    let once = [
        "pending",
        "running",
        "retry_scheduled",
        "pending",
        "running",
        "dead_letter",
    ];
    assert_eq!(states(&events), once);
    let errors: Vec<&Value> = events
        .iter()
        .map(|event| &event["error"])
        .filter(|error| !error.is_null())
        .collect();
    assert_eq!(errors, ["no luck", "no luck"]);

    let (status, answer) = small.server.post(&format!("/tasks/{id}/retry"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    tasker_testkit::eventually("it has run twice more", SOON, async || {
        let task = small.server.task(&id).await;
        task["status"] == "dead_letter" && task["runs"] == 4
    })
    .await;
    let task = small.server.task(&id).await;
    assert_eq!(task["attempts"], 2);
    let events = story(&small, &id).await;
    assert_eq!(states(&events), [&once[..], &once[..]].concat());
    assert!(
        events.iter().any(|event| !event["actor"].is_null()),
        "retried by an operator: {events:?}"
    );
}

#[sqlx::test(migrations = false)]
async fn an_attempt_that_takes_too_long_is_ended(db: PgPool) {
    let small = Small::start(&db).await;
    let mut task = crate::harness::long_running(600.0);
    task["timeout"] = json!(0.5);
    task["max_retries"] = json!(0);
    let id = small.server.submit(&task).await;
    let task = small.server.wait_for(&id, "dead_letter", SOON).await;
    assert_eq!(task["reason"], "timeout");
}
