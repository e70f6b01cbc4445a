//! `tasker workflow` and `tasker template` against a running server.

use std::path::Path;

use serde_json::Value;
use sqlx::PgPool;

use crate::command_line::tasker;
use crate::harness::Small;

/// Two steps, of which the first fails at its only attempt.
const FAILS: &str = "name: order
namespace: shop
version: 1.0.0
steps:
  - name: pay
    run: example_failing
    with: {should_fail: true, error_message: card declined}
    retry: {retryable: false}
  - {name: ship, run: echo, needs: [pay], with: {receipt: $pay.receipt}}
";

/// Writes a file and returns its path.
fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

/// Returns the id of the newest workflow.
async fn newest(small: &Small) -> String {
    let (code, text) = tasker(
        &small.system,
        &small.server.url,
        &["workflow", "list", "--limit", "1", "--json"],
    )
    .await;
    assert_eq!(code, Some(0), "{text}");
    let page: Value = serde_json::from_str(&text).expect("JSON");
    let id = page["workflows"][0]["workflow_id"].as_str();
    id.expect("a workflow").to_owned()
}

#[sqlx::test(migrations = false)]
async fn a_workflow_is_started_from_a_template_awaited_and_shown(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let start = ["workflow", "run", "linear_workflow", "--namespace", "example"];
    let options = ["--context", r#"{"n":1.10}"#, "--tag", "t", "--wait"];
    let (code, text) = run(&[&start[..], &options].concat()).await;
    assert_eq!(code, Some(0), "{text}");
    let id = newest(&small).await;
    assert!(text.starts_with(&format!("workflow {id}\n")), "{text}");
    // the output is what went through all four steps
    let output = text.lines().find(|line| line.starts_with("output"));
    assert!(
        output.is_some_and(|line| line.ends_with(r#"{"n":1.10}"#)),
        "{text}"
    );
    let (code, text) = run(&["workflow", "list", "--tag", "t", "--status", "complete"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&id), "{text}");
    let (code, text) = run(&["workflow", "steps", &id]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("completed").count(), 4, "{text}");
    let (code, text) = run(&["workflow", "history", &id]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("complete"), "{text}");
    for verb in ["cancel", "give-up", "retry"] {
        let (code, text) = run(&["workflow", verb, &id]).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("already complete"), "{text}");
    }
}

#[sqlx::test(migrations = false)]
async fn a_blocked_workflow_names_its_failed_step_and_is_resolved_and_watched(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(folder.path(), "order.yaml", FAILS);
    let (code, text) = run(&["workflow", "run", &path, "--wait"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("blocked by failed steps:\n  pay: card declined"),
        "{text}"
    );
    let id = newest(&small).await;
    let resolve = ["workflow", "resolve", &id, "pay", "--reason", "paid by hand"];
    let result = ["--result", r#"{"receipt":7}"#, "--json"];
    let (code, text) = run(&[&resolve[..], &result].concat()).await;
    assert_eq!(code, Some(0), "{text}");
    let step: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(step["status"], "resolved_manually");
    let (code, text) = run(&["workflow", "watch", &id]).await;
    assert_eq!(code, Some(0), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.ends_with("workflow  complete"), "{text}");
    assert!(
        text.lines().any(|line| line.contains("  ship      completed")),
        "{text}"
    );
    let (code, text) = run(&["workflow", "reset", &id, "ship"]).await;
    assert_eq!(code, Some(1), "{text}");
}

#[sqlx::test(migrations = false)]
async fn a_workflow_is_cancelled_and_its_end_is_not_a_success(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"{"name": "slow", "steps": [
        {"name": "sleep", "run": "example_long_running", "with": {"duration": 60}}]}"#;
    let path = file(folder.path(), "slow.json", text);
    let (code, text) = run(&["workflow", "run", &path, "--key", "k", "--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    let started: Value = serde_json::from_str(&text).expect("JSON");
    let id = started["workflow_id"].as_str().expect("an id");
    let (code, text) = run(&["workflow", "run", &path, "--key", "k"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(id) && text.trim_end().ends_with("yes"), "{text}");
    let (code, text) = run(&["workflow", "cancel", id]).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&["workflow", "watch", id, "--json"]).await;
    assert_eq!(code, Some(1), "{text}");
    let last = text.lines().last().unwrap_or_default();
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(
        (&last["step"], &last["status"]),
        (&Value::Null, &"cancelled".into())
    );
}

#[sqlx::test(migrations = false)]
async fn a_template_is_published_once_and_deleted(db: PgPool) {
    let small = Small::start(&db).await;
    let run = async |arguments: &[&str]| tasker(&small.system, &small.server.url, arguments).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(folder.path(), "order", FAILS);
    for _ in 0..2 {
        let (code, text) = run(&["template", "apply", &path]).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("shop") && text.contains("1.0.0"), "{text}");
    }
    let other = file(folder.path(), "other", &FAILS.replace("echo", "noop"));
    let (code, text) = run(&["template", "apply", &other]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("409"), "{text}");
    let invalid = file(folder.path(), "invalid", &FAILS.replace("[pay]", "[paid]"));
    for command in [["template", "apply"], ["workflow", "run"]] {
        let (code, text) = run(&[&command[..], &[&invalid]].concat()).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("invalid:9: /steps/1/needs/0: "), "{text}");
    }
    let delete = ["template", "delete", "shop", "order", "1.0.0"];
    assert_eq!(run(&delete).await.0, Some(0));
    let (code, text) = run(&delete).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("404"), "{text}");
}
