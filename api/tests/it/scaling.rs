use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId};
use tasker_maintenance::{QueueSources, Sampler};
use tasker_server::state::parts::QueueControl;
use tasker_store::migrations::MIGRATOR;
use tasker_store::queues::pause;
use tasker_store::workers::{NewWorker, Work, heartbeat, register};
use tasker_testkit::a_worker;

use crate::harness::Server;

const WORKER_TIMEOUT: Duration = Duration::from_secs(30);

async fn scaling(server: &Server, path: &str) -> Value {
    let answer = server.get(&format!("/queues/{path}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn sampler(server: &Server) -> Sampler {
    let QueueControl { lists, table, .. } = server.part();
    Sampler::new(QueueSources {
        db: server.db.clone().into(),
        redis: Some(lists),
        queues: table.declared(),
        worker_timeout: WORKER_TIMEOUT,
    })
}

/// Moves the times of all samples into the past.
async fn age(db: &PgPool, seconds: f64) {
    sqlx::query("UPDATE queue_samples SET at = at - make_interval(secs => $1)")
        .bind(seconds)
        .execute(db)
        .await
        .expect("older samples");
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_advice_is_computed_from_what_workers_ended_and_what_waits(db: PgPool) {
    let prefix = format!("test:{}:", TaskId::generate());
    let shared = [("QUEUE_KEY_PREFIX", prefix.as_str())];
    let server = Server::start_with(db.clone(), &shared).await;
    let worker = NewWorker {
        task_names: vec!["noop".to_owned()],
        ..a_worker("w")
    };
    register(&db, &worker).await.expect("entered");
    let mut sampler = sampler(&server);
    sampler.run_once().await.expect("sampled");
    age(&db, 60.0).await;
    // in this minute 600 runs of half a second ended, and 20 more tasks wait
    for number in 0..20 {
        server
            .submit(json!({"task_name": "noop", "parameters": {"n": number}}))
            .await;
    }
    let work = Work {
        active: 5,
        ended: &[0, 600, 0],
        busy_seconds: &[0.0, 300.0, 0.0],
    };
    heartbeat(&db, "w", work, 30.0).await.expect("an answer");
    sampler.run_once().await.expect("sampled");

    // a server that has just started gives the same answer, from the rows
    let other = Server::start_with(db.clone(), &shared).await;
    for server in [&server, &other] {
        let advice = scaling(server, "default/scaling?target_latency=10s").await;
        let near = |field: &str, expected: f64| {
            let value = advice[field].as_f64().expect(field);
            assert!(
                (value - expected).abs() < 0.05 * expected,
                "{field} is {value}: {advice}"
            );
        };
        near("drain_rate", 10.0);
        near("arrival_rate", 10.3);
        near("window_seconds", 60.0);
        near("slot_seconds", 0.5);
        assert_eq!(
            (&advice["backlog"], &advice["workers"], &advice["slots"]),
            (&json!(20), &json!(1), &json!(10))
        );
        // 10.3 × 0.5 / 0.8 = 6.5 slots for arrivals, and one for the backlog
        assert_eq!(advice["suggested_workers"], 1);
        assert_eq!(advice["time_to_drain_seconds"], Value::Null, "it grows");
        assert!(advice["oldest_age_seconds"].is_number());
        let reason = advice["reason"].as_str().expect("words");
        assert!(reason.starts_with("The number of workers is right."), "{reason}");
    }
    let hurried = scaling(&server, "default/scaling?target_latency=100ms").await;
    assert!(hurried["suggested_workers"].as_i64() > Some(1), "{hurried}");
    other.stop().await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn before_anything_was_measured_and_while_it_is_paused_the_advice_says_so(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let new = scaling(&server, "high/scaling").await;
    assert_eq!(
        (&new["name"], &new["arrival_rate"]),
        (&json!("high_priority"), &Value::Null)
    );
    assert_eq!(
        (&new["target_latency_seconds"], &new["suggested_workers"]),
        (&json!(30.0), &json!(1))
    );
    assert!(
        new["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("not known yet"))
    );
    pause(&db, &QueueName::high()).await.expect("paused");
    let paused = scaling(&server, "high_priority/scaling").await;
    assert_eq!(paused["paused"], true);
    assert!(
        paused["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("paused"))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn without_redis_pending_tasks_are_counted(db: PgPool) {
    let server = Server::start_with(db.clone(), &[("TASKER_DEPLOYMENT_MODE", "PollingOnly")]).await;
    server.submit(json!({"task_name": "noop"})).await;
    assert_eq!(scaling(&server, "default/scaling").await["backlog"], 1);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn parked_tasks_are_no_backlog_of_the_queue_and_one_of_the_workers_of_their_types(db: PgPool) {
    let server = Server::start(db.clone()).await;
    server.submit(json!({"task_name": "noop"})).await;
    for _ in 0..2 {
        let parked = json!({"task_name": "strict", "parameters": {"n": 1}});
        server.submit(parked).await;
    }
    let backlog = async |query: &str| {
        let advice = scaling(&server, &format!("default/scaling{query}")).await;
        (advice["backlog"].as_i64(), advice["workers"].as_i64())
    };
    assert_eq!(
        backlog("").await,
        (Some(3), Some(0)),
        "no worker: nothing is parked"
    );
    let worker = NewWorker {
        task_names: vec!["noop".to_owned()],
        ..a_worker("w")
    };
    register(&db, &worker).await.expect("entered");
    assert_eq!(backlog("").await, (Some(1), Some(1)));
    assert_eq!(backlog("?types=strict").await, (Some(2), Some(0)));
    assert_eq!(backlog("?types=noop,strict").await, (Some(3), Some(1)));
    let advice = scaling(&server, "default/scaling?types=strict").await;
    assert_eq!(
        (
            &advice["types"],
            &advice["arrival_rate"],
            &advice["suggested_workers"]
        ),
        (&json!(["strict"]), &Value::Null, &json!(1))
    );
    let too_many = vec!["t"; 101].join(",");
    for types in ["", "noop,", &too_many, &"t".repeat(256)] {
        let answer = server
            .get(&format!("/queues/default/scaling?types={types}"))
            .await;
        answer.problem(422);
        assert_eq!(answer.pointers(), ["types"], "{types}");
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn an_unknown_queue_is_not_found_and_a_bad_target_refused(db: PgPool) {
    let server = Server::start(db).await;
    assert_eq!(
        server.get("/queues/nope/scaling").await.problem(404),
        "queue_not_found"
    );
    for target in ["soon", "-5s", "0s", "25h", ""] {
        let answer = server
            .get(&format!("/queues/default/scaling?target_latency={target}"))
            .await;
        answer.problem(422);
        assert_eq!(answer.pointers(), ["target_latency"], "{target}");
    }
    let answer = server.get("/queues/default/scaling?target=5s").await;
    answer.problem(422);
    server.stop().await;
}
