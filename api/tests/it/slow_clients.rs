//! Slow or numerous clients of the binary. The limits of one connection are tested in `shared`.

use std::time::Duration;

use sqlx::PgPool;
use tasker_testkit::{Running, System, eventually, free_port, http_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The time limit of each step, also on a busy machine.
const SOON: Duration = Duration::from_secs(30);

async fn connect(server: &Running) -> TcpStream {
    let address = server.url.trim_start_matches("http://");
    TcpStream::connect(address).await.expect("connected")
}

/// Reads until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // a reset is a close too
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes))
        .await
        .expect("the other side closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[sqlx::test(migrations = false)]
async fn clients_that_take_every_place_keep_neither_probes_nor_scrapers_away(db: PgPool) {
    let metrics = free_port().to_string();
    let system = System::new(&db)
        .with("MAX_CONNECTIONS", "3")
        .with("METRICS_PORT", &metrics);
    let server = system.server(&[]).await;
    let mut held = Vec::new();
    eventually("every place is taken", SOON, async || {
        let mut stream = connect(&server).await;
        stream
            .write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("sent");
        let mut first = [0; 1];
        let answered = stream.read(&mut first).await.is_ok_and(|read| read == 1);
        if answered {
            held.push(stream);
        }
        !answered
    })
    .await;
    // the client of the test has connections too
    assert!((1..=3).contains(&held.len()), "{}", held.len());
    let client = http_client().build().expect("a client without options");
    let url = format!("http://127.0.0.1:{metrics}");
    let ready = client.get(format!("{url}/health/ready")).send().await;
    assert!(ready.expect("an answer").status().is_success());
    let scraped = client.get(format!("{url}/metrics")).send().await;
    let scraped = scraped.expect("an answer").text().await.expect("text");
    assert!(
        scraped.contains("tasker_http_connections_refused_total"),
        "{scraped}"
    );
    drop(held);
    eventually("places are free again", SOON, async || {
        let mut stream = connect(&server).await;
        let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.is_ok() && rest(&mut stream).await.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[sqlx::test(migrations = false)]
async fn a_head_without_end_is_refused_and_others_are_served(db: PgPool) {
    let server = System::new(&db).server(&[]).await;
    let mut flood = connect(&server).await;
    let head = format!("GET /health HTTP/1.1\r\nX: {}", "x".repeat(40_000));
    let _ = flood.write_all(head.as_bytes()).await;
    let answer = rest(&mut flood).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(server.get("/health").await.0, 200);
}

#[sqlx::test(migrations = false)]
async fn a_client_that_connected_and_asks_nothing_holds_up_no_stop(db: PgPool) {
    let mut server = System::new(&db).server(&[]).await;
    let _silent = connect(&server).await;
    let stopped = tokio::time::timeout(Duration::from_secs(15), server.process.terminate());
    assert_eq!(stopped.await.expect("it stops").code(), Some(0));
}
