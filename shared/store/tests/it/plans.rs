//! The statements of the hot path look up rows by key whatever Postgres believes about the table when it
//! plans them: a plan made while the table was empty serves a connection for long, and must not scan a
//! backlog.

use sqlx::{PgConnection, PgPool};
use tasker_core::task::{QueueName, Run, TaskId};
use tasker_store::claim::claim;
use tasker_store::claim_ready::claim_ready;
use tasker_store::complete::complete;
use tasker_store::end_runs::{Verdict, end_runs};

use super::support::{claimant, ended, enter_worker, submit_many, success};

/// The number of executions after which Postgres may settle for one plan, and a few more.
pub(super) const UNTIL_PLANNED: usize = 8;

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_plan_made_while_the_table_was_empty_still_looks_up_a_backlog_by_key(db: PgPool) {
    enter_worker(&db, "w").await;
    let mut connection = db.acquire().await.expect("a connection").detach();
    for _ in 0..UNTIL_PLANNED {
        let ids = submit_many(&db, 2).await;
        run_and_end(&mut connection, &ids).await;
        sqlx::query("VACUUM ANALYZE tasks")
            .execute(&db)
            .await
            .expect("vacuum");
    }
    for _ in 0..UNTIL_PLANNED {
        let ids = submit_many(&db, 2).await;
        run_and_end(&mut connection, &ids).await;
    }
    let before = rows_read(&mut connection).await;
    let backlog = submit_many(&db, 1_000).await;
    run_and_end(&mut connection, &backlog[..2]).await;
    let read = rows_read(&mut connection).await - before;
    assert!(read < 100, "{read} rows were read to run two");
}

/// Claims two tasks; completes the first, retries the second.
async fn run_and_end(connection: &mut PgConnection, ids: &[TaskId]) {
    let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
    let claimant = claimant("w", &queues, &names);
    let plain = claim_ready(&mut *connection, &claimant, &ids[..1])
        .await
        .expect("a claim is answered");
    let full = claim(&mut *connection, &claimant, &ids[1..])
        .await
        .expect("a claim is answered");
    let (one, other): (Run, Run) = (plain.tasks[0].run, full.tasks[0].run);
    complete(&mut *connection, "w", &[success(one, "{}")])
        .await
        .expect("a completion");
    let again = Verdict::RetryIn(std::time::Duration::from_hours(1));
    end_runs(connection, "w", &[ended(other, again)])
        .await
        .expect("an end");
}

/// Rows and index entries of `tasks` that statements of `connection` and of other sessions have read so far.
pub(super) async fn rows_read(connection: &mut PgConnection) -> i64 {
    sqlx::query("SELECT pg_stat_force_next_flush()")
        .execute(&mut *connection)
        .await
        .expect("a flush");
    sqlx::query_scalar(
        "SELECT (t.seq_tup_read + sum(i.idx_tup_read))::bigint
           FROM pg_stat_user_tables t JOIN pg_stat_user_indexes i USING (relid)
          WHERE t.relname = 'tasks'
          GROUP BY t.seq_tup_read",
    )
    .fetch_one(connection)
    .await
    .expect("the statistics")
}
