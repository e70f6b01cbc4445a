use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::claim::{Claim, Claimant, Misrouted, Place, Poll, claim, claim_oldest};
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::insert::{Due, NewTask};
use tasker_store::workers::{NewWorker, drain, register};
use tasker_testkit::{a_task, a_worker};

use super::support::{
    claim_as, claimant, connections, ended, enter_worker, execute, finish, record, run_of, submit_as,
    submit_many, submit_one,
};

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_claimed_task_runs_and_carries_what_its_handler_needs(db: PgPool) {
    enter_worker(&db, "w").await;
    let task = NewTask {
        parameters: r#"{"a":1}"#.to_owned(),
        metadata: r#"{"b":2}"#.to_owned(),
        traceparent: Some("00-1-2-01".to_owned()),
        timeout_seconds: 12.5,
        ..a_task("echo")
    };
    submit_one(&db, task.clone()).await;
    let claim = claim_as(&db, "w", &[task.id]).await;
    assert!(claim.worker_is_alive && claim.paused.is_empty());
    let [claimed] = &claim.tasks[..] else {
        panic!("one task was to be claimed")
    };
    assert_eq!((claimed.run.task, claimed.run.number), (task.id, 1));
    assert_eq!(
        (claimed.task_name.as_str(), claimed.queue.as_str()),
        ("echo", "default")
    );
    assert_eq!(
        (&claimed.parameters, &claimed.metadata),
        (&task.parameters, &task.metadata)
    );
    assert_eq!(
        (claimed.attempts, claimed.max_attempts, claimed.suspect),
        (0, 3, false)
    );
    assert!((claimed.timeout_seconds - 12.5).abs() < f64::EPSILON);
    assert_eq!(claimed.traceparent, task.traceparent);

    let record = record(&db, task.id).await;
    assert_eq!(record.status, TaskStatus::Running);
    assert_eq!(record.worker_id.as_deref(), Some("w"));
    assert_eq!((record.runs, record.attempts), (1, 0));
    assert_eq!(record.started_at, Some(claimed.started_at));
    assert_eq!(record.enqueued_at, Some(claimed.enqueued_at));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn only_pending_tasks_are_claimed(db: PgPool) {
    enter_worker(&db, "w").await;
    let scheduled = submit_one(
        &db,
        NewTask {
            due: Due::InSeconds(60.0),
            ..a_task("echo")
        },
    )
    .await;
    let done = submit_one(&db, a_task("echo")).await;
    finish(&db, "w", run_of(&db, "w", done).await).await;
    let running = submit_one(&db, a_task("echo")).await;
    run_of(&db, "w", running).await;
    let unknown = TaskId::generate();
    let claim = claim_as(&db, "w", &[scheduled, done, running, unknown]).await;
    assert!(claim.worker_is_alive && claim.tasks.is_empty());
    assert_eq!(record(&db, scheduled).await.status, TaskStatus::Scheduled);
    assert_eq!(record(&db, done).await.status, TaskStatus::Completed);
    assert_eq!(record(&db, running).await.runs, 1);
    assert!(claim_as(&db, "w", &[]).await.worker_is_alive);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_id_that_came_twice_is_claimed_once(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    assert_eq!(claim_as(&db, "w", &[id, id, id]).await.tasks.len(), 1);
    assert_eq!(record(&db, id).await.runs, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn twenty_who_claim_the_same_thousand_share_them_without_overlap(db: PgPool) {
    let ids = submit_many(&db, 1000).await;
    let workers: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    for worker in &workers {
        enter_worker(&db, worker).await;
    }
    let claimers = connections(&db, 20).await.into_iter().zip(&workers);
    let taken = join_all(claimers.map(async |(mut connection, worker)| {
        let mut mine = Vec::new();
        for chunk in 0..10 {
            let mut hints = ids[chunk * 100..(chunk + 1) * 100].to_vec();
            if worker.ends_with('1') {
                hints.reverse();
            }
            let names = ["echo".to_owned()];
            let classes = QueueName::classes();
            let claim = claim(&mut connection, &claimant(worker, &classes, &names), &hints).await;
            mine.extend(claim.expect("an answer").tasks.iter().map(|task| task.run));
        }
        (worker.clone(), mine)
    }))
    .await;
    let owners: HashMap<TaskId, String> = taken
        .iter()
        .flat_map(|(worker, runs)| runs.iter().map(|run| (run.task, worker.clone())))
        .collect();
    assert_eq!(
        taken.iter().map(|(_, runs)| runs.len()).sum::<usize>(),
        owners.len()
    );
    assert!(taken.iter().flat_map(|(_, runs)| runs).all(|run| run.number == 1));

    // rows that were skipped because another session had locked them are pending or taken by that session,
    // never lost
    let rows: Vec<(TaskId, TaskStatus, Option<String>)> =
        sqlx::query_as("SELECT id, status, worker_id FROM tasks")
            .fetch_all(&db)
            .await
            .expect("rows");
    assert_eq!(rows.len(), 1000);
    for (id, status, worker) in rows {
        assert_eq!(worker.as_ref(), owners.get(&id));
        assert_eq!(status == TaskStatus::Running, worker.is_some());
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_type_that_the_worker_does_not_register_is_reported_and_stays_as_it_is(db: PgPool) {
    enter_worker(&db, "w").await;
    let unknown = submit_one(&db, a_task("mail:send")).await;
    let known = submit_one(&db, a_task("echo")).await;
    let facts = async || {
        let row = record(&db, unknown).await;
        (
            row.status,
            row.runs,
            row.attempts,
            row.crash_count,
            row.enqueued_at,
            row.run_at,
            row.updated_at,
        )
    };
    let before = facts().await;
    let mut misrouted = Misrouted {
        id: unknown,
        queue: QueueName::default_class(),
        task_name: "mail:send".to_owned(),
        routable: false,
    };
    let claim = claim_as(&db, "w", &[unknown, known]).await;
    assert_eq!(
        claim.tasks.iter().map(|task| task.run.task).collect::<Vec<_>>(),
        [known]
    );
    assert_eq!(claim.misrouted, std::slice::from_ref(&misrouted));
    assert_eq!(facts().await, before);

    let elsewhere = NewWorker {
        queues: vec![QueueName::low()],
        task_names: vec!["mail:send".to_owned()],
        ..a_worker("elsewhere")
    };
    register(&db, &elsewhere).await.expect("registered");
    let claim = claim_as(&db, "w", &[unknown]).await;
    assert_eq!(claim.misrouted, std::slice::from_ref(&misrouted));
    let other = NewWorker {
        task_names: vec!["mail:send".to_owned()],
        ..a_worker("other")
    };
    register(&db, &other).await.expect("registered");
    misrouted.routable = true;
    assert_eq!(claim_as(&db, "w", &[unknown]).await.misrouted, [misrouted]);
}

/// Polls for tasks of the type `echo` in the default queue.
async fn poll(db: &PgPool, limit: i64, min_age_seconds: f64, after: Option<Place>) -> Claim {
    let (queues, names) = ([QueueName::default_class()], ["echo".to_owned()]);
    let poll = Poll {
        limit,
        min_age_seconds,
        after: &[after],
    };
    let claim = claim_oldest(db, &claimant("w", &queues, &names), poll).await;
    claim.expect("an answer")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_poll_skips_other_types_and_returns_where_it_stopped(db: PgPool) {
    enter_worker(&db, "w").await;
    submit_as(&db, "mail:send", 1_500).await;
    let own = submit_as(&db, "echo", 3).await;
    let first = poll(&db, 2, 0.0, None).await;
    assert!(first.tasks.is_empty() && first.misrouted.is_empty());
    let [(_, place)] = first.stopped_at[..] else {
        panic!("it stopped within the queue");
    };
    let second = poll(&db, 2, 0.0, Some(place)).await;
    let taken: Vec<TaskId> = second.tasks.iter().map(|task| task.run.task).collect();
    assert_eq!(taken, own[..2]);
    assert!(second.stopped_at.is_empty());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_poll_leaves_out_rows_whose_hints_may_be_on_their_way(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_as(&db, "echo", 2).await;
    assert!(poll(&db, 9, 60.0, None).await.tasks.is_empty());
    execute(
        &db,
        "UPDATE tasks SET enqueued_at = now() - interval '2 minutes' WHERE id = (SELECT min(id::text)::uuid FROM tasks)",
    )
    .await;
    let taken = poll(&db, 9, 60.0, None).await.tasks;
    assert_eq!(
        taken.iter().map(|task| task.run.task).collect::<Vec<_>>(),
        ids[..1]
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_claimed_task_was_due_when_it_was_created_or_when_it_was_to_run(db: PgPool) {
    enter_worker(&db, "w").await;
    let now = submit_one(&db, a_task("echo")).await;
    let later = NewTask {
        due: Due::InSeconds(3600.0),
        ..a_task("echo")
    };
    let later = submit_one(&db, later).await;
    execute(&db, "UPDATE tasks SET status = 'pending', enqueued_at = now()").await;
    let claim = claim_as(&db, "w", &[now, later]).await;
    for task in claim.tasks {
        let record = record(&db, task.run.task).await;
        let expected = record.run_at.or(record.enqueued_at);
        assert_eq!(Some(task.due_at), expected);
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_paused_queue_is_reported_and_its_tasks_stay_as_they_are(db: PgPool) {
    enter_worker(&db, "w").await;
    execute(
        &db,
        "UPDATE queues SET paused_at = now() WHERE name = 'low_priority'",
    )
    .await;
    let paused = submit_one(
        &db,
        NewTask {
            queue: QueueName::low(),
            ..a_task("echo")
        },
    )
    .await;
    let unknown = submit_one(
        &db,
        NewTask {
            queue: QueueName::low(),
            ..a_task("mail:send")
        },
    )
    .await;
    let open = submit_one(&db, a_task("echo")).await;
    let claim = claim_as(&db, "w", &[paused, unknown, open]).await;
    assert_eq!(claim.paused, HashSet::from([QueueName::low()]));
    assert_eq!(
        claim.tasks.iter().map(|task| task.run.task).collect::<Vec<_>>(),
        [open]
    );
    for id in [paused, unknown] {
        assert_eq!(record(&db, id).await.status, TaskStatus::Pending);
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_is_dead_or_unknown_or_draining_claims_no_tasks_and_is_notified(db: PgPool) {
    enter_worker(&db, "dead").await;
    enter_worker(&db, "draining").await;
    execute(&db, "UPDATE workers SET status = 'dead' WHERE id = 'dead'").await;
    execute(
        &db,
        "UPDATE queues SET paused_at = now() WHERE name = 'low_priority'",
    )
    .await;
    drain(&db, "draining").await.expect("it drains");
    let id = submit_one(&db, a_task("echo")).await;
    let strange = submit_one(&db, a_task("mail:send")).await;
    for worker in ["dead", "unknown", "draining"] {
        let claim = claim_as(&db, worker, &[id, strange]).await;
        assert!(!claim.worker_is_alive && claim.tasks.is_empty(), "{worker}");
        assert_eq!(claim.paused.len(), 1, "{worker}");
    }
    for id in [id, strange] {
        assert_eq!(record(&db, id).await.status, TaskStatus::Pending);
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_gets_one_suspect_at_a_time(db: PgPool) {
    enter_worker(&db, "w").await;
    let suspects = submit_many(&db, 3).await;
    execute(&db, "UPDATE tasks SET crash_count = 2").await;
    let plain = submit_many(&db, 2).await;
    execute(&db, "UPDATE tasks SET crash_count = 1 WHERE crash_count = 0").await;
    let all = [suspects.clone(), plain.clone()].concat();
    let claim = claim_as(&db, "w", &all).await;
    assert_eq!(claim.tasks.iter().filter(|task| task.suspect).count(), 1);
    assert_eq!(claim.tasks.iter().filter(|task| !task.suspect).count(), 2);
    let (mut running, mut put_off) = (0, 0);
    for id in suspects {
        match record(&db, id).await.status {
            TaskStatus::Running => running += 1,
            TaskStatus::Scheduled => put_off += 1,
            other => panic!("a suspect is {other}"),
        }
    }
    assert_eq!((running, put_off), (1, 2));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_runs_a_suspect_gets_no_other(db: PgPool) {
    enter_worker(&db, "w").await;
    let suspect = submit_one(&db, a_task("echo")).await;
    execute(&db, "UPDATE tasks SET crash_count = 2").await;
    let names = ["echo".to_owned()];
    let busy = Claimant {
        runs_suspect: true,
        ..claimant("w", &[], &names)
    };
    let answer = claim(&db, &busy, &[suspect]).await.expect("an answer");
    assert!(answer.worker_is_alive && answer.tasks.is_empty());
    assert_eq!(record(&db, suspect).await.status, TaskStatus::Scheduled);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_claim_does_not_leak_its_commit_setting(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let mut connection = connections(&db, 1).await.remove(0);
    let names = ["echo".to_owned()];
    let answer = claim(&mut connection, &claimant("w", &[], &names), &[id]).await;
    assert_eq!(answer.expect("an answer").tasks.len(), 1);
    let setting: String = sqlx::query_scalar("SHOW synchronous_commit")
        .fetch_one(&mut connection)
        .await
        .expect("a setting");
    assert_eq!(setting, "on");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn runs_rise_with_every_claim_and_a_row_that_is_locked_is_skipped(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    let back = end_runs(&db, "w", &[ended(run, Verdict::Released)]).await;
    assert_eq!(back.expect("an answer").len(), 1);

    let mut holder = db.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM tasks WHERE id = $1 FOR UPDATE")
        .bind(id)
        .execute(&mut *holder)
        .await
        .expect("a lock");
    assert!(claim_as(&db, "w", &[id]).await.tasks.is_empty());
    holder.rollback().await.expect("the end");
    assert_eq!(run_of(&db, "w", id).await.number, 2);
}
