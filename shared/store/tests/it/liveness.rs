use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, PgPool};
use tasker_store::liveness::{
    FleetObserver, LivenessKey, Session, WorkerCheck, behind_pooler, declare_vanished,
};
use tasker_store::workers::{self, NewWorker, Work, heartbeat};
use tasker_testkit::{Pooler, a_worker, eventually};
use tokio::task::JoinSet;

use super::support::{WORKER_TIMEOUT, enter_worker, execute};

const SOON: Duration = Duration::from_secs(30);

/// Registers a worker with a lock and opens its session; it has not sent a heartbeat yet.
async fn enter_with_session(db: &PgPool, id: &str) -> Session {
    let key = LivenessKey::generate();
    let worker = NewWorker {
        liveness_key: Some(key),
        ..a_worker(id)
    };
    workers::register(db, &worker)
        .await
        .expect("the worker is entered");
    Session::open(db, key).await.expect("a session")
}

async fn beat(session: &mut Session, id: &str) -> workers::Heartbeat {
    heartbeat(session.executor(), id, Work::default(), WORKER_TIMEOUT)
        .await
        .expect("an answer")
}

/// The check of the only worker.
async fn seen(observer: &mut FleetObserver) -> WorkerCheck {
    let check = observer.check(WORKER_TIMEOUT).await.expect("a check");
    check.workers.into_iter().next().expect("a worker")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_heartbeat_takes_the_lock_and_the_end_of_its_session_frees_it(db: PgPool) {
    let mut observer = FleetObserver::open(db.clone()).await.expect("a session");
    let mut session = enter_with_session(&db, "w").await;
    let before = seen(&mut observer).await;
    assert_eq!((before.holds_lock, before.has_session), (false, true));
    for _ in 0..2 {
        assert!(beat(&mut session, "w").await.holds_lock);
    }
    let held = seen(&mut observer).await;
    assert!(held.holds_lock && held.has_session && !held.unresponsive);
    drop(session);
    eventually("lock and session are gone", SOON, async || {
        let after = seen(&mut observer).await;
        !after.holds_lock && !after.has_session
    })
    .await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_second_session_of_a_worker_takes_the_lock_when_the_first_has_ended(db: PgPool) {
    let key = LivenessKey::generate();
    let worker = NewWorker {
        liveness_key: Some(key),
        ..a_worker("w")
    };
    workers::register(&db, &worker).await.expect("entered");
    let mut first = Session::open(&db, key).await.expect("a session");
    let mut second = Session::open(&db, key).await.expect("a session");
    assert!(beat(&mut first, "w").await.holds_lock);
    assert!(!beat(&mut second, "w").await.holds_lock);
    drop(first);
    eventually("the lock is free", SOON, async || {
        beat(&mut second, "w").await.holds_lock
    })
    .await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_session_notices_that_its_connection_was_closed(db: PgPool) {
    let mut session = enter_with_session(&db, "w").await;
    beat(&mut session, "w").await;
    let early = tokio::time::timeout(Duration::from_millis(50), session.closed()).await;
    assert!(early.is_err(), "an idle session is not closed");
    beat(&mut session, "w").await;
    execute(
        &db,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name LIKE 'tasker-w-%'",
    )
    .await;
    tokio::time::timeout(SOON, session.closed())
        .await
        .expect("the end of the connection is noticed");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_without_a_key_holds_no_lock_and_beats_all_the_same(db: PgPool) {
    enter_worker(&db, "w").await;
    let answer = heartbeat(&db, "w", Work::default(), WORKER_TIMEOUT)
        .await
        .expect("an answer");
    assert!(answer.alive && answer.holds_lock);
    let mut observer = FleetObserver::open(db.clone()).await.expect("a session");
    let worker = seen(&mut observer).await;
    assert_eq!((worker.holds_lock, worker.has_session), (false, false));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_vanished_worker_is_declared_dead_unless_it_has_sent_a_heartbeat_since(db: PgPool) {
    let mut observer = FleetObserver::open(db.clone()).await.expect("a session");
    let mut session = enter_with_session(&db, "w").await;
    beat(&mut session, "w").await;
    let missed = seen(&mut observer).await;
    beat(&mut session, "w").await;
    let vanished = |worker: WorkerCheck| vec![(worker.id, worker.last_heartbeat)];
    let dead = declare_vanished(&db, &vanished(missed)).await.expect("an answer");
    assert!(dead.is_empty(), "it has sent a heartbeat since");
    let missed = seen(&mut observer).await;
    let dead = declare_vanished(&db, &vanished(missed)).await.expect("an answer");
    assert_eq!(dead, ["w"]);
    assert!(!beat(&mut session, "w").await.alive);
    assert!(
        observer
            .check(WORKER_TIMEOUT)
            .await
            .expect("a check")
            .workers
            .is_empty()
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_direct_connection_is_behind_no_pooler(db: PgPool) {
    assert!(!behind_pooler(&db).await.expect("an answer"));
}

#[sqlx::test(migrations = false)]
async fn a_pooler_with_other_busy_clients_is_recognised_each_time(db: PgPool) {
    let direct = db.connect_options().to_url_lossy();
    let (_pooler, url) = Pooler::before_url(direct.as_str(), 4).await;
    let pooled = PgPoolOptions::new()
        .max_connections(8)
        .connect(&url)
        .await
        .expect("the pooler lets us in");
    let mut others = JoinSet::new();
    for _ in 0..8 {
        let pooled = pooled.clone();
        others.spawn(async move {
            loop {
                execute(&pooled, "SELECT pg_sleep(0.002)").await;
            }
        });
    }
    for check in 0..20 {
        assert!(behind_pooler(&pooled).await.expect("an answer"), "check {check}");
    }
}
