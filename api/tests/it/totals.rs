//! Totals: the numbers of tasks by day, type and event.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_maintenance::TotalsFolder;
use tasker_store::end_runs::Verdict;
use tasker_store::migrations::MIGRATOR;

use crate::harness::Server;

async fn totals(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/tasks/totals{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn totals_count_at_once_by_day_and_type_and_stay_the_same_when_folded(db: PgPool) {
    let server = Server::start(db.clone()).await;
    assert_eq!(totals(&server, "").await, json!({"days": [], "types": []}));
    let done = server.submit(json!({"task_name": "noop", "queue": "high"})).await;
    server.finish(done, "{}").await;
    let failed = server.submit(json!({"task_name": "noop"})).await;
    server
        .fail(failed, Verdict::DeadLetter(DeadLetterReason::Failed))
        .await;
    server.submit(json!({"task_name": "noop", "delay": 60})).await;
    // two days, since a test may run at midnight
    let before = totals(&server, "?days=2").await;
    let noop = &before["types"][0];
    assert_eq!(
        (
            &noop["task_name"],
            &noop["submitted"],
            &noop["completed"],
            &noop["dead_letter"]
        ),
        (&json!("noop"), &json!(3), &json!(1), &json!(1))
    );
    let days = before["days"].as_array().expect("days");
    let submitted: i64 = days.iter().filter_map(|day| day["submitted"].as_i64()).sum();
    assert_eq!(submitted, 3, "{before}");
    let high = totals(&server, "?queue=high&task_name=noop&days=400").await;
    assert_eq!(high["types"][0]["submitted"], json!(1), "{high}");
    assert_eq!(totals(&server, "?task_name=other").await["types"], json!([]));

    sqlx::query("INSERT INTO task_totals VALUES (now()::date - 1000, 'noop', 'default', 'submitted', 1)")
        .execute(&db)
        .await
        .expect("a total of long ago");
    let folded = TotalsFolder::new(db.clone()).run_once().await.expect("folded");
    assert_eq!(folded, 5);
    assert_eq!(totals(&server, "?days=2").await, before);
    let old: i64 = sqlx::query_scalar("SELECT count(*) FROM task_totals WHERE day < now()::date - 500")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(old, 0, "what is of long ago is forgotten");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_question_that_makes_no_sense_is_refused_by_parameter(db: PgPool) {
    let server = Server::start(db).await;
    for (query, pointer) in [
        ("?days=0", "days"),
        ("?days=401", "days"),
        ("?days=week", "days"),
        ("?queue=NO", "queue"),
        ("?since=today", "since"),
    ] {
        let answer = server.get(&format!("/tasks/totals{query}")).await;
        answer.problem(422);
        assert_eq!(answer.pointers(), [pointer], "{query}");
    }
    server.stop().await;
}
