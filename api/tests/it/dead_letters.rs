use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::end_runs::Verdict;
use tasker_store::migrations::MIGRATOR;

use crate::harness::Server;

/// Inserts dead letters of the type `noop` by SQL; they died an hour ago, in the default queue.
async fn insert_dead_letters(db: &PgPool, count: i32) {
    sqlx::query(
        "INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, runs, attempts, max_attempts,
                            correlation_id, timeout_seconds, error, reason, started_at, created_at, updated_at)
         SELECT ('018f0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'noop', 'default', 0, '{}', '{}', '{}',
                'dead_letter', 4, 4, 4, 'c', 60, 'boom', 'exhausted', now(), now(), now() - interval '1 hour'
           FROM generate_series(1, $1) AS n",
    )
    .bind(count)
    .execute(db)
    .await
    .expect("dead letters");
}

async fn a_dead_letter(server: &Server, body: Value, reason: DeadLetterReason) -> TaskId {
    let id = server.submit(body).await;
    server.fail(id, Verdict::DeadLetter(reason)).await;
    id
}

async fn count(db: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.expect("a count")
}

/// Returns the ids of a page, and its cursor.
async fn page(server: &Server, query: &str) -> (Vec<String>, Option<String>) {
    let answer = server.get(&format!("/dead-letters?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let page = answer.json();
    let ids = page["tasks"].as_array().expect("tasks").iter();
    let ids = ids.map(|task| task["task_id"].as_str().expect("an id").to_owned());
    (ids.collect(), page["next_cursor"].as_str().map(ToOwned::to_owned))
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn dead_letters_are_listed_and_narrowed(db: PgPool) {
    let server = Server::start(db).await;
    server.submit(json!({"task_name": "noop"})).await;
    let high = json!({"task_name": "noop", "queue": "high"});
    let first = a_dead_letter(&server, high, DeadLetterReason::Failed)
        .await
        .to_string();
    let plain = json!({"task_name": "noop"});
    let second = a_dead_letter(&server, plain, DeadLetterReason::Timeout)
        .await
        .to_string();
    sqlx::query("UPDATE tasks SET updated_at = '2020-01-01' WHERE id::text = $1")
        .bind(&first)
        .execute(&server.db)
        .await
        .expect("an update");
    for (query, expected) in [
        ("", vec![&second, &first]),
        ("task_name=noop", vec![&second, &first]),
        ("task_name=strict", vec![]),
        ("queue=high", vec![&first]),
        ("queue=high_priority", vec![&first]),
        ("reason=timeout", vec![&second]),
        ("reason=timeout&queue=high", vec![]),
        ("before=2020-01-02T00:00:00Z", vec![&first]),
        ("before=2019-12-31T00:00:00Z", vec![]),
    ] {
        let (ids, cursor) = page(&server, query).await;
        assert_eq!(ids.iter().collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(cursor, None, "{query}");
    }
    let record = server.get("/dead-letters?reason=failed").await.json();
    assert_eq!(record["tasks"][0]["reason"], json!("failed"));
    for query in [
        "reason=nope",
        "queue=NO",
        "before=yesterday",
        "limit=0",
        "status=pending",
        "cursor=x",
    ] {
        let answer = server.get(&format!("/dead-letters?{query}")).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.text);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn pages_of_dead_letters_are_whole_and_their_cursors_belong_to_one_filter(db: PgPool) {
    insert_dead_letters(&db, 25).await;
    let server = Server::start(db).await;
    let (mut seen, mut cursor) = page(&server, "limit=10").await;
    assert!(cursor.is_some());
    while let Some(at) = cursor {
        let other = server.get(&format!("/dead-letters?queue=low&cursor={at}")).await;
        assert_eq!(other.problem(422), "invalid_cursor");
        let (ids, next) = page(&server, &format!("limit=10&cursor={at}")).await;
        seen.extend(ids);
        cursor = next;
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), seen), (25, sorted));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_dry_run_counts_and_changes_nothing(db: PgPool) {
    insert_dead_letters(&db, 3).await;
    let server = Server::start(db).await;
    for (path, done) in [("retry", "retried"), ("purge", "purged")] {
        let answer = server
            .post(&format!("/dead-letters/{path}?dry_run=true"), json!({}))
            .await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"matched": 3, done: 0, "skipped": 0, "dry_run": true}))
        );
        let answer = server
            .post(
                &format!("/dead-letters/{path}?dry_run=true"),
                json!({"reason": "failed"}),
            )
            .await;
        assert_eq!(answer.json()["matched"], json!(0));
    }
    assert_eq!(
        count(
            &server.db,
            "SELECT count(*) FROM tasks WHERE status = 'dead_letter'"
        )
        .await,
        3
    );
    assert_eq!(count(&server.db, "SELECT count(*) FROM task_events").await, 0);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn many_are_retried_in_batches_with_hints_and_events(db: PgPool) {
    insert_dead_letters(&db, 1_200).await;
    let server = Server::start(db).await;
    let answer = server
        .post("/dead-letters/retry", json!({"task_name": "noop"}))
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (
            200,
            json!({"matched": 1200, "retried": 1200, "skipped": 0, "dry_run": false})
        )
    );
    assert_eq!(
        count(&server.db, "SELECT count(*) FROM tasks WHERE status = 'pending'").await,
        1_200
    );
    assert_eq!(server.depth(&QueueName::default_class()).await, 1_200);
    let events = "SELECT count(DISTINCT task_id) FROM task_events
                   WHERE from_status = 'dead_letter' AND to_status = 'pending' AND reason = 'retried' AND actor = 'api'";
    assert_eq!(count(&server.db, events).await, 1_200);
    let again = server
        .post("/dead-letters/retry", json!({"all": true}))
        .await
        .json();
    assert_eq!(
        again,
        json!({"matched": 0, "retried": 0, "skipped": 0, "dry_run": false})
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn many_are_purged_and_only_their_events_stay(db: PgPool) {
    insert_dead_letters(&db, 1_200).await;
    let server = Server::start(db).await;
    let kept = a_dead_letter(&server, json!({"task_name": "noop"}), DeadLetterReason::Failed).await;
    let answer = server
        .post(
            "/dead-letters/purge",
            json!({"before": "2100-01-01T00:00:00Z", "reason": "exhausted"}),
        )
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (
            200,
            json!({"matched": 1200, "purged": 1200, "skipped": 0, "dry_run": false})
        )
    );
    assert_eq!(count(&server.db, "SELECT count(*) FROM tasks").await, 1);
    assert_eq!(server.get(&format!("/tasks/{kept}")).await.status, 200);
    let gone = "/tasks/018f0000-0000-7000-8000-000000000001";
    assert_eq!(server.get(gone).await.problem(404), "task_not_found");
    let events = "SELECT count(DISTINCT task_id) FROM task_events
                   WHERE from_status = 'dead_letter' AND to_status = 'dead_letter' AND reason = 'purged' AND actor = 'api'";
    assert_eq!(count(&server.db, events).await, 1_200);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_retry_shows_in_the_history_and_the_task_runs_again(db: PgPool) {
    let server = Server::start(db).await;
    let id = a_dead_letter(&server, json!({"task_name": "noop"}), DeadLetterReason::Exhausted).await;
    let answer = server
        .post("/dead-letters/retry", json!({"queue": "default"}))
        .await;
    assert_eq!(answer.json()["retried"], json!(1));
    let history = server.get(&format!("/tasks/{id}/history")).await.json();
    let retried = history["events"]
        .as_array()
        .expect("events")
        .iter()
        .find(|event| event["reason"] == "retried")
        .cloned()
        .expect("the retry");
    assert_eq!(
        [&retried["from"], &retried["to"], &retried["actor"]],
        [&json!("dead_letter"), &json!("pending"), &json!("api")]
    );
    server.finish(id, "1").await;
    assert_eq!(
        server.get(&format!("/tasks/{id}")).await.json()["status"],
        json!("completed")
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_retry_skips_those_whose_key_is_taken_and_a_purge_frees_keys(db: PgPool) {
    let server = Server::start(db).await;
    let body = |key: &str| json!({"task_name": "noop", "idempotency_key": key});
    let taken = a_dead_letter(&server, body("taken"), DeadLetterReason::Failed).await;
    sqlx::query("UPDATE task_keys SET expires_at = now() - interval '1 second'")
        .execute(&server.db)
        .await
        .expect("expired");
    server.submit(body("taken")).await;
    let free = a_dead_letter(&server, body("free"), DeadLetterReason::Failed).await;
    let answer = server
        .post("/dead-letters/retry", json!({"all": true}))
        .await
        .json();
    assert_eq!(
        answer,
        json!({"matched": 2, "retried": 1, "skipped": 1, "dry_run": false})
    );
    let status = async |id| server.get(&format!("/tasks/{id}")).await.json()["status"].clone();
    assert_eq!(
        (status(taken).await, status(free).await),
        (json!("dead_letter"), json!("pending"))
    );

    server
        .fail(free, Verdict::DeadLetter(DeadLetterReason::Failed))
        .await;
    let answer = server
        .post("/dead-letters/purge", json!({"all": true}))
        .await
        .json();
    assert_eq!(answer["purged"], json!(2));
    let again = server.post("/tasks/submit", body("free")).await;
    assert_eq!(
        (again.status, &again.json()["deduplicated"]),
        (202, &json!(false))
    );
    assert_ne!(again.id(), free);
    // the idempotency key still belongs to the task that is not terminal
    assert_eq!(server.post("/tasks/submit", body("taken")).await.status, 200);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn of_a_retry_and_a_purge_at_once_each_task_goes_one_way(db: PgPool) {
    insert_dead_letters(&db, 1_200).await;
    let server = Server::start(db).await;
    let (retry, purge) = tokio::join!(
        server.post("/dead-letters/retry", json!({"all": true})),
        server.post("/dead-letters/purge", json!({"all": true})),
    );
    let number = |answer: &Value, field: &str| answer[field].as_i64().expect("a number");
    let (retry, purge) = (retry.json(), purge.json());
    let (retried, purged) = (number(&retry, "retried"), number(&purge, "purged"));
    for (answer, done) in [(&retry, retried), (&purge, purged)] {
        assert_eq!(
            number(answer, "matched"),
            done + number(answer, "skipped"),
            "{answer}"
        );
    }
    let left = count(
        &server.db,
        "SELECT count(*) FROM tasks WHERE status = 'dead_letter'",
    )
    .await;
    assert_eq!(
        count(&server.db, "SELECT count(*) FROM tasks WHERE status = 'pending'").await,
        retried
    );
    assert_eq!(retried + purged + left, 1_200);
    let events: Vec<TaskId> = sqlx::query_scalar("SELECT task_id FROM task_events")
        .fetch_all(&server.db)
        .await
        .expect("events");
    let tasks: HashSet<_> = events.iter().collect();
    assert_eq!(
        (events.len(), events.len()),
        (tasks.len(), usize::try_from(retried + purged).expect("few"))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_client_that_hangs_up_stops_nothing(db: PgPool) {
    insert_dead_letters(&db, 1_200).await;
    let server = Server::start(db.clone()).await;
    {
        let request = server.post("/dead-letters/purge", json!({"all": true}));
        let begun = crate::harness::eventually(async || {
            (count(&db, "SELECT count(*) FROM task_events").await > 0).then_some(())
        });
        tokio::select! {
            _ = request => {}
            () = begun => {}
        }
    }
    let left = || count(&db, "SELECT count(*) FROM tasks");
    crate::harness::eventually(async || (left().await == 0).then_some(())).await;
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_body_that_is_not_understood_touches_nothing(db: PgPool) {
    insert_dead_letters(&db, 2).await;
    let server = Server::start(db).await;
    for (body, status, pointer) in [
        ("", 400, None),
        ("{", 400, None),
        ("[]", 422, Some("")),
        (r#"{"queues":"low"}"#, 422, Some("/queues")),
        (r#"{"all":"true"}"#, 422, Some("/all")),
        (r#"{"all":null}"#, 422, Some("/all")),
        (r#"{"all":true,"al":true}"#, 422, Some("/al")),
        (r#"{"queue":null}"#, 422, Some("/queue")),
        (r#"{"task_name":5}"#, 422, Some("/task_name")),
        (r#"{"reason":"bad luck"}"#, 422, Some("/reason")),
        (r#"{"before":"yesterday"}"#, 422, Some("/before")),
        ("{\"task_name\":\"a\\u0000\"}", 422, Some("/task_name")),
    ] {
        for path in [
            "/dead-letters/retry",
            "/dead-letters/purge",
            "/dead-letters/purge?dry_run=true",
        ] {
            let answer = server.post(path, body).await;
            assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
            assert_eq!(
                answer.pointers().first().map(String::as_str),
                pointer,
                "{path} {body}"
            );
        }
    }
    for query in ["dry_run=yes", "dry_run", "dryrun=true"] {
        let answer = server
            .post(&format!("/dead-letters/purge?{query}"), json!({}))
            .await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.text);
    }
    assert_eq!(
        count(
            &server.db,
            "SELECT count(*) FROM tasks WHERE status = 'dead_letter'"
        )
        .await,
        2
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn acting_on_all_dead_letters_has_to_be_said_under_both_names(db: PgPool) {
    insert_dead_letters(&db, 2).await;
    let server = Server::start(db).await;
    for path in ["/dead-letters", "/dead-letter"] {
        for action in ["retry", "purge"] {
            for body in [json!({}), json!({"all": false})] {
                let answer = server.post(&format!("{path}/{action}"), body).await;
                assert_eq!(answer.problem(422), "filter_required");
                assert!(answer.text.contains("all"), "{}", answer.text);
            }
            for (query, body) in [("?dry_run=true", json!({})), ("", json!({"dry_run": true}))] {
                let answer = server.post(&format!("{path}/{action}{query}"), body).await;
                assert_eq!(
                    (answer.status, &answer.json()["matched"]),
                    (200, &json!(2)),
                    "{}",
                    answer.text
                );
            }
        }
        let (status, listed) = {
            let answer = server.get(path).await;
            (answer.status, answer.json())
        };
        assert_eq!((status, listed["tasks"].as_array().map(Vec::len)), (200, Some(2)));
    }
    let answer = server.post("/dead-letter/purge", json!({"all": true})).await;
    assert_eq!(answer.json()["purged"], json!(2));
    server.stop().await;
}
