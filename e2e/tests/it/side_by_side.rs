//! Several deployments on one Postgres and one Redis, each with its own database or schema and key prefix.

use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tasker_testkit::{PostgresServer, RedisServer, Running, System, eventually};

use crate::harness::{SOON, all_complete_once, count, id_of, long_running, submit_batch};

/// A deployment: a server and a worker on a shared Postgres and Redis.
struct Deployment {
    system: System,
    server: Running,
    worker: Running,
    db: PgPool,
}

impl Deployment {
    async fn start(database_url: &str, redis: &RedisServer) -> Self {
        let system = System::on(database_url, &redis.url())
            .with("HEARTBEAT_INTERVAL", "500ms")
            .with("WORKER_TIMEOUT", "2s")
            .with("CLEANUP_INTERVAL", "1s");
        let server = system.server(&[]).await;
        let worker = system.worker(&[]).await;
        let db = PgPoolOptions::new().max_connections(2).connect(database_url);
        Self {
            db: db.await.expect("its database"),
            system,
            server,
            worker,
        }
    }

    /// Returns the ids of its live workers.
    async fn workers(&self) -> Vec<String> {
        let (_, answer) = self.server.get("/workers").await;
        let workers = answer["workers"].as_array().expect("workers").iter();
        let alive = workers.filter(|worker| worker["status"] == "alive");
        alive
            .map(|worker| worker["id"].as_str().expect("an id").to_owned())
            .collect()
    }

    async fn leads(&self) -> bool {
        let (status, answer) = self.server.get("/health/orchestration").await;
        assert_eq!(status, 200, "{answer}");
        answer["coordinator"]["leads"] == json!(true)
    }
}

/// Asserts that two deployments do not affect each other.
async fn they_know_nothing_of_each_other(mut one: Deployment, other: Deployment) {
    let (of_one, of_other) = tokio::join!(submit_batch(&one.server, 60), submit_batch(&other.server, 60));
    tokio::join!(
        all_complete_once(&one.db, &of_one),
        all_complete_once(&other.db, &of_other)
    );
    for deployment in [&one, &other] {
        assert_eq!(
            count(&deployment.db, "SELECT count(*) FROM finished_tasks").await,
            60,
            "its own tasks and no others"
        );
        assert_eq!(deployment.workers().await.len(), 1);
        eventually("each has a leader", SOON, async || deployment.leads().await).await;
    }

    pauses_and_cancellations_stay_at_home(&one, &other).await;
    deaths_stay_at_home(&mut one, &other).await;
    for deployment in [&one, &other] {
        let (_, health) = deployment.server.get("/health/orchestration").await;
        assert_eq!(health["status"], "ok", "{health}");
        let failures = health["coordinator"]["duties"].as_object().expect("duties");
        assert!(
            failures.values().all(|duty| duty["failures"] == json!(0)),
            "{health}"
        );
    }
}

async fn pauses_and_cancellations_stay_at_home(one: &Deployment, other: &Deployment) {
    let running = async |deployment: &Deployment| {
        let id = deployment.server.submit(&long_running(600.0)).await;
        deployment.server.wait_for(&id, "running", SOON).await;
        id
    };
    let (cancelled, kept) = (running(one).await, running(other).await);
    let cancel = format!("/tasks/{cancelled}/cancel");
    assert_eq!(one.server.post(&cancel, &Value::Null).await.0, 202);
    one.server.wait_for(&cancelled, "cancelled", SOON).await;
    assert_eq!(other.server.task(&kept).await["status"], "running");

    let (status, answer) = one.server.post("/queues/default/pause", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let echo = json!({"task_name": "echo", "parameters": {}});
    let waits = id_of(&one.server.post("/tasks/submit", &echo).await.1);
    let runs = other.server.submit(&echo).await;
    other.server.wait_for(&runs, "completed", SOON).await;
    assert_eq!(one.server.task(&waits).await["status"], "pending");
    one.server.post("/queues/default/resume", &Value::Null).await;
    one.server.wait_for(&waits, "completed", SOON).await;
    other
        .server
        .post(&format!("/tasks/{kept}/cancel"), &Value::Null)
        .await;
    other.server.wait_for(&kept, "cancelled", SOON).await;
}

async fn deaths_stay_at_home(one: &mut Deployment, other: &Deployment) {
    let lost = one.server.submit(&long_running(3.0)).await;
    let kept = other.server.submit(&long_running(3.0)).await;
    tokio::join!(
        one.server.wait_for(&lost, "running", SOON),
        other.server.wait_for(&kept, "running", SOON)
    );
    let before = other.workers().await;
    one.worker.process.kill().await;
    eventually("the death is seen", SOON, async || one.workers().await.is_empty()).await;
    one.worker = one.system.worker(&[]).await;
    let lost = one.server.wait_for(&lost, "completed", SOON).await;
    let kept = other.server.wait_for(&kept, "completed", SOON).await;
    assert_eq!(
        (&lost["crash_count"], &kept["crash_count"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(kept["runs"], json!(1));
    assert_eq!(other.workers().await, before);
}

async fn execute(postgres: &PostgresServer, statements: &[&str]) {
    let db = PgPoolOptions::new()
        .connect(&postgres.url())
        .await
        .expect("connected");
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe((*statement).to_owned()))
            .execute(&db)
            .await
            .expect("done");
    }
    db.close().await;
}

#[tokio::test]
async fn deployments_in_databases_of_their_own_share_a_postgres_and_a_redis() {
    let (postgres, redis) = tokio::join!(PostgresServer::start(), RedisServer::start());
    execute(&postgres, &["CREATE DATABASE one", "CREATE DATABASE other"]).await;
    let url = |name: &str| postgres.url().replace("/postgres", &format!("/{name}"));
    let (one, other) = (url("one"), url("other"));
    let (one, other) = tokio::join!(Deployment::start(&one, &redis), Deployment::start(&other, &redis));
    they_know_nothing_of_each_other(one, other).await;
}

#[tokio::test]
async fn deployments_in_schemas_of_their_own_share_a_database() {
    let (postgres, redis) = tokio::join!(PostgresServer::start(), RedisServer::start());
    execute(&postgres, &["CREATE SCHEMA one", "CREATE SCHEMA other"]).await;
    let url = |name: &str| format!("{}?options=-c%20search_path%3D{name}", postgres.url());
    let (one, other) = (url("one"), url("other"));
    let (one, other) = tokio::join!(Deployment::start(&one, &redis), Deployment::start(&other, &redis));
    they_know_nothing_of_each_other(one, other).await;
}
