//! Queues declared while servers run.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId};
use tasker_maintenance::{QueueSources, Rebuilder, Sampler};
use tasker_server::state::parts::QueueControl;
use tasker_store::insert::{NewTask, insert};
use tasker_store::migrations::MIGRATOR;
use tasker_store::task_types::{TaskType, publish};
use tasker_testkit::a_task;

use crate::client::{Client, SIGN_IN};
use crate::harness::{Answer, Server, eventually, task_type};

/// The time within which every server knows a new queue.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

async fn two_servers(db: &PgPool) -> (Server, Server) {
    let prefix = format!("test:{}:", TaskId::generate());
    let shared = [("QUEUE_KEY_PREFIX", prefix.as_str())];
    let one = Server::start_with(db.clone(), &shared).await;
    (one, Server::start_with(db.clone(), &shared).await)
}

async fn names(server: &Server) -> Vec<String> {
    names_in(&server.get("/queues").await)
}

fn names_in(answer: &Answer) -> Vec<String> {
    let queues = answer.json()["queues"].as_array().cloned().expect("queues");
    let name = |queue: &Value| queue["name"].as_str().expect("a name").to_owned();
    queues.iter().map(name).collect()
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_queue_is_declared_once_and_asked_for_any_number_of_times(db: PgPool) {
    let server = Server::start(db).await;
    for status in [201, 200, 200] {
        let answer = server.post("/queues", json!({"name": "team.mail"})).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        let queue = answer.json();
        assert_eq!(
            (&queue["name"], &queue["paused"], &queue["depth"]),
            (&json!("team.mail"), &json!(false), &json!(0))
        );
    }
    let classes = server.post("/queues", json!({"name": "default"})).await;
    assert_eq!(classes.status, 200, "{}", classes.text);
    assert_eq!(
        names(&server).await,
        ["high_priority", "default", "low_priority", "team.mail"]
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_queue_declared_on_one_server_works_at_once_on_the_other_and_is_listed_within_two_seconds(
    db: PgPool,
) {
    let (one, other) = two_servers(&db).await;
    assert_eq!(one.post("/queues", json!({"name": "listed"})).await.status, 201);
    let declared = Instant::now();
    eventually(async || names(&other).await.contains(&"listed".to_owned()).then_some(())).await;
    assert!(declared.elapsed() < KNOWN_WITHIN, "{:?}", declared.elapsed());
    let task = |queue: &str| json!({"task_name": "noop", "queue": queue});
    for (name, path, body) in [
        ("single", "/tasks/submit", task("single")),
        ("batch", "/tasks/submit/batch", json!({"tasks": [task("batch")]})),
        ("paused", "/queues/paused/pause", json!({})),
    ] {
        assert_eq!(one.post("/queues", json!({"name": name})).await.status, 201);
        let answer = other.post(path, body).await;
        assert!([200, 202].contains(&answer.status), "{}", answer.text);
    }
    assert_eq!(one.post("/queues", json!({"name": "scaled"})).await.status, 201);
    assert_eq!(other.get("/queues/scaled/scaling").await.status, 200);
    one.stop().await;
    other.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_queue_whose_row_is_deleted_is_forgotten_and_one_of_extra_queues_is_not(db: PgPool) {
    let server = Server::start_with(db.clone(), &[("EXTRA_QUEUES", "kept")]).await;
    for name in ["kept", "gone"] {
        server.post("/queues", json!({"name": name})).await;
    }
    sqlx::query("DELETE FROM queues WHERE name IN ('kept', 'gone')")
        .execute(&db)
        .await
        .expect("deleted");
    eventually(async || (!names(&server).await.contains(&"gone".to_owned())).then_some(())).await;
    let submit = async |queue: &str| {
        let task = json!({"task_name": "noop", "queue": queue});
        server.post("/tasks/submit", task).await.status
    };
    assert_eq!((submit("gone").await, submit("kept").await), (422, 202));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_bad_name_an_alias_and_anything_else_is_rejected_by_field(db: PgPool) {
    let server = Server::start(db).await;
    for (body, status, pointer, word) in [
        (json!({"name": "Mail"}), 422, "/name", "[a-z0-9][a-z0-9_.-]{0,63}"),
        (json!({"name": ""}), 422, "/name", "[a-z0-9][a-z0-9_.-]{0,63}"),
        (
            json!({"name": "a".repeat(65)}),
            422,
            "/name",
            "[a-z0-9][a-z0-9_.-]{0,63}",
        ),
        (json!({"name": "high"}), 422, "/name", "high_priority"),
        (json!({"name": "low"}), 422, "/name", "low_priority"),
        (json!({"name": 3}), 422, "/name", ""),
        (json!({"name": "a", "paused": true}), 422, "/paused", ""),
        (json!({}), 422, "/name", ""),
    ] {
        let answer = server.post("/queues", &body).await;
        answer.problem(status);
        assert_eq!(answer.pointers(), [pointer], "{body}: {}", answer.text);
        assert!(answer.text.contains(word), "{body}: {}", answer.text);
    }
    assert_eq!(server.post("/queues", "{").await.status, 400);
    assert_eq!(server.post("/queues?x=1", json!({"name": "a"})).await.status, 422);
    assert_eq!(names(&server).await.len(), 3);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_number_of_declared_queues_is_limited(db: PgPool) {
    let server = Server::start(db.clone()).await;
    sqlx::query("INSERT INTO queues (name) SELECT 'q' || n FROM generate_series(1, 996) AS n")
        .execute(&db)
        .await
        .expect("inserted");
    let create = async |name: &str| server.post("/queues", json!({"name": name})).await;
    assert_eq!(create("last").await.status, 201);
    let full = create("one-too-many").await;
    full.problem(422);
    assert!(full.text.contains("1000 queues"), "{}", full.text);
    assert_eq!(create("last").await.status, 200);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_template_declares_the_queue_of_its_namespace_if_it_names_it_and_no_other(db: PgPool) {
    let server = Server::start(db.clone()).await;
    publish(&db, &[task_type("noop")]).await.expect("published");
    let put = async |body: &Value| {
        let request = Request::put("/v1/templates").header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).expect("a request");
        server.send(request).await
    };
    let mut template = json!({"name": "t", "namespace": "pay", "steps": [{"name": "a", "run": "noop"}]});
    assert_eq!(put(&template).await.status, 201);
    assert_eq!(names(&server).await.len(), 3);
    template["version"] = json!("1.1.0");
    template["queue"] = json!("pay_queue");
    assert_eq!(put(&template).await.status, 201);
    assert_eq!(names(&server).await.len(), 4);
    let started = server.post("/v1/workflows", json!({"name": "t"})).await;
    assert_eq!(started.status, 201, "{}", started.text);
    let queue: String = sqlx::query_scalar("SELECT queue FROM tasks")
        .fetch_one(&db)
        .await
        .expect("a step");
    assert_eq!(queue, "pay_queue");
    template["version"] = json!("1.2.0");
    template["queue"] = json!("other_queue");
    assert_eq!(put(&template).await.status, 201);
    assert_eq!(names(&server).await.len(), 4);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn an_undeclared_name_is_rejected_with_the_declared_ones_and_how_to_declare_it(db: PgPool) {
    let server = Server::start(db).await;
    let task = json!({"task_name": "noop", "queue": "mail"});
    for answer in [
        server.post("/tasks/submit", &task).await,
        server
            .post("/tasks/submit/batch", json!({"tasks": [&task]}))
            .await,
        server.post("/queues/mail/pause", "").await,
        server
            .post(
                "/auth/keys",
                json!({"name": "k", "role": "viewer", "queues": ["mail"]}),
            )
            .await,
    ] {
        assert!([404, 422].contains(&answer.status), "{}", answer.text);
        for word in ["default", "tasker queue create", "POST /queues", "EXTRA_QUEUES"] {
            assert!(answer.text.contains(word), "{word}: {}", answer.text);
        }
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_type_whose_own_queue_is_not_declared_is_submitted_elsewhere_or_not_at_all(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let letter = TaskType {
        queue: QueueName::parse("mail").ok(),
        ..task_type("letter")
    };
    publish(&db, &[letter]).await.expect("published");
    let submit = async |queue: Value| {
        let task = json!({"task_name": "letter", "queue": queue});
        server.post("/tasks/submit", task).await
    };
    let rejected = submit(Value::Null).await;
    assert_eq!(rejected.problem(422), "unknown_queue");
    for word in ["`mail`", "tasker queue create", "low_priority"] {
        assert!(rejected.text.contains(word), "{}", rejected.text);
    }
    assert_eq!(submit(json!("low")).await.status, 202);
    assert_eq!(server.post("/queues", json!({"name": "mail"})).await.status, 201);
    let accepted = submit(Value::Null).await;
    assert_eq!(
        (accepted.status, &accepted.json()["queue"]),
        (202, &json!("mail"))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_duties_of_the_leader_see_a_queue_that_is_declared_after_they_began(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let QueueControl { lists, table, .. } = server.part();
    let queues = table.declared();
    let mut sampler = Sampler::new(QueueSources {
        db: db.clone().into(),
        redis: None,
        queues: queues.clone(),
        worker_timeout: Duration::from_secs(30),
    });
    let mut rebuilder = Rebuilder::new(db.clone(), lists, queues, Duration::from_secs(30));
    assert_eq!(sampler.run_once().await.expect("a sample").len(), 3);
    assert_eq!(server.post("/queues", json!({"name": "mail"})).await.status, 201);
    assert_eq!(sampler.run_once().await.expect("a sample").len(), 4);
    let mail = QueueName::parse("mail").expect("a name");
    let task = NewTask {
        queue: mail.clone(),
        ..a_task("noop")
    };
    insert(&db, &[task], 60.0).await.expect("a row without a hint");
    sqlx::query("UPDATE tasks SET enqueued_at = now() - interval '1 minute'")
        .execute(&db)
        .await
        .expect("the task has waited");
    let now = Instant::now();
    rebuilder.run_once(now).await.expect("a run");
    rebuilder
        .run_once(now + Duration::from_secs(5))
        .await
        .expect("a run");
    assert_eq!(server.depth(&mail).await, 1);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn operators_declare_queues_and_a_key_that_is_held_to_queues_only_those(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    assert_eq!(admin.post("/queues", json!({"name": "mail"})).await.status, 201);
    let held = json!({"name": "held", "role": "operator", "queues": ["mail"]});
    let held = admin.with_key(held).await;
    let submitter = admin
        .with_key(json!({"name": "submitter", "role": "submitter"}))
        .await;
    for (client, name, status) in [
        (&held, "mail", 200),
        (&held, "other", 403),
        (&submitter, "mail", 403),
    ] {
        let answer = client.post("/queues", json!({"name": name})).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    assert!(!names_in(&admin.get("/queues").await).contains(&"other".to_owned()));
    server.stop().await;
}
