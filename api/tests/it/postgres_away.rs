//! A Postgres whose connection is cut, hangs or loses answers.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgPool};
use tasker_server::http::admission::Admission;
use tasker_store as store;
use tasker_store::migrations::MIGRATOR;
use tasker_testkit::Proxy;

use crate::harness::{Answer, Server, config, eventually};

/// The maximum time to an answer.
const SOON: Duration = Duration::from_secs(2);
/// The maximum time to an answer that needs no query, also on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// More submits than the flushers can process at once.
const CROWD: i64 = 3_000;
/// The maximum number of submits until one is written whose answer is lost.
const ATTEMPTS: i64 = 50;

async fn start(db: PgPool) -> (Server, Proxy) {
    let (proxy, url) = Proxy::before_url(db.connect_options().to_url_lossy().as_str()).await;
    let settings: [(&'static str, &str); 2] = [("DATABASE_URL", &url), ("BREAKER_COOLDOWN", "500ms")];
    let link = store::connect(&config(&settings).database, "test").expect("a sound URL");
    (Server::start_over(link, db, &settings).await, proxy)
}

fn noop() -> Value {
    json!({"task_name": "noop"})
}

async fn timed(answer: impl Future<Output = Answer>) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = answer.await;
    (answer, began.elapsed())
}

/// Checks that every kind of request is rejected within two seconds with `Retry-After`.
async fn assert_turned_away(server: &Server, id: &str) {
    let task = format!("/tasks/{id}");
    let (cancel, retry) = (format!("{task}/cancel"), format!("{task}/retry"));
    let unknown_type = json!({"task_name": "perhaps new"});
    let batch = json!({"tasks": [noop()]});
    let with_key = json!({"tasks": [{"task_name": "noop", "idempotency_key": "batch"}]});
    let answers = tokio::join!(
        join_all([
            timed(server.post("/tasks/submit", noop())),
            timed(server.post("/tasks/submit", unknown_type)),
            timed(server.post("/tasks/submit/batch", batch)),
            timed(server.post("/tasks/submit/batch", with_key)),
            timed(server.post(&cancel, json!({}))),
            timed(server.post(&retry, json!({}))),
        ]),
        join_all([
            timed(server.get(&task)),
            timed(server.get("/tasks")),
            timed(server.get("/queues")),
            timed(server.get("/workers")),
            timed(server.get("/dead-letters")),
        ]),
    );
    for (answer, took) in answers.0.into_iter().chain(answers.1) {
        let code = answer.problem(503);
        assert!(
            ["unavailable", "outcome_unknown"].contains(&code.as_str()),
            "{code}"
        );
        assert!(answer.headers.contains_key("retry-after"));
        assert!(took < SOON, "{took:?}: {}", answer.text);
    }
}

async fn breaker(server: &Server) -> Value {
    server.get("/health/detailed").await.json()["breakers"]["postgres"].take()
}

async fn goes_away_and_comes_back(db: PgPool, away: impl Fn(&Proxy)) {
    let (server, proxy) = start(db).await;
    let id = server.submit(noop()).await.to_string();
    away(&proxy);
    assert_turned_away(&server, &id).await;
    eventually(async || {
        assert_eq!(server.post("/tasks/submit", noop()).await.status, 503);
        (breaker(&server).await == "open").then_some(())
    })
    .await;
    let (answer, took) = timed(server.post("/tasks/submit", noop())).await;
    assert_eq!(answer.problem(503), "unavailable");
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(server.get("/health/ready").await.status, 503);
    assert_eq!(server.get("/health/live").await.status, 200);

    proxy.heal();
    // by the server's own probes, without a request
    eventually(async || (breaker(&server).await == "closed").then_some(())).await;
    eventually(async || {
        let answer = server.post("/tasks/submit", noop()).await;
        (answer.status == 202).then_some(())
    })
    .await;
    assert_eq!(server.get(&format!("/tasks/{id}")).await.status, 200);
    assert_eq!(server.get("/health/ready").await.status, 200);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_postgres_that_refuses_is_a_503_in_time_and_comes_back_without_a_restart(db: PgPool) {
    goes_away_and_comes_back(db, Proxy::cut).await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_postgres_that_hangs_is_a_503_in_time_and_comes_back_without_a_restart(db: PgPool) {
    goes_away_and_comes_back(db, Proxy::hang).await;
}

/// Sends submits of `body(attempt)` whose answers are lost, until one of them was written; answers its
/// attempt. A statement that its connection does not know yet is sent in two pieces, of which the second
/// waits for an answer.
async fn until_written_unheard(server: &Server, proxy: &Proxy, body: impl Fn(i64) -> Value) -> i64 {
    // each connection of the pool has its turn to learn the statement
    for warm_up in 1..=10 {
        server.submit(body(-warm_up)).await;
    }
    for attempt in 0..ATTEMPTS {
        let before = server.rows().await;
        proxy.swallow_replies();
        let (answer, took) = timed(server.post("/tasks/submit", body(attempt))).await;
        proxy.heal();
        assert!(answer.headers.contains_key("retry-after"));
        assert!(took < SOON, "{took:?}");
        let code = answer.problem(503);
        if server.rows().await > before {
            assert_eq!(code, "outcome_unknown");
            return attempt;
        }
    }
    panic!("none of {ATTEMPTS} submits was written")
}

/// Waits until submits are accepted again, and returns the first such response.
async fn until_answered(server: &Server, body: &Value) -> Answer {
    eventually(async || {
        let answer = server.post("/tasks/submit", body).await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_submit_whose_answer_was_lost_is_the_same_one_task_when_it_is_sent_again_with_its_key(db: PgPool) {
    let (server, proxy) = start(db).await;
    let body = |attempt| json!({"task_name": "noop", "idempotency_key": format!("k{attempt}")});
    let attempt = until_written_unheard(&server, &proxy, body).await;
    let written = server.rows().await;
    let again = until_answered(&server, &body(attempt)).await;
    assert_eq!((again.status, &again.json()["deduplicated"]), (200, &json!(true)));
    assert_eq!(server.rows().await, written);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_submit_whose_answer_was_lost_is_not_sent_twice(db: PgPool) {
    let (server, proxy) = start(db).await;
    until_written_unheard(&server, &proxy, |_| noop()).await;
    let written = server.rows().await;
    assert_eq!(until_answered(&server, &noop()).await.status, 202);
    assert_eq!(server.rows().await, written + 1);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_crowd_before_a_postgres_that_hangs_is_turned_away_in_time_and_health_answers_meanwhile(
    db: PgPool,
) {
    let (server, proxy) = start(db).await;
    server.submit(noop()).await;
    proxy.hang();
    let crowd = join_all((0..CROWD).map(|_| timed(server.post("/tasks/submit", noop()))));
    let live = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let (answer, took) = timed(server.get("/health/live")).await;
            assert_eq!(answer.status, 200);
            slowest = slowest.max(took);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        slowest
    };
    let (answers, slowest) = tokio::join!(crowd, live);
    assert!(slowest < AT_ONCE, "{slowest:?}");
    let mut known_not_sent = 0;
    for (answer, took) in answers {
        known_not_sent += usize::from(answer.problem(503) == "unavailable");
        // a crowd of requests of one process is served one after the other
        assert!(took < SOON + AT_ONCE, "{took:?}");
    }
    // of those that no flusher took it is known that nothing was done
    assert!(known_not_sent > 0);
    proxy.heal();
    eventually(async || {
        let answer = server.post("/tasks/submit", noop()).await;
        (answer.status == 202).then_some(())
    })
    .await;
    // what was withdrawn was not written
    assert!(server.rows().await <= 2 + CROWD - i64::try_from(known_not_sent).expect("few"));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn more_requests_than_there_are_places_for_are_turned_away_at_once(db: PgPool) {
    let server = Server::start(db).await;
    let admission = server.part::<Admission>();
    let all = u32::try_from(admission.requests.available_permits()).expect("few");
    let taken = admission.requests.try_acquire_many(all).expect("all are free");
    for answer in [
        server.post("/tasks/submit", noop()).await,
        server.get("/tasks").await,
    ] {
        assert_eq!(answer.problem(503), "overloaded");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(server.get("/health/live").await.status, 200);
    drop(taken);
    server.submit(noop()).await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_postgres_that_is_slow_is_not_away(db: PgPool) {
    let (server, _proxy) = start(db.clone()).await;
    let mut lock = db.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE tasks IN SHARE MODE")
        .execute(&mut *lock)
        .await
        .expect("locked");
    let unlock = async {
        tokio::time::sleep(SOON + Duration::from_secs(1)).await;
        lock.rollback().await.expect("unlocked");
    };
    let submits = join_all((0..5).map(|_| server.post("/tasks/submit", noop())));
    let (answers, ()) = tokio::join!(submits, unlock);
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    assert_eq!(breaker(&server).await, "closed");
    server.stop().await;
}
