//! The reconciler repairs what it finds, and checks large workflows seldom.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sqlx::PgPool;
use tasker_core::task::{Hint, TaskId};
use tasker_maintenance::{HintSender, Reconciler};

/// Remembers the tasks whose hints were pushed.
#[derive(Debug, Default)]
struct Pushed(Mutex<Vec<TaskId>>);

impl HintSender for Pushed {
    fn push(&self, hints: Vec<Hint>) -> BoxFuture<'_, ()> {
        let mut pushed = self.0.lock().expect("no panic");
        pushed.extend(hints.into_iter().map(|hint| hint.id));
        ready(()).boxed()
    }

    fn push_front(&self, hints: Vec<Hint>) -> BoxFuture<'_, ()> {
        self.push(hints)
    }
}

async fn execute(db: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db).await.expect(statement);
}

/// Writes a workflow of two steps, of which one waits for a join that has one edge too many.
async fn a_broken_workflow(db: &PgPool) {
    execute(
        db,
        "INSERT INTO workflows (id, namespace, name, version, definition_hash, context, steps, priority, queues, tags,
                                correlation_id, root_id)
         VALUES (uuid('00000000-0000-7000-8000-000000000001'), '', 'w', '', '', '{}', 2, 0, '{default}', '{}', '',
                 uuid('00000000-0000-7000-8000-000000000001'));
         INSERT INTO step_joins (id, workflow_id, size, pending, good, targets, kinds)
         VALUES (uuid('00000000-0000-7000-8000-00000000000a'), uuid('00000000-0000-7000-8000-000000000001'), 2, 1, 1,
                 '{00000000-0000-7000-8000-000000000003}', '{16}');
         INSERT INTO tasks (id, workflow_id, step, task_name, queue, priority, parameters, metadata, tags, status,
                            max_attempts, timeout_seconds, correlation_id, targets, kinds)
         VALUES (uuid('00000000-0000-7000-8000-000000000003'), uuid('00000000-0000-7000-8000-000000000001'), 'b', 'echo',
                 'default', 0, '{}', '{}', '{}', 'waiting', 3, 60, '', '{00000000-0000-7000-8000-000000000001}', '{64}')",
    )
    .await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_step_whose_join_lost_an_edge_is_made_ready_and_its_hint_is_pushed(db: PgPool) {
    a_broken_workflow(&db).await;
    let pushed = Arc::new(Pushed::default());
    let mut reconciler = Reconciler::new(db.clone(), Arc::clone(&pushed) as Arc<dyn HintSender>);
    let now = Instant::now();
    assert_eq!(reconciler.run_once(now).await.expect("a run"), 1);
    let step: TaskId = "00000000-0000-7000-8000-000000000003".parse().expect("an id");
    assert_eq!(*pushed.0.lock().expect("no panic"), [step]);
    let status: String = sqlx::query_scalar("SELECT status::text FROM tasks")
        .fetch_one(&db)
        .await
        .expect("the step");
    assert_eq!(status, "pending");
    assert_eq!(reconciler.run_once(now).await.expect("a run"), 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_belongs_to_no_workflow_is_removed(db: PgPool) {
    a_broken_workflow(&db).await;
    execute(&db, "DELETE FROM workflows").await;
    let mut reconciler = Reconciler::new(db.clone(), Arc::new(Pushed::default()));
    let now = Instant::now();
    assert_eq!(reconciler.run_once(now).await.expect("a run"), 2);
    assert_eq!(reconciler.run_once(now).await.expect("a run"), 0);
    let left: i64 =
        sqlx::query_scalar("SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM step_joins)")
            .fetch_one(&db)
            .await
            .expect("a count");
    assert_eq!(left, 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_large_workflow_is_checked_once_an_hour(db: PgPool) {
    let mut reconciler = Reconciler::new(db.clone(), Arc::new(Pushed::default()));
    let now = Instant::now();
    assert_eq!(reconciler.run_once(now).await.expect("a run"), 0);
    a_broken_workflow(&db).await;
    execute(&db, "UPDATE workflows SET steps = 10001").await;
    let later = now + Duration::from_mins(59);
    assert_eq!(reconciler.run_once(later).await.expect("a run"), 0);
    let later = now + Duration::from_hours(1);
    assert_eq!(reconciler.run_once(later).await.expect("a run"), 1);
}
