//! Parameters and metadata are stored exactly as sent, or rejected.

use serde_json::json;
use serde_json::value::RawValue;
use sqlx::PgPool;
use tasker_store::migrations::MIGRATOR;
use tasker_wire::Task;

use crate::harness::Server;

/// Objects that a parser with doubles or with sorted keys would change.
const KEPT: [&str; 6] = [
    r#"{"n":18446744073709551615,"m":-9223372036854775808}"#,
    r#"{"n":0.12345678901234567890123456789,"m":123456789012345678901234567890.5}"#,
    r#"{"n":1.50,"m":1e2,"k":-0,"l":-0.0,"j":1E-999}"#,
    r#"{ "z" : 1 ,"a":[ 9007199254740993.0 ] }"#,
    r#"{"\u0061":"\u00e4\ud83d\ude00","B":"ä","":null}"#,
    r#"{"a":{"a":[{"a":1},{"a":2}]},"b":{"a":3}}"#,
];

async fn stored(server: &Server, id: &str) -> (Box<RawValue>, Box<RawValue>) {
    let answer = server.get(&format!("/tasks/{id}")).await;
    let task: Task = serde_json::from_str(&answer.text).expect("a task");
    (task.parameters, task.metadata)
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn parameters_and_metadata_are_kept_as_they_were_sent(db: PgPool) {
    let server = Server::start(db).await;
    for object in KEPT {
        let body = format!(r#"{{"task_name":"noop","parameters":{object},"metadata":{object}}}"#);
        let single = server.post("/tasks/submit", &body).await;
        assert_eq!(single.status, 202, "{object}: {}", single.text);
        let batch = server
            .post("/tasks/submit/batch", format!(r#"{{"tasks":[{body}]}}"#))
            .await;
        assert_eq!(batch.status, 202, "{object}: {}", batch.text);
        let of_batch = batch.json()["tasks"][0]["task_id"].clone();
        for id in [&single.json()["task_id"], &of_batch] {
            let (parameters, metadata) = stored(&server, id.as_str().expect("an id")).await;
            assert_eq!((parameters.get(), metadata.get()), (object, object));
        }
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_readers_disagree_on_is_refused_by_its_place(db: PgPool) {
    let server = Server::start(db).await;
    for (object, place, words) in [
        (r#"{"a":1,"a":2}"#, "/a", "twice"),
        (r#"{"x":[{"a":1,"b":2,"\u0061":3}]}"#, "/x/0/a", "twice"),
        (r#"{"n":18446744073709551616}"#, "/n", "18446744073709551615"),
        (r#"{"n":-9223372036854775809}"#, "/n", "-9223372036854775808"),
        (r#"{"n":1e999}"#, "/n", "1.7976931348623157e308"),
        (r#"{"n":-1e309}"#, "/n", "1.7976931348623157e308"),
    ] {
        for field in ["parameters", "metadata"] {
            let body = format!(r#"{{"task_name":"noop","{field}":{object}}}"#);
            let single = server.post("/tasks/submit", &body).await;
            assert_eq!(single.problem(422), "invalid_request", "{body}");
            assert_eq!(single.pointers(), [format!("/{field}{place}")]);
            assert!(single.text.contains(words), "{}", single.text);
            let batch = format!(r#"{{"tasks":[{{"task_name":"noop"}},{body}]}}"#);
            let batch = server.post("/tasks/submit/batch", batch).await;
            assert_eq!(batch.problem(422), "invalid_request", "{body}");
            assert_eq!(batch.pointers(), [format!("/tasks/1/{field}{place}")]);
        }
    }
    for body in [
        r#"{"task_name":"noop","task_name":"strict"}"#,
        r#"{"task_name":"noop","priority":1,"priority":2}"#,
    ] {
        assert_eq!(
            server.post("/tasks/submit", body).await.problem(422),
            "invalid_request"
        );
    }
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_tells_apart_what_one_double_stands_for(db: PgPool) {
    let server = Server::start(db).await;
    let body = |key: &str, parameters: &str| {
        format!(r#"{{"task_name":"noop","idempotency_key":"{key}","parameters":{parameters}}}"#)
    };
    for (key, first, same, other) in [
        (
            "big",
            r#"{"n":18446744073709551615}"#,
            r#"{"n": 18446744073709551615 }"#,
            r#"{"n":18446744073709551614}"#,
        ),
        (
            "decimal",
            r#"{"n":0.12345678901234567890}"#,
            r#"{"n":1.234567890123456789e-1}"#,
            r#"{"n":0.12345678901234567891}"#,
        ),
        (
            "whole",
            r#"{"n":9007199254740993.0}"#,
            r#"{"n":9007199254740993}"#,
            r#"{"n":9007199254740992.0}"#,
        ),
    ] {
        assert_eq!(
            server.post("/tasks/submit", body(key, first)).await.status,
            202,
            "{key}"
        );
        let again = server.post("/tasks/submit", body(key, same)).await;
        assert_eq!(
            (again.status, &again.json()["deduplicated"]),
            (200, &json!(true)),
            "{key}"
        );
        let reused = server.post("/tasks/submit", body(key, other)).await;
        assert_eq!(reused.problem(422), "idempotency_key_reused", "{key}");
        let batch = format!(
            r#"{{"tasks":[{},{}]}}"#,
            body(&format!("{key}2"), first),
            body(&format!("{key}2"), other)
        );
        let batch = server.post("/tasks/submit/batch", batch).await;
        assert_eq!(batch.problem(422), "idempotency_key_reused", "{key}");
    }
    server.stop().await;
}
