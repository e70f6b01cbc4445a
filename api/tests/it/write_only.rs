//! Write-only parameters: no table of Postgres holds them.

use axum::http::Method;
use serde_json::{Value, json};
use sqlx::{PgPool, Row as _};
use tasker_store::migrations::MIGRATOR;
use tasker_store::task_types::{TaskType, publish};

use crate::harness::{Server, task_type};

const SECRET: &str = "hunter2-write-only";

/// Starts a server that knows the type `login`, whose `password` is write-only.
async fn start(db: &PgPool) -> Server {
    let server = Server::start(db.clone()).await;
    let schema = json!({
        "type": "object",
        "properties": {"user": {"type": "string"}, "password": {"type": "string", "writeOnly": true}},
        "additionalProperties": false,
    });
    let login = TaskType {
        parameters_schema: Some(schema.to_string()),
        ..task_type("login")
    };
    publish(db, &[login]).await.expect("published");
    server
}

fn login(password: &str, key: &str) -> Value {
    json!({
        "task_name": "login", "idempotency_key": key,
        "parameters": {"user": "ada", "password": password}, "max_retries": 0,
    })
}

/// The tables that have a row with the secret in any column.
async fn tables_with_the_secret(db: &PgPool) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables \
         WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(db)
    .await
    .expect("names");
    let mut found = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {table} AS one WHERE one::text LIKE '%' || $1 || '%'");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(SECRET)
            .fetch_one(db)
            .await
            .expect("a count");
        if row.get::<i64, _>(0) > 0 {
            found.push(table);
        }
    }
    found
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_write_only_parameter_is_in_no_row_and_the_answer_says_so(db: PgPool) {
    let server = start(&db).await;
    let single = server.post("/tasks/submit", login(SECRET, "single")).await;
    assert_eq!(single.status, 202, "{}", single.text);
    let batch = json!({"tasks": [login(SECRET, "batch"), {"task_name": "noop"}]});
    let batch = server.post("/tasks/submit/batch", batch).await;
    assert_eq!(batch.status, 202, "{}", batch.text);
    let message = |answer: &Value| answer["message"].as_str().expect("a message").to_owned();
    let note = "; write-only parameters are not stored: `password`";
    for answer in [&single.json(), &batch.json()["tasks"][0]] {
        assert!(message(answer).ends_with(note), "{answer}");
    }
    assert!(!message(&batch.json()["tasks"][1]).contains("write-only"));
    for text in [&single.text, &batch.text] {
        assert!(!text.contains(SECRET), "{text}");
    }

    let id = single.id();
    let task = server.get(&format!("/tasks/{id}")).await.json();
    assert_eq!(task["parameters"], json!({"user": "ada"}));
    let cancelled = server.call(Method::DELETE, &format!("/tasks/{id}")).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    assert_eq!(tables_with_the_secret(&db).await, [] as [String; 0]);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_same_key_with_another_password_is_the_same_request(db: PgPool) {
    let server = start(&db).await;
    let first = server.post("/tasks/submit", login(SECRET, "k")).await;
    let again = server.post("/tasks/submit", login("another", "k")).await;
    assert_eq!((first.status, again.status), (202, 200), "{}", again.text);
    assert_eq!(first.id(), again.id());
    let other = json!({"task_name": "login", "idempotency_key": "k", "parameters": {"user": "bob"}});
    let other = server.post("/tasks/submit", other).await;
    assert_eq!(other.problem(422), "idempotency_key_reused");
    assert_eq!(tables_with_the_secret(&db).await, [] as [String; 0]);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn an_invalid_write_only_parameter_is_rejected_without_being_repeated(db: PgPool) {
    let server = start(&db).await;
    let mut invalid = login(SECRET, "k");
    invalid["parameters"]["password"] = json!([SECRET]);
    let answer = server.post("/tasks/submit", invalid).await;
    assert_eq!(answer.problem(422), "invalid_parameters");
    assert_eq!(answer.pointers(), ["/parameters/password"]);
    assert!(!answer.text.contains(SECRET), "{}", answer.text);
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}
