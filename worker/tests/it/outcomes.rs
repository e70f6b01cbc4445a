//! The outcome of a task for each outcome of its handler.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::TaskStatus;
use tasker_core::task::limits::{ERROR_BYTES, RESULT_BYTES};
use tasker_store::history::events;
use tasker_store::insert::NewTask;
use tasker_testkit::a_task;
use tasker_worker::{AnyTaskType, Context, TaskError, TaskType};

use crate::harness::{System, result, with};

/// Sets retries without delay, so that tests need not wait.
fn impatient<P, R>(task: TaskType<P, R>) -> TaskType<P, R> {
    task.backoff(Duration::ZERO, Duration::ZERO)
}

async fn double(_: Context, number: i64) -> Result<i64, TaskError> {
    Ok(number * 2)
}

async fn always_fails(context: Context, _: Value) -> Result<(), TaskError> {
    Err(TaskError::retry(format!("attempt {} failed", context.attempt())))
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_runs_and_its_result_is_stored(db: PgPool) {
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("double", double)], &[]);
    let id = system.submit(with("double", &json!(21))).await;
    let task = system.until(id, TaskStatus::Completed).await;
    assert_eq!(result(&task), json!(42));
    assert_eq!((task.runs, task.attempts), (1, 1));
    assert!(
        task.worker_id
            .expect("the worker that ran it")
            .starts_with("worker-")
    );
    assert_eq!(
        system.queue.depths(&[task.queue]).await.expect("Redis answers"),
        [0]
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_keeps_failing_is_retried_and_ends_as_a_dead_letter(db: PgPool) {
    let system = System::new(db);
    let _worker = system.worker(vec![impatient(TaskType::new("fails", always_fails))], &[]);
    let id = system
        .submit(NewTask {
            max_attempts: 3,
            ..a_task("fails")
        })
        .await;
    let task = system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!(task.reason.as_deref(), Some("exhausted"));
    assert_eq!(task.error.as_deref(), Some("attempt 3 failed"));
    assert_eq!((task.runs, task.attempts), (3, 3));
    let history = events(&system.db, id).await.expect("events can be read");
    let ends: Vec<_> = history.iter().map(|event| (event.to, event.attempt)).collect();
    assert_eq!(
        ends,
        [
            (TaskStatus::RetryScheduled, Some(1)),
            (TaskStatus::RetryScheduled, Some(2)),
            (TaskStatus::DeadLetter, Some(3)),
        ]
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_handler_that_says_fail_is_not_tried_again(db: PgPool) {
    async fn refuses(_: Context, _: Value) -> Result<(), TaskError> {
        Err(TaskError::fail("never"))
    }
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("refuses", refuses)], &[]);
    let id = system.submit(a_task("refuses")).await;
    let task = system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!(task.reason.as_deref(), Some("failed"));
    assert_eq!(task.attempts, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_panic_is_that_attempts_failure_and_the_worker_goes_on(db: PgPool) {
    async fn panics(_: Context, _: Value) -> Result<(), TaskError> {
        panic!("out of cheese")
    }
    fn panics_on_a_thread(_: Context, _: Value) -> Result<(), TaskError> {
        panic!("out of cheese")
    }
    let system = System::new(db);
    let tasks: Vec<AnyTaskType> = vec![
        impatient(TaskType::new("panics", panics)).into(),
        impatient(TaskType::blocking("panics_on_a_thread", panics_on_a_thread)).into(),
        TaskType::new("double", double).into(),
    ];
    let _worker = system.worker(tasks, &[]);
    for name in ["panics", "panics_on_a_thread"] {
        let id = system
            .submit(NewTask {
                max_attempts: 2,
                ..a_task(name)
            })
            .await;
        let task = system.until(id, TaskStatus::DeadLetter).await;
        let error = task.error.expect("an error");
        assert!(error.starts_with("the handler panicked at "), "{error}");
        assert!(
            error.contains("outcomes.rs:") && error.ends_with(": out of cheese"),
            "{error}"
        );
        assert_eq!((task.attempts, task.crash_count), (2, 0));
    }
    let id = system.submit(with("double", &json!(1))).await;
    system.until(id, TaskStatus::Completed).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_attempt_over_its_timeout_fails_and_the_last_one_says_so(db: PgPool) {
    async fn sleeps(_: Context, _: Value) -> Result<(), TaskError> {
        std::future::pending().await
    }
    let system = System::new(db);
    let _worker = system.worker(vec![impatient(TaskType::new("sleeps", sleeps))], &[]);
    let id = system
        .submit(NewTask {
            max_attempts: 2,
            timeout_seconds: 0.05,
            ..a_task("sleeps")
        })
        .await;
    let task = system.until(id, TaskStatus::DeadLetter).await;
    assert_eq!(task.reason.as_deref(), Some("timeout"));
    assert_eq!(task.attempts, 2);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_result_over_its_limit_fails_the_attempt_and_says_so(db: PgPool) {
    async fn talks(_: Context, length: usize) -> Result<String, TaskError> {
        Ok("x".repeat(length))
    }
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("talks", talks)], &[]);
    let fits = system.submit(with("talks", &json!(RESULT_BYTES - 2))).await;
    let does_not = system.submit(with("talks", &json!(RESULT_BYTES - 1))).await;
    system.until(fits, TaskStatus::Completed).await;
    let task = system.until(does_not, TaskStatus::DeadLetter).await;
    assert!(task.error.expect("an error").starts_with("result_too_long"));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_result_or_error_with_a_nul_harms_nobody_else(db: PgPool) {
    async fn nul_result(_: Context, _: Value) -> Result<&'static str, TaskError> {
        Ok("a\0b")
    }
    async fn nul_error(_: Context, _: Value) -> Result<(), TaskError> {
        Err(TaskError::fail("a\0b"))
    }
    let system = System::new(db);
    let tasks: Vec<AnyTaskType> = vec![
        TaskType::new("nul_result", nul_result).into(),
        TaskType::new("nul_error", nul_error).into(),
        TaskType::new("double", double).into(),
    ];
    let _worker = system.worker(tasks, &[]);
    let ids = system
        .submit_all(vec![
            a_task("nul_result"),
            a_task("nul_error"),
            with("double", &json!(4)),
        ])
        .await;
    let unstorable = system.until(ids[0], TaskStatus::DeadLetter).await;
    assert!(
        unstorable
            .error
            .expect("an error")
            .starts_with("result_unstorable")
    );
    let failed = system.until(ids[1], TaskStatus::DeadLetter).await;
    assert_eq!(failed.error.as_deref(), Some("a\u{fffd}b"));
    system.until(ids[2], TaskStatus::Completed).await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_error_text_over_its_limit_is_cut_and_says_so(db: PgPool) {
    async fn rants(_: Context, _: Value) -> Result<(), TaskError> {
        Err(TaskError::fail("x".repeat(2 * ERROR_BYTES)))
    }
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("rants", rants)], &[]);
    let id = system.submit(a_task("rants")).await;
    let error = system
        .until(id, TaskStatus::DeadLetter)
        .await
        .error
        .expect("an error");
    assert!(
        error.len() <= ERROR_BYTES && error.ends_with("(cut)"),
        "{} bytes",
        error.len()
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn parameters_that_do_not_fit_the_type_fail_without_another_try(db: PgPool) {
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("double", double)], &[]);
    let id = system.submit(with("double", &json!("many"))).await;
    let task = system.until(id, TaskStatus::DeadLetter).await;
    assert!(task.error.expect("an error").starts_with("invalid_parameters"));
    assert_eq!(task.attempts, 1);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn progress_is_seen_while_the_handler_runs(db: PgPool) {
    async fn reports(context: Context, _: Value) -> Result<(), TaskError> {
        context.progress(json!({"percent": 40}))?;
        context.cancelled().cancelled().await;
        Ok(())
    }
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("reports", reports)], &[]);
    let id = system.submit(a_task("reports")).await;
    tasker_testkit::eventually("the report is stored", crate::harness::SOON, async || {
        system.task(id).await.progress.as_deref() == Some(r#"{"percent":40}"#)
    })
    .await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_last_report_is_kept_however_late_it_came(db: PgPool) {
    async fn reports(context: Context, _: Value) -> Result<(), TaskError> {
        for percent in 0..=100 {
            context.progress(percent)?;
        }
        Ok(())
    }
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("reports", reports)], &[]);
    let id = system.submit(a_task("reports")).await;
    let task = system.until(id, TaskStatus::Completed).await;
    assert_eq!(task.progress.as_deref(), Some("100"));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_handler_knows_its_task_attempt_and_correlation(db: PgPool) {
    async fn tells(context: Context, _: Value) -> Result<Value, TaskError> {
        Ok(json!({
            "id": context.task_id(), "attempt": context.attempt(), "of": context.max_attempts(),
            "correlation": context.correlation_id(), "trace": context.traceparent(),
        }))
    }
    let system = System::new(db);
    let _worker = system.worker(vec![TaskType::new("tells", tells)], &[]);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let task = NewTask {
        traceparent: Some(traceparent.to_owned()),
        ..a_task("tells")
    };
    let id = system.submit(task).await;
    let task = system.until(id, TaskStatus::Completed).await;
    let expected = json!({"id": id, "attempt": 1, "of": 3, "correlation": "test", "trace": traceparent});
    assert_eq!(result(&task), expected);
}
