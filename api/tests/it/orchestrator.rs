//! Leadership and the leader's duties.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_server::orchestrator::{Leadership, Recovered, Recoverer};
use tasker_server::submit::push::Pusher;
use tasker_shared::store::workers::register;
use tasker_testkit::{a_worker, eventually};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);
const TERM: Duration = Duration::from_secs(2);

/// A candidate whose duties count themselves while they run.
struct Candidate {
    stop: CancellationToken,
    running: Arc<AtomicU32>,
    ended: tokio::task::JoinHandle<()>,
}

fn candidate(db: &PgPool, name: &str) -> Candidate {
    let running = Arc::new(AtomicU32::new(0));
    let stop = CancellationToken::new();
    let counted = Arc::clone(&running);
    let duties = move |over: CancellationToken| {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            over.cancelled().await;
            counted.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let leadership = Leadership::new(db.clone(), name.to_owned(), TERM);
    let ended = tokio::spawn(leadership.run(duties, stop.clone()));
    Candidate { stop, running, ended }
}

impl Candidate {
    fn leads(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 1
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn one_server_leads_and_another_follows_when_it_stops(db: PgPool) {
    let first = candidate(&db, "first");
    eventually("the first leads", SOON, async || first.leads()).await;
    let second = candidate(&db, "second");
    first.stop.cancel();
    first.ended.await.expect("no panic");
    assert_eq!(first.running.load(Ordering::SeqCst), 0);
    eventually("the second leads", SOON, async || second.leads()).await;
    second.stop.cancel();
    second.ended.await.expect("no panic");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn another_server_leads_when_the_leader_was_killed(db: PgPool) {
    let first = candidate(&db, "first");
    eventually("the first leads", SOON, async || first.leads()).await;
    first.ended.abort();
    let second = candidate(&db, "second");
    eventually("the second leads", SOON, async || second.leads()).await;
    second.stop.cancel();
    second.ended.await.expect("no panic");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_leader_whose_lease_is_taken_stops_its_duties(db: PgPool) {
    let leader = candidate(&db, "leader");
    eventually("it leads", SOON, async || leader.leads()).await;
    sqlx::query(
        "UPDATE leader_lease SET holder = 'usurper', term = term + 1, expires_at = now() + interval '1 hour'",
    )
    .execute(&db)
    .await
    .expect("the lease can be taken");
    eventually("it leads no more", SOON, async || !leader.leads()).await;
    leader.stop.cancel();
    leader.ended.await.expect("no panic");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn nobody_is_judged_by_silence_before_the_leader_itself_was_steady_as_long(db: PgPool) {
    let timeout = Duration::from_secs(30);
    register(&db, &a_worker("w"))
        .await
        .expect("the worker is entered");
    sqlx::query("UPDATE workers SET last_heartbeat = now() - interval '1 hour'")
        .execute(&db)
        .await
        .expect("the worker is silent");
    let pusher = Arc::new(Pusher::new(None));
    let mut recoverer = Recoverer::new(db, pusher, timeout, Duration::from_mins(1));
    let start = Instant::now();
    let early = recoverer.run_once(start + timeout / 2).await.expect("a pass");
    assert_eq!(early, Recovered::default());
    let late = recoverer.run_once(start + timeout * 2).await.expect("a pass");
    assert_eq!(late, Recovered { workers: 1, tasks: 0 });
}
