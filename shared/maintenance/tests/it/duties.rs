//! Leadership and the leader's duties.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, PgPool};
use tasker_core::task::{Hint, QueueName, TaskId};
use tasker_maintenance::{HintSender, Leadership, Promoter, Rebuilder, Recovered, Recoverer};
use tasker_queue::BLOCK_MAX;
use tasker_store::insert::{NewTask, insert};
use tasker_store::leader;
use tasker_store::liveness::{LivenessKey, Session};
use tasker_store::workers::{NewWorker, Work, heartbeat, register};
use tasker_testkit::{Proxy, RedisServer, TestQueue, a_task, a_worker, eventually};
use tokio_util::sync::CancellationToken;

use crate::no_hints::NoHints;

const SOON: Duration = Duration::from_secs(30);
const TERM: Duration = Duration::from_secs(2);
/// Time between comparisons of lists with the table.
const REBUILD_INTERVAL: Duration = Duration::from_secs(5);

/// A candidate whose duties count themselves while they run.
struct Candidate {
    stop: CancellationToken,
    running: Arc<AtomicU32>,
    ended: tokio::task::JoinHandle<()>,
}

fn candidate(db: &PgPool, name: &str) -> Candidate {
    campaigning(Leadership::new(db.clone(), name.to_owned(), TERM))
}

fn campaigning(leadership: Leadership) -> Candidate {
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
async fn the_only_server_leads_at_once_when_it_was_killed_and_started_again(db: PgPool) {
    let seconds = 3_600.0;
    leader::seize(&db, "itself before", seconds)
        .await
        .expect("a lease");
    let alone = Leadership::new(db.clone(), "alone".to_owned(), TERM).alone();
    let alone = campaigning(alone);
    eventually("it leads", SOON, async || alone.leads()).await;

    // the lease of a server that came meanwhile is left to expire: only the first attempt takes one by force
    leader::seize(&db, "another", seconds).await.expect("a lease");
    eventually("it lost leadership", SOON, async || !alone.leads()).await;
    let seized = Instant::now();
    leader::seize(&db, "another", 3.0).await.expect("a lease");
    eventually("it leads again", SOON, async || alone.leads()).await;
    assert!(seized.elapsed() > Duration::from_millis(2_900));
    alone.stop.cancel();
    alone.ended.await.expect("no panic");
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
    eventually("it lost leadership", SOON, async || !leader.leads()).await;
    leader.stop.cancel();
    leader.ended.await.expect("no panic");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn no_worker_is_declared_unresponsive_before_the_leaders_session_has_lasted_as_long(db: PgPool) {
    let timeout = Duration::from_secs(30);
    register(&db, &a_worker("w"))
        .await
        .expect("the worker is entered");
    sqlx::query("UPDATE workers SET last_heartbeat = now() - interval '1 hour'")
        .execute(&db)
        .await
        .expect("the worker is silent");
    let hints: Arc<dyn HintSender> = Arc::new(NoHints);
    let mut recoverer = Recoverer::new(db, hints, timeout);
    let start = Instant::now();
    let early = recoverer.run_once(start + timeout / 2).await.expect("a run");
    assert_eq!(early, Recovered::default());
    let late = recoverer.run_once(start + timeout * 2).await.expect("a run");
    assert_eq!(
        late,
        Recovered {
            workers: 1,
            ..Recovered::default()
        }
    );
}

/// Inserts a worker with a lock, and sends one heartbeat over its session.
async fn enter_with_session(db: &PgPool, id: &str) -> Session {
    let key = LivenessKey::generate();
    let worker = NewWorker {
        liveness_key: Some(key),
        ..a_worker(id)
    };
    register(db, &worker).await.expect("the worker is entered");
    let mut session = Session::open(db, key).await.expect("a session");
    heartbeat(session.executor(), id, Work::default(), 30.0)
        .await
        .expect("a heartbeat");
    session
}

/// Runs a recoverer until it has declared workers dead, at most for `time`.
async fn deaths_within(recoverer: &mut Recoverer, time: Duration) -> usize {
    let start = Instant::now();
    while start.elapsed() < time {
        let done = recoverer.run_once(start).await.expect("a run");
        if done.workers > 0 {
            return done.workers;
        }
    }
    0
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_whose_sessions_end_is_dead_to_the_leader_that_saw_its_lock_and_to_no_other(db: PgPool) {
    let hints: Arc<dyn HintSender> = Arc::new(NoHints);
    let leader = || Recoverer::new(db.clone(), Arc::clone(&hints), SOON);
    let (mut saw_it, mut came_later) = (leader(), leader());
    let session = enter_with_session(&db, "w").await;
    assert_eq!(
        saw_it.run_once(Instant::now()).await.expect("a run"),
        Recovered::default()
    );
    drop(session);
    eventually("its session has ended", SOON, async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name LIKE 'tasker-w-%'";
        let sessions: i64 = sqlx::query_scalar(sql).fetch_one(&db).await.expect("a count");
        sessions == 0
    })
    .await;
    assert_eq!(deaths_within(&mut came_later, Duration::from_secs(3)).await, 0);
    assert_eq!(deaths_within(&mut saw_it, SOON).await, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_leader_whose_session_is_lost_forgets_what_it_saw(db: PgPool) {
    let mut recoverer = Recoverer::new(db.clone(), Arc::new(NoHints), SOON);
    let session = enter_with_session(&db, "w").await;
    recoverer.run_once(Instant::now()).await.expect("a run");
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'tasker-leader'",
    )
    .execute(&db)
    .await
    .expect("the session of the leader is ended");
    drop(session);
    assert!(recoverer.run_once(Instant::now()).await.is_err());
    assert_eq!(deaths_within(&mut recoverer, Duration::from_secs(3)).await, 0);
}

/// Writes `count` rows that became pending a minute ago, without hints.
async fn rows_without_hints(db: &PgPool, count: usize) -> Vec<TaskId> {
    let tasks: Vec<NewTask> = (0..count).map(|_| a_task("echo")).collect();
    insert(db, &tasks, 60.0).await.expect("the tasks are stored");
    sqlx::query("UPDATE tasks SET enqueued_at = now() - interval '1 minute'")
        .execute(db)
        .await
        .expect("the tasks have waited");
    tasks.iter().map(|task| task.id).collect()
}

async fn popped(queue: &TestQueue, count: usize) -> Vec<TaskId> {
    let mut popper = queue.popper(&[QueueName::default_class()]);
    popper
        .pop(count, BLOCK_MAX, false)
        .await
        .expect("Redis answers")
        .ids
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_list_that_lacks_hints_in_two_runs_is_rebuilt_in_order(db: PgPool) {
    let queue = TestQueue::new();
    let default = QueueName::default_class();
    // more than one page, and one hint that survived the loss
    let ids = rows_without_hints(&db, 7_000).await;
    queue
        .push_back(&[Hint::new(ids[6_000], default.clone(), "echo")])
        .await
        .expect("Redis answers");
    let mut rebuilder = Rebuilder::new(db, queue.shared(), QueueName::classes().to_vec(), SOON);
    queue.mark_lists().await.expect("Redis answers");
    let now = Instant::now();
    assert_eq!(rebuilder.run_once(now).await.expect("a run"), []);
    assert_eq!(
        rebuilder.run_once(now + REBUILD_INTERVAL).await.expect("a run"),
        [(default.clone(), 7_000)]
    );
    assert_eq!(queue.depths(&[default]).await.expect("Redis answers"), [7_000]);
    assert_eq!(popped(&queue, 7_000).await, ids);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_list_that_is_right_is_left_alone(db: PgPool) {
    let queue = TestQueue::new();
    let default = QueueName::default_class();
    let ids = rows_without_hints(&db, 3).await;
    // in another order, so that a rebuilt list would show
    let hints: Vec<_> = ids
        .iter()
        .rev()
        .map(|id| Hint::new(*id, default.clone(), "echo"))
        .collect();
    queue.push_back(&hints).await.expect("Redis answers");
    let mut rebuilder = Rebuilder::new(db, queue.shared(), QueueName::classes().to_vec(), SOON);
    let now = Instant::now();
    for run in 0..3 {
        let at = now + REBUILD_INTERVAL * run;
        assert_eq!(rebuilder.run_once(at).await.expect("a run"), []);
    }
    assert_eq!(
        popped(&queue, 10).await,
        ids.into_iter().rev().collect::<Vec<_>>()
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn lists_are_rebuilt_at_once_when_redis_came_back_empty(db: PgPool) {
    let mut redis = RedisServer::start().await;
    let queue = TestQueue::at(&redis.url());
    let ids = rows_without_hints(&db, 3).await;
    let hints: Vec<_> = ids
        .iter()
        .map(|id| Hint::new(*id, QueueName::default_class(), "echo"))
        .collect();
    queue.push_back(&hints).await.expect("Redis answers");
    let mut rebuilder = Rebuilder::new(db, queue.shared(), QueueName::classes().to_vec(), SOON);
    assert_eq!(rebuilder.run_once(Instant::now()).await.expect("a run"), []);
    redis.restart().await;
    eventually("a run reaches the new Redis", SOON, async || {
        rebuilder
            .run_once(Instant::now())
            .await
            .is_ok_and(|rebuilt| rebuilt.len() == 1)
    })
    .await;
    assert_eq!(popped(&queue, 10).await, ids);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_redis_that_was_emptied_is_noticed_at_once_however_much_was_pushed_since(db: PgPool) {
    let queue = TestQueue::new();
    let default = QueueName::default_class();
    let ids = rows_without_hints(&db, 12_000).await;
    let hints = |ids: &[TaskId]| -> Vec<_> {
        ids.iter()
            .map(|id| Hint::new(*id, default.clone(), "echo"))
            .collect()
    };
    queue.push_back(&hints(&ids)).await.expect("Redis answers");
    let mut rebuilder = Rebuilder::new(db, queue.shared(), QueueName::classes().to_vec(), SOON);
    let now = Instant::now();
    assert_eq!(rebuilder.run_once(now).await.expect("a run"), []);
    queue.delete_all();
    queue
        .push_back(&hints(&ids[1_000..]))
        .await
        .expect("Redis answers");
    // long before the next comparison of a list of this length
    let rebuilt = rebuilder.run_once(now).await.expect("a run");
    assert_eq!(rebuilt, [(default.clone(), 12_000)]);
    assert_eq!(rebuilder.run_once(now).await.expect("a run"), []);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_list_rebuilt_while_submits_go_on_has_one_hint_for_each_row(db: PgPool) {
    let queue = TestQueue::new();
    let default = QueueName::default_class();
    let mut ids = rows_without_hints(&db, 15_000).await;
    let mut rebuilder = Rebuilder::new(db.clone(), queue.shared(), QueueName::classes().to_vec(), SOON);
    let rebuilding = tokio::spawn(async move { rebuilder.run_once(Instant::now()).await });
    while !rebuilding.is_finished() {
        let tasks: Vec<NewTask> = (0..50).map(|_| a_task("echo")).collect();
        insert(&db, &tasks, 60.0).await.expect("an insert");
        let hints: Vec<_> = tasks
            .iter()
            .map(|task| Hint::new(task.id, default.clone(), "echo"))
            .collect();
        queue.push_back(&hints).await.expect("Redis answers");
        ids.extend(tasks.iter().map(|task| task.id));
    }
    rebuilding.await.expect("no panic").expect("a run");
    let mut popped = popped(&queue, 1_000_000).await;
    popped.sort_unstable();
    ids.sort_unstable();
    assert_eq!(popped.len(), ids.len());
    assert_eq!(popped, ids);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_duty_times_out_on_a_hung_postgres_and_continues_when_it_is_back(db: PgPool) {
    let (proxy, url) = Proxy::before_url(db.connect_options().to_url_lossy().as_str()).await;
    let through = PgPool::connect(&url).await.expect("a connection");
    let promoter = Promoter::new(through, Arc::new(NoHints));
    promoter.run_once().await.expect("a run");
    proxy.hang();
    let given_up = tokio::time::timeout(SOON, promoter.run_once()).await;
    assert!(given_up.expect("the run ends").is_err());
    proxy.heal();
    eventually("a run succeeds", SOON, async || promoter.run_once().await.is_ok()).await;
}
