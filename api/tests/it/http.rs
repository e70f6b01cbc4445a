use axum::http::{Method, Request};
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_store::migrations::MIGRATOR;

use crate::harness::{Server, json_request};

#[sqlx::test(migrator = "MIGRATOR")]
async fn unknown_paths_and_methods_are_problems(db: PgPool) {
    let server = Server::start(db).await;
    for path in ["/", "/nope", "/tasks/", "/tasks/a/b/c", "/health/nope"] {
        assert_eq!(server.get(path).await.problem(404), "not_found", "{path}");
    }
    for (method, path, allowed) in [
        (Method::GET, "/tasks/submit", "POST"),
        (Method::POST, "/tasks", "GET"),
        (
            Method::PUT,
            "/tasks/018f0000-0000-7000-8000-000000000000",
            "DELETE",
        ),
        (Method::DELETE, "/queues", "GET"),
        (Method::POST, "/health", "GET"),
    ] {
        let answer = server.call(method.clone(), path).await;
        assert_eq!(answer.problem(405), "method_not_allowed", "{path}");
        let allow = answer.headers["allow"].to_str().expect("text");
        assert!(allow.contains(allowed), "{path}: {allow}");
        let options = server.call(Method::OPTIONS, path).await;
        assert_eq!(
            (options.status, options.headers["allow"].to_str().ok()),
            (204, Some(allow))
        );
    }
    let head = server.call(Method::HEAD, "/tasks").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_sane_request_id_is_kept_and_another_is_replaced(db: PgPool) {
    let server = Server::start(db).await;
    let send = async |id: &str| {
        let request = Request::get("/nope")
            .header("x-request-id", id)
            .body(axum::body::Body::empty());
        let answer = server.send(request.expect("a request")).await;
        answer.problem(404);
        answer.headers["x-request-id"].to_str().expect("text").to_owned()
    };
    assert_eq!(send("abc-123").await, "abc-123");
    for id in ["", "a b", "<script>", &"x".repeat(500)] {
        assert_ne!(send(id).await, id);
    }
    assert_ne!(send("").await, send("").await);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn health_and_metrics_answer(db: PgPool) {
    let server = Server::start(db).await;
    assert_eq!(
        server.get("/health").await.json(),
        json!({"status": "ok", "postgres": "ok", "redis": "ok"})
    );
    assert_eq!(server.get("/health/live").await.json(), json!({"status": "ok"}));
    assert_eq!(server.get("/health/ready").await.status, 200);
    let detailed = server.get("/health/detailed").await.json();
    assert_eq!(detailed["schema_version"], detailed["schema_version_wanted"]);
    assert_eq!(detailed["partition_days_ahead"], json!(14));
    assert_eq!(detailed["fleet_unhealthy"], json!(false));
    assert_eq!(
        detailed["breakers"],
        json!({"postgres": "closed", "redis": "closed"})
    );
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.headers["content-type"]
            .to_str()
            .is_ok_and(|text| text.starts_with("text/plain"))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_interface_documents_itself(db: PgPool) {
    let server = Server::start(db).await;
    let document = server.get("/api-docs/openapi.json").await.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    insta::assert_json_snapshot!("openapi", document);
    let page = server.get("/api-docs/ui/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["x-frame-options"], "DENY");
    for outside in ["https://", "http://", "//cdn"] {
        assert!(!page.text.contains(outside), "the page loads from {outside}");
    }
    let script = server.get("/api-docs/ui/swagger-initializer.js").await;
    assert!(script.text.contains("/api-docs/openapi.json"), "{}", script.text);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn every_operation_says_what_can_go_wrong(db: PgPool) {
    let server = Server::start(db).await;
    let document = server.get("/api-docs/openapi.json").await.json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let responses = operation["responses"].as_object().expect("responses");
            let ops =
                path.starts_with("/health") || ["/metrics", "/problems/{code}"].contains(&path.as_str());
            assert!(ops || responses.contains_key("503"), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_server_that_stops_is_not_ready(db: PgPool) {
    let server = Server::start(db).await;
    server.shutdown.soft().cancel();
    let answer = server.get("/health/ready").await;
    assert_eq!(
        (answer.status, answer.json()["status"].clone()),
        (503, Value::from("unavailable"))
    );
    // requests over open connections are still served
    assert_eq!(
        server
            .send(json_request("/tasks/submit", json!({"task_name": "noop"})))
            .await
            .status,
        202
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_prefilled_bodies_of_the_page_are_taken_as_they_are(db: PgPool) {
    let server = Server::start(db).await;
    let document = server.get("/api-docs/openapi.json").await.json();
    let mut sent = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let schema = &operations["post"]["requestBody"]["content"]["application/json"]["schema"];
        let Some(reference) = schema["$ref"].as_str() else {
            continue;
        };
        let schema = document
            .pointer(reference.trim_start_matches('#'))
            .expect("a schema");
        let example = &schema["example"];
        assert!(example.is_object(), "{path} has no example");
        let answer = server.post(path, example).await;
        assert!(
            (200..300).contains(&answer.status),
            "{path} {example}: {}",
            answer.text
        );
        sent += 1;
    }
    assert!(sent >= 5, "{sent}");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn names_of_types_and_queues_are_in_the_document_only_where_everybody_may_see_them(db: PgPool) {
    let named = async |db: PgPool, extra: &[(&'static str, &str)]| {
        let server = Server::start_with(db, extra).await;
        let document = server.get("/api-docs/openapi.json").await.json();
        server.stop().await;
        document["components"]["schemas"]["SubmitRequest"]["properties"]["task_name"]["enum"].clone()
    };
    assert_eq!(named(db.clone(), &[]).await, json!(["noop", "strict"]));
    let signed_in = [
        ("EXECUTION_BACKEND_API_USER", "ops"),
        ("EXECUTION_BACKEND_API_PASSWORD", "a long passphrase of no use"),
        ("TOKEN_SECRET", "a secret of at least thirty-two characters"),
    ];
    assert_eq!(named(db, &signed_in).await, Value::Null);
}
