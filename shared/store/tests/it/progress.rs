use sqlx::PgPool;
use tasker_store::end_runs::{Verdict, end_runs};
use tasker_store::progress::report;
use tasker_testkit::a_task;

use super::support::{ended, enter_worker, finish, record, run_of, submit_many, submit_one};

async fn say(db: &PgPool, worker: &str, run: tasker_core::task::Run, value: &str) -> u64 {
    report(db, worker, &[(run, value.to_owned())])
        .await
        .expect("an answer")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_latest_report_of_each_run_is_kept_to_the_end(db: PgPool) {
    enter_worker(&db, "w").await;
    let ids = submit_many(&db, 2).await;
    let runs = [run_of(&db, "w", ids[0]).await, run_of(&db, "w", ids[1]).await];
    let both = [(runs[1], "0.5".to_owned()), (runs[0], r#"{"step":1}"#.to_owned())];
    assert_eq!(report(&db, "w", &both).await.expect("an answer"), 2);
    assert_eq!(say(&db, "w", runs[0], r#"{"step":2}"#).await, 1);
    assert_eq!(
        record(&db, ids[0]).await.progress.as_deref(),
        Some(r#"{"step":2}"#)
    );
    finish(&db, "w", runs[1]).await;
    assert_eq!(record(&db, ids[1]).await.progress.as_deref(), Some("0.5"));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_run_that_is_no_longer_this_workers_reports_nothing(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    let late = run_of(&db, "w", id).await;
    assert_eq!(say(&db, "other", late, "1").await, 0);
    end_runs(&db, "w", &[ended(late, Verdict::Released)])
        .await
        .expect("an answer");
    assert_eq!(say(&db, "w", late, "2").await, 0);
    let now = run_of(&db, "w", id).await;
    assert_eq!(say(&db, "w", late, "3").await, 0);
    assert_eq!(record(&db, id).await.progress, None);
    finish(&db, "w", now).await;
    assert_eq!(say(&db, "w", now, "4").await, 0);
}
