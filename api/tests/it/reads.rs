use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{Hint, QueueName, TaskId};
use tasker_server::state::parts::TaskActions;
use tasker_store::end_runs::Verdict;
use tasker_store::migrations::MIGRATOR;

use crate::harness::Server;

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_finished_task_shows_its_result(db: PgPool) {
    let server = Server::start(db).await;
    let id = server.submit(json!({"task_name": "noop"})).await;
    let answer = server.get(&format!("/tasks/{id}/result")).await;
    assert_eq!(answer.problem(409), "not_finished");
    server.finish(id, r#"{"sum": 3}"#).await;
    let result = server.get(&format!("/tasks/{id}/result")).await.json();
    assert_eq!(
        (&result["status"], &result["result"]),
        (&json!("completed"), &json!({"sum": 3}))
    );
    assert_eq!(
        (&result["attempts"], &result["task_id"]),
        (&json!(1), &json!(id.to_string()))
    );
    let status = server.get(&format!("/tasks/{id}/status")).await.json();
    assert!(
        status["completed_at"].is_string() && status["result"].is_null(),
        "{status}"
    );
    assert_eq!(
        server.get(&format!("/tasks/{id}")).await.json()["result"],
        json!({"sum": 3})
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_task_that_does_not_exist_is_not_found(db: PgPool) {
    let server = Server::start(db).await;
    let id = TaskId::generate();
    for path in ["", "/status", "/result", "/history", "?wait=5"] {
        assert_eq!(
            server.get(&format!("/tasks/{id}{path}")).await.problem(404),
            "task_not_found",
            "{path}"
        );
    }
    for action in ["cancel", "retry"] {
        assert_eq!(
            server
                .post(&format!("/tasks/{id}/{action}"), "")
                .await
                .problem(404),
            "task_not_found"
        );
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_wait_ends_with_the_task_or_with_its_time(db: PgPool) {
    let server = Server::start(db).await;
    let id = server.submit(json!({"task_name": "noop"})).await;
    let began = Instant::now();
    for wait in ["0.5", "500ms"] {
        let task = server.get(&format!("/tasks/{id}?wait={wait}")).await.json();
        assert_eq!(task["status"], json!("pending"));
    }
    assert!(began.elapsed() >= Duration::from_secs(1));

    let began = Instant::now();
    let path = format!("/tasks/{id}?wait=30");
    let (answer, ()) = tokio::join!(server.get(&path), server.finish(id, "7"));
    assert_eq!(answer.json()["result"], json!(7));
    assert_eq!(server.get(&path).await.json()["status"], json!("completed"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_dead_letter_says_why_and_ends_a_wait(db: PgPool) {
    let server = Server::start(db).await;
    let id = server.submit(json!({"task_name": "noop"})).await;
    server
        .fail(id, Verdict::DeadLetter(DeadLetterReason::Failed))
        .await;
    let task = server.get(&format!("/tasks/{id}?wait=30")).await.json();
    assert_eq!(
        (&task["status"], &task["reason"], &task["error"]),
        (&json!("dead_letter"), &json!("failed"), &json!("boom"))
    );
    assert_eq!(
        server.get(&format!("/tasks/{id}/result")).await.json()["result"],
        Value::Null
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_history_tells_of_every_run(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let id = server.submit(json!({"task_name": "noop"})).await;
    server.fail(id, Verdict::RetryIn(Duration::ZERO)).await;
    let promoter = tasker_maintenance::Promoter::new(db, server.part::<TaskActions>().pusher);
    promoter.run_once().await.expect("a pass");
    server.finish(id, "1").await;
    let history = server.get(&format!("/tasks/{id}/history")).await.json();
    let steps: Vec<String> = history["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| {
            format!(
                "{}>{}",
                event["from"].as_str().unwrap_or("-"),
                event["to"].as_str().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            "->pending",
            "pending>running",
            "running>retry_scheduled",
            "retry_scheduled>pending",
            "pending>running",
            "running>completed"
        ]
    );
    let failed = &history["events"][2];
    assert_eq!(
        (&failed["error"], &failed["run"], &failed["attempt"]),
        (&json!("boom"), &json!(1), &json!(1))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_list_is_read_page_by_page_newest_first(db: PgPool) {
    let server = Server::start(db).await;
    let mut expected = Vec::new();
    for n in 0..25 {
        let queue = if n % 2 == 0 { "high" } else { "low" };
        let id = server
            .submit(json!({"task_name": "noop", "queue": queue, "tags": [format!("t{}", n % 5)]}))
            .await;
        if n % 3 == 0 {
            server.finish(id, "1").await;
        }
        expected.push(id.to_string());
    }
    expected.reverse();
    let pages = async |filter: &str| {
        let mut found: Vec<String> = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = server.get(&format!("/tasks?limit=7{filter}{cursor}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let page = answer.json();
            let tasks = page["tasks"].as_array().expect("tasks");
            found.extend(
                tasks
                    .iter()
                    .filter_map(|task| task["task_id"].as_str().map(ToOwned::to_owned)),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    assert_eq!(pages("").await, expected);
    assert_eq!(pages("&status=completed").await.len(), 9);
    assert_eq!(pages("&status=pending").await.len(), 16);
    assert_eq!(pages("&queue=high").await, pages("&queue=high_priority").await);
    assert_eq!(pages("&queue=high").await.len(), 13);
    assert_eq!(pages("&tag=t1&task_name=noop").await.len(), 5);
    assert_eq!(pages("&created_after=2999-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(pages("&created_before=2999-01-01T00:00:00Z").await.len(), 25);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_cursor_that_was_not_given_out_is_refused(db: PgPool) {
    let server = Server::start(db).await;
    for _ in 0..3 {
        server.submit(json!({"task_name": "noop"})).await;
    }
    let cursor = server.get("/tasks?limit=1").await.json()["next_cursor"]
        .as_str()
        .expect("a cursor")
        .to_owned();
    assert_eq!(
        server
            .get(&format!("/tasks?limit=2&cursor={cursor}"))
            .await
            .status,
        200
    );
    let (head, tail) = cursor.split_at(cursor.len() - 1);
    let other_tail = if tail == "A" { "Q" } else { "A" };
    for query in [
        "cursor=".to_owned(),
        "cursor=nope".to_owned(),
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        format!("cursor={head}{other_tail}"),
        format!("cursor={cursor}&status=pending"),
    ] {
        let answer = server.get(&format!("/tasks?{query}")).await;
        assert_eq!(answer.problem(422), "invalid_cursor", "{query}");
        assert_eq!(answer.pointers(), ["cursor"]);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn queues_types_and_workers_are_shown(db: PgPool) {
    let server = Server::start_with(db, &[("EXTRA_QUEUES", "reports")]).await;
    let id = server
        .submit(json!({"task_name": "noop", "queue": "reports"}))
        .await;
    let queues = server.get("/queues").await.json();
    let names: Vec<&str> = queues["queues"]
        .as_array()
        .expect("queues")
        .iter()
        .filter_map(|queue| queue["name"].as_str())
        .collect();
    assert_eq!(names, ["high_priority", "default", "low_priority", "reports"]);
    let reports = &queues["queues"][3];
    assert_eq!(
        (&reports["depth"], &reports["pending"], &reports["paused"]),
        (&json!(1), &json!(1), &json!(false))
    );
    let later = |reports: &Value| {
        let number = |field: &str| reports[field].as_i64();
        (number("scheduled"), number("retry"), number("unroutable"))
    };
    assert_eq!(later(reports), (Some(0), Some(0), Some(0)));
    server
        .submit(json!({"task_name": "noop", "queue": "reports", "delay": "1h"}))
        .await;
    let queue = QueueName::parse("reports").expect("a name");
    let parked = Hint::new(TaskId::generate(), queue, "noop");
    server.lists().park(&[parked]).await.expect("parked");
    let queues = server.get("/queues").await.json();
    assert_eq!(later(&queues["queues"][3]), (Some(1), Some(0), Some(1)));
    assert_eq!(queues["queues"][3]["depth"], 1);
    assert!(
        reports["key"]
            .as_str()
            .is_some_and(|key| key.ends_with(":reports")),
        "{reports}"
    );

    let other = server.submit(json!({"task_name": "noop"})).await;
    let (worker, _) = server.run(other).await;
    let workers = server.get("/workers").await.json();
    assert_eq!(
        (&workers["workers"][0]["id"], &workers["workers"][0]["status"]),
        (&json!(worker), &json!("alive"))
    );
    let types = server.get("/tasks/types").await.json();
    assert_eq!(
        (&types["types"][0]["name"], &types["types"][0]["workers"]),
        (&json!("noop"), &json!(1))
    );
    assert_eq!(types["types"][1]["parameters_schema"]["required"], json!(["n"]));
    assert_eq!(types["types"][1]["result_schema"], json!({"type": "integer"}));
    assert_eq!(types["types"][1]["required_role"], json!("submitter"));
    assert_eq!(
        (
            &types["types"][0]["result_schema"],
            &types["types"][0]["required_role"]
        ),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        server.get(&format!("/tasks?worker_id={worker}")).await.json()["tasks"][0]["task_id"],
        json!(other.to_string())
    );
    assert_ne!(other, id);
    server.stop().await;
}
