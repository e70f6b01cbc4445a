//! Idempotency keys: one key is one task across servers.

use serde_json::json;
use sqlx::PgPool;

use crate::harness::{SOON, Small, count, id_of};

/// Number of concurrent submits with one key.
const SUBMITS: usize = 500;

#[sqlx::test(migrations = false)]
async fn one_key_submitted_to_two_servers_at_once_is_one_task(db: PgPool) {
    let small = Small::start(&db).await;
    let other = small.system.server(&[]).await;
    let body = json!({"task_name": "echo", "parameters": {"n": 1}, "idempotency_key": "once"});
    let mut submits = tokio::task::JoinSet::new();
    for server in [&small.server, &other].into_iter().cycle().take(SUBMITS) {
        let request = server
            .http
            .post(format!("{}/tasks/submit", server.url))
            .json(&body);
        submits.spawn(async move {
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            let body: serde_json::Value = answer.json().await.expect("JSON");
            (status, body)
        });
    }
    let answers = submits.join_all().await;
    let id = id_of(&answers[0].1);
    for (status, answer) in &answers {
        assert_eq!(id_of(answer), id);
        assert_eq!(answer["deduplicated"], *status == 200, "{status}: {answer}");
    }
    let new = answers.iter().filter(|(status, _)| *status == 202).count();
    assert_eq!((answers.len(), new), (SUBMITS, 1));

    small.server.wait_for(&id, "completed", SOON).await;
    let rows = "SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM finished_tasks WHERE runs = 1)";
    assert_eq!(count(&db, rows).await, 1);
    // the key is still valid after the task has finished
    let (status, again) = other.post("/tasks/submit", &body).await;
    assert_eq!((status.as_u16(), id_of(&again)), (200, id));
    let different = json!({"task_name": "echo", "parameters": {"n": 2}, "idempotency_key": "once"});
    let (status, problem) = other.post("/tasks/submit", &different).await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (422, &json!("idempotency_key_reused"))
    );
}
