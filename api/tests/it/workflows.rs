//! The routes of workflows.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_store::migrations::MIGRATOR;

use crate::harness::Server;

/// Three steps; the last has both others as parents.
fn three() -> Value {
    json!({
        "name": "three",
        "context": {"day": "2026-11-30"},
        "steps": [
            {"name": "a", "run": "noop", "with": {"day": "$context.day"}},
            {"name": "b", "run": "noop", "needs": ["a"]},
            {"name": "c", "run": "noop", "needs": ["a", "b"], "queue": "high"}
        ]
    })
}

async fn started(server: &Server, body: &Value) -> Value {
    let answer = server.post("/v1/workflows", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let id = answer.json()["workflow_id"].clone();
    let location = format!("/v1/workflows/{}", id.as_str().expect("an id"));
    assert_eq!(answer.headers["location"], location);
    answer.json()
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_workflow_starts_from_its_steps_and_is_read_with_its_figures(db: PgPool) {
    let server = Server::start(db).await;
    let answer = started(&server, &three()).await;
    assert_eq!(answer["workflow_id"], answer["task_uuid"]);
    assert_eq!(
        (&answer["step_count"], &answer["status"]),
        (&json!(3), &json!("steps_in_process"))
    );
    let id = answer["workflow_id"].as_str().expect("an id");
    // both names of the route
    for path in [format!("/v1/workflows/{id}"), format!("/v1/tasks/{id}")] {
        let workflow = server.get(&path).await.json();
        assert_eq!(workflow["context"], json!({"day": "2026-11-30"}));
        assert_eq!(
            (&workflow["total_steps"], &workflow["ready_steps"]),
            (&json!(3), &json!(1))
        );
        assert_eq!(workflow["completion_percentage"], json!(0.0));
        let states: Vec<&Value> = workflow["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .map(|step| &step["status"])
            .collect();
        assert_eq!(states, [&json!("pending"), &json!("waiting"), &json!("waiting")]);
    }
    let by_name = server
        .get(&format!("/v1/workflows/{id}/workflow_steps/c"))
        .await
        .json();
    assert_eq!(by_name["queue"], json!("high_priority"));
    assert_eq!(by_name["step_uuid"], answer["steps"]["c"]);
    let listed = server
        .get("/v1/workflows?name=three&status=steps_in_process")
        .await
        .json();
    assert_eq!(listed["workflows"][0]["workflow_id"], json!(id));
    assert_eq!(
        server
            .get("/v1/workflows?status=waiting_for_retry")
            .await
            .problem(422),
        "invalid_request"
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn everything_wrong_with_a_workflow_is_named_and_nothing_is_written(db: PgPool) {
    let server = Server::start(db.clone()).await;
    for (body, code, pointers) in [
        (
            json!({"name": "x", "contxt": {}, "steps": [{"name": "a", "run": "noop", "needs": ["z"]}]}),
            "invalid_request",
            vec!["/contxt", "/steps/0/needs/0"],
        ),
        (
            json!({"name": "x", "steps": [{"name": "a", "run": "nop"}]}),
            "unknown_task_type",
            vec!["/steps/0/run"],
        ),
        (
            json!({"name": "x", "steps": [{"name": "a", "run": "noop", "queue": "nowhere"}]}),
            "unknown_queue",
            vec!["/steps/0/queue"],
        ),
        (
            json!({"name": "x", "context": [], "steps": [{"name": "a", "run": "noop"}]}),
            "invalid_request",
            vec!["/context"],
        ),
        (
            json!({"name": "x", "deadline": "soon", "steps": [{"name": "a", "run": "noop", "map": {}}]}),
            "invalid_request",
            vec!["/steps/0/map", "/deadline"],
        ),
        (
            json!({"name": "x", "context": {}, "input_schema": {"required": ["day"]},
                   "steps": [{"name": "a", "run": "noop"}]}),
            "invalid_parameters",
            vec!["/context"],
        ),
    ] {
        let answer = server.post("/v1/workflows", &body).await;
        assert_eq!(answer.problem(422), code, "{body}");
        assert_eq!(answer.pointers(), pointers, "{body}");
    }
    let answer = server.post("/v1/workflows", json!({"name": "unheard_of"})).await;
    assert_eq!(answer.problem(404), "template_not_found");
    let left: i64 =
        sqlx::query_scalar("SELECT (SELECT count(*) FROM workflows) + (SELECT count(*) FROM tasks)")
            .fetch_one(&db)
            .await
            .expect("a count");
    assert_eq!(left, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_starts_one_workflow_and_belongs_to_its_request(db: PgPool) {
    let server = Server::start(db).await;
    let mut body = three();
    body["idempotency_key"] = json!("k");
    let first = started(&server, &body).await;
    body["correlation_id"] = json!("other");
    let again = server.post("/v1/workflows", &body).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!(again.json()["workflow_id"], first["workflow_id"]);
    assert_eq!(again.json()["deduplicated"], json!(true));
    body["context"] = json!({"day": "2026-12-01"});
    let other = server.post("/v1/workflows", &body).await;
    assert_eq!(other.problem(422), "idempotency_key_reused");
    // a key belongs to the name
    body["name"] = json!("four");
    started(&server, &body).await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_published_version_never_changes_and_starts_workflows(db: PgPool) {
    let server = Server::start(db).await;
    let template =
        json!({"name": "t", "namespace": "n", "version": "1.0.0", "steps": [{"name": "a", "run": "noop"}]});
    let put = async |body: &Value| {
        let request = axum::http::Request::put("/v1/templates")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .expect("a request");
        server.send(request).await
    };
    assert_eq!(put(&template).await.status, 201);
    assert_eq!(put(&template).await.status, 200);
    let mut changed = template.clone();
    changed["description"] = json!("another");
    assert_eq!(put(&changed).await.problem(409), "version_exists");
    changed["version"] = json!("1.1.0");
    changed["steps"][0]["run"] = json!("nobody_has_it");
    let answer = put(&changed).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["warnings"][0]["pointer"], json!("/steps/0/run"));
    let old = started(
        &server,
        &json!({"template_name": "t", "namespace": "n", "version": "1.0.0"}),
    )
    .await;
    assert_eq!(old["step_count"], json!(1));
    let newest = server.post("/v1/tasks", json!({"name": "t"})).await;
    assert_eq!(newest.problem(422), "unknown_task_type");
    let wrong = server
        .post("/v1/templates/validate", json!({"name": "t", "steps": []}))
        .await;
    assert_eq!(wrong.problem(422), "invalid_request");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_step_is_changed_by_its_workflow_alone(db: PgPool) {
    let server = Server::start(db).await;
    let answer = started(&server, &three()).await;
    let (id, step) = (answer["workflow_id"].as_str(), answer["steps"]["a"].as_str());
    let (id, step) = (id.expect("an id"), step.expect("an id"));
    for action in ["cancel", "retry"] {
        let refused = server.post(&format!("/tasks/{step}/{action}"), "").await;
        assert_eq!(refused.problem(409), "belongs_to_workflow");
    }
    let retried = server.post(&format!("/v1/workflows/{id}/retry"), "").await;
    assert_eq!(retried.problem(409), "nothing_failed");
    let cancelled = server.post(&format!("/v1/workflows/{id}/cancel"), "").await;
    assert_eq!(
        (cancelled.status, &cancelled.json()["cancelled"]),
        (200, &json!(3))
    );
    assert_eq!(
        server.depth(&tasker_core::task::QueueName::default_class()).await,
        0
    );
    let again = server.post(&format!("/v1/workflows/{id}/cancel"), "").await;
    assert_eq!(again.problem(409), "workflow_over");
    let history = server.get(&format!("/v1/workflows/{id}/history")).await.json();
    let last = history["events"]
        .as_array()
        .and_then(|events| events.last())
        .expect("an event");
    assert_eq!(
        (&last["to"], &last["reason"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn no_workflow_starts_beside_a_worker_that_would_lose_its_edges(db: PgPool) {
    let server = Server::start(db.clone()).await;
    sqlx::query(
        "INSERT INTO workers (id, hostname, pid, version, queues, task_names, pool_size)
         VALUES ('old', 'h', 1, '0', '{default}', '{noop}', 1)",
    )
    .execute(&db)
    .await
    .expect("a worker from before");
    let refused = server.post("/v1/workflows", three()).await;
    assert_eq!(refused.problem(503), "old_processes");
    assert!(refused.text.contains("old"), "{}", refused.text);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_crowd_of_starts_pushes_the_hints_of_all_first_steps(db: PgPool) {
    let server = Server::start(db).await;
    let one = json!({"name": "one", "steps": [{"name": "a", "run": "noop"}]});
    let starts = (0..100).map(|_| server.post("/v1/workflows", &one));
    for answer in futures_util::future::join_all(starts).await {
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    assert_eq!(
        server.depth(&tasker_core::task::QueueName::default_class()).await,
        100
    );
    server.stop().await;
}
