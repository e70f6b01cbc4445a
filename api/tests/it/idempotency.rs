use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_store::migrations::MIGRATOR;

use crate::harness::{Server, json_request};

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_same_request_with_the_same_key_makes_one_task(db: PgPool) {
    let server = Server::start(db).await;
    let first = json!({"task_name": "noop", "idempotency_key": "k", "parameters": {"a": 1, "b": 2.0}, "queue": "high"});
    // the same after defaults, aliases and notation; a correlation id does not count
    let again = r#"{"queue":"high_priority","parameters":{"b":2,"a":1},"correlation_id":"other","max_retries":3,
                    "timeout":"1h","priority":0,"idempotency_key":"k","task_name":"noop"}"#;
    let id = server.submit(first).await;
    let answer = server.post("/tasks/submit", again).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((answer.id(), &answer.json()["deduplicated"]), (id, &json!(true)));
    assert_eq!(answer.headers["location"], format!("/tasks/{id}"));
    assert_eq!(server.rows().await, 1);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn another_request_with_the_same_key_is_refused(db: PgPool) {
    let server = Server::start(db).await;
    server
        .submit(json!({"task_name": "noop", "idempotency_key": "k"}))
        .await;
    for field in [
        json!({"parameters": {"a": 1}}),
        json!({"tags": ["x"]}),
        json!({"delay": 5}),
        json!({"priority": 1}),
    ] {
        let mut body = json!({"task_name": "noop", "idempotency_key": "k"});
        for (name, value) in field.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let answer = server.post("/tasks/submit", &body).await;
        assert_eq!(answer.problem(422), "idempotency_key_reused", "{body}");
        assert_eq!(answer.pointers(), ["/idempotency_key"]);
    }
    // a key belongs to its task name
    server
        .submit(json!({"task_name": "strict", "parameters": {"n": 1}, "idempotency_key": "k"}))
        .await;
    assert_eq!(server.rows().await, 2);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_header_is_the_same_as_the_field(db: PgPool) {
    let server = Server::start(db).await;
    let send = async |path: &str, key: &str, body: Value| {
        let mut request = json_request(path, body);
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().expect("a header"));
        server.send(request).await
    };
    let id = send("/tasks/submit", "k", json!({"task_name": "noop"}))
        .await
        .id();
    let body = json!({"task_name": "noop", "idempotency_key": "k"});
    assert_eq!(send("/tasks/submit", "k", body.clone()).await.id(), id);
    let answer = send("/tasks/submit", "other", body).await;
    assert_eq!(
        (answer.problem(422).as_str(), answer.pointers()),
        ("invalid_request", vec!["/idempotency_key".into()])
    );
    let answer = send("/tasks/submit", "", json!({"task_name": "noop"})).await;
    assert_eq!(answer.pointers(), ["/idempotency_key"]);
    // which of two headers counts would be a guess
    let mut request = json_request("/tasks/submit", json!({"task_name": "noop"}));
    for key in ["a", "b"] {
        let key = key.parse().expect("a header");
        request.headers_mut().append("idempotency-key", key);
    }
    let answer = server.send(request).await;
    assert_eq!(
        (answer.problem(422).as_str(), answer.pointers()),
        ("invalid_request", vec!["Idempotency-Key".into()])
    );
    let answer = send(
        "/tasks/submit/batch",
        "k",
        json!({"tasks": [{"task_name": "noop"}]}),
    )
    .await;
    assert_eq!(
        (answer.problem(422).as_str(), answer.pointers()),
        ("invalid_request", vec!["Idempotency-Key".into()])
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_hundred_submits_of_one_key_at_once_make_one_task(db: PgPool) {
    let server = Server::start(db).await;
    let body = json!({"task_name": "noop", "idempotency_key": "k"});
    let submits = (0..100).map(|_| server.post("/tasks/submit", &body));
    let answers = futures_util::future::join_all(submits).await;
    let id = answers[0].id();
    assert!(answers.iter().all(|answer| answer.id() == id));
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 99);
    assert_eq!(server.rows().await, 1);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn of_two_requests_with_one_key_in_one_flush_the_later_follows_the_first(db: PgPool) {
    let server = Server::start(db).await;
    let bodies: Vec<Value> = (0..60)
        .map(|n| json!({"task_name": "noop", "idempotency_key": format!("k{}", n % 20), "parameters": {"v": n / 40}}))
        .collect();
    let answers =
        futures_util::future::join_all(bodies.iter().map(|body| server.post("/tasks/submit", body))).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(202), count(200), count(422)), (20, 20, 20));
    assert_eq!(server.rows().await, 20);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_that_expired_is_taken_over_once_its_task_is_over(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let body = json!({"task_name": "noop", "idempotency_key": "k"});
    let id = server.submit(body.clone()).await;
    let expire = async || {
        let expire = sqlx::query("UPDATE task_keys SET expires_at = now() - interval '1 second'");
        expire.execute(&db).await.expect("expired");
    };
    expire().await;
    assert_eq!(
        server.post("/tasks/submit", &body).await.id(),
        id,
        "its task is not over"
    );
    server.finish(id, "1").await;
    let answer = server.post("/tasks/submit", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_ne!(answer.id(), id);
    server.finish(answer.id(), "2").await;
    expire().await;
    let batch = json!({"tasks": [body]});
    let answer = server.post("/tasks/submit/batch", &batch).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(
        answer.json()["tasks"][0]["deduplicated"],
        json!(false),
        "{}",
        answer.text
    );
    server.stop().await;
}
