//! Invariants that prevent double work: fences, claims, concurrent leaders, lost responses.

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{ConnectOptions, PgPool};
use tasker_core::task::{QueueName, Run, TaskId};
use tasker_store::claim::{Claimant, claim};
use tasker_store::complete::{Success, complete};
use tasker_store::insert::insert;
use tasker_store::recover::recover;
use tasker_store::workers::register;
use tasker_testkit::{Proxy, System, a_task, a_worker, eventually};

use crate::harness::{Idle, SOON, count, echo, long_running};

/// Claims one task as a worker; the task must be pending.
async fn run_as(db: &PgPool, worker_id: &str, id: TaskId) -> Run {
    let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
    let claimant = Claimant {
        worker_id,
        queues: &queues,
        task_names: &names,
        runs_suspect: false,
    };
    let claimed = claim(db, &claimant, &[id]).await.expect("a claim");
    claimed.tasks.first().expect("it was pending").run
}

async fn a_stored_task(db: &PgPool) -> TaskId {
    let task = a_task("echo");
    insert(db, std::slice::from_ref(&task), 60.0)
        .await
        .expect("an insert");
    task.id
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn invariant_04_a_run_number_that_repeats_after_a_crash_of_postgres_fences_by_its_worker(db: PgPool) {
    for worker in ["first", "second"] {
        register(&db, &a_worker(worker)).await.expect("a worker");
    }
    let id = a_stored_task(&db).await;
    let late = run_as(&db, "first", id).await;
    // a claim commits asynchronously: a crash of Postgres may lose it, and the next claim gets the same run
    // number
    sqlx::query("UPDATE tasks SET status = 'pending', worker_id = NULL, started_at = NULL, runs = runs - 1")
        .execute(&db)
        .await
        .expect("an update");
    let now = run_as(&db, "second", id).await;
    assert_eq!(late, now, "the same task and number");
    let result = |run| Success {
        run,
        result: "1".to_owned(),
        progress: None,
    };
    let of_the_first = complete(&db, "first", &[result(late)]).await.expect("an answer");
    assert!(of_the_first.is_empty(), "a late write changes nothing");
    let of_the_second = complete(&db, "second", &[result(now)]).await.expect("an answer");
    assert_eq!(of_the_second.len(), 1);
}

#[sqlx::test(migrations = false)]
async fn invariant_05_what_is_claimed_runs_and_what_does_not_run_waits_in_its_list(db: PgPool) {
    let idle = Idle::start(&db).await;
    for _ in 0..6 {
        idle.server.submit(&long_running(60.0)).await;
    }
    let _worker = idle.system.worker(&[("WORKER_POOL_SIZE", "2")]).await;
    let running = "SELECT count(*) FROM tasks WHERE status = 'running'";
    eventually("two run", SOON, async || count(&db, running).await == 2).await;
    let (_, answer) = idle.server.get("/workers").await;
    let busy = answer["workers"].as_array().expect("workers").len();
    assert_eq!(busy, 2, "the one at work and the one that serves elsewhere");
    eventually("four wait in the list", SOON, async || {
        idle.system.queue().llen("default") == 4
    })
    .await;
    assert_eq!(count(&db, running).await, 2, "as many as there are slots");
    let pending = "SELECT count(*) FROM tasks WHERE status = 'pending' AND worker_id IS NULL";
    assert_eq!(count(&db, pending).await, 4);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn invariant_09_leaders_that_recover_at_the_same_time_count_each_crash_once(db: PgPool) {
    register(&db, &a_worker("dead")).await.expect("a worker");
    for _ in 0..40 {
        let id = a_stored_task(&db).await;
        run_as(&db, "dead", id).await;
    }
    sqlx::query("UPDATE workers SET status = 'dead', died_at = now()")
        .execute(&db)
        .await
        .expect("an update");
    let passes = join_all((0..8).map(|_| recover(&db, 7)));
    let first: usize = passes
        .await
        .into_iter()
        .map(|pass| pass.expect("a pass").len())
        .sum();
    let mut handed_back = first;
    while handed_back < 40 {
        let more = join_all((0..8).map(|_| recover(&db, 7))).await;
        let more: usize = more.into_iter().map(|pass| pass.expect("a pass").len()).sum();
        assert!(more > 0, "{handed_back} of 40 were handed back");
        handed_back += more;
    }
    assert_eq!(handed_back, 40);
    let once = "SELECT count(*) FROM tasks WHERE status = 'pending' AND crash_count = 1";
    assert_eq!(count(&db, once).await, 40);
    assert_eq!(
        count(
            &db,
            "SELECT count(*) FROM task_events WHERE reason = 'worker_lost'"
        )
        .await,
        40
    );
}

#[sqlx::test(migrations = false)]
async fn invariant_12_a_submit_whose_answer_was_lost_is_not_sent_again(db: PgPool) {
    let direct = db.connect_options().to_url_lossy();
    let (proxy, database) = Proxy::before_url(direct.as_str()).await;
    let system = System::on(&database, &tasker_testkit::redis_url())
        .with("EXTRA_QUEUES", "elsewhere")
        .with("DATABASE_URL", direct.as_str());
    let server = system.server(&[("DATABASE_URL", &database)]).await;
    let _worker = system.worker(&[("TASK_QUEUES", "elsewhere")]).await;
    server.submit(&echo(0)).await;
    proxy.swallow_replies();
    let mut body = echo(1);
    body["correlation_id"] = json!("asked-once");
    let (status, problem) = server.post("/tasks/submit", &body).await;
    assert_eq!(status, 503, "{problem}");
    proxy.heal();
    eventually("the server is well again", SOON, async || {
        server.post("/tasks/submit", &echo(2)).await.0 == 202
    })
    .await;
    let asked = "SELECT count(*) FROM tasks WHERE correlation_id = 'asked-once'";
    assert!(count(&db, asked).await <= 1, "it was inserted twice");
}
