//! The task type `http_request`: private addresses need the operator's permission.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};
use tasker_testkit::System;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{SOON, Small};

/// Starts a loopback service that counts requests and responds with `hello`.
async fn service() -> (String, Arc<AtomicUsize>) {
    answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello".to_vec()).await
}

/// Starts a service that responds with these bytes.
async fn answering(answer: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
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

/// Builds a response with additional headers and a body of this length.
fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip can be run");
    let mut input = gzip.stdin.take().expect("its input");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output().expect("it ends").stdout;
    writer.join().expect("no panic").expect("written");
    output
}

/// Runs a task that calls a service with this response, and waits until the task has `status`.
async fn call(small: &Small, answer: Vec<u8>, method: &str, status: &str) -> Value {
    let (url, _) = answering(answer).await;
    let task = json!({
        "task_name": "http_request", "max_retries": 0, "parameters": {"url": url, "method": method}
    });
    let id = small.server.submit(&task).await;
    small.server.wait_for(&id, status, SOON).await
}

#[sqlx::test(migrations = false)]
async fn answers_are_decompressed_and_decoded_within_the_limit_and_the_rest_is_base64(db: PgPool) {
    let small = Small::on(System::new(&db).with("HTTP_REQUEST_ALLOW", "127.0.0.1")).await;
    let plain = "content-type: text/plain; charset=ISO-8859-1\r\n";
    let zipped = format!("{plain}content-encoding: gzip\r\n");
    let brotli = "content-type: text/plain\r\ncontent-encoding: br\r\n";
    let deflate = "content-type: text/plain\r\ncontent-encoding: deflate\r\n";
    for (answer, body, encoding) in [
        (ok(plain, b"caf\xe9"), "café", "text"),
        (ok(&zipped, &gzip(b"caf\xe9")), "café", "text"),
        (ok(brotli, b"\x0b\x02\x80hello\x03"), "hello", "text"),
        (
            ok(deflate, b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15"),
            "hello",
            "text",
        ),
        (
            ok("content-type: image/png\r\n", b"\x89PNG\0"),
            "iVBORwA=",
            "base64",
        ),
        (
            ok("content-encoding: unknown\r\n", b"\x28\xb5\x2f\xfd"),
            "KLUv/Q==",
            "base64",
        ),
        (ok("", b""), "", "text"),
    ] {
        let task = call(&small, answer, "GET", "completed").await;
        let result = &task["result"];
        assert_eq!(
            (&result["body"], &result["body_encoding"], &result["truncated"]),
            (&json!(body), &json!(encoding), &json!(false)),
            "{result}"
        );
    }
    let bomb = ok("content-encoding: gzip\r\n", &gzip(&vec![b'a'; 64 << 20]));
    let task = call(&small, bomb, "GET", "completed").await;
    assert_eq!(task["result"]["truncated"], true);
    assert_eq!(task["result"]["body"].as_str().map(str::len), Some(256 * 1024));
    let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 99\r\n\r\n".to_vec();
    let task = call(&small, head, "HEAD", "completed").await;
    assert_eq!(task["result"]["body"], "");
}

#[sqlx::test(migrations = false)]
async fn an_answer_that_is_cut_short_fails_its_attempt(db: PgPool) {
    let small = Small::on(System::new(&db).with("HTTP_REQUEST_ALLOW", "127.0.0.1")).await;
    let half = gzip(&[b'a'; 4096]);
    let half = &half[..half.len() / 2];
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\nhello".to_vec(),
        ok("content-encoding: gzip\r\n", half),
        ok("content-encoding: gzip\r\n", b"plain"),
    ] {
        let task = call(&small, answer, "GET", "dead_letter").await;
        assert_eq!(task["reason"], "exhausted", "{task}");
    }
}

#[sqlx::test(migrations = false)]
async fn a_date_in_retry_after_is_when_the_next_try_is_due(db: PgPool) {
    let small = Small::on(System::new(&db).with("HTTP_REQUEST_ALLOW", "127.0.0.1")).await;
    // a service whose clock is years behind
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\ndate: Wed, 21 Oct 2015 07:28:00 GMT\r\nretry-after: Wed, 21 Oct 2015 07:30:00 GMT\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        let (url, _) = answering(answer.into_bytes()).await;
        let task = json!({"task_name": "http_request", "parameters": {"url": url}});
        let id = small.server.submit(&task).await;
        let task = small.server.wait_for(&id, "retry_scheduled", SOON).await;
        let time = |name: &str| -> DateTime<Utc> {
            let text = task[name].as_str().expect("a time");
            text.parse().expect("a time in RFC 3339")
        };
        let wait = time("run_at") - time("updated_at");
        let wait = wait.to_std().expect("ahead");
        assert!(
            wait > Duration::from_secs(110) && wait <= Duration::from_secs(121),
            "{wait:?}"
        );
    }
}
