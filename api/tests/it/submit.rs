use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId};
use tasker_server::http::body::BodyBudgets;
use tasker_server::state::parts::{Submits, TaskActions};
use tasker_store::migrations::MIGRATOR;
use tasker_store::task_types::{TaskType, publish};

use crate::harness::{Server, eventually, task_type};

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_submit_is_a_row_and_an_id_on_the_list_of_its_class(db: PgPool) {
    let server = Server::start(db).await;
    for (priority, queue) in [
        (9, QueueName::high()),
        (0, QueueName::default_class()),
        (-1, QueueName::low()),
    ] {
        let answer = server
            .post(
                "/tasks/submit",
                json!({"task_name": "noop", "priority": priority}),
            )
            .await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let body = answer.json();
        assert_eq!(
            (&body["status"], &body["queue"]),
            (&json!("pending"), &json!(queue.as_str()))
        );
        assert_eq!(body["deduplicated"], json!(false));
        assert_eq!(answer.headers["location"], format!("/tasks/{}", answer.id()));
        assert_eq!(server.depth(&queue).await, 1);
    }
    assert_eq!(server.rows().await, 3);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn everything_that_was_sent_is_in_the_record(db: PgPool) {
    let server = Server::start(db).await;
    let sent = json!({
        "task_name": "noop", "parameters": {"n": 1.5, "text": "ä"}, "priority": 7, "queue": "low",
        "idempotency_key": "k", "max_retries": 0, "timeout": "1m30s", "tags": ["a", "b"],
        "metadata": {"by": "me"}, "correlation_id": "c-1", "delay": 3600,
    });
    let id = server.submit(sent.clone()).await;
    let task = server.get(&format!("/tasks/{id}")).await.json();
    for field in [
        "task_name",
        "parameters",
        "priority",
        "idempotency_key",
        "tags",
        "metadata",
        "correlation_id",
    ] {
        assert_eq!(task[field], sent[field], "{field}");
    }
    assert_eq!(
        (&task["queue"], &task["status"]),
        (&json!("low_priority"), &json!("scheduled"))
    );
    assert_eq!(
        (&task["max_attempts"], &task["timeout_seconds"]),
        (&json!(1), &json!(90))
    );
    assert_eq!((&task["attempts"], &task["result"]), (&json!(0), &Value::Null));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_is_left_out_comes_from_the_type(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let slow = TaskType {
        queue: Some(QueueName::low()),
        priority: 9,
        max_retries: 5,
        timeout_seconds: 7.5,
        ..task_type("slow")
    };
    // not in the cache yet: the server reads the table again when the name is used
    publish(&db, &[slow]).await.expect("published");
    let queue_of = async |body: Value| {
        let id = server.submit(body).await;
        server.get(&format!("/tasks/{id}")).await.json()
    };
    let task = queue_of(json!({"task_name": "slow"})).await;
    assert_eq!(
        (&task["queue"], &task["priority"]),
        (&json!("low_priority"), &json!(9))
    );
    assert_eq!(
        (&task["max_attempts"], &task["timeout_seconds"]),
        (&json!(6), &json!(7.5))
    );
    assert_eq!(task["correlation_id"], task["task_id"]);
    let task = queue_of(json!({"task_name": "slow", "priority": 1})).await;
    assert_eq!(
        (&task["queue"], &task["priority"]),
        (&json!("default"), &json!(1))
    );
    let task = queue_of(json!({"task_name": "slow", "queue": "high"})).await;
    assert_eq!(
        (&task["queue"], &task["priority"]),
        (&json!("high_priority"), &json!(9))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_run_at_in_the_past_runs_now_and_one_ahead_is_scheduled(db: PgPool) {
    let server = Server::start(db).await;
    for past in [
        "2020-01-01T00:00:00Z",
        "-262000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ] {
        let answer = server
            .post("/tasks/submit", json!({"task_name": "noop", "run_at": past}))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (202, &json!("pending")),
            "{}",
            answer.text
        );
    }
    let answer = server
        .post("/tasks/submit", json!({"task_name": "noop", "delay": "1h"}))
        .await;
    assert_eq!(answer.json()["status"], json!("scheduled"));
    assert_eq!(server.depth(&QueueName::default_class()).await, 3);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_is_due_is_promoted_and_put_on_its_list(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let id = server
        .submit(json!({"task_name": "noop", "delay": "100ms", "queue": "high"}))
        .await;
    let promoter = tasker_maintenance::Promoter::new(db, server.part::<TaskActions>().pusher);
    eventually(async || {
        promoter.run_once().await.expect("a run");
        (server.depth(&QueueName::high()).await == 1).then_some(())
    })
    .await;
    assert_eq!(
        server.get(&format!("/tasks/{id}/status")).await.json()["status"],
        json!("pending")
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_well_formed_traceparent_is_kept_and_another_is_ignored(db: PgPool) {
    let server = Server::start(db.clone()).await;
    let sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (sent, kept) in [(sound, Some(sound)), ("00-zz", None)] {
        let mut request = crate::harness::json_request("/tasks/submit", json!({"task_name": "noop"}));
        request
            .headers_mut()
            .insert("traceparent", sent.parse().expect("a header"));
        let id = server.send(request).await.id();
        let stored: Option<String> = sqlx::query_scalar("SELECT traceparent FROM tasks WHERE id = $1")
            .bind(id.0)
            .fetch_one(&db)
            .await
            .expect("a row");
        assert_eq!(stored.as_deref(), kept);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn many_submits_at_once_are_each_answered_with_their_own_task(db: PgPool) {
    let server = Server::start(db).await;
    let submits = (0..300).map(|n| {
        let server = &server;
        async move {
            (
                n,
                server
                    .submit(json!({"task_name": "noop", "parameters": {"n": n}}))
                    .await,
            )
        }
    });
    let ids: Vec<(i32, TaskId)> = futures_util::future::join_all(submits).await;
    assert_eq!(server.rows().await, 300);
    assert_eq!(server.depth(&QueueName::default_class()).await, 300);
    for (n, id) in ids.iter().step_by(50) {
        let task = server.get(&format!("/tasks/{id}")).await.json();
        assert_eq!(task["parameters"]["n"], json!(n));
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_row_that_postgres_refuses_fails_alone(db: PgPool) {
    let server = Server::start(db).await;
    // bypasses the validation, which would reject it
    let poisoned = |n: i32| {
        let id = TaskId::generate();
        let correlation_id = if n == 7 { "a\0b".to_owned() } else { id.to_string() };
        tasker_store::insert::NewTask {
            id,
            task_name: "noop".into(),
            queue: QueueName::default_class(),
            priority: 0,
            parameters: "{}".into(),
            metadata: "{}".into(),
            tags: Vec::new(),
            max_attempts: 1,
            timeout_seconds: 1.0,
            key: None,
            correlation_id,
            traceparent: None,
            due: tasker_store::insert::Due::Now,
        }
    };
    let (bodies, submits) = (server.part::<BodyBudgets>(), server.part::<Submits>());
    let submits = (0..20).map(|n| {
        let held = bodies.single.begin(None).expect("room");
        submits.submitter.submit(poisoned(n), held)
    });
    let answers = futures_util::future::join_all(submits).await;
    let refused: Vec<usize> = (0..20).filter(|n| answers[*n].is_err()).collect();
    assert_eq!(refused, [7]);
    let error = answers.into_iter().nth(7).and_then(Result::err).expect("refused");
    assert_eq!(error.problem_type().code, "unstorable");
    assert_eq!(server.rows().await, 19);
    server.stop().await;
}
