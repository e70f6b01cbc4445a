//! The leader's router, which keeps the lists of a queue in the form that its workers need.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_core::task::{Hint, QueueName, TaskId};
use tasker_maintenance::{Rebuilder, Router};
use tasker_queue::Split;
use tasker_store::cancel::cancel;
use tasker_store::insert::{NewTask, insert};
use tasker_store::workers::{NewWorker, drain, register};
use tasker_testkit::{TestQueue, a_task, a_worker};

const WORKER_TIMEOUT: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A database, lists, and the leader's router over them.
struct Routed {
    db: PgPool,
    queue: TestQueue,
    router: Router,
    now: Instant,
}

impl Routed {
    fn new(db: PgPool) -> Self {
        let queue = TestQueue::new();
        let router = Router::new(
            db.clone(),
            queue.shared(),
            QueueName::classes().to_vec(),
            WORKER_TIMEOUT,
        );
        Self {
            db,
            queue,
            router,
            now: Instant::now(),
        }
    }

    async fn worker(&self, id: &str, task_names: &[&str]) {
        let worker = NewWorker {
            task_names: task_names.iter().map(|name| (*name).to_owned()).collect(),
            ..a_worker(id)
        };
        register(&self.db, &worker).await.expect("registered");
    }

    /// Writes tasks of a type and pushes their hints.
    async fn submit(&self, task_name: &str, count: usize) -> Vec<TaskId> {
        let tasks: Vec<NewTask> = (0..count).map(|_| a_task(task_name)).collect();
        insert(&self.db, &tasks, 60.0).await.expect("stored");
        let hints: Vec<Hint> = tasks
            .iter()
            .map(|task| Hint::new(task.id, task.queue.clone(), &*task.task_name))
            .collect();
        self.queue.push_back(&hints).await.expect("pushed");
        tasks.iter().map(|task| task.id).collect()
    }

    /// Runs the router once, `after` the last time.
    async fn route(&mut self, after: Duration) {
        self.now += after;
        self.router.run_once(self.now).await.expect("a run");
    }

    async fn split(&self) -> Split {
        self.queue
            .split(&QueueName::default_class())
            .await
            .expect("a state")
    }

    /// The depth of the default queue and its parked hints.
    async fn lengths(&self) -> (u64, u64) {
        let default = [QueueName::default_class()];
        let depth = self.queue.depths(&default).await.expect("depths")[0];
        (depth, self.queue.unroutable(&default).await.expect("lengths")[0])
    }

    async fn pop(&self, task_names: &[&str], count: usize) -> Vec<TaskId> {
        let mut popper = self
            .queue
            .popper_of_types(&[QueueName::default_class()], task_names);
        let answer = popper.pop_starved_first(count, false).await.expect("popped");
        answer.ids
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_queue_is_split_while_its_workers_register_different_types(db: PgPool) {
    let mut routed = Routed::new(db);
    let (a, b) = (routed.submit("a", 3).await, routed.submit("b", 2).await);
    routed.worker("w1", &["a"]).await;
    routed.worker("w2", &["a"]).await;
    routed.route(SECOND).await;
    assert_eq!(
        routed.split().await,
        Split::Plain,
        "all of them register the same"
    );
    routed.worker("w3", &["a", "b"]).await;
    routed.route(SECOND).await;
    assert_eq!(
        (routed.split().await, routed.lengths().await),
        (Split::Split, (5, 0))
    );
    assert_eq!(routed.pop(&["a"], 9).await, a);
    assert_eq!(routed.pop(&["a", "b"], 9).await, b);
    assert_eq!(routed.lengths().await, (0, 0));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_queue_is_plain_again_a_minute_after_its_workers_agree(db: PgPool) {
    let mut routed = Routed::new(db);
    routed.worker("w1", &["a"]).await;
    routed.worker("w2", &["a", "b"]).await;
    routed.route(SECOND).await;
    let tasks = routed.submit("a", 3).await;
    drain(&routed.db, "w1").await.expect("drained");
    routed.route(SECOND).await;
    routed.route(MINUTE / 2).await;
    assert_eq!(routed.split().await, Split::Split);
    routed.route(MINUTE).await;
    assert_eq!(routed.split().await, Split::Opening);
    routed.route(SECOND).await;
    assert_eq!(
        routed.split().await,
        Split::Opening,
        "workers may block on type lists still"
    );
    routed.route(SECOND * 2).await;
    assert_eq!(
        (routed.split().await, routed.lengths().await),
        (Split::Plain, (3, 0))
    );
    assert_eq!(routed.pop(&["a", "b"], 9).await, tasks);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_does_not_pop_by_type_keeps_a_queue_plain(db: PgPool) {
    let mut routed = Routed::new(db);
    routed.worker("w1", &["a"]).await;
    routed.worker("old", &["b"]).await;
    sqlx::query("UPDATE workers SET pops_by_type = false WHERE id = 'old'")
        .execute(&routed.db)
        .await
        .expect("updated");
    routed.route(SECOND).await;
    assert_eq!(routed.split().await, Split::Plain);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn tasks_whose_type_lost_its_last_worker_are_parked_and_come_back_first_with_the_next(db: PgPool) {
    let mut routed = Routed::new(db);
    routed.worker("w1", &["a"]).await;
    routed.worker("w2", &["b"]).await;
    routed.route(SECOND).await;
    let (a, b) = (routed.submit("a", 2).await, routed.submit("b", 3).await);
    drain(&routed.db, "w2").await.expect("drained");
    routed.route(SECOND).await;
    assert_eq!(routed.lengths().await, (2, 3));
    cancel(&routed.db, b[1], "me").await.expect("cancelled");
    routed.worker("w3", &["a", "b"]).await;
    routed.route(SECOND).await;
    assert_eq!(routed.lengths().await, (4, 0));
    assert_eq!(routed.pop(&["a", "b"], 2).await, [b[0], b[2]]);
    assert_eq!(routed.pop(&["a", "b"], 9).await, a);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_hint_that_is_parked_too_late_comes_back_as_well(db: PgPool) {
    let mut routed = Routed::new(db);
    routed.worker("w1", &["a", "b"]).await;
    let b = routed.submit("b", 1).await;
    routed.route(SECOND).await;
    // a worker without the type had popped it, and asked before the one with the type was there
    assert_eq!(routed.pop(&["a"], 1).await, b);
    let hint = Hint::new(b[0], QueueName::default_class(), "b");
    routed.queue.park(&[hint]).await.expect("parked");
    routed.route(SECOND).await;
    assert_eq!(routed.lengths().await, (1, 0));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn without_any_worker_nothing_stays_parked(db: PgPool) {
    let mut routed = Routed::new(db);
    routed.worker("w1", &["a"]).await;
    let b = routed.submit("b", 2).await;
    let hints: Vec<Hint> = routed
        .pop(&["a"], 9)
        .await
        .into_iter()
        .map(|id| Hint::new(id, QueueName::default_class(), "b"))
        .collect();
    routed.queue.park(&hints).await.expect("parked");
    routed.route(SECOND).await;
    assert_eq!(routed.lengths().await, (0, 2));
    drain(&routed.db, "w1").await.expect("drained");
    routed.route(SECOND).await;
    assert_eq!(routed.lengths().await, (2, 0));
    assert_eq!(routed.pop(&["a"], 9).await, b);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn hints_of_cancelled_tasks_deep_in_a_list_are_swept(db: PgPool) {
    let mut routed = Routed::new(db);
    let ids = routed.submit("a", 6_000).await;
    routed.route(SECOND).await;
    let mut hints = Vec::new();
    for id in &ids[1_000..1_500] {
        cancel(&routed.db, *id, "me").await.expect("cancelled");
        hints.push(Hint::new(*id, QueueName::default_class(), "a"));
    }
    for chunk in hints.chunks(16) {
        routed.queue.remove(chunk).await.expect("an answer");
    }
    assert!(routed.lengths().await.0 > 5_500);
    routed.route(SECOND * 10).await;
    assert_eq!(routed.lengths().await, (5_500, 0));
    let expected = [&ids[..1_000], &ids[1_500..]].concat();
    assert_eq!(routed.pop(&["a"], 6_000).await, expected);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn stale_hints_that_were_never_reported_are_found_by_comparison(db: PgPool) {
    let routed = Routed::new(db.clone());
    let ids = routed.submit("a", 20).await;
    sqlx::query("DELETE FROM tasks WHERE id = $1")
        .bind(ids[7])
        .execute(&db)
        .await
        .expect("deleted");
    let mut rebuilder = Rebuilder::new(
        db,
        routed.queue.shared(),
        QueueName::classes().to_vec(),
        WORKER_TIMEOUT,
    );
    routed.queue.mark_lists().await.expect("marked");
    let now = Instant::now();
    for run in 0..2 {
        rebuilder.run_once(now + SECOND * 5 * run).await.expect("a run");
    }
    assert_eq!(routed.lengths().await, (19, 0));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn lists_of_a_redis_that_lost_its_data_are_split_and_parked_again(db: PgPool) {
    let mut routed = Routed::new(db.clone());
    routed.worker("w1", &["a"]).await;
    routed.worker("w2", &["b"]).await;
    for name in ["a", "b", "c"] {
        routed.submit(name, 2).await;
    }
    sqlx::query("UPDATE tasks SET enqueued_at = now() - interval '1 minute'")
        .execute(&db)
        .await
        .expect("they have waited");
    routed.route(SECOND).await;
    assert_eq!(
        (routed.split().await, routed.lengths().await),
        (Split::Split, (4, 2))
    );
    routed.queue.delete_all();
    let mut rebuilder = Rebuilder::new(
        db,
        routed.queue.shared(),
        QueueName::classes().to_vec(),
        WORKER_TIMEOUT,
    );
    rebuilder.run_once(Instant::now()).await.expect("a run");
    assert_eq!(
        (routed.split().await, routed.lengths().await),
        (Split::Plain, (4, 2))
    );
    routed.route(SECOND).await;
    assert_eq!(
        (routed.split().await, routed.lengths().await),
        (Split::Split, (4, 2))
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_key_that_is_not_a_list_is_replaced_by_the_list_that_belongs_there(db: PgPool) {
    let routed = Routed::new(db.clone());
    let ids = routed.submit("a", 3).await;
    sqlx::query("UPDATE tasks SET enqueued_at = now() - interval '1 minute'")
        .execute(&db)
        .await
        .expect("they have waited");
    let key = routed.queue.keys().list(&QueueName::default_class());
    routed.queue.raw("DEL", &[&key]);
    routed.queue.raw("SET", &[&key, "text"]);
    let mut rebuilder = Rebuilder::new(
        db,
        routed.queue.shared(),
        QueueName::classes().to_vec(),
        WORKER_TIMEOUT,
    );
    rebuilder.run_once(Instant::now()).await.expect("a run");
    assert_eq!(routed.lengths().await, (3, 0));
    assert_eq!(routed.pop(&["a"], 9).await, ids);
}
