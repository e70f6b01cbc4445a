use std::collections::HashSet;

use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::claim::{Claim, Claimed, claim};
use tasker_store::claim_ready::claim_ready;
use tasker_store::insert::{Due, NewTask};
use tasker_store::queues::pause;
use tasker_store::workers::drain;
use tasker_testkit::a_task;

use super::support::{
    claim_as, claimant, connections, enter_worker, execute, finish, record, run_of, submit_many, submit_one,
};

/// Makes a fast-path claim for a worker that serves the three classes and registers `echo`.
async fn claim_ready_as(db: &PgPool, worker_id: &str, ids: &[TaskId]) -> Claim {
    let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
    claim_ready(db, &claimant(worker_id, &queues, &names), ids)
        .await
        .expect("a claim is answered")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_fast_path_claim_returns_what_a_full_claim_returns(db: PgPool) {
    enter_worker(&db, "w").await;
    let mut facts = Vec::new();
    for plain in [true, false] {
        let task = NewTask {
            parameters: r#"{"a":1}"#.to_owned(),
            metadata: r#"{"b":2}"#.to_owned(),
            traceparent: Some("00-1-2-01".to_owned()),
            timeout_seconds: 12.5,
            queue: QueueName::high(),
            ..a_task("echo")
        };
        let id = submit_one(&db, task).await;
        let claim = if plain {
            claim_ready_as(&db, "w", &[id]).await
        } else {
            claim_as(&db, "w", &[id]).await
        };
        assert!(claim.worker_is_alive && claim.paused.is_empty());
        let record = record(&db, id).await;
        assert_eq!((record.status, record.runs), (TaskStatus::Running, 1));
        assert_eq!(record.worker_id.as_deref(), Some("w"));
        let [claimed] = <[Claimed; 1]>::try_from(claim.tasks).expect("one task was to be claimed");
        assert_eq!((claimed.run.task, claimed.run.number), (id, 1));
        assert_eq!(claimed.correlation_id, record.correlation_id);
        assert_eq!(record.started_at, Some(claimed.started_at));
        assert_eq!(record.enqueued_at, Some(claimed.enqueued_at));
        facts.push((
            (
                claimed.task_name,
                claimed.queue,
                claimed.parameters,
                claimed.metadata,
            ),
            (claimed.attempts, claimed.max_attempts, claimed.suspect),
            (claimed.timeout_seconds, claimed.traceparent),
        ));
    }
    assert_eq!(facts[0], facts[1]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_fast_path_claim_leaves_tasks_that_are_not_ready_unchanged(db: PgPool) {
    enter_worker(&db, "w").await;
    let done = submit_one(&db, a_task("echo")).await;
    finish(&db, "w", run_of(&db, "w", done).await).await;
    let running = submit_one(&db, a_task("echo")).await;
    run_of(&db, "w", running).await;
    let suspect = submit_one(&db, a_task("echo")).await;
    execute(&db, "UPDATE tasks SET crash_count = 2 WHERE status = 'pending'").await;
    let later = NewTask {
        due: Due::InSeconds(60.0),
        ..a_task("echo")
    };
    let later = submit_one(&db, later).await;
    let of_another_type = submit_one(&db, a_task("mail:send")).await;
    let in_paused_queue = NewTask {
        queue: QueueName::low(),
        ..a_task("echo")
    };
    let in_paused_queue = submit_one(&db, in_paused_queue).await;
    pause(&db, &QueueName::low()).await.expect("paused");
    let ready = submit_one(&db, a_task("echo")).await;

    let others = [done, running, suspect, later, of_another_type, in_paused_queue];
    let before = join_all(others.map(|id| record(&db, id))).await;
    let mut ids = others.to_vec();
    ids.extend([ready, ready, TaskId::generate()]);
    let claim = claim_ready_as(&db, "w", &ids).await;
    let taken: Vec<TaskId> = claim.tasks.iter().map(|task| task.run.task).collect();
    assert_eq!(taken, [ready]);
    assert!(claim.worker_is_alive, "and it says so");
    assert_eq!(claim.paused, HashSet::from([QueueName::low()]));
    for before in before {
        let after = record(&db, before.id).await;
        assert_eq!(
            (after.status, after.runs, after.updated_at),
            (before.status, before.runs, before.updated_at)
        );
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_fast_path_claim_of_a_worker_that_is_not_alive_takes_no_tasks(db: PgPool) {
    enter_worker(&db, "w").await;
    drain(&db, "w").await.expect("drained");
    let id = submit_one(&db, a_task("echo")).await;
    for worker in ["w", "unknown"] {
        let claim = claim_ready_as(&db, worker, &[id]).await;
        assert!(!claim.worker_is_alive && claim.tasks.is_empty());
    }
    assert_eq!(record(&db, id).await.status, TaskStatus::Pending);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_fast_path_claim_that_meets_a_locked_row_takes_no_tasks_and_leaks_no_setting(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 3).await;
    let mut holder = db.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM tasks WHERE id = $1 FOR UPDATE")
        .bind(ids[1])
        .execute(&mut *holder)
        .await
        .expect("a lock");
    let mut connection = connections(&db, 1).await.remove(0);
    let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
    let claimant = claimant("w", &queues, &names);
    let claimed = claim_ready(&mut connection, &claimant, &ids).await;
    assert!(claimed.expect("an answer").tasks.is_empty());
    assert_eq!(record(&db, ids[0]).await.status, TaskStatus::Pending);
    holder.rollback().await.expect("the end");
    let claimed = claim_ready(&mut connection, &claimant, &ids).await;
    assert_eq!(claimed.expect("an answer").tasks.len(), 3);
    let settings: (String, String) =
        sqlx::query_as("SELECT current_setting('synchronous_commit'), current_setting('lock_timeout')")
            .fetch_one(&mut connection)
            .await
            .expect("the settings");
    assert_eq!(settings, ("on".to_owned(), "0".to_owned()));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn concurrent_fast_path_and_full_claims_share_tasks_without_overlap(db: PgPool) {
    let ids = submit_many(&db, 1_000).await;
    let workers: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
    for worker in &workers {
        enter_worker(&db, worker).await;
    }
    let claimers = connections(&db, 12).await.into_iter().zip(&workers).enumerate();
    let taken = join_all(claimers.map(async |(n, (mut connection, worker))| {
        let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
        let claimant = claimant(worker, &queues, &names);
        let mut mine = Vec::new();
        for chunk in ids.chunks(100) {
            let claim = if n % 3 == 0 {
                claim(&mut connection, &claimant, chunk).await
            } else {
                claim_ready(&mut connection, &claimant, chunk).await
            };
            mine.extend(claim.expect("an answer").tasks.iter().map(|task| task.run));
        }
        mine
    }))
    .await;
    let runs: Vec<_> = taken.concat();
    let tasks: HashSet<TaskId> = runs.iter().map(|run| run.task).collect();
    assert_eq!(runs.len(), tasks.len());
    assert!(runs.iter().all(|run| run.number == 1));
    let running: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status = 'running' AND runs = 1")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(usize::try_from(running), Ok(runs.len()));
}
