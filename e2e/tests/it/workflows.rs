//! Workflows on built binaries.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System};

use crate::harness::{SOON, Small, count};

/// Starts a workflow and returns its id.
async fn start(server: &Running, body: &Value) -> String {
    let (status, answer) = server.post("/v1/workflows", body).await;
    assert_eq!(status, 201, "{answer}");
    answer["workflow_id"].as_str().expect("an id").to_owned()
}

/// Waits until a workflow has ended, and returns its record.
async fn end_of(server: &Running, id: &str) -> Value {
    let path = format!("/v1/workflows/{id}?wait=60");
    let (status, workflow) = server.get(&path).await;
    assert_eq!(status, 200, "{workflow}");
    workflow
}

#[sqlx::test(migrations = false)]
async fn the_example_that_a_stock_worker_publishes_runs_from_a_template_name(db: PgPool) {
    let small = Small::start(&db).await;
    let body = json!({"template_name": "linear_workflow", "namespace": "example", "configuration": {"n": 1}});
    let (status, answer) = small.server.post("/v1/tasks?wait=60", &body).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(
        (&answer["status"], &answer["output"]),
        (&json!("complete"), &json!({"n": 1}))
    );
    assert_eq!(answer["completed_steps"], json!(4));
}

#[sqlx::test(migrations = false)]
async fn a_step_gets_what_it_refers_to_and_a_fan_in_waits_for_all(db: PgPool) {
    let small = Small::start(&db).await;
    let mut steps = vec![json!({"name": "top", "run": "echo", "with": {"n": "$context.n", "price": 1.10}})];
    let middle: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    steps.extend(
        middle
            .iter()
            .map(|name| json!({"name": name, "run": "echo", "needs": ["top"], "with": {"from": "$top"}})),
    );
    steps
        .push(json!({"name": "bottom", "run": "echo", "needs": middle, "with": {"last": "$m39.from.price"}}));
    let id = start(
        &small.server,
        &json!({"name": "wide", "context": {"n": 7}, "steps": steps, "output": "$bottom"}),
    )
    .await;
    let workflow = end_of(&small.server, &id).await;
    assert_eq!(workflow["status"], json!("complete"), "{workflow}");
    assert_eq!(workflow["output"].to_string(), r#"{"last":1.1}"#);
    let runs = "SELECT count(*) FROM finished_tasks WHERE runs > 1";
    assert_eq!(count(&db, runs).await, 0);
}

#[sqlx::test(migrations = false)]
async fn invariant_14_a_killed_worker_costs_a_workflow_time_and_no_step_runs_before_its_parents(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let mut workers = system.workers(2).await;
    let sleep = |name: String, needs: Value| json!({"name": name, "run": "example_long_running", "needs": needs, "with": {"duration": 1}});
    let middle: Vec<String> = (0..30).map(|n| format!("m{n}")).collect();
    let mut steps = vec![sleep("top".to_owned(), json!([]))];
    steps.extend(middle.iter().map(|name| sleep(name.clone(), json!(["top"]))));
    steps.push(sleep("bottom".to_owned(), json!(middle)));
    let id = start(&server, &json!({"name": "wide", "steps": steps})).await;
    tasker_testkit::eventually("steps of the middle run", SOON, async || {
        count(
            &db,
            "SELECT count(*) FROM tasks WHERE status = 'running' AND step LIKE 'm%'",
        )
        .await
            > 10
    })
    .await;
    workers[0].process.kill().await;
    let workflow = end_of(&server, &id).await;
    assert_eq!(workflow["status"], json!("complete"), "{workflow}");
    let early = "SELECT count(*) FROM finished_tasks bottom
                  WHERE bottom.step = 'bottom'
                    AND bottom.started_at < (SELECT max(completed_at) FROM finished_tasks WHERE step LIKE 'm%')";
    assert_eq!(count(&db, early).await, 0);
    assert_eq!(
        count(&db, "SELECT count(*) FROM finished_tasks WHERE step = 'bottom'").await,
        1
    );
    assert_eq!(count(&db, "SELECT count(*) FROM step_joins").await, 0);
}

#[sqlx::test(migrations = false)]
async fn a_failed_step_blocks_its_workflow_until_an_operator_decides(db: PgPool) {
    let small = Small::start(&db).await;
    let steps = json!([
        {"name": "bad", "run": "example_failing", "with": {"should_fail": true}, "retry": {"max_attempts": 1}},
        {"name": "after", "run": "echo", "needs": ["bad"], "with": {"got": "$bad.paid"}},
        {"name": "instead", "run": "echo", "needs": [{"step": "bad", "on_failure": "only"}]}
    ]);
    let id = start(&small.server, &json!({"name": "blocked", "steps": steps})).await;
    tasker_testkit::eventually("it is blocked", SOON, async || {
        let (_, workflow) = small.server.get(&format!("/v1/workflows/{id}")).await;
        workflow["status"] == "blocked_by_failures" && workflow["completed_steps"] == 1
    })
    .await;
    let path = format!("{}/v1/workflows/{id}/workflow_steps/bad", small.server.url);
    let patch = small.server.http.patch(path);
    let patch = patch.json(&json!({"action": "resolve_manually", "result": {"paid": true}}));
    let answer = patch.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let workflow = end_of(&small.server, &id).await;
    assert_eq!(workflow["status"], json!("complete"), "{workflow}");
    let (_, step) = small
        .server
        .get(&format!("/v1/workflows/{id}/workflow_steps/after"))
        .await;
    assert_eq!(step["result"], json!({"got": true}));
}

#[sqlx::test(migrations = false)]
async fn invariant_16_a_workflow_runs_what_it_was_started_with(db: PgPool) {
    let small = Small::start(&db).await;
    let template = |value: i32| {
        json!({"name": "kept", "namespace": "test", "version": "1.0.0", "output": "$b", "steps": [
            {"name": "a", "run": "example_long_running", "with": {"duration": 1}},
            {"name": "b", "run": "echo", "needs": ["a"], "with": {"value": value}}
        ]})
    };
    let put = async |template: Value| {
        let request = small
            .server
            .http
            .put(format!("{}/v1/templates", small.server.url));
        request.json(&template).send().await.expect("an answer").status()
    };
    assert_eq!(put(template(1)).await, 201);
    let id = start(&small.server, &json!({"name": "kept", "namespace": "test"})).await;
    let path = format!("{}/v1/templates/test/kept/1.0.0", small.server.url);
    let deleted = small.server.http.delete(path).send().await.expect("an answer");
    assert_eq!(deleted.status(), 204);
    assert_eq!(put(template(2)).await, 201);
    let workflow = end_of(&small.server, &id).await;
    assert_eq!(
        (&workflow["status"], &workflow["output"]),
        (&json!("complete"), &json!({"value": 1}))
    );
}
