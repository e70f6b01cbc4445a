//! Outages of Postgres or Redis, behind a link that is cut, hangs, or loses answers. No process is restarted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{ConnectOptions as _, PgPool};
use tasker_core::task::{Hint, QueueName, TaskId, TaskStatus};
use tasker_queue::RedisConfig;
use tasker_queue::RedisQueues;
use tasker_store::insert::{NewTask, insert};
use tasker_testkit::{Proxy, RedisServer, TestQueue, a_task, eventually, free_port, http_client};
use tasker_worker::{Context, TaskError, TaskType};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::harness::{RunningWorker, SOON, System};

/// The time within which claims go on without Redis.
const AWAY: Duration = Duration::from_secs(8);

/// A write that gets through has taken place after this.
const UNHEARD: Duration = Duration::from_secs(3);

fn noop() -> TaskType<Value, ()> {
    TaskType::new("noop", |_: Context, _: Value| async { Ok::<_, TaskError>(()) })
}

/// A task type whose tasks end when the test releases them.
fn gated(gate: &Arc<Semaphore>) -> TaskType<Value, ()> {
    let gate = Arc::clone(gate);
    TaskType::new("gated", move |_: Context, _: Value| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.expect("it is never closed").forget();
            Ok::<_, TaskError>(())
        }
    })
}

async fn postgres_link(system: &System) -> (Proxy, String) {
    Proxy::before_url(system.db.connect_options().to_url_lossy().as_str()).await
}

/// Stores tasks without hints, as a server does while Redis is unavailable.
async fn submit_unannounced(system: &System) -> TaskId {
    let task: NewTask = a_task("noop");
    let id = task.id;
    insert(&system.db, &[task], 60.0).await.expect("inserted");
    id
}

/// Both ways to work are open again: what is announced is popped, and everything ends.
async fn assert_lists_are_drained(system: &System, queue: &RedisQueues) {
    let task = a_task("noop");
    let id = task.id;
    insert(&system.db, &[task], 60.0).await.expect("inserted");
    let default = [QueueName::default_class()];
    queue
        .push_back(&[Hint::new(id, default[0].clone(), "noop")])
        .await
        .expect("pushed");
    system.until(id, TaskStatus::Completed).await;
    eventually("the list is popped empty", SOON, async || {
        queue.depths(&default).await.expect("depths")[0] == 0
    })
    .await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn while_redis_hangs_work_goes_on_and_afterwards_its_lists_are_drained(db: PgPool) {
    let system = System::new(db);
    let (proxy, url) = Proxy::before_url(&tasker_testkit::redis_url()).await;
    let worker = system.worker(vec![noop()], &[("redis-url", &url)]);
    let first = system.submit(a_task("noop")).await;
    system.until(first, TaskStatus::Completed).await;
    proxy.hang();
    let began = Instant::now();
    let id = submit_unannounced(&system).await;
    system.until(id, TaskStatus::Completed).await;
    assert!(began.elapsed() < AWAY, "{:?}", began.elapsed());
    proxy.heal();
    assert_lists_are_drained(&system, &system.queue).await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_redis_that_became_a_replica_counts_as_away_until_it_gives_again(db: PgPool) {
    let redis = RedisServer::start().await;
    let system = System {
        db,
        queue: TestQueue::at(&redis.url()),
    };
    let worker = system.worker(vec![noop()], &[("redis-url", &redis.url())]);
    let first = system.submit(a_task("noop")).await;
    system.until(first, TaskStatus::Completed).await;
    system.queue.raw("REPLICAOF", &["127.0.0.1", "1"]);
    let began = Instant::now();
    let id = submit_unannounced(&system).await;
    system.until(id, TaskStatus::Completed).await;
    assert!(began.elapsed() < AWAY, "{:?}", began.elapsed());
    system.queue.raw("REPLICAOF", &["NO", "ONE"]);
    assert_lists_are_drained(&system, &system.queue).await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_redis_at_another_address_is_found(db: PgPool) {
    let (mut first, second) = (RedisServer::start().await, RedisServer::start().await);
    let (proxy, url) = Proxy::before_url(&first.url()).await;
    let system = System {
        db,
        queue: TestQueue::at(&url),
    };
    let worker = system.worker(vec![noop()], &[("redis-url", &url)]);
    let id = system.submit(a_task("noop")).await;
    system.until(id, TaskStatus::Completed).await;
    first.stop().await;
    let id = submit_unannounced(&system).await;
    system.until(id, TaskStatus::Completed).await;
    let address = second.url().trim_start_matches("redis://").parse();
    proxy.lead_to(address.expect("an address"));
    let behind = RedisQueues::new(&RedisConfig {
        url: second.url().into(),
        authority: None,
        key_prefix: system.queue.config().key_prefix.clone(),
    });
    assert_lists_are_drained(&system, &behind.expect("a URL")).await;
    worker.stop().await.expect("a clean stop");
}

/// A worker in a run that ends only when the gate lets it, behind a link to Postgres; and where its health is
/// served.
async fn in_a_run(system: &System, gate: &Arc<Semaphore>) -> (RunningWorker, Proxy, TaskId, String) {
    let (proxy, url) = postgres_link(system).await;
    let address = format!("127.0.0.1:{}", free_port());
    let settings = [
        ("worker-listen-addr", address.as_str()),
        ("database-url", url.as_str()),
        // of more connections some might not know the statements yet, which are then sent in two pieces
        ("db-pool-size", "1"),
        ("breaker-cooldown", "200ms"),
    ];
    let worker = system.worker(vec![gated(gate), noop()], &settings);
    gate.add_permits(1);
    let warm = system.submit(a_task("gated")).await;
    system.until(warm, TaskStatus::Completed).await;
    let id = system.submit(a_task("gated")).await;
    system.until(id, TaskStatus::Running).await;
    (worker, proxy, id, address)
}

async fn get(address: &str, path: &str) -> Option<Value> {
    let http = http_client().build().expect("a client without options");
    let answer = http.get(format!("http://{address}{path}")).send().await.ok()?;
    Some(answer.json().await.expect("JSON"))
}

/// It ended once, in its first run.
async fn assert_ended_once(system: &System, id: TaskId) {
    let task = system.until(id, TaskStatus::Completed).await;
    assert_eq!((task.runs, task.attempts, task.crash_count), (1, 1, 0));
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM finished_tasks WHERE id = $1")
        .bind(id.0)
        .fetch_one(&system.db)
        .await
        .expect("a count");
    assert_eq!(rows, 1);
}

async fn ends_once_though(db: PgPool, away: impl Fn(&Proxy)) {
    let (system, gate) = (System::new(db), Arc::new(Semaphore::new(0)));
    let (worker, proxy, id, address) = in_a_run(&system, &gate).await;
    away(&proxy);
    gate.add_permits(1);
    eventually("the run has ended, and Postgres is missed", SOON, async || {
        let health = get(&address, "/health/ready").await;
        gate.available_permits() == 0 && health.is_some_and(|health| health["postgres"] == false)
    })
    .await;
    proxy.heal();
    assert_ended_once(&system, id).await;
    let next = system.submit(a_task("noop")).await;
    system.until(next, TaskStatus::Completed).await;
    // its claims were answered, so its runs can end
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_result_is_held_while_postgres_refuses_and_written_when_it_is_back(db: PgPool) {
    ends_once_though(db, Proxy::cut).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_result_is_held_while_postgres_hangs_and_written_when_it_is_back(db: PgPool) {
    ends_once_though(db, Proxy::hang).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_end_whose_answer_was_lost_is_repeated_and_leaves_one_row(db: PgPool) {
    let (system, gate) = (System::new(db), Arc::new(Semaphore::new(0)));
    let (worker, proxy, mut id, _) = in_a_run(&system, &gate).await;
    loop {
        proxy.swallow_replies();
        gate.add_permits(1);
        let written = timeout(UNHEARD, system.until(id, TaskStatus::Completed))
            .await
            .is_ok();
        proxy.heal();
        assert_ended_once(&system, id).await;
        if written {
            break;
        }
        // the link hung a moment too early, and the statement did not get through: try again
        id = system.submit(a_task("gated")).await;
        system.until(id, TaskStatus::Running).await;
    }
    let next = system.submit(a_task("noop")).await;
    system.until(next, TaskStatus::Completed).await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_breakers_show_in_the_status_of_a_worker(db: PgPool) {
    let system = System::new(db);
    let (proxy, url) = postgres_link(&system).await;
    let address = format!("127.0.0.1:{}", free_port());
    let settings = [
        ("database-url", url.as_str()),
        ("worker-listen-addr", &address),
        ("heartbeat-interval", "200ms"),
        ("breaker-errors", "2"),
        ("breaker-cooldown", "500ms"),
    ];
    let worker = system.worker(vec![noop()], &settings);
    let shows = async |state: &str| {
        let what = format!("the breaker of Postgres is {state}");
        eventually(&what, SOON, async || {
            let status = get(&address, "/status").await.unwrap_or_default();
            status["breakers"]["redis"] == "closed" && status["breakers"]["postgres"] == state
        })
        .await;
    };
    shows("closed").await;
    let id = system.submit(a_task("noop")).await;
    system.until(id, TaskStatus::Completed).await;
    proxy.cut();
    shows("open").await;
    proxy.heal();
    shows("closed").await;
    let id = system.submit(a_task("noop")).await;
    system.until(id, TaskStatus::Completed).await;
    worker.stop().await.expect("a clean stop");
}
