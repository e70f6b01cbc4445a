//! Compressed bodies, and bodies in other encodings.

use std::io::Write as _;

use axum::body::Body;
use axum::http::HeaderValue;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;
use sqlx::PgPool;
use tasker_server::http::body::BodyBudgets;
use tasker_store::migrations::MIGRATOR;

use crate::harness::{Answer, Server, json_request};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("in memory");
    encoder.finish().expect("in memory")
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("in memory");
    encoder.finish().expect("in memory")
}

/// Posts bytes with these values of `Content-Encoding`.
async fn post(server: &Server, path: &str, encodings: &[&str], body: Vec<u8>) -> Answer {
    let mut request = json_request(path, "");
    for encoding in encodings {
        let value = HeaderValue::from_str(encoding).expect("a header");
        request.headers_mut().append("content-encoding", value);
    }
    *request.body_mut() = Body::from(body);
    server.send(request).await
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn compressed_bodies_are_decoded_on_every_route(db: PgPool) {
    let server = Server::start(db).await;
    let single = br#"{"task_name":"noop","parameters":{"text":"hello"}}"#;
    let batch = br#"{"tasks":[{"task_name":"noop"},{"task_name":"noop"}]}"#;
    for (path, body, status) in [
        ("/tasks/submit", &single[..], 202),
        ("/tasks/submit/batch", batch, 202),
        ("/dead-letters/retry", br#"{"all":true}"#, 200),
    ] {
        for (encodings, bytes) in [
            (&["gzip"][..], gzip(body)),
            (&["X-GZIP"], gzip(body)),
            (&["deflate"], deflate(body)),
            (&["identity"], body.to_vec()),
            (&["identity, gzip"], gzip(body)),
            (&["identity", "deflate"], deflate(body)),
            // several gzip members are one body
            (&["gzip"], [gzip(&body[..5]), gzip(&body[5..])].concat()),
        ] {
            let answer = post(&server, path, encodings, bytes).await;
            assert_eq!(answer.status, status, "{path} {encodings:?}: {}", answer.text);
        }
    }
    let record = server.get("/tasks?limit=1000").await.json();
    let texts = record["tasks"].as_array().expect("tasks").iter();
    assert_eq!(
        texts.filter(|task| task["parameters"]["text"] == "hello").count(),
        7
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_body_that_is_decoded_over_its_limit_is_too_large(db: PgPool) {
    let server = Server::start(db).await;
    let body =
        |bytes: usize| json!({"task_name": "noop", "parameters": {"text": "a".repeat(bytes)}}).to_string();
    for encode in [gzip, deflate] {
        let name = if encode(b"")[0] == 0x1f { "gzip" } else { "deflate" };
        let answer = post(
            &server,
            "/tasks/submit",
            &[name],
            encode(body(1_000_000).as_bytes()),
        )
        .await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.text);
        for (path, bytes) in [
            ("/tasks/submit", 2_000_000),
            ("/tasks/submit", 100_000_000),
            ("/tasks/submit/batch", 40_000_000),
        ] {
            let answer = post(&server, path, &[name], encode(body(bytes).as_bytes())).await;
            assert_eq!(answer.problem(413), "body_too_large", "{name} {path}");
        }
    }
    let bodies = server.part::<BodyBudgets>();
    assert_eq!(bodies.single.taken() + bodies.batch.taken(), 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn other_encodings_are_refused_with_those_that_are_decoded(db: PgPool) {
    let server = Server::start(db).await;
    let body = br#"{"task_name":"noop"}"#;
    for encodings in [
        &["br"][..],
        &["zstd"],
        &["compress"],
        &["gzip, gzip"],
        &["gzip", "deflate"],
        &["gzip;q=1"],
        &["nope"],
    ] {
        for path in ["/tasks/submit", "/tasks/submit/batch"] {
            let answer = post(&server, path, encodings, gzip(body)).await;
            assert_eq!(answer.problem(415), "unsupported_encoding", "{encodings:?}");
            assert_eq!(answer.headers["accept-encoding"], "gzip, deflate");
        }
    }
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn damaged_bodies_are_malformed(db: PgPool) {
    let server = Server::start(db).await;
    let body = br#"{"task_name":"noop","parameters":{"text":"hello hello hello hello"}}"#;
    let cut = |bytes: Vec<u8>, left: usize| bytes[..left].to_vec();
    let changed = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        bytes
    };
    for (encoding, bytes) in [
        ("gzip", body.to_vec()),
        ("gzip", deflate(body)),
        ("gzip", Vec::new()),
        ("gzip", cut(gzip(body), 5)),
        ("gzip", cut(gzip(body), 40)),
        ("gzip", cut(gzip(body), gzip(body).len() - 1)),
        ("gzip", changed(gzip(body))),
        ("gzip", [gzip(body), b"rest".to_vec()].concat()),
        ("deflate", body.to_vec()),
        ("deflate", gzip(body)),
        ("deflate", Vec::new()),
        ("deflate", cut(deflate(body), 20)),
        ("deflate", changed(deflate(body))),
        ("deflate", [deflate(body), b"rest".to_vec()].concat()),
    ] {
        let answer = post(&server, "/tasks/submit", &[encoding], bytes.clone()).await;
        assert_eq!(answer.problem(400), "malformed_request", "{encoding} {bytes:?}");
    }
    let plain = post(&server, "/tasks/submit", &[], gzip(body)).await;
    assert_eq!(plain.problem(400), "malformed_request");
    assert_eq!(server.rows().await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_byte_order_mark_is_skipped_and_utf_16_is_refused(db: PgPool) {
    let server = Server::start(db).await;
    let body = "\u{feff}{\"task_name\":\"noop\"}";
    let answer = post(&server, "/tasks/submit", &[], body.as_bytes().to_vec()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let answer = post(&server, "/tasks/submit", &[], utf16).await;
    assert_eq!(answer.problem(400), "malformed_request");
    assert!(answer.text.contains("UTF-8"), "{}", answer.text);
    server.stop().await;
}
