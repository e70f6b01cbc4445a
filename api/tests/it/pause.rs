use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_store::claim::{Claimant, claim};
use tasker_store::migrations::MIGRATOR;
use tasker_store::workers::register;
use tasker_testkit::a_worker;

use crate::harness::Server;

async fn listed(server: &Server, name: &str) -> Value {
    let queues = server.get("/queues").await.json();
    let queues = queues["queues"].as_array().cloned().expect("queues");
    queues
        .into_iter()
        .find(|queue| queue["name"] == name)
        .expect("the queue")
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_queue_is_paused_and_resumed_any_number_of_times(db: PgPool) {
    let server = Server::start(db).await;
    for (name, action, paused) in [
        ("high_priority", "resume", false),
        ("high", "pause", true),
        ("high_priority", "pause", true),
        ("high", "resume", false),
        ("high_priority", "resume", false),
    ] {
        let answer = server.post(&format!("/queues/{name}/{action}"), "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let queue = answer.json();
        assert_eq!(
            (&queue["name"], &queue["paused"]),
            (&json!("high_priority"), &json!(paused))
        );
        assert_eq!(queue, listed(&server, "high_priority").await);
        assert_eq!(listed(&server, "default").await["paused"], json!(false));
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn an_undeclared_queue_is_not_found(db: PgPool) {
    let server = Server::start_with(db, &[("EXTRA_QUEUES", "team.mail")]).await;
    for name in ["nope", "NOPE", "%00", "a%2Fb", "%ff"] {
        for action in ["pause", "resume"] {
            let answer = server.post(&format!("/queues/{name}/{action}"), "").await;
            assert_eq!(answer.problem(404), "queue_not_found", "{name}");
            for known in ["high_priority", "default", "low_priority", "team.mail"] {
                assert!(answer.text.contains(known), "{}", answer.text);
            }
        }
    }
    let answer = server.post("/queues/team.mail/pause", "").await;
    assert_eq!((answer.status, &answer.json()["paused"]), (200, &json!(true)));
    assert_eq!(server.post("/queues/low/pause?force=1", "").await.status, 422);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn submits_go_on_while_a_queue_is_paused_and_claims_stop_at_once(db: PgPool) {
    let server = Server::start(db).await;
    server.post("/queues/default/pause", "").await;
    let id = server.submit(json!({"task_name": "noop"})).await;
    assert_eq!(server.depth(&QueueName::default_class()).await, 1);
    let worker = a_worker("w");
    register(&server.db, &worker).await.expect("registered");
    let claimant = Claimant {
        worker_id: "w",
        queues: &worker.queues,
        task_names: &["noop".to_owned()],
        runs_suspect: false,
    };
    let claimed = claim(&server.db, &claimant, &[id]).await.expect("an answer");
    assert!(claimed.tasks.is_empty());
    server.post("/queues/default/resume", "").await;
    let claimed = claim(&server.db, &claimant, &[id]).await.expect("an answer");
    assert_eq!(claimed.tasks.len(), 1);
    server.stop().await;
}
