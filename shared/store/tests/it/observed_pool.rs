use std::sync::{Arc, Mutex, PoisonError};

use sqlx::PgPool;
use tasker_store::liveness::FleetObserver;
use tasker_store::{Error, ObservedPool, Observer, queues};

use super::support::{WORKER_TIMEOUT, execute};

/// `None` for a success, or the SQLSTATE of the failure and whether it is an outage.
type Outcome = Option<(Option<String>, bool)>;

/// The outcomes in their order.
#[derive(Debug, Default)]
struct Outcomes(Mutex<Vec<Outcome>>);

impl Outcomes {
    fn add(&self, outcome: Outcome) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(outcome);
    }

    fn take(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Outcomes {
    fn answered(&self) {
        self.add(None);
    }

    fn failed(&self, error: &Error) {
        self.add(Some((error.code().map(Into::into), error.is_unavailable())));
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn each_statement_reports_one_outcome(db: PgPool) {
    let outcomes = Arc::new(Outcomes::default());
    let observed = ObservedPool::new(db.clone(), Arc::clone(&outcomes) as Arc<_>);
    queues::names(&observed).await.expect("rows");
    assert_eq!(outcomes.take(), [None], "many rows");
    let sql = "DELETE FROM tasks WHERE false";
    sqlx::query(sql).execute(&observed).await.expect(sql);
    assert_eq!(outcomes.take(), [None], "no row");
    let sql = "SELECT 1 / 0";
    sqlx::query(sql).fetch_one(&observed).await.expect_err(sql);
    sqlx::query(sql).fetch_all(&observed).await.expect_err(sql);
    let rejected = Some((Some("22012".to_owned()), false));
    assert_eq!(outcomes.take(), [rejected.clone(), rejected]);
    db.close().await;
    queues::names(&observed).await.expect_err("closed");
    observed.acquire().await.expect_err("closed");
    let outage = Some((None, true));
    assert_eq!(outcomes.take(), [outage.clone(), outage]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn each_check_of_the_fleet_reports_one_outcome_though_it_has_a_session_of_its_own(db: PgPool) {
    let outcomes = Arc::new(Outcomes::default());
    let observed = ObservedPool::new(db.clone(), Arc::clone(&outcomes) as Arc<_>);
    let mut observer = FleetObserver::open(observed).await.expect("a session");
    assert_eq!(
        outcomes.take(),
        [],
        "an opened session has not answered a statement"
    );
    observer.check(WORKER_TIMEOUT).await.expect("a check");
    assert_eq!(outcomes.take(), [None]);
    execute(
        &db,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'tasker-leader'",
    )
    .await;
    observer
        .check(WORKER_TIMEOUT)
        .await
        .expect_err("a session that was terminated");
    let failures = outcomes.take();
    assert!(matches!(failures[..], [Some((_, true))]), "{failures:?}");
}
