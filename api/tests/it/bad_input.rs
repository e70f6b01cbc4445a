//! Invalid requests: each gets a problem document that names the field, and the server goes on.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_store::migrations::MIGRATOR;

use crate::harness::{Server, json_request};

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_body_that_is_no_json_is_malformed(db: PgPool) {
    let server = Server::start(db).await;
    for body in [
        "",
        " ",
        "{",
        "nope",
        "{\"task_name\":\"noop\"",
        "{\"task_name\":\"noop\"}x",
    ] {
        for path in ["/tasks/submit", "/tasks/submit/batch"] {
            assert_eq!(
                server.post(path, body).await.problem(400),
                "malformed_request",
                "{body}"
            );
        }
    }
    let mut request = json_request("/tasks/submit", "");
    *request.body_mut() = Body::from(b"{\"task_name\":\"\xff\"}".to_vec());
    assert_eq!(server.send(request).await.problem(400), "malformed_request");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn an_array_of_the_fields_in_their_order_is_no_request(db: PgPool) {
    let server = Server::start(db).await;
    let mut fields = vec![Value::Null; 12];
    fields[0] = json!("noop");
    for (path, body, pointer) in [
        ("/tasks/submit", json!(fields), ""),
        ("/tasks/submit", json!([]), ""),
        ("/tasks/submit/batch", json!([[{"task_name": "noop"}]]), ""),
        ("/tasks/submit/batch", json!({"tasks": [fields]}), "/tasks/0"),
    ] {
        let answer = server.post(path, &body).await;
        assert_eq!(answer.problem(422), "invalid_request", "{body}");
        assert_eq!(answer.pointers(), [pointer], "{body}");
        assert!(answer.text.contains("must be an object"), "{}", answer.text);
    }
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn another_content_type_is_refused(db: PgPool) {
    let server = Server::start(db).await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
    ] {
        let mut request = json_request("/tasks/submit", json!({"task_name": "noop"}));
        request
            .headers_mut()
            .insert("content-type", content_type.parse().expect("a header"));
        assert_eq!(server.send(request).await.problem(415), "unsupported_media_type");
    }
    let request = Request::post("/tasks/submit")
        .body(Body::from("{}"))
        .expect("a request");
    assert_eq!(server.send(request).await.problem(415), "unsupported_media_type");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_body_over_its_limit_is_too_large(db: PgPool) {
    let server = Server::start(db).await;
    let body = |bytes: usize| json!({"task_name": "noop", "parameters": {"text": "a".repeat(bytes)}});
    assert_eq!(
        server.post("/tasks/submit", body(2_000_000)).await.problem(413),
        "body_too_large"
    );
    assert_eq!(server.post("/tasks/submit", body(1_000_000)).await.status, 202);
    // the same for a body without Content-Length
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 50_000]));
    let mut request = json_request("/tasks/submit", "");
    *request.body_mut() = Body::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(server.send(request).await.problem(413), "body_too_large");
    // the limit of a single submit applies to each task of a batch
    let batch = json!({"tasks": [{"task_name": "noop"}, body(1_100_000)]});
    let answer = server.post("/tasks/submit/batch", batch).await;
    answer.problem(422);
    assert_eq!(answer.pointers(), ["/tasks/1"]);
    assert_eq!(server.rows().await, 1);
    server.stop().await;
}

/// A body with the pointers of its errors and the problem code.
fn wrong() -> Vec<(Value, &'static str, &'static str)> {
    const INVALID: &str = "invalid_request";
    let with = |field: &str, value: Value| {
        let mut body = json!({"task_name": "noop"});
        body[field] = value;
        body
    };
    vec![
        (json!({}), "/task_name", INVALID),
        (json!({"task_name": 5}), "/task_name", INVALID),
        (json!({"task_name": ""}), "/task_name", INVALID),
        (
            json!({"task_name": "unknown type"}),
            "/task_name",
            "unknown_task_type",
        ),
        (with("queue", json!("nowhere")), "/queue", "unknown_queue"),
        (with("queue", json!("UPPER CASE")), "/queue", "unknown_queue"),
        (with("nope", json!(1)), "/nope", INVALID),
        (with("parameters", json!([])), "/parameters", INVALID),
        (with("parameters", json!("text")), "/parameters", INVALID),
        (with("metadata", json!(1)), "/metadata", INVALID),
        (with("priority", json!(101)), "/priority", INVALID),
        (with("priority", json!(-101)), "/priority", INVALID),
        (with("priority", json!(1.5)), "/priority", INVALID),
        (with("priority", json!("high")), "/priority", INVALID),
        (with("priority", json!(i64::MAX)), "/priority", INVALID),
        (with("delay", json!(-1)), "/delay", INVALID),
        (with("delay", json!("-5s")), "/delay", INVALID),
        (with("delay", json!("soon")), "/delay", INVALID),
        (with("delay", json!("400d")), "/delay", INVALID),
        (with("delay", json!(1e300)), "/delay", INVALID),
        (with("run_at", json!("tomorrow")), "/run_at", INVALID),
        (with("run_at", json!("2036-11-20T00:00:00Z")), "/run_at", INVALID),
        (
            json!({"task_name": "noop", "delay": 1, "run_at": "2020-01-01T00:00:00Z"}),
            "/run_at",
            INVALID,
        ),
        (with("max_retries", json!(101)), "/max_retries", INVALID),
        (with("max_retries", json!(-1)), "/max_retries", INVALID),
        (with("timeout", json!(0)), "/timeout", INVALID),
        (with("timeout", json!("8d")), "/timeout", INVALID),
        (with("tags", json!(vec!["t"; 21])), "/tags", INVALID),
        (with("tags", json!(["ok", ""])), "/tags/1", INVALID),
        (with("tags", json!(["a".repeat(129)])), "/tags/0", INVALID),
        (with("tags", json!("one")), "/tags", INVALID),
        (with("idempotency_key", json!("")), "/idempotency_key", INVALID),
        (
            with("idempotency_key", json!("k".repeat(256))),
            "/idempotency_key",
            INVALID,
        ),
        (with("correlation_id", json!("")), "/correlation_id", INVALID),
        (
            json!({"task_name": "strict"}),
            "/parameters",
            "invalid_parameters",
        ),
        (
            json!({"task_name": "strict", "parameters": {"n": "x"}}),
            "/parameters/n",
            "invalid_parameters",
        ),
    ]
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_wrong_field_is_named_alone_and_in_a_batch(db: PgPool) {
    let server = Server::start(db).await;
    for (body, pointer, code) in wrong() {
        let answer = server.post("/tasks/submit", &body).await;
        assert_eq!(answer.problem(422), code, "{body}: {}", answer.text);
        assert_eq!(answer.pointers(), [pointer], "{body}");
        let batch = json!({"tasks": [{"task_name": "noop"}, body]});
        let answer = server.post("/tasks/submit/batch", &batch).await;
        assert_eq!(answer.problem(422), code, "{batch}: {}", answer.text);
        assert_eq!(answer.pointers(), [format!("/tasks/1{pointer}")], "{batch}");
    }
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn text_that_cannot_be_stored_is_named(db: PgPool) {
    let server = Server::start(db).await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, pointer) in [
        (
            r#"{"task_name":"noop","parameters":{"a":["x\u0000"]}}"#.to_owned(),
            "/parameters/a/0",
        ),
        (r#"{"task_name":"noop","tags":["\u0000"]}"#.to_owned(), "/tags/0"),
        (r#"{"task_name":"noop\u0000"}"#.to_owned(), "/task_name"),
        (
            r#"{"task_name":"noop","metadata":{"a":"\ud800"}}"#.to_owned(),
            "/metadata/a",
        ),
        (
            r#"{"task_name":"noop","correlation_id":"\udc00"}"#.to_owned(),
            "/correlation_id",
        ),
        (
            r#"{"task_name":"noop","parameters":{"n":18446744073709551616}}"#.to_owned(),
            "/parameters/n",
        ),
        (
            r#"{"task_name":"noop","parameters":{"n":1e400}}"#.to_owned(),
            "/parameters/n",
        ),
        (
            r#"{"task_name":"noop","priority":99999999999999999999}"#.to_owned(),
            "/priority",
        ),
    ] {
        let answer = server.post("/tasks/submit", &body).await;
        answer.problem(422);
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    let answer = server
        .post(
            "/tasks/submit",
            format!(r#"{{"task_name":"noop","parameters":{{"a":{deep}}}}}"#),
        )
        .await;
    answer.problem(422);
    assert!(
        answer.pointers()[0].starts_with("/parameters/a/0"),
        "{}",
        answer.text
    );
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn unknown_names_come_with_the_known_ones(db: PgPool) {
    let server = Server::start(db).await;
    let answer = server.post("/tasks/submit", json!({"task_name": "nope"})).await;
    assert!(answer.text.contains("noop, strict"), "{}", answer.text);
    let answer = server.post("/tasks/submit", json!({"task_name": "strikt"})).await;
    assert!(answer.text.contains("strict, noop"), "{}", answer.text);
    let answer = server
        .post("/tasks/submit", json!({"task_name": "noop", "queue": "nope"}))
        .await;
    assert!(
        answer.text.contains("high_priority, default, low_priority"),
        "{}",
        answer.text
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn ids_that_are_no_uuid_are_refused(db: PgPool) {
    let server = Server::start(db).await;
    for id in ["1", "nope", "01a1fb78-d5cb-7056-ad23", "%ff", "%00"] {
        for path in ["", "/status", "/result", "/history"] {
            assert_eq!(
                server.get(&format!("/tasks/{id}{path}")).await.problem(400),
                "invalid_id",
                "{id}{path}"
            );
        }
        assert_eq!(
            server.post(&format!("/tasks/{id}/cancel"), "").await.problem(400),
            "invalid_id"
        );
        assert_eq!(
            server.post(&format!("/tasks/{id}/retry"), "").await.problem(400),
            "invalid_id"
        );
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn query_parameters_are_strict(db: PgPool) {
    let server = Server::start(db).await;
    let id = server.submit(json!({"task_name": "noop"})).await;
    for (path, name) in [
        ("/tasks?limit=0".to_owned(), "limit"),
        ("/tasks?limit=1000000000".to_owned(), "limit"),
        ("/tasks?limit=-1".to_owned(), "limit"),
        ("/tasks?limit=ten".to_owned(), "limit"),
        ("/tasks?limit=1&limit=2".to_owned(), "limit"),
        ("/tasks?status=queued".to_owned(), "status"),
        ("/tasks?queue=No".to_owned(), "queue"),
        ("/tasks?tag=%00".to_owned(), "tag"),
        ("/tasks?created_after=yesterday".to_owned(), "created_after"),
        (
            "/tasks?created_before=%2B200000-01-01T00:00:00Z".to_owned(),
            "created_before",
        ),
        ("/tasks?page=2".to_owned(), "page"),
        (format!("/tasks/{id}?wait=61"), "wait"),
        (format!("/tasks/{id}?wait=1m1s"), "wait"),
        (format!("/tasks/{id}?wait=-1"), "wait"),
        (format!("/tasks/{id}?wait=soon"), "wait"),
        (format!("/tasks/{id}/status?wait=1"), "wait"),
        ("/queues?x=1".to_owned(), "x"),
        ("/tasks/types?x=1".to_owned(), "x"),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.problem(422), "invalid_request", "{path}");
        assert_eq!(answer.pointers(), [name], "{path}");
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn all_faults_of_a_body_come_at_once_in_plain_words(db: PgPool) {
    let server = Server::start(db).await;
    let body = r#"{"task_name":5,"prioritty":1,"priority":"high","max_retries":1.5,"delay":"soon","run_at":1765367747,
                   "timeout":true,"tags":["a",2],"queue":["low"],"idempotency_key":7,"correlation_id":{},"metadata":"m",
                   "parameters":{"n":1e999,"text":"\ud800"},"tags ":0}"#;
    let expected = [
        "/parameters/n",
        "/parameters/text",
        "/task_name",
        "/priority",
        "/queue",
        "/delay",
        "/run_at",
        "/idempotency_key",
        "/max_retries",
        "/timeout",
        "/tags/1",
        "/correlation_id",
        "/prioritty",
        "/tags ",
        "/metadata",
    ];
    let answer = server.post("/tasks/submit", body).await;
    assert_eq!(answer.problem(422), "invalid_request");
    assert_eq!(answer.pointers(), expected, "{}", answer.text);
    let batch = format!(r#"{{"tasks":[{{"task_name":"noop"}},{body}],"mode":1}}"#);
    let in_batch = server.post("/tasks/submit/batch", batch).await;
    assert_eq!(in_batch.problem(422), "invalid_request");
    let expected: Vec<String> = ["/mode".to_owned()]
        .into_iter()
        .chain(expected.map(|pointer| format!("/tasks/1{pointer}")))
        .collect();
    assert_eq!(in_batch.pointers(), expected, "{}", in_batch.text);
    for (place, words) in [
        ("/priority", "whole number from -100 to 100"),
        ("/run_at", "2026-12-10T11:55:47Z"),
        ("/delay", "1h30m"),
        ("/prioritty", "did you mean `priority`?"),
        ("/tags ", "did you mean `tags`?"),
    ] {
        let errors = answer.json()["errors"].as_array().cloned().expect("errors");
        let error = errors
            .iter()
            .find(|error| error["pointer"] == place)
            .expect(place);
        assert!(
            error["detail"].as_str().is_some_and(|text| text.contains(words)),
            "{error}"
        );
    }
    for parsers_word in [
        "i16",
        "i64",
        "f64",
        "expected",
        "struct",
        "line",
        "column",
        "invalid type",
    ] {
        assert!(
            !answer.text.contains(parsers_word),
            "{parsers_word}: {}",
            answer.text
        );
    }
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn an_unknown_field_hides_no_fault_of_ranges_types_and_parameters(db: PgPool) {
    let server = Server::start(db).await;
    for (body, pointers) in [
        (
            json!({"task_name": "strict", "prio": 1, "priority": 101, "parameters": {"n": "x"}}),
            vec!["/priority", "/prio", "/parameters/n"],
        ),
        (
            json!({"task_name": "unknown", "x": 1, "queue": "nowhere", "timeout": 0}),
            vec!["/x", "/task_name", "/queue", "/timeout"],
        ),
        (
            json!({"task_name": null, "delay": -1, "run_at": "2026-12-10T11:55:47"}),
            vec!["/task_name", "/run_at", "/delay"],
        ),
    ] {
        let answer = server.post("/tasks/submit", &body).await;
        assert_eq!(answer.problem(422), "invalid_request", "{body}");
        assert_eq!(answer.pointers(), pointers, "{}", answer.text);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_time_without_a_zone_is_answered_with_an_example(db: PgPool) {
    let server = Server::start(db).await;
    let body = json!({"task_name": "noop", "run_at": "2026-12-10T11:55:47"});
    for answer in [
        server.post("/tasks/submit", &body).await,
        server.post("/tasks/submit/batch", json!({"tasks": [body]})).await,
        server.get("/tasks?created_after=2026-12-10T11:55:47").await,
        server.get("/dead-letters?before=2026-12-10T11:55:47").await,
        server
            .post("/dead-letters/retry", json!({"before": "2026-12-10T11:55:47"}))
            .await,
    ] {
        answer.problem(422);
        assert!(answer.text.contains("has no time zone"), "{}", answer.text);
        assert!(answer.text.contains("2026-12-10T11:55:47Z"), "{}", answer.text);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn null_is_a_field_that_is_left_out(db: PgPool) {
    let server = Server::start(db).await;
    for field in [
        "parameters",
        "priority",
        "queue",
        "delay",
        "run_at",
        "idempotency_key",
        "max_retries",
        "timeout",
        "tags",
        "metadata",
        "correlation_id",
    ] {
        let answer = server
            .post("/tasks/submit", json!({"task_name": "noop", field: null}))
            .await;
        assert_eq!(answer.status, 202, "{field}: {}", answer.text);
    }
    let id = server
        .submit(json!({"task_name": "noop", "priority": 7.0, "max_retries": 1e1}))
        .await;
    let record = server.get(&format!("/tasks/{id}")).await.json();
    assert_eq!(
        (&record["priority"], &record["max_attempts"]),
        (&json!(7), &json!(11))
    );
    server.stop().await;
}
