//! Limits per client: failed sign-ins, requests, memory of bodies.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use serde_json::json;
use sqlx::PgPool;
use tasker_server::auth::{FAILURES_OF_AN_ADDRESS, QuotaKey};
use tasker_server::http::body::BodyBudgets;
use tasker_store::migrations::MIGRATOR;
use tokio::time::timeout;

use crate::client::{Client, SIGN_IN};
use crate::harness::{Server, eventually};

/// The size sent of a body that never ends: nearly the maximum of a batch.
const ENDLESS_BYTES: usize = 30 * 1024 * 1024;

fn endless() -> Body {
    let piece = vec![b' '; ENDLESS_BYTES];
    let first = stream::once(async { Ok::<_, std::io::Error>(piece) });
    Body::from_stream(first.chain(stream::pending()))
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn after_some_failures_an_address_waits_and_others_do_not(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let known = admin.with_key(json!({"name": "k", "role": "viewer"})).await;
    let known = known.at([10, 0, 0, 1]);
    assert_eq!(known.get("/tasks").await.status, 200);
    for number in 0..FAILURES_OF_AN_ADDRESS {
        let client = match number % 3 {
            0 => Client::password(&server, "ops", "wrong"),
            1 => Client::bearer(&server, &format!("tsk_{number}")),
            _ => Client::bearer(&server, "a.b.c"),
        };
        let answer = client.at([10, 0, 0, 1]).get("/tasks").await;
        assert_eq!(answer.problem(401), "invalid_credentials");
    }
    for client in [
        Client::admin(&server),
        Client::bearer(&server, "tsk_another"),
        Client::bearer(&server, "a.b.c"),
    ] {
        let answer = client.at([10, 0, 0, 1]).get("/tasks").await;
        assert_eq!(answer.problem(429), "too_many_failures");
        let wait = answer.retry_after();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    // cached keys keep working, and so do clients at other addresses
    for client in [known, admin.at([10, 0, 0, 2])] {
        assert_eq!(client.get("/tasks").await.status, 200);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_name_is_guarded_against_guesses_from_everywhere(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let guess = async |user: &str, address: u8| {
        let client = Client::password(&server, user, "wrong").at([10, 0, 1, address]);
        client.get("/tasks").await.status
    };
    for address in 0..50 {
        assert_eq!(guess("ops", address).await, 401);
        assert_eq!(guess("unknown", address).await, 401);
    }
    // unknown names are treated like existing ones
    assert_eq!((guess("ops", 60).await, guess("unknown", 61).await), (429, 429));
    assert_eq!(guess("another-user", 62).await, 401);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_client_whose_bodies_never_end_leaves_room_for_those_of_others(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let request = json!({"name": "k", "role": "submitter"});
    let greedy = admin.with_key(request).await;
    let send = || greedy.send(Method::POST, "/tasks/submit/batch", endless());
    let mut waiting: FuturesUnordered<_> = (0..4).map(|_| send()).collect();
    for _ in 0..3 {
        let answer = timeout(Duration::from_secs(20), waiting.next());
        let answer = answer.await.expect("an answer").expect("four of them");
        assert_eq!(answer.problem(503), "overloaded");
        assert!(
            answer.text.contains("Your requests in progress"),
            "{}",
            answer.text
        );
    }
    let batch = json!({"tasks": [{"task_name": "noop"}]});
    let other = async || admin.post("/tasks/submit/batch", batch).await;
    tokio::select! {
        _ = waiting.next() => panic!("the first body goes on"),
        answer = other() => assert_eq!(answer.status, 202, "{}", answer.text),
    }
    drop(waiting);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_largest_body_that_is_allowed_fits_into_a_share(db: PgPool) {
    const LARGEST: usize = 64 * 1024 * 1024;
    let largest = LARGEST.to_string();
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("MAX_BODY_BYTES", &largest)]).await;
    let bodies = server.part::<BodyBudgets>();
    let room = &bodies.single;
    let mut held = room.begin(Some(QuotaKey::Name("ops".into()))).expect("room");
    held.grow(room, LARGEST).expect("room");
    drop(held);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn without_sign_in_the_programs_of_a_machine_share_all_the_room(db: PgPool) {
    let server = Server::start(db).await;
    let bodies = server.part::<BodyBudgets>();
    let anybody = Client::new(&server, None);
    let send = || anybody.send(Method::POST, "/tasks/submit/batch", endless());
    let mut waiting: FuturesUnordered<_> = (0..3).map(|_| send()).collect();
    tokio::select! {
        answer = waiting.next() => panic!("{answer:?}"),
        () = eventually(async || (bodies.batch.taken() >= 3 * ENDLESS_BYTES).then_some(())) => {}
    }
    drop(waiting);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_key_has_a_limit_of_its_own_and_health_has_none(db: PgPool) {
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("RATE_LIMIT_PER_KEY", "5/s")]).await;
    let admin = Client::admin(&server);
    let one = admin.with_key(json!({"name": "one", "role": "submitter"})).await;
    let two = admin.with_key(json!({"name": "two", "role": "submitter"})).await;
    let limited = eventually(async || {
        let answer = one.get("/tasks").await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(limited.problem(429), "rate_limited");
    assert_eq!(limited.headers["retry-after"], "1");
    assert_eq!(two.get("/tasks").await.status, 200, "it is another's limit");
    for _ in 0..20 {
        assert_eq!(one.get("/health").await.status, 200);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_is_refused_for_the_role_counts_against_the_limit_too(db: PgPool) {
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("RATE_LIMIT_PER_KEY", "5/s")]).await;
    let viewer = Client::admin(&server)
        .with_key(json!({"name": "looks", "role": "viewer"}))
        .await;
    let refused = viewer.post("/queues/default/pause", json!({})).await;
    assert_eq!(refused.problem(403), "forbidden");
    let limited = eventually(async || {
        let answer = viewer.post("/queues/default/pause", json!({})).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(limited.problem(429), "rate_limited");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_tasks_of_batches_count_one_by_one(db: PgPool) {
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("RATE_LIMIT_PER_KEY", "50/s")]).await;
    let batch = async |tasks: usize| {
        let tasks = vec![json!({"task_name": "noop"}); tasks];
        Client::admin(&server)
            .post("/tasks/submit/batch", json!({"tasks": tasks}))
            .await
    };
    assert_eq!(batch(9_900).await.status, 202);
    let answer = batch(5_000).await;
    assert_eq!(answer.problem(429), "rate_limited");
    let wait = answer.retry_after();
    assert!((10..=100).contains(&wait), "{wait}");
    assert_eq!(server.rows().await, 9_900);
    server.stop().await;
}
