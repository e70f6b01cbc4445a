//! HTTPS and its errors.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, Client};
use sqlx::PgPool;
use tasker_testkit::{Certificates, Running, System, eventually, http_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The time limit of each step, also on a busy machine.
const SOON: Duration = Duration::from_mins(1);

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("a path in UTF-8")
}

/// Returns a system whose servers serve HTTPS.
fn system(db: &PgPool, certificates: &Certificates) -> System {
    System::new(db)
        .with("TLS_CERT_FILE", &text(certificates.certificate()))
        .with("TLS_KEY_FILE", &text(certificates.key()))
}

/// Returns a client that trusts only the authority of `certificates`.
fn client(certificates: &Certificates) -> Client {
    let pem = std::fs::read(certificates.authority()).expect("a file");
    let authority = Certificate::from_pem(&pem).expect("a certificate");
    let client = http_client().tls_certs_only([authority]);
    client.build().expect("a client")
}

/// Starts a server with HTTPS and waits until it is ready.
async fn start(system: &System, client: &Client) -> Running {
    let server = system.spawn("tasker-server", "LISTEN_ADDRS", &[]);
    let url = format!("{}/health/ready", https(&server));
    eventually("the server is ready", SOON, async || {
        let answer = client.get(&url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    server
}

fn https(server: &Running) -> String {
    server.url.replace("http:", "https:")
}

fn address(server: &Running) -> &str {
    server.url.trim_start_matches("http://")
}

#[sqlx::test(migrations = false)]
async fn https_is_served_to_those_who_trust_the_certificate_and_http_to_nobody(db: PgPool) {
    let certificates = Certificates::make();
    let system = system(&db, &certificates);
    let mut server = start(&system, &client(&certificates)).await;
    let stranger = client(&Certificates::make());
    assert!(stranger.get(https(&server)).send().await.is_err());

    let mut plain = TcpStream::connect(address(&server)).await.expect("connected");
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(server.process.terminate().await.code(), Some(0));
}

#[sqlx::test(migrations = false)]
async fn who_stalls_in_the_handshake_keeps_nobody_waiting_and_holds_up_no_stop(db: PgPool) {
    let certificates = Certificates::make();
    let system = system(&db, &certificates);
    let client = client(&certificates);
    let mut server = start(&system, &client).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address(&server)).await.expect("connected"));
    }
    let answer = client.get(format!("{}/health", https(&server))).send().await;
    assert!(answer.expect("an answer").status().is_success());
    let stopped = tokio::time::timeout(Duration::from_secs(20), server.process.terminate());
    assert_eq!(stopped.await.expect("it stops").code(), Some(0));
}

#[sqlx::test(migrations = false)]
async fn the_health_check_of_an_image_asks_over_https(db: PgPool) {
    let certificates = Certificates::make();
    let system = system(&db, &certificates);
    let mut server = start(&system, &client(&certificates)).await;
    // as in a container: it listens on all addresses, and the certificate has another name
    let everywhere = address(&server).replace("127.0.0.1", "0.0.0.0");
    let check = async || {
        let mut check = system.run(
            "tasker-server",
            &["--healthcheck"],
            &[("LISTEN_ADDRS", &everywhere)],
        );
        (check.wait().await.code(), check.log())
    };
    assert_eq!(check().await, (Some(0), String::new()));
    server.process.terminate().await;
    let (code, log) = check().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.starts_with("unhealthy: 127.0.0.1:"), "{log}");
}

#[sqlx::test(migrations = false)]
async fn files_that_cannot_be_served_are_named_before_anything_starts(db: PgPool) {
    let certificates = Certificates::make();
    let other = Certificates::make();
    let (certificate, key) = (text(certificates.certificate()), text(certificates.key()));
    for (certificate, key, complaint) in [
        (
            certificate.as_str(),
            "",
            "TLS_KEY_FILE: is not set while TLS_CERT_FILE is",
        ),
        (
            "",
            key.as_str(),
            "TLS_CERT_FILE: is not set while TLS_KEY_FILE is",
        ),
        ("/nowhere", &key, "TLS_CERT_FILE: `/nowhere` cannot be read"),
        (&key, &key, "TLS_CERT_FILE: holds no certificate in PEM"),
        (
            &certificate,
            &certificate,
            "TLS_KEY_FILE: holds no private key in PEM",
        ),
        (
            &certificate,
            &text(other.key()),
            "TLS_KEY_FILE: is not the key of the certificate",
        ),
    ] {
        let system = System::new(&db);
        let mut process = system.run(
            "tasker-server",
            &[],
            &[("TLS_CERT_FILE", certificate), ("TLS_KEY_FILE", key)],
        );
        assert_eq!(process.wait().await.code(), Some(78));
        assert!(
            process.log().contains(complaint),
            "{complaint}: {}",
            process.log()
        );
    }
}
