//! A worker that was declared dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::claim::{Claimant, claim};
use tasker_store::insert::{NewTask, insert};
use tasker_store::recover::{declare_dead, recover};
use tasker_store::workers;
use tasker_testkit::{a_task, eventually};
use tasker_worker::{Context, TaskError, TaskType};

use crate::harness::{SOON, System};

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_was_declared_dead_drops_its_runs_and_comes_back_under_a_new_id(db: PgPool) {
    let system = System::new(db);
    let begun = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&begun);
    // the first run hangs, as if its worker were stopped; the second ends
    let task = TaskType::new("hangs_once", move |_: Context, _: Value| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if run == 0 {
                std::future::pending::<()>().await;
            }
            Ok::<_, TaskError>(())
        }
    });
    let worker = system.worker(vec![task], &[("heartbeat-interval", "100ms")]);
    let id = system.submit(a_task("hangs_once")).await;
    let first = system
        .until(id, TaskStatus::Running)
        .await
        .worker_id
        .expect("a worker");
    declare_dead(&system.db, 0.0).await.expect("an answer");
    recover(&system.db, 10).await.expect("an answer");
    let task = system.until(id, TaskStatus::Completed).await;
    assert_ne!(task.worker_id.expect("a worker"), first);
    assert_eq!((task.runs, task.attempts, task.crash_count), (2, 1, 1));
    eventually("the new worker is on the list", SOON, async || {
        let workers = workers::list(&system.db, 30.0)
            .await
            .expect("workers can be read");
        workers
            .iter()
            .any(|worker| worker.id != first && worker.status == "alive")
    })
    .await;
    worker.stop().await.expect("a clean stop");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_claim_whose_reply_was_lost_comes_back_by_the_workers_own_heartbeat(db: PgPool) {
    let system = System::new(db);
    let task = TaskType::new("echo", |_: Context, _: Value| async { Ok::<_, TaskError>(()) });
    let _worker = system.worker(vec![task], &[("heartbeat-interval", "100ms")]);
    let listed = async || {
        workers::list(&system.db, 30.0)
            .await
            .expect("workers can be read")
    };
    eventually("the worker is registered", SOON, async || {
        !listed().await.is_empty()
    })
    .await;
    // claimed under the id of the worker, which never gets the response
    let id = TaskId::generate();
    let task = NewTask { id, ..a_task("echo") };
    insert(&system.db, &[task], 60.0)
        .await
        .expect("the task is stored");
    let worker_id = listed().await[0].id.clone();
    let claimant = Claimant {
        worker_id: &worker_id,
        queues: &QueueName::classes(),
        task_names: &["echo".to_owned()],
        runs_suspect: false,
    };
    let claim = claim(&system.db, &claimant, &[id]).await.expect("an answer");
    assert_eq!(claim.tasks.len(), 1);
    let task = system.until(id, TaskStatus::Completed).await;
    assert_eq!((task.runs, task.attempts, task.crash_count), (2, 1, 0));
}
