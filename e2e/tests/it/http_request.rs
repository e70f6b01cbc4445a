//! `http_request` reaches what is private only when the operator says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use sqlx::PgPool;
use tasker_testkit::System;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{SOON, Small};

/// A service on a loopback port that answers every request with `hello`, and counts them.
async fn service() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
            let _ = stream.write_all(answer).await;
        }
    });
    (url, calls)
}

#[sqlx::test(migrations = false)]
async fn a_private_address_is_refused_for_good_and_not_called(db: PgPool) {
    let (url, calls) = service().await;
    let small = Small::start(&db).await;
    let port = url.rsplit(':').next().expect("a port");
    for url in [
        url.clone(),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
    ] {
        let task = json!({"task_name": "http_request", "parameters": {"url": url}});
        let id = small.server.submit(&task).await;
        let task = small.server.wait_for(&id, "dead_letter", SOON).await;
        assert_eq!(
            (&task["reason"], &task["attempts"]),
            (&json!("failed"), &json!(1)),
            "{task}"
        );
        let error = task["error"].as_str().expect("an error");
        assert!(error.contains("HTTP_REQUEST_ALLOW"), "{error}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[sqlx::test(migrations = false)]
async fn a_private_address_that_is_allowed_is_called(db: PgPool) {
    let (url, calls) = service().await;
    let small = Small::on(System::new(&db).with("HTTP_REQUEST_ALLOW", "127.0.0.1")).await;
    let task = json!({"task_name": "http_request", "parameters": {"url": url}});
    let id = small.server.submit(&task).await;
    let task = small.server.wait_for(&id, "completed", SOON).await;
    assert_eq!(
        (&task["result"]["status"], &task["result"]["body"]),
        (&json!(200), &json!("hello"))
    );
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
