//! `GET /tasks/{id}/explain` against the facts in Postgres.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::claim::{Claimant, claim};
use tasker_store::end_runs::Verdict;
use tasker_store::queues::{pause, resume};
use tasker_store::recover::recover;
use tasker_store::workers::{NewWorker, register};
use tasker_testkit::a_worker;

use crate::harness::Server;

async fn explain(server: &Server, id: TaskId) -> Value {
    let answer = server.get(&format!("/tasks/{id}/explain")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn codes(server: &Server, id: TaskId) -> Vec<String> {
    let explained = explain(server, id).await;
    let reasons = explained["reasons"].as_array().expect("reasons").clone();
    let code = |reason: &Value| reason["code"].as_str().expect("a code").to_owned();
    reasons.iter().map(code).collect()
}

async fn a_noop(server: &Server) -> TaskId {
    server.submit(json!({"task_name": "noop"})).await
}

/// Inserts a live worker of the three classes that registers `names`.
async fn enter(db: &PgPool, id: &str, names: &[&str]) -> NewWorker {
    let worker = NewWorker {
        task_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..a_worker(id)
    };
    register(db, &worker).await.expect("entered");
    worker
}

/// Claims `id` for `worker`; returns true if it got it.
async fn claims(db: &PgPool, worker: &NewWorker, id: TaskId, runs_suspect: bool) -> bool {
    let claimant = Claimant {
        worker_id: &worker.id,
        queues: &worker.queues,
        task_names: &worker.task_names,
        runs_suspect,
    };
    let claim = claim(db, &claimant, &[id]).await.expect("a claim is answered");
    claim.tasks.len() == 1
}

async fn execute(db: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(db).await.expect(statement);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_pending_task_waits_for_a_worker_of_its_queue_then_of_its_type_then_its_turn(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let [first, second] = [a_noop(&server).await, a_noop(&server).await];
    assert_eq!(codes(&server, second).await, ["no_worker_for_queue"]);
    enter(&db, "silent", &["noop"]).await;
    execute(&db, "UPDATE workers SET last_heartbeat = '2001-01-01'").await;
    assert_eq!(codes(&server, second).await, ["no_worker_for_queue"]);
    enter(&db, "other", &["strict"]).await;
    assert_eq!(codes(&server, second).await, ["no_worker_for_type"]);
    enter(&db, "able", &["noop"]).await;
    assert_eq!(codes(&server, second).await, ["waits_its_turn"]);
    let explained = explain(&server, second).await;
    assert_eq!(
        (&explained["position"], &explained["status"]),
        (&json!(1), &json!("pending"))
    );
    assert_eq!(
        (&explained["task_id"], &explained["estimated_wait_seconds"]),
        (&json!(second.to_string()), &Value::Null)
    );
    assert_eq!(explain(&server, first).await["position"], json!(0));

    let urgent = server.submit(json!({"task_name": "noop", "priority": 9})).await;
    assert_eq!(
        codes(&server, second).await,
        ["waits_its_turn", "other_queues_first"]
    );
    assert_eq!(codes(&server, urgent).await, ["waits_its_turn"]);
    pause(&db, &QueueName::high()).await.expect("paused");
    assert_eq!(codes(&server, second).await, ["waits_its_turn"]);
    assert_eq!(codes(&server, urgent).await, ["queue_paused"]);
    resume(&db, &QueueName::high()).await.expect("resumed");
    server.stop().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn tasks_that_no_live_worker_can_run_have_no_place_and_are_before_no_other(db: PgPool) {
    let server = Server::start(db.clone()).await;
    enter(&db, "earlier", &["noop", "strict"]).await;
    let parked = server
        .submit(json!({"task_name": "strict", "parameters": {"n": 1}}))
        .await;
    let [first, second] = [a_noop(&server).await, a_noop(&server).await];
    let urgent = json!({"task_name": "strict", "parameters": {"n": 1}, "priority": 9});
    server.submit(urgent).await;
    assert_eq!(explain(&server, second).await["position"], 2);
    assert_eq!(
        codes(&server, second).await,
        ["waits_its_turn", "other_queues_first"]
    );
    execute(&db, "UPDATE workers SET task_names = '{noop}'").await;
    assert_eq!(explain(&server, first).await["position"], 0);
    assert_eq!(explain(&server, second).await["position"], 1);
    assert_eq!(codes(&server, second).await, ["waits_its_turn"]);
    pause(&db, &QueueName::default_class()).await.expect("paused");
    assert_eq!(
        codes(&server, parked).await,
        ["no_worker_for_type", "queue_paused"]
    );
    let explained = explain(&server, parked).await;
    assert_eq!(
        (
            &explained["position"],
            &explained["estimated_wait_seconds"],
            &explained["status"]
        ),
        (&Value::Null, &Value::Null, &json!("pending"))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_was_misrouted_before_it_ran_was_pending_all_the_time(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let other = enter(&db, "other", &["strict"]).await;
    let id = a_noop(&server).await;
    for _ in 0..2 {
        assert!(!claims(&db, &other, id, false).await);
    }
    let able = enter(&db, "able", &["noop"]).await;
    assert!(claims(&db, &able, id, false).await);
    let answer = server.get(&format!("/tasks/{id}/history")).await.json();
    let events = answer["events"].as_array().expect("events").clone();
    let steps: Vec<_> = events
        .iter()
        .map(|event| (event["from"].clone(), event["to"].clone()))
        .collect();
    assert_eq!(
        steps,
        [
            (Value::Null, json!("pending")),
            (json!("pending"), json!("running"))
        ]
    );
    server.stop().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_wait_is_guessed_from_what_finished_last_in_its_queue(db: PgPool) {
    let server = Server::start(db.clone()).await;
    for _ in 0..6 {
        let id = a_noop(&server).await;
        server.finish(id, "{}").await;
    }
    let urgent = server.submit(json!({"task_name": "noop", "priority": 9})).await;
    server.finish(urgent, "{}").await;
    // a rate of one in ten seconds
    execute(
        &db,
        "UPDATE finished_tasks SET completed_at = now() - interval '1 minute' WHERE queue = 'default'",
    )
    .await;
    let ids = [
        a_noop(&server).await,
        a_noop(&server).await,
        a_noop(&server).await,
    ];
    let guess = explain(&server, ids[2]).await["estimated_wait_seconds"].as_f64();
    let guess = guess.expect("a guess");
    assert!((29.0..45.0).contains(&guess), "{guess}");
    execute(
        &db,
        "UPDATE finished_tasks SET completed_at = now() - interval '1 hour' WHERE queue = 'default'",
    )
    .await;
    let explained = explain(&server, ids[2]).await;
    assert_eq!(explained["estimated_wait_seconds"], Value::Null);
    server.stop().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_is_due_later_or_was_deferred_says_so(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let able = enter(&db, "able", &["noop"]).await;
    let other = enter(&db, "other", &["strict"]).await;
    let delayed = server.submit(json!({"task_name": "noop", "delay": 600})).await;
    assert_eq!(codes(&server, delayed).await, ["due_later"]);
    let wait = explain(&server, delayed).await["estimated_wait_seconds"].as_f64();
    assert!(wait.is_some_and(|wait| wait > 500.0), "{wait:?}");

    let unknown = a_noop(&server).await;
    assert!(!claims(&db, &other, unknown, false).await);
    assert_eq!(codes(&server, unknown).await, ["waits_its_turn"]);

    let suspect = a_noop(&server).await;
    execute(&db, "UPDATE tasks SET crash_count = 2 WHERE status = 'pending'").await;
    assert!(!claims(&db, &able, suspect, true).await);
    assert_eq!(codes(&server, suspect).await, ["due_later", "suspect_runs_alone"]);
    server.stop().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_suspect_beside_another_and_a_lost_run_are_explained(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let lost = a_noop(&server).await;
    let (worker, _) = server.run(lost).await;
    assert_eq!(codes(&server, lost).await, ["running"]);
    sqlx::query("UPDATE workers SET status = 'dead', died_at = now() WHERE id = $1")
        .bind(&worker)
        .execute(&db)
        .await
        .expect("the worker died");
    recover(&db, 10).await.expect("a run");
    assert_eq!(
        codes(&server, lost).await,
        ["no_worker_for_queue", "last_run_lost"]
    );
    let explained = explain(&server, lost).await;
    let detail = explained["reasons"][1]["detail"].as_str().expect("a detail");
    assert!(detail.contains(&worker), "{detail}");

    let able = enter(&db, "able", &["noop"]).await;
    let other = a_noop(&server).await;
    execute(&db, "UPDATE tasks SET crash_count = 2").await;
    assert!(claims(&db, &able, other, false).await);
    assert_eq!(
        codes(&server, lost).await,
        ["suspect_runs_alone", "last_run_lost"]
    );
    assert_eq!(
        server.post(&format!("/tasks/{other}/cancel"), "").await.status,
        202
    );
    assert_eq!(codes(&server, other).await, ["running", "cancel_requested"]);
    server.stop().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_ended_task_has_one_reason_and_an_unknown_one_is_not_found(db: PgPool) {
    let server = Server::start(db).await;
    let [done, dead, cancelled] = [
        a_noop(&server).await,
        a_noop(&server).await,
        a_noop(&server).await,
    ];
    server.finish(done, "{}").await;
    server
        .fail(dead, Verdict::DeadLetter(DeadLetterReason::Exhausted))
        .await;
    server.post(&format!("/tasks/{cancelled}/cancel"), "").await;
    for (id, word) in [(done, "completed"), (dead, "exhausted"), (cancelled, "cancelled")] {
        let explained = explain(&server, id).await;
        assert_eq!(
            explained["reasons"].as_array().map(Vec::len),
            Some(1),
            "{explained}"
        );
        assert_eq!(explained["reasons"][0]["code"], "finished");
        let detail = explained["reasons"][0]["detail"].as_str().expect("a detail");
        assert!(detail.contains(word), "{detail}");
        assert_eq!(
            (&explained["position"], &explained["estimated_wait_seconds"]),
            (&Value::Null, &Value::Null)
        );
    }
    let path = |id: &str| format!("/tasks/{id}/explain");
    let unknown = server.get(&path(&TaskId::generate().to_string())).await;
    assert_eq!(unknown.problem(404), "task_not_found");
    server.get(&path("no-uuid")).await.problem(400);
    server
        .get(&format!("{}?x=1", path(&done.to_string())))
        .await
        .problem(422);
    server.stop().await;
}
