//! Queues that an operator paused, while work goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{SOON, Small, all_complete_once, count, id_of, long_running};

/// Within this no run begins any more.
const PROMISED: Duration = Duration::from_secs(2);
/// Within this runs begin again: a look each second, a pop of one second, and a slow machine.
const GOES_ON: Duration = Duration::from_secs(4);
/// How long it is then watched: longer than a worker goes without a look into the table.
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
        // a submit into it, and a task of another queue all the way
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
