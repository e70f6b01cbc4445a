use sqlx::PgPool;
use tasker_core::task::QueueName;
use tasker_store::workers::{NewWorker, Work, drain, heartbeat, leave, list, register};
use tasker_testkit::{a_task, a_worker};

use super::support::{WORKER_TIMEOUT, enter_worker, execute, finish, run_of, submit_one};

fn running(active: i32) -> Work<'static> {
    Work {
        active,
        ..Work::default()
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_registered_is_listed_as_it_said(db: PgPool) {
    enter_worker(&db, "w").await;
    let workers = list(&db, WORKER_TIMEOUT).await.expect("a list");
    let [worker] = &workers[..] else {
        panic!("one worker, not {}", workers.len())
    };
    assert_eq!((worker.id.as_str(), worker.status.as_str()), ("w", "alive"));
    assert_eq!(worker.queues, ["high_priority", "default", "low_priority"]);
    assert_eq!((worker.pool_size, worker.active, worker.pid), (10, 0, 1));
    assert_eq!(worker.started_at, worker.last_heartbeat);
    assert!(
        register(&db, &a_worker("w")).await.is_err(),
        "an id is never used twice"
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_heartbeat_returns_whether_the_worker_is_alive_and_how_many_share_its_queues(db: PgPool) {
    enter_worker(&db, "a").await;
    enter_worker(&db, "b").await;
    let high = NewWorker {
        queues: vec![QueueName::high()],
        ..a_worker("high")
    };
    let low = NewWorker {
        queues: vec![QueueName::low()],
        ..a_worker("low")
    };
    register(&db, &high).await.expect("entered");
    register(&db, &low).await.expect("entered");
    let answer = heartbeat(&db, "a", running(4), WORKER_TIMEOUT)
        .await
        .expect("an answer");
    assert_eq!((answer.alive, answer.sharing), (true, 4));
    let answer = heartbeat(&db, "high", running(1), WORKER_TIMEOUT)
        .await
        .expect("an answer");
    assert_eq!((answer.alive, answer.sharing), (true, 3));
    let listed = list(&db, WORKER_TIMEOUT).await.expect("a list");
    let a = listed.iter().find(|worker| worker.id == "a").expect("listed");
    assert!(a.active == 4 && a.last_heartbeat > a.started_at);

    execute(
        &db,
        "UPDATE workers SET last_heartbeat = now() - interval '31 s' WHERE id = 'b'",
    )
    .await;
    drain(&db, "low").await.expect("it drains");
    let answer = heartbeat(&db, "a", running(4), WORKER_TIMEOUT)
        .await
        .expect("an answer");
    assert_eq!(
        answer.sharing, 2,
        "the unresponsive and the draining worker do not count"
    );
    let answer = heartbeat(&db, "low", running(0), WORKER_TIMEOUT)
        .await
        .expect("an answer");
    assert!(answer.alive, "a draining worker lives");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_dead_or_unknown_worker_is_notified_that_it_is_not_alive(db: PgPool) {
    enter_worker(&db, "w").await;
    execute(
        &db,
        "UPDATE workers SET status = 'dead', last_heartbeat = '2001-01-01'",
    )
    .await;
    for worker in ["w", "unknown"] {
        let answer = heartbeat(&db, worker, running(0), WORKER_TIMEOUT)
            .await
            .expect("an answer");
        assert_eq!((answer.alive, answer.sharing), (false, 0), "{worker}");
    }
    let listed = list(&db, WORKER_TIMEOUT).await.expect("a list");
    assert_eq!(listed[0].status, "dead");
    assert!(
        listed[0].last_heartbeat < listed[0].started_at,
        "a dead worker's heartbeat counts nothing"
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_that_leaves_keeps_its_row_while_a_running_task_names_it(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let run = run_of(&db, "w", id).await;
    drain(&db, "w").await.expect("it drains");
    leave(&db, "w").await.expect("an answer");
    let listed = list(&db, WORKER_TIMEOUT).await.expect("a list");
    assert_eq!(listed[0].status, "draining");
    assert_eq!(
        finish(&db, "w", run).await.len(),
        1,
        "a draining worker ends its runs"
    );
    leave(&db, "w").await.expect("an answer");
    assert!(list(&db, WORKER_TIMEOUT).await.expect("a list").is_empty());
    leave(&db, "w").await.expect("leaving twice is harmless");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn workers_are_listed_newest_first_and_one_without_heartbeat_is_unresponsive(db: PgPool) {
    for id in ["first", "second", "third"] {
        enter_worker(&db, id).await;
    }
    execute(
        &db,
        "UPDATE workers SET last_heartbeat = now() - interval '31 s' WHERE id = 'second'",
    )
    .await;
    let listed = list(&db, WORKER_TIMEOUT).await.expect("a list");
    let listed: Vec<_> = listed
        .iter()
        .map(|w| (w.id.as_str(), w.status.as_str()))
        .collect();
    assert_eq!(
        listed,
        [("third", "alive"), ("second", "unresponsive"), ("first", "alive")]
    );
}
