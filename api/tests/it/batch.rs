use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_store::migrations::MIGRATOR;

use crate::harness::Server;

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_batch_is_stored_and_listed_in_its_order(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let tasks: Vec<Value> = (0..500)
        .map(|n| json!({"task_name": "noop", "parameters": {"n": n}}))
        .collect();
    let answer = server.post("/tasks/submit/batch", json!({"tasks": tasks})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let body = answer.json();
    assert_eq!(body["accepted"], json!(500));
    let stored: Vec<i32> = sqlx::query_scalar("SELECT (parameters->>'n')::int FROM tasks ORDER BY id")
        .fetch_all(&db)
        .await
        .expect("rows");
    assert!(stored.into_iter().eq(0..500));
    assert_eq!(server.depth(&QueueName::default_class()).await, 500);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_batch_has_one_to_ten_thousand_tasks(db: PgPool) {
    let server = Server::start(db).await;
    for count in [0, 10_001] {
        let tasks = vec![json!({"task_name": "noop"}); count];
        let answer = server.post("/tasks/submit/batch", json!({"tasks": tasks})).await;
        assert_eq!(
            (answer.problem(422).as_str(), answer.pointers()),
            ("invalid_request", vec!["/tasks".into()])
        );
    }
    let tasks = vec![json!({"task_name": "noop"}); 10_000];
    let answer = server.post("/tasks/submit/batch", json!({"tasks": tasks})).await;
    assert_eq!(answer.status, 202);
    assert_eq!(server.rows().await, 10_000);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn bad_tasks_are_named_up_to_a_hundred_and_nothing_is_stored(db: PgPool) {
    let server = Server::start(db).await;
    let task = |n: usize| {
        if n.is_multiple_of(3) {
            json!({"task_name": "noop", "priority": 500})
        } else {
            json!({"task_name": "noop"})
        }
    };
    let tasks: Vec<Value> = (0..1000).map(task).collect();
    let answer = server.post("/tasks/submit/batch", json!({"tasks": tasks})).await;
    answer.problem(422);
    let pointers = answer.pointers();
    assert_eq!(pointers.len(), 100);
    assert_eq!(
        (pointers[0].as_str(), pointers[1].as_str()),
        ("/tasks/0/priority", "/tasks/3/priority")
    );
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn equal_keys_within_a_batch_make_one_task(db: PgPool) {
    let server = Server::start(db).await;
    let keyed =
        |key: &str, n: i32| json!({"task_name": "noop", "idempotency_key": key, "parameters": {"n": n}});
    let batch = json!({"tasks": [keyed("a", 1), keyed("b", 1), keyed("a", 1), {"task_name": "noop"}]});
    let body = server.post("/tasks/submit/batch", &batch).await.json();
    assert_eq!(body["tasks"][0]["task_id"], body["tasks"][2]["task_id"]);
    assert_eq!(body["tasks"][2]["deduplicated"], json!(true));
    assert_eq!(server.rows().await, 3);
    let different = json!({"tasks": [keyed("c", 1), keyed("c", 2)]});
    let answer = server.post("/tasks/submit/batch", &different).await;
    assert_eq!(answer.problem(422), "idempotency_key_reused");
    assert_eq!(answer.pointers(), ["/tasks/1/idempotency_key"]);
    assert_eq!(server.rows().await, 3);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_that_belongs_to_another_request_takes_the_whole_batch_back(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let keyed =
        |key: &str, n: i32| json!({"task_name": "noop", "idempotency_key": key, "parameters": {"n": n}});
    let first = server.submit(keyed("a", 1)).await;
    let refused = json!({"tasks": [keyed("new", 1), keyed("a", 2), {"task_name": "noop"}]});
    let answer = server.post("/tasks/submit/batch", &refused).await;
    assert_eq!(answer.problem(422), "idempotency_key_reused");
    assert_eq!(answer.pointers(), ["/tasks/1/idempotency_key"]);
    assert_eq!(server.rows().await, 1);
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM task_keys")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(keys, 1);
    let accepted = json!({"tasks": [keyed("new", 1), keyed("a", 1)]});
    let body = server.post("/tasks/submit/batch", &accepted).await.json();
    assert_eq!(body["tasks"][1]["task_id"], json!(first.to_string()));
    assert_eq!(body["tasks"][1]["deduplicated"], json!(true));
    assert_eq!(server.rows().await, 2);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn batches_with_crossing_keys_all_end(db: PgPool) {
    let server = Server::start(db).await;
    let batch = |reverse: bool| {
        let mut keys: Vec<i32> = (0..50).collect();
        if reverse {
            keys.reverse();
        }
        let tasks: Vec<Value> = keys
            .iter()
            .map(|n| json!({"task_name": "noop", "idempotency_key": format!("k{n}")}))
            .collect();
        json!({"tasks": tasks})
    };
    let bodies: Vec<Value> = (0..8).map(|n| batch(n % 2 == 0)).collect();
    let answers =
        futures_util::future::join_all(bodies.iter().map(|body| server.post("/tasks/submit/batch", body)))
            .await;
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    assert_eq!(server.rows().await, 50);
    server.stop().await;
}
