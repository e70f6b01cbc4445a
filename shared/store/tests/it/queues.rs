use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_store::insert::NewTask;
use tasker_store::queues::{declare, pause, paused, resume, states};
use tasker_store::workers::{NewWorker, register};
use tasker_testkit::{a_task, a_worker};

use super::support::{WORKER_TIMEOUT, enter_worker, execute, run_of, submit_many, submit_one};

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn declaring_queues_twice_is_harmless_and_keeps_a_pause(db: PgPool) {
    let extra = QueueName::parse("team.mail").expect("a name");
    declare(&db, &[extra.clone(), QueueName::low()])
        .await
        .expect("declared");
    execute(
        &db,
        "UPDATE queues SET paused_at = now() WHERE name = 'team.mail'",
    )
    .await;
    declare(&db, &[QueueName::low(), extra.clone()])
        .await
        .expect("declared");
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM queues ORDER BY name")
        .fetch_all(&db)
        .await
        .expect("names");
    assert_eq!(names, ["default", "high_priority", "low_priority", "team.mail"]);
    let state = states(&db, &[extra], WORKER_TIMEOUT).await.expect("states");
    assert!(state[0].paused);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn queue_states_come_in_the_order_asked_with_tasks_and_workers(db: PgPool) {
    enter_worker(&db, "w").await;
    let low_only = NewWorker {
        queues: vec![QueueName::low()],
        ..a_worker("low")
    };
    register(&db, &low_only).await.expect("entered");
    enter_worker(&db, "unresponsive").await;
    execute(
        &db,
        "UPDATE workers SET last_heartbeat = '2001-01-01' WHERE id = 'unresponsive'",
    )
    .await;
    let ids = submit_many(&db, 3).await;
    run_of(&db, "w", ids[0]).await;
    execute(&db, "UPDATE tasks SET enqueued_at = now() - interval '90 s'").await;
    let low = NewTask {
        queue: QueueName::low(),
        ..a_task("echo")
    };
    submit_one(&db, low).await;
    execute(
        &db,
        "UPDATE queues SET paused_at = now() WHERE name = 'low_priority'",
    )
    .await;

    for (run_at, queue) in [("now() + interval '1 h'", "default"), ("now()", "low_priority")] {
        let due = format!("UPDATE tasks SET status = 'scheduled', run_at = {run_at}");
        let id = submit_one(
            &db,
            NewTask {
                queue: QueueName::parse(queue).expect("a name"),
                ..a_task("echo")
            },
        )
        .await;
        sqlx::query(sqlx::AssertSqlSafe(format!("{due} WHERE id = '{id}'")))
            .execute(&db)
            .await
            .expect("due later");
    }
    let retried = submit_one(&db, a_task("echo")).await;
    sqlx::query("UPDATE tasks SET status = 'retry_scheduled', run_at = now() + interval '1 h' WHERE id = $1::text::uuid")
        .bind(retried.to_string())
        .execute(&db)
        .await
        .expect("it waits for its next attempt");

    let unknown = QueueName::parse("unserved").expect("a name");
    let asked = [QueueName::low(), unknown, QueueName::default_class()];
    let states = states(&db, &asked, WORKER_TIMEOUT).await.expect("states");
    let [low, unserved, default] = &states[..] else {
        panic!("three states")
    };
    assert_eq!(
        (low.name.as_str(), low.pending, low.running),
        ("low_priority", 1, 0)
    );
    assert_eq!((low.paused, low.workers), (true, 2));
    assert_eq!((unserved.pending, unserved.running, unserved.workers), (0, 0, 0));
    assert!(unserved.oldest_age_seconds.is_none() && !unserved.paused);
    assert_eq!((default.pending, default.running, default.workers), (2, 1, 1));
    assert_eq!((default.scheduled, default.retry), (1, 1));
    assert_eq!((low.scheduled, low.retry), (1, 0));
    assert_eq!((unserved.scheduled, unserved.retry), (0, 0));
    let age = default.oldest_age_seconds.expect("an age");
    assert!((90.0..150.0).contains(&age), "{age}");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_pause_keeps_its_beginning_and_a_resume_ends_it(db: PgPool) {
    let since = async || -> Option<chrono::DateTime<chrono::Utc>> {
        sqlx::query_scalar("SELECT paused_at FROM queues WHERE name = 'low_priority'")
            .fetch_one(&db)
            .await
            .expect("a queue")
    };
    let low = QueueName::low();
    resume(&db, &low).await.expect("resumed");
    assert_eq!(since().await, None);
    pause(&db, &low).await.expect("paused");
    let first = since().await;
    pause(&db, &low).await.expect("paused");
    assert!(first.is_some() && since().await == first);
    assert_eq!(
        paused(&db, &QueueName::classes()).await.expect("names"),
        std::slice::from_ref(&low)
    );
    resume(&db, &low).await.expect("resumed");
    assert_eq!(since().await, None);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_queue_that_was_not_declared_yet_can_be_paused(db: PgPool) {
    let extra = QueueName::parse("team.mail").expect("a name");
    pause(&db, &extra).await.expect("paused");
    assert_eq!(
        paused(&db, std::slice::from_ref(&extra)).await.expect("names"),
        [extra]
    );
}
