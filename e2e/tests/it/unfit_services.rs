//! Postgres and Redis with unsupported configurations, such as cluster mode, eviction or read-only.

use std::net::TcpListener;

use reqwest::StatusCode;
use sqlx::{Connection as _, PgConnection, PgPool};
use tasker_testkit::{PostgresServer, RedisServer, Running, System, eventually, free_port};

use crate::harness::{SOON, echo};

/// Starts a Redis in cluster mode that serves all slots.
async fn cluster() -> (RedisServer, impl AsyncFn(&System)) {
    // by default the port of the cluster's own traffic is among those of outgoing connections, where it may
    // be taken
    let bus = free_port().to_string();
    let redis = RedisServer::start_with_settings(&[("cluster-enabled", "yes"), ("cluster-port", &bus)]).await;
    let serve = async |system: &System| system.queue().raw("CLUSTER", &["ADDSLOTSRANGE", "0", "16383"]);
    (redis, serve)
}

async fn says_of_redis(process: &Running, word: &str) {
    eventually("health shows the cause", SOON, async || {
        let (_, health) = process.get("/health").await;
        health["redis"] == "degraded" && health["causes"].to_string().contains(word)
    })
    .await;
}

#[sqlx::test(migrations = false)]
async fn a_redis_cluster_ends_the_start_of_server_and_worker(db: PgPool) {
    let (redis, serve) = cluster().await;
    let database = sqlx::ConnectOptions::to_url_lossy(&*db.connect_options());
    let system = System::on(database.as_str(), &redis.url());
    serve(&system).await;
    for (program, address) in [
        ("tasker-server", "LISTEN_ADDRS"),
        ("tasker-worker", "WORKER_LISTEN_ADDR"),
    ] {
        let mut running = system.spawn(program, address, &[]);
        assert_eq!(
            running.process.wait().await.code(),
            Some(78),
            "{}",
            running.process.log()
        );
        let log = running.process.log();
        assert!(
            log.contains("REDIS_URL") && log.contains("cluster-enabled"),
            "{log}"
        );
    }
    let polling = system.with("TASKER_DEPLOYMENT_MODE", "PollingOnly");
    let server = polling.server(&[]).await;
    let _worker = polling.worker(&[]).await;
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
}

#[sqlx::test(migrations = false)]
async fn a_redis_cluster_that_comes_later_is_shown_and_not_used(db: PgPool) {
    let (mut redis, serve) = cluster().await;
    let database = sqlx::ConnectOptions::to_url_lossy(&*db.connect_options());
    let system = System::on(database.as_str(), &redis.url());
    serve(&system).await;
    redis.stop().await;
    let server = system.server(&[]).await;
    let worker = system.worker(&[]).await;
    redis.restart().await;
    says_of_redis(&server, "cluster-enabled").await;
    says_of_redis(&worker, "cluster-enabled").await;
    let (status, _) = server.get("/health/ready").await;
    assert_eq!(
        status,
        StatusCode::OK,
        "nothing that a client asks for depends on Redis"
    );
    for number in 0..5 {
        let id = server.submit(&echo(number)).await;
        server.wait_for(&id, "completed", SOON).await;
    }
    assert_eq!(system.queue().llen("default"), 0, "no hints pile up");
}

#[sqlx::test(migrations = false)]
async fn a_redis_that_may_evict_lists_is_warned_of(db: PgPool) {
    let redis = RedisServer::start_with_settings(&[("maxmemory-policy", "allkeys-lru")]).await;
    let database = sqlx::ConnectOptions::to_url_lossy(&*db.connect_options());
    let system = System::on(database.as_str(), &redis.url());
    let server = system.server(&[]).await;
    let worker = system.worker(&[]).await;
    for process in [&server, &worker] {
        eventually("the policy is warned of", SOON, async || {
            let (_, health) = process.get("/health").await;
            health["warnings"].to_string().contains("allkeys-lru")
                && health["status"] == "ok"
                && process.process.log().contains("maxmemory-policy allkeys-lru")
        })
        .await;
    }
    let (_, health) = server.get("/health/detailed").await;
    assert!(health["warnings"].to_string().contains("allkeys-lru"), "{health}");
}

#[tokio::test]
async fn a_postgres_that_becomes_read_only_is_not_ready_before_any_write_fails() {
    let postgres = PostgresServer::start().await;
    let system = System::on(&postgres.url(), &tasker_testkit::redis_url());
    let server = system.server(&[]).await;
    let mut admin = PgConnection::connect(&postgres.url())
        .await
        .expect("a connection");
    let mut set = async |value: &'static str| {
        let statement = sqlx::AssertSqlSafe(format!(
            "ALTER SYSTEM SET default_transaction_read_only = {value}"
        ));
        sqlx::raw_sql(statement).execute(&mut admin).await.expect("set");
        sqlx::raw_sql("SELECT pg_reload_conf()")
            .execute(&mut admin)
            .await
            .expect("read");
    };
    set("on").await;
    eventually("the server is not ready", SOON, async || {
        let (status, health) = server.get("/health/ready").await;
        status == StatusCode::SERVICE_UNAVAILABLE
            && health["postgres"] == "read_only"
            && health["causes"]
                .to_string()
                .contains("default_transaction_read_only")
    })
    .await;
    set("off").await;
    eventually("the server is ready again", SOON, async || {
        server.get("/health/ready").await.0 == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn postgres_and_redis_are_reached_by_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        return; // this machine has no IPv6
    }
    let postgres = PostgresServer::start_with(&[("listen_addresses", "127.0.0.1,::1")]).await;
    let redis = RedisServer::start_with_settings(&[("bind", "127.0.0.1 ::1")]).await;
    let by_ipv6 = |url: String| url.replace("127.0.0.1", "[::1]");
    let system = System::on(&by_ipv6(postgres.url()), &redis.url()).with("REDIS_URL", &by_ipv6(redis.url()));
    let server = system.server(&[]).await;
    let _worker = system.worker(&[]).await;
    let (_, health) = server.get("/health").await;
    assert_eq!(health["status"], "ok", "{health}");
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
}

#[tokio::test]
async fn a_standby_is_not_connected_to_where_the_url_asks_for_writes() {
    let postgres = PostgresServer::start_with(&[("default_transaction_read_only", "on")]).await;
    let url = format!(
        "{}?target_session_attrs=read-write&connect_timeout=3",
        postgres.url()
    );
    let system = System::on(&url, &tasker_testkit::redis_url());
    let mut process = system.run("tasker-server", &["migrate", "status"], &[]);
    assert_eq!(process.wait().await.code(), Some(1), "{}", process.log());
    assert!(
        process.log().contains("Postgres is read-only"),
        "{}",
        process.log()
    );
}

#[tokio::test]
async fn options_of_urls_that_are_not_supported_end_the_start_with_their_names() {
    for program in ["tasker-server", "tasker-worker"] {
        let system = System::on(
            "postgres://t@127.0.0.1:1/t?keepalives=1&pool=3",
            "redis://127.0.0.1:1?db=2",
        );
        let mut process = system.run(program, &[], &[]);
        assert_eq!(process.wait().await.code(), Some(78), "{}", process.log());
        for word in [
            "`keepalives`",
            "`pool`",
            "supported options: application_name",
            "`db`",
        ] {
            assert!(
                process.log().contains(word),
                "{word} is missing in {}",
                process.log()
            );
        }
    }
}
