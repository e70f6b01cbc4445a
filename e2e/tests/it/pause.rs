//! Paused queues while other queues continue.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, eventually};

use crate::harness::{SOON, Small, all_complete_once, count, id_of, long_running};

/// Time until no run starts any more.
const PROMISED: Duration = Duration::from_secs(2);
/// Time until runs start again: a check each second, a pop of one second, and a margin.
const GOES_ON: Duration = Duration::from_secs(4);
/// Duration of the observation, longer than a worker's interval of fallback polls.
const WATCHED: Duration = Duration::from_secs(6);

#[sqlx::test(migrations = false)]
async fn a_pause_stops_the_claims_of_one_queue_and_nothing_else(db: PgPool) {
    let small = Small::start(&db).await;
    let server = &small.server;
    let tasks: Vec<Value> = (0..200).map(|_| long_running(0.2)).collect();
    let (status, answer) = server.post("/tasks/submit/batch", &json!({"tasks": tasks})).await;
    assert_eq!(status, 202, "{answer}");
    let mut ids: Vec<String> = answer["tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .map(id_of)
        .collect();
    server.wait_for(&ids[0], "completed", SOON).await;

    let (status, queue) = server.post("/queues/default/pause", &json!({})).await;
    assert_eq!(
        (status.as_u16(), &queue["paused"]),
        (200, &json!(true)),
        "{queue}"
    );
    tokio::time::sleep(PROMISED).await;
    let runs = "SELECT (SELECT coalesce(sum(runs), 0) FROM tasks WHERE queue = 'default')::bigint
                     + (SELECT coalesce(sum(runs), 0) FROM finished_tasks WHERE queue = 'default')::bigint";
    let begun = count(&db, runs).await;
    assert!(begun < 200, "nothing is left to watch");
    let watched = Instant::now();
    while watched.elapsed() < WATCHED {
        // submits to the paused queue are accepted, and a task of another queue completes
        ids.push(server.submit(&long_running(0.0)).await);
        let mut high = long_running(0.0);
        high["queue"] = json!("high");
        let high = server.submit(&high).await;
        server.wait_for(&high, "completed", SOON).await;
        assert_eq!(count(&db, runs).await, begun);
    }

    let (status, queue) = server.post("/queues/default/resume", &json!({})).await;
    assert_eq!(
        (status.as_u16(), &queue["paused"]),
        (200, &json!(false)),
        "{queue}"
    );
    let resumed = Instant::now();
    while count(&db, runs).await == begun {
        assert!(resumed.elapsed() < GOES_ON, "no run began again in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all_complete_once(&db, &ids).await;
}

/// Duration of the observation, longer than a few checks for resumed queues.
const STEADY: Duration = Duration::from_secs(4);

/// Returns the value of a metric of `worker`.
async fn metric(worker: &Running, name: &str) -> String {
    let answer = worker.http.get(format!("{}/metrics", worker.url)).send().await;
    let text = answer.expect("an answer").text().await.expect("text");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    value
        .unwrap_or_else(|| panic!("{name} is not in\n{text}"))
        .to_owned()
}

#[sqlx::test(migrations = false)]
async fn several_paused_queues_stay_paused_until_each_is_resumed(db: PgPool) {
    let small = Small::start(&db).await;
    let (server, worker) = (&small.server, &small.worker);
    let mut ids = Vec::new();
    let mut paused = 0;
    for queue in ["high_priority", "default", "low_priority"] {
        let (status, _) = server.post(&format!("/queues/{queue}/pause"), &json!({})).await;
        assert_eq!(status, 200);
        let mut task = long_running(0.0);
        task["queue"] = json!(queue);
        ids.push(server.submit(&task).await);
        paused += 1;
        let shown = paused.to_string();
        eventually(&format!("the worker knows of {queue}"), SOON, async || {
            metric(worker, "tasker_worker_queues_paused").await == shown
        })
        .await;
        // a pop may be in progress when the worker learns of the pause
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let popped = metric(worker, "tasker_popped_hints_total").await;
        let watched = Instant::now();
        while watched.elapsed() < STEADY {
            assert_eq!(metric(worker, "tasker_worker_queues_paused").await, shown);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(metric(worker, "tasker_popped_hints_total").await, popped);
        assert!(!worker.process.log().contains("queue resumed"));
    }
    for (id, queue) in ids.iter().zip(["high_priority", "default", "low_priority"]) {
        let (status, _) = server.post(&format!("/queues/{queue}/resume"), &json!({})).await;
        assert_eq!(status, 200);
        server.wait_for(id, "completed", SOON).await;
    }
    assert_eq!(worker.process.log().matches("queue resumed").count(), 3);
}
