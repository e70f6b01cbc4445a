//! Upgrades: two releases side by side, rolling restarts, and a schema newer than the binary.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{System, eventually, free_port, http_client};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::{Idle, SOON, all_complete_once, count, id_of, submit_batch};

#[sqlx::test(migrations = false)]
async fn a_worker_that_does_not_know_a_type_leaves_its_tasks_to_those_that_do(db: PgPool) {
    let idle = Idle::start(&db).await;
    let mut old = idle.system.spawn(
        "custom-worker",
        "WORKER_LISTEN_ADDR",
        &[("TASK_QUEUES", "default")],
    );
    assert!(old.ready().await, "{}", old.process.log());
    let ids = submit_batch(&idle.server, 8).await;
    eventually(
        "the worker has met the tasks and put them off",
        SOON,
        async || idle.system.queue().llen("default") == 0,
    )
    .await;
    let runs = "SELECT count(*) FROM tasks WHERE runs > 0 OR status NOT IN ('pending', 'scheduled')";
    assert_eq!(count(&db, runs).await, 0, "no worker could run them");
    let known = idle
        .server
        .submit(&json!({"task_name": "count_primes", "parameters": {"up_to": 100}}))
        .await;
    idle.server.wait_for(&known, "completed", SOON).await;

    let _new = idle.system.worker(&[]).await;
    all_complete_once(&db, &ids).await;
    let clean = "SELECT count(*) FROM finished_tasks WHERE runs > 1 OR crash_count > 0";
    assert_eq!(count(&db, clean).await, 0, "deferrals are not counted");
}

/// Clients that submit tasks to any available server, like behind a load balancer.
struct Clients {
    acknowledged: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Clients {
    fn start(urls: &[String], count: usize) -> Self {
        let mut clients = Self {
            acknowledged: Arc::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        for number in 0..count {
            let (urls, stop) = (urls.to_vec(), clients.stop.clone());
            let acknowledged = Arc::clone(&clients.acknowledged);
            clients.tasks.spawn(async move {
                // without keep-alive: stale connections to a stopped server would be an artifact of the test
                let http = http_client().pool_max_idle_per_host(0).build().expect("a client");
                for (turn, place) in (0..urls.len()).cycle().skip(number % urls.len()).enumerate() {
                    if stop.is_cancelled() {
                        return;
                    }
                    let url = format!("{}/tasks/submit", urls[place]);
                    let key = format!("{number}-{turn}");
                    let body = json!({"task_name": "example_long_running", "parameters": {"duration": 0.02},
                                      "idempotency_key": key});
                    let answer = http.post(url).json(&body).send().await;
                    // after a refused connection or a stopping server the client tries the next server
                    let Ok(answer) = answer else { continue };
                    if matches!(answer.status().as_u16(), 200 | 202) {
                        let submitted: Value = answer.json().await.expect("a whole answer");
                        acknowledged.lock().await.push(id_of(&submitted));
                    }
                }
            });
        }
        clients
    }

    async fn count(&self) -> usize {
        self.acknowledged.lock().await.len()
    }

    /// Waits until `count` more tasks were acknowledged.
    async fn go_on(&self, more: usize) {
        let goal = self.count().await + more;
        eventually("submits go on", SOON, async || self.count().await >= goal).await;
    }

    async fn end(mut self) -> Vec<String> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no client panics");
        }
        std::mem::take(&mut *self.acknowledged.lock().await)
    }
}

/// Returns a fixed address for a program that is restarted on it.
fn place() -> String {
    format!("127.0.0.1:{}", free_port())
}

#[sqlx::test(migrations = false)]
async fn a_rolling_restart_under_load_loses_nothing_and_burns_nothing(db: PgPool) {
    let system = System::new(&db).with("SHUTDOWN_TIMEOUT", "20s");
    let servers = [place(), place()];
    let server = async |place: &str| {
        let mut server = system.spawn("tasker-server", "LISTEN_ADDRS", &[("LISTEN_ADDRS", place)]);
        server.url = format!("http://{place}");
        assert!(server.ready().await, "{}", server.process.log());
        server
    };
    let mut running = [server(&servers[0]).await, server(&servers[1]).await];
    let mut workers = system.workers(2).await;
    let urls = servers.clone().map(|place| format!("http://{place}"));
    let clients = Clients::start(&urls, 6);
    clients.go_on(100).await;
    for _ in 0..2 {
        for (place, address) in servers.iter().enumerate() {
            assert_eq!(running[place].process.terminate().await.code(), Some(0));
            clients.go_on(30).await;
            running[place] = server(address).await;
            clients.go_on(30).await;
        }
        for worker in &mut workers {
            assert_eq!(worker.process.terminate().await.code(), Some(0));
            *worker = system.worker(&[]).await;
            clients.go_on(30).await;
        }
    }
    let ids = clients.end().await;
    assert!(ids.len() > 500, "{}", ids.len());
    all_complete_once(&db, &ids).await;
    let burnt = "SELECT count(*) FROM finished_tasks WHERE attempts <> 1 OR crash_count > 0 OR runs <> 1";
    assert_eq!(count(&db, burnt).await, 0, "every task ran once");
}

/// Schema changes that the next release may make by the rules of migrations: tables, nullable or defaulted
/// columns, indexes.
const EXPANSION: &str = "
    CREATE TABLE of_the_next_release (id bigint PRIMARY KEY);
    ALTER TABLE tasks ADD COLUMN next_release text, ADD COLUMN next_number integer NOT NULL DEFAULT 0;
    ALTER TABLE finished_tasks ADD COLUMN next_release text, ADD COLUMN next_number integer NOT NULL DEFAULT 0;
    ALTER TABLE task_events ADD COLUMN next_release text;
    ALTER TABLE task_keys ADD COLUMN next_release text;
    ALTER TABLE task_types ADD COLUMN next_release text;
    ALTER TABLE workers ADD COLUMN next_release text;
    ALTER TABLE queues ADD COLUMN next_release text;
    ALTER TABLE leader_lease ADD COLUMN next_release text;
    CREATE INDEX ON tasks (next_number);
    INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    VALUES (99991231235959, 'of the next release', true, '', 0)";

#[sqlx::test(migrations = false)]
async fn binaries_of_this_release_work_on_the_schema_of_the_next(db: PgPool) {
    let system = System::new(&db);
    let before = system.server(&[]).await;
    let old_worker = system.worker(&[]).await;
    let early = submit_batch(&before, 20).await;
    sqlx::raw_sql(EXPANSION)
        .execute(&db)
        .await
        .expect("the next release migrates");
    // running processes continue, and new ones start
    all_complete_once(&db, &early).await;
    let late = submit_batch(&before, 20).await;
    all_complete_once(&db, &late).await;
    drop((before, old_worker));

    let server = system.server(&[]).await;
    let _worker = system.worker(&[]).await;
    let (_, health) = server.get("/health/detailed").await;
    assert_eq!(health["schema_version"], json!(99_991_231_235_959_i64));
    let ids = submit_batch(&server, 20).await;
    all_complete_once(&db, &ids).await;
    let failing =
        json!({"task_name": "example_failing", "parameters": {"should_fail": true}, "max_retries": 0});
    let dead = server.submit(&failing).await;
    server.wait_for(&dead, "dead_letter", SOON).await;
    let (status, answer) = server.post(&format!("/tasks/{dead}/retry"), &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    server.wait_for(&dead, "dead_letter", SOON).await;
    let later = json!({"task_name": "echo", "delay": 3600, "idempotency_key": "k"});
    let later = server.submit(&later).await;
    let (status, answer) = server.post(&format!("/tasks/{later}/cancel"), &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = server.post(&format!("/tasks/{later}/retry"), &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    server.wait_for(&later, "completed", SOON).await;
    let (status, answer) = server.post("/dead-letters/purge", &json!({"all": true})).await;
    assert_eq!(status, 200, "{answer}");
}
