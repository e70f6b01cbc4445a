//! API keys: creation, restriction to queues, the actor in the history, revocation.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::TaskId;
use tasker_core::task::retry::DeadLetterReason;
use tasker_server::auth::Auth;
use tasker_store::end_runs::Verdict;
use tasker_store::migrations::MIGRATOR;
use uuid::Uuid;

use crate::client::{Client, SIGN_IN};
use crate::harness::{Server, eventually};

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_is_shown_once_and_stored_nowhere(db: PgPool) {
    let server = Server::start_with(db.clone(), &SIGN_IN).await;
    let admin = Client::admin(&server);
    let request =
        json!({"name": "deploy", "role": "submitter", "queues": ["high"], "expires_in_seconds": 3600});
    let (key, id) = admin.make_key(request.clone()).await;
    assert!(key.starts_with("tsk_") && key.len() > 40, "{key}");
    let list = admin.get("/auth/keys").await;
    assert!(!list.text.contains(&key), "{}", list.text);
    let shown = &list.json()["keys"][0];
    assert_eq!((&shown["id"], &shown["created_by"]), (&json!(id), &json!("ops")));
    assert_eq!(
        (&shown["role"], &shown["queues"]),
        (&json!("submitter"), &json!(["high_priority"]))
    );
    assert!(
        shown["expires_at"].is_string() && shown["revoked_at"].is_null(),
        "{shown}"
    );
    let stored: String = sqlx::query_scalar("SELECT api_keys::text FROM api_keys")
        .fetch_one(&db)
        .await
        .expect("a row");
    assert!(!stored.contains(&key[4..]), "{stored}");
    assert_eq!(
        admin.post("/auth/keys", request).await.problem(409),
        "key_name_taken"
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_that_makes_no_sense_is_refused_by_field(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let answer = admin
        .post(
            "/auth/keys",
            json!({"name": "a b", "role": "root", "queues": ["nope"]}),
        )
        .await;
    answer.problem(422);
    assert_eq!(answer.pointers(), ["/name", "/role", "/queues/0"]);
    let unknown = admin
        .send(
            Method::DELETE,
            "/auth/keys/018f0000-0000-7000-8000-000000000000",
            Body::empty(),
        )
        .await;
    assert_eq!(unknown.problem(404), "key_not_found");
    let no_id = admin
        .send(Method::DELETE, "/auth/keys/deploy", Body::empty())
        .await;
    assert_eq!(no_id.problem(400), "invalid_id");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_in_use_costs_postgres_nothing_and_a_revoked_one_ends_within_seconds(db: PgPool) {
    let here = Server::start_with(db.clone(), &SIGN_IN).await;
    let elsewhere = Server::start_with(db.clone(), &SIGN_IN).await;
    let (key, id) = Client::admin(&here)
        .make_key(json!({"name": "k", "role": "viewer"}))
        .await;
    let (one, other) = (Client::bearer(&here, &key), Client::bearer(&elsewhere, &key));
    assert_eq!(
        (one.get("/tasks").await.status, other.get("/tasks").await.status),
        (200, 200)
    );
    let path = format!("/auth/keys/{id}");
    let revoked = Client::admin(&here)
        .send(Method::DELETE, &path, Body::empty())
        .await;
    assert_eq!(
        (revoked.status, &revoked.json()["revoked_by"]),
        (200, &json!("ops"))
    );
    // immediately on the server that revoked it, elsewhere when the cached entry expires
    assert_eq!(one.get("/tasks").await.problem(401), "invalid_credentials");
    assert_eq!(other.get("/tasks").await.status, 200, "it was remembered");
    eventually(async || (other.get("/tasks").await.status == 401).then_some(())).await;
    let again = Client::admin(&here)
        .send(Method::DELETE, &path, Body::empty())
        .await;
    assert_eq!(again.json(), revoked.json(), "revoking it again changes nothing");
    // its name can be used again
    Client::admin(&here)
        .make_key(json!({"name": "k", "role": "viewer"}))
        .await;
    here.stop().await;
    elsewhere.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_that_has_expired_is_refused(db: PgPool) {
    let server = Server::start_with(db.clone(), &SIGN_IN).await;
    let request = json!({"name": "k", "role": "viewer", "expires_in_seconds": 60});
    let (key, _) = Client::admin(&server).make_key(request).await;
    sqlx::query("UPDATE api_keys SET expires_at = now() - interval '1 ms'")
        .execute(&db)
        .await
        .expect("expired");
    assert_eq!(
        Client::bearer(&server, &key).get("/tasks").await.problem(401),
        "invalid_credentials"
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_last_use_of_a_key_is_noted_beside_the_requests(db: PgPool) {
    let server = Server::start_with(db.clone(), &SIGN_IN).await;
    let admin = Client::admin(&server);
    let (key, _) = admin.make_key(json!({"name": "k", "role": "viewer"})).await;
    let used = async || admin.get("/auth/keys").await.json()["keys"][0]["last_used_at"].clone();
    assert_eq!(Client::bearer(&server, &key).get("/tasks").await.status, 200);
    assert_eq!(used().await, Value::Null);
    server.part::<Arc<Auth>>().keys.write_uses().await;
    let noted = used().await;
    assert!(noted.is_string());
    server.part::<Arc<Auth>>().keys.write_uses().await;
    assert_eq!(used().await, noted, "it was not used since");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_submits_to_its_queues_alone(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let request = json!({"name": "k", "role": "submitter", "queues": ["high"]});
    let client = Client::admin(&server).with_key(request).await;
    for body in [
        json!({"task_name": "noop", "queue": "high"}),
        json!({"task_name": "noop", "priority": 9}),
    ] {
        assert_eq!(client.post("/tasks/submit", body).await.status, 202);
    }
    // the queue that counts is the one after defaults
    for body in [
        json!({"task_name": "noop"}),
        json!({"task_name": "noop", "queue": "low"}),
    ] {
        let answer = client.post("/tasks/submit", body.clone()).await;
        assert_eq!(answer.problem(403), "queue_not_allowed");
        let queue = if body["queue"].is_null() {
            "default"
        } else {
            "low_priority"
        };
        assert!(answer.text.contains(queue), "{}", answer.text);
        let batch = json!({"tasks": [{"task_name": "noop", "priority": 9}, body]});
        let answer = client.post("/tasks/submit/batch", batch).await;
        assert_eq!(answer.problem(403), "queue_not_allowed");
    }
    assert_eq!(server.rows().await, 2);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_sees_and_acts_in_its_queues_alone(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let request = json!({"name": "k", "role": "operator", "queues": ["high"]});
    let client = admin.with_key(request).await;
    let submit = async |queue: &str| {
        let answer = admin
            .post("/tasks/submit", json!({"task_name": "noop", "queue": queue}))
            .await;
        answer.id()
    };
    let (own, others) = (submit("high").await, submit("low").await);
    for route in ["", "/status", "/history", "/explain"] {
        assert_eq!(
            client.get(&format!("/tasks/{own}{route}")).await.status,
            200,
            "{route}"
        );
        let answer = client.get(&format!("/tasks/{others}{route}")).await;
        assert_eq!(answer.problem(404), "task_not_found", "{route}");
    }
    for route in ["/result", "/cancel", "/retry"] {
        let method = if route == "/result" {
            Method::GET
        } else {
            Method::POST
        };
        let path = format!("/tasks/{others}{route}");
        assert_eq!(
            client.send(method, &path, Body::empty()).await.problem(404),
            "task_not_found"
        );
    }
    let page = client.get("/tasks").await.json();
    assert_eq!(ids(&page), [own]);
    assert_eq!(
        client.get("/tasks?queue=low").await.problem(403),
        "queue_not_allowed"
    );
    let totals = client.get("/tasks/totals").await.json();
    assert_eq!(totals["types"][0]["submitted"], json!(1), "{totals}");
    assert_eq!(
        client.get("/tasks/totals?queue=low").await.problem(403),
        "queue_not_allowed"
    );
    let queues = client.get("/queues").await.json();
    assert_eq!(queues["queues"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        client.post("/queues/low/pause", json!({})).await.problem(403),
        "queue_not_allowed"
    );
    assert_eq!(client.post("/queues/high/pause", json!({})).await.status, 200);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_purges_the_dead_letters_of_its_queues_alone(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let operator = async |name: &str, queues: Value| {
        let request = json!({"name": name, "role": "operator", "queues": queues});
        admin.with_key(request).await
    };
    let one = operator("one", json!(["high"])).await;
    let two = operator("two", json!(["high", "default"])).await;
    for queue in ["high", "low"] {
        let answer = admin
            .post("/tasks/submit", json!({"task_name": "noop", "queue": queue}))
            .await;
        server
            .fail(answer.id(), Verdict::DeadLetter(DeadLetterReason::Failed))
            .await;
    }
    assert_eq!(ids(&one.get("/dead-letters").await.json()).len(), 1);
    let purge = async |client: &Client<'_>, body: Value| client.post("/dead-letters/purge", body).await;
    assert_eq!(
        purge(&one, json!({"queue": "low"})).await.problem(403),
        "queue_not_allowed"
    );
    assert_eq!(
        purge(&two, json!({"all": true})).await.problem(403),
        "queue_not_allowed"
    );
    // a key with one queue acts on that queue
    assert_eq!(purge(&one, json!({"all": true})).await.json()["purged"], 1);
    assert_eq!(ids(&admin.get("/dead-letters").await.json()).len(), 1);
    server.stop().await;
}

/// The id in a cursor, after the byte of its version.
fn id_in(cursor: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).expect("base64");
    TaskId(Uuid::from_slice(&bytes[1..17]).expect("an id")).to_string()
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_pages_of_a_key_are_full_and_their_cursors_name_its_own_tasks(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let request = json!({"name": "k", "role": "viewer", "queues": ["high"]});
    let client = admin.with_key(request).await;
    let mut own = Vec::new();
    for queue in ["high", "low", "high", "low", "low"] {
        let answer = admin
            .post("/tasks/submit", json!({"task_name": "noop", "queue": queue}))
            .await;
        server
            .fail(answer.id(), Verdict::DeadLetter(DeadLetterReason::Failed))
            .await;
        if queue == "high" {
            own.insert(0, answer.id());
        }
    }
    for list in ["/tasks", "/dead-letters"] {
        let first = client.get(&format!("{list}?limit=1")).await.json();
        assert_eq!(ids(&first), own[..1], "{list}");
        let cursor = first["next_cursor"].as_str().expect("more");
        assert_eq!(id_in(cursor), own[0].to_string(), "{list}");
        let second = client
            .get(&format!("{list}?limit=1&cursor={cursor}"))
            .await
            .json();
        assert_eq!(ids(&second), own[1..], "{list}");
        // a cursor is valid only for the queues of this key
        let foreign = admin.get(&format!("{list}?limit=1&cursor={cursor}")).await;
        assert_eq!(foreign.status, 422, "{list}");
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_history_tells_who_acted(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let operator = admin
        .with_key(json!({"name": "night-shift", "role": "operator"}))
        .await;
    let id = admin
        .post("/tasks/submit", json!({"task_name": "noop"}))
        .await
        .id();
    assert_eq!(
        operator
            .post(&format!("/tasks/{id}/cancel"), json!({}))
            .await
            .status,
        200
    );
    assert_eq!(
        admin.post(&format!("/tasks/{id}/retry"), json!({})).await.status,
        200
    );
    let history = admin.get(&format!("/tasks/{id}/history")).await.json();
    let actors: Vec<&str> = history["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|event| event["actor"].as_str())
        .collect();
    assert_eq!(actors, ["key:night-shift", "ops"]);
    server.stop().await;
}

fn ids(page: &Value) -> Vec<TaskId> {
    let tasks = page["tasks"].as_array().expect("tasks");
    let id = |task: &Value| task["task_id"].as_str().and_then(|id| id.parse().ok());
    tasks.iter().filter_map(id).collect()
}
