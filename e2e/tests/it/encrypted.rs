//! TLS to Postgres and Redis with a private certificate authority.

use std::path::Path;

use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use tasker_testkit::{Certificates, PostgresServer, RedisServer, System, eventually};

use crate::harness::{SOON, echo, long_running};

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Returns a system that uses only TLS and trusts `authority`.
fn system(postgres: &PostgresServer, redis: &RedisServer, authority: &Path) -> System {
    let authority = text(authority);
    let url = format!("{}?sslmode=verify-full&sslrootcert={authority}", postgres.url());
    System::on(&url, &redis.tls_url()).with("REDIS_CA_FILE", &authority)
}

#[tokio::test]
async fn every_connection_to_postgres_and_redis_is_encrypted_and_work_gets_done() {
    let certificates = Certificates::make();
    let (postgres, redis) = tokio::join!(
        PostgresServer::start_with_tls(&certificates),
        RedisServer::start_with_tls(&certificates)
    );
    // without fallback polls a task runs only if its hint arrives over Redis
    let system = system(&postgres, &redis, &certificates.authority())
        .with("TASKER_DEPLOYMENT_MODE", "EventDrivenOnly");
    let server = system.server(&[]).await;
    let worker = system.worker(&[]).await;
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
    // cancellation notices use their own connection
    let long = server.submit(&long_running(60.0)).await;
    server.wait_for(&long, "running", SOON).await;
    let (status, _) = server.post(&format!("/tasks/{long}/cancel"), &json!({})).await;
    assert_eq!(status, 202);
    server.wait_for(&long, "cancelled", SOON).await;
    assert!(!worker.process.log().contains("WARN"), "{}", worker.process.log());

    let db = PgPoolOptions::new()
        .max_connections(1)
        .connect(&postgres.url())
        .await
        .expect("a connection");
    let sessions: Vec<(String, bool)> = sqlx::query_as(
        "SELECT a.application_name, s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
          WHERE a.application_name LIKE 'tasker%'",
    )
    .fetch_all(&db)
    .await
    .expect("an answer");
    for kind in ["tasker-server", "tasker-leader", "tasker-worker", "tasker-w-"] {
        assert!(
            sessions.iter().any(|(name, _)| name.starts_with(kind)),
            "{kind}: {sessions:?}"
        );
    }
    assert!(sessions.iter().all(|(_, ssl)| *ssl), "{sessions:?}");
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_authority_is_rejected() {
    let certificates = Certificates::make();
    let strangers = Certificates::make();
    let (postgres, redis) = tokio::join!(
        PostgresServer::start_with_tls(&certificates),
        RedisServer::start_with_tls(&certificates)
    );
    let distrustful = system(&postgres, &redis, &strangers.authority());
    let server = distrustful.spawn("tasker-server", "LISTEN_ADDRS", &[]);
    eventually(
        "the server waits for a Postgres that it trusts",
        SOON,
        async || server.process.log().contains("waiting for Postgres"),
    )
    .await;
    drop(server);

    let system =
        System::on(&postgres.url(), &redis.tls_url()).with("REDIS_CA_FILE", &text(&strangers.authority()));
    let server = system.server(&[]).await;
    let (_, health) = server.get("/health").await;
    assert_eq!(health["redis"], "degraded", "{health}");
}

#[tokio::test]
async fn a_postgres_that_takes_tls_alone_is_reached_by_default_and_not_without_it() {
    let certificates = Certificates::make();
    let postgres = PostgresServer::start_with_tls(&certificates).await;
    let redis = tasker_testkit::redis_url();
    let by_default = System::on(&postgres.url(), &redis).server(&[]).await;
    drop(by_default);
    let plain = System::on(&format!("{}?sslmode=disable", postgres.url()), &redis);
    let server = plain.spawn("tasker-server", "LISTEN_ADDRS", &[]);
    eventually("the server is refused", SOON, async || {
        server.process.log().contains("waiting for Postgres")
    })
    .await;
}

/// Runs `migrate status`; returns exit code and output.
async fn status_over(url: &str, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let system = System::on(url, &tasker_testkit::redis_url());
    let mut process = system.run(program, arguments, &[]);
    let code = process.wait().await.code();
    (code, process.log())
}

#[tokio::test]
async fn every_sslmode_does_what_it_says_with_and_without_an_authority() {
    let (certificates, strangers) = (Certificates::make(), Certificates::make());
    let postgres = PostgresServer::start_with_tls(&certificates).await;
    let (own, other) = (text(&certificates.authority()), text(&strangers.authority()));
    let pair = format!(
        "&sslcert={}&sslkey={}",
        text(&certificates.certificate()),
        text(&certificates.key())
    );
    for (options, expected) in [
        (String::new(), 0),
        ("?sslmode=disable".to_owned(), 1),
        ("?sslmode=allow".to_owned(), 0),
        ("?sslmode=prefer".to_owned(), 0),
        ("?sslmode=require".to_owned(), 0),
        ("?sslmode=verify-ca".to_owned(), 1),
        ("?sslmode=verify-full".to_owned(), 1),
        (format!("?sslrootcert={own}"), 78),
        (format!("?sslmode=disable&sslrootcert={own}"), 78),
        (format!("?sslmode=prefer&sslrootcert={own}"), 78),
        (format!("?sslmode=require&sslrootcert={own}"), 0),
        (format!("?sslmode=verify-ca&sslrootcert={own}"), 0),
        (format!("?sslmode=verify-full&sslrootcert={own}"), 0),
        (format!("?sslmode=require&sslrootcert={other}"), 1),
        (format!("?sslmode=verify-ca&sslrootcert={other}"), 1),
        (format!("?sslmode=verify-full&sslrootcert={other}"), 1),
        (format!("?sslmode=verify-full&sslrootcert={own}{pair}"), 0),
    ] {
        let url = format!("{}{options}", postgres.url());
        let (code, log) = status_over(&url, "tasker-server", &["migrate", "status"]).await;
        assert_eq!(code, Some(expected), "{options}: {log}");
        assert!(!log.contains("panicked"), "{options}: {log}");
    }
}

#[tokio::test]
async fn server_and_worker_work_over_verify_ca() {
    let certificates = Certificates::make();
    let postgres = PostgresServer::start_with_tls(&certificates).await;
    let authority = text(&certificates.authority());
    let url = format!("{}?sslmode=verify-ca&sslrootcert={authority}", postgres.url());
    let system = System::on(&url, &tasker_testkit::redis_url());
    let server = system.server(&[]).await;
    let _worker = system.worker(&[]).await;
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
}

#[tokio::test]
async fn invalid_tls_options_end_the_start_with_their_names() {
    let nowhere = "postgres://tasker@127.0.0.1:1/t";
    for program in ["tasker-server", "tasker-worker"] {
        for (options, words) in [
            (
                "?sslmode=bogus",
                &["DATABASE_URL", "`sslmode`", "verify-full"][..],
            ),
            (
                "?sslmode=verify-ca&sslrootcert=/gone/ca.pem",
                &["DATABASE_URL", "`sslrootcert`", "/gone/ca.pem", "No such file"],
            ),
        ] {
            let (code, log) = status_over(&format!("{nowhere}{options}"), program, &[]).await;
            assert_eq!(code, Some(78), "{log}");
            for word in words {
                assert!(log.contains(word), "{word} is missing in {log}");
            }
        }
    }
}
