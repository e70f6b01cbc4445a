//! Routing by task type: tasks reach only workers that register their type.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{Running, System, TestQueue, eventually};

use crate::harness::{SOON, count};

/// Time for the leader to detect a new or stopped worker.
const ROUTED: Duration = Duration::from_secs(15);

fn task(name: &str, seconds: f64) -> Value {
    json!({"task_name": name, "parameters": {"seconds": seconds}})
}

/// Returns the number of parked hints of the default queue.
async fn parked(queue: &TestQueue) -> u64 {
    let default = tasker_core::task::QueueName::default_class();
    queue.unroutable(&[default]).await.expect("a length")[0]
}

async fn until_split(queue: &TestQueue, split: tasker_queue::Split) {
    let default = tasker_core::task::QueueName::default_class();
    eventually("the queue is in that state", ROUTED, async || {
        queue.split(&default).await.expect("a state") == split
    })
    .await;
}

/// Returns the value of a counter of a worker.
async fn metric(worker: &Running, name: &str) -> f64 {
    let text = worker.http.get(format!("{}/metrics", worker.url)).send().await;
    let text = text.expect("an answer").text().await.expect("metrics");
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Waits until an idle worker has begun a pop after this call: one that blocked before its queue was split
/// still takes from the plain list, and what it gets there may be of another type.
async fn until_it_pops_again(worker: &Running) {
    let pops = "tasker_pops_total";
    let before = metric(worker, pops).await;
    eventually("two pops have ended", SOON, async || {
        metric(worker, pops).await >= before + 2.0
    })
    .await;
}

#[sqlx::test(migrations = false)]
async fn in_a_fleet_whose_halves_know_other_types_each_task_is_popped_by_a_worker_that_can_run_it(
    db: PgPool,
) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let a = system.worker_of_types("a", &[]).await;
    let b = system.worker_of_types("b", &[]).await;
    until_split(system.queue(), tasker_queue::Split::Split).await;
    until_it_pops_again(&a).await;
    until_it_pops_again(&b).await;
    let misrouted = async || {
        let name = "tasker_misrouted_hints_total";
        metric(&a, name).await + metric(&b, name).await
    };
    let before = misrouted().await;
    for n in 0..40 {
        let name = if n % 2 == 0 { "a" } else { "b" };
        let id = server.submit(&task(name, 0.0)).await;
        let (_, task) = server.get(&format!("/tasks/{id}?wait=30")).await;
        assert_eq!((&task["status"], &task["runs"]), (&json!("completed"), &json!(1)));
        let (_, history) = server.get(&format!("/tasks/{id}/history")).await;
        assert!(!history.to_string().contains("scheduled"), "{history}");
    }
    assert!((misrouted().await - before).abs() < f64::EPSILON);
    assert_eq!(system.queue().llen("default"), 0);
}

#[sqlx::test(migrations = false)]
async fn tasks_behind_ten_thousand_of_a_type_whose_worker_is_busy_start_meanwhile(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let _a = system.worker_of_types("a", &[("WORKER_POOL_SIZE", "1")]).await;
    let b = system.worker_of_types("b", &[]).await;
    until_split(system.queue(), tasker_queue::Split::Split).await;
    let long = vec![task("a", 60.0); 10_000];
    let (status, _) = server
        .post("/tasks/submit/batch", &json!({ "tasks": long }))
        .await;
    assert_eq!(status, 202);
    until_it_pops_again(&b).await;
    let claims = metric(&b, "task_claim_duration_seconds_count").await;
    for _ in 0..20 {
        let id = server.submit(&task("b", 0.0)).await;
        let (_, task) = server.get(&format!("/tasks/{id}?wait=30")).await;
        assert_eq!(task["status"], "completed");
    }
    eventually("llen is the number of pending tasks", ROUTED, async || {
        let pending = count(&db, "SELECT count(*) FROM tasks WHERE status = 'pending'").await;
        i64::try_from(system.queue().llen("default")) == Ok(pending)
    })
    .await;
    let claims = metric(&b, "task_claim_duration_seconds_count").await - claims;
    assert!(
        claims <= 20.0 + 5.0,
        "{claims} claims, polls included, for 20 tasks"
    );
}

#[sqlx::test(migrations = false)]
async fn a_task_whose_type_has_no_live_worker_stays_pending_until_one_comes(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let _a = system.worker_of_types("a", &[]).await;
    let mut b = system.worker_of_types("b", &[]).await;
    until_split(system.queue(), tasker_queue::Split::Split).await;
    assert_eq!(b.process.terminate().await.code(), Some(0));
    let id = server.submit(&task("b", 0.0)).await;
    eventually("its hint is parked", ROUTED, async || {
        parked(system.queue()).await == 1
    })
    .await;
    assert_eq!(system.queue().llen("default"), 0);
    assert_eq!(server.task(&id).await["status"], "pending");
    let (_, queues) = server.get("/queues").await;
    let default = &queues["queues"][1];
    assert_eq!(
        (&default["depth"], &default["pending"], &default["unroutable"]),
        (&json!(0), &json!(1), &json!(1))
    );
    let (_, explained) = server.get(&format!("/tasks/{id}/explain")).await;
    assert_eq!(explained["reasons"][0]["code"], "no_worker_for_type");
    let backlog =
        async |query: &str| server.get(&format!("/queues/default/scaling{query}")).await.1["backlog"].clone();
    assert_eq!(
        (backlog("").await, backlog("?types=b").await),
        (json!(0), json!(1))
    );
    let _b = system.worker_of_types("b", &[]).await;
    server.wait_for(&id, "completed", ROUTED).await;
    eventually("nothing is parked any more", ROUTED, async || {
        parked(system.queue()).await == 0
    })
    .await;
}

#[sqlx::test(migrations = false)]
async fn the_first_task_of_a_type_before_any_worker_waits_in_its_list(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let mut a = system.worker_of_types("a", &[]).await;
    assert_eq!(a.process.terminate().await.code(), Some(0));
    let id = server.submit(&task("a", 0.0)).await;
    assert_eq!(system.queue().llen("default"), 1);
    let _a = system.worker_of_types("a", &[]).await;
    server.wait_for(&id, "completed", SOON).await;
}

#[sqlx::test(migrations = false)]
async fn workers_without_redis_take_their_own_types_from_a_mixed_backlog(db: PgPool) {
    let system = System::new(&db)
        .with("TASKER_DEPLOYMENT_MODE", "PollingOnly")
        .with("CLAIM_INTERVAL", "50ms");
    let server = system.server(&[]).await;
    let _a = system.worker_of_types("a", &[("WORKER_POOL_SIZE", "1")]).await;
    let b = system.worker_of_types("b", &[]).await;
    let long = vec![task("a", 60.0); 2_500];
    let (status, _) = server
        .post("/tasks/submit/batch", &json!({ "tasks": long }))
        .await;
    assert_eq!(status, 202);
    let id = server.submit(&task("b", 0.0)).await;
    server.wait_for(&id, "completed", ROUTED).await;
    drop(b);
}

#[sqlx::test(migrations = false)]
async fn emptied_lists_of_a_mixed_fleet_are_split_again(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let _a = system.worker_of_types("a", &[("WORKER_POOL_SIZE", "1")]).await;
    let _b = system.worker_of_types("b", &[("WORKER_POOL_SIZE", "1")]).await;
    until_split(system.queue(), tasker_queue::Split::Split).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "a", "b", "a", "b"] {
        ids.push(server.submit(&task(name, 0.5)).await);
    }
    system.queue().delete_all();
    for id in ids {
        server.wait_for(&id, "completed", SOON).await;
    }
    until_split(system.queue(), tasker_queue::Split::Split).await;
    eventually("all lists are empty", ROUTED, async || {
        system.queue().llen("default") == 0
    })
    .await;
}
