use std::time::Duration;

use chrono::DateTime;
use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskStatus};
use tasker_store::ErrorKind;
use tasker_store::insert::{Due, NewTask, insert};
use tasker_store::records::get;
use tasker_testkit::{a_key, a_task};

use super::support::{KEY_TTL, connections, record, submit, submit_one};

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_is_due_now_is_pending(db: PgPool) {
    let task = a_task("echo");
    let inserted = submit(&db, std::slice::from_ref(&task)).await;
    assert_eq!(inserted.status(&task), Some(TaskStatus::Pending));
    let record = record(&db, task.id).await;
    assert_eq!(record.status, TaskStatus::Pending);
    assert_eq!((record.runs, record.attempts, record.crash_count), (0, 0, 0));
    assert_eq!(record.max_attempts, 3);
    assert_eq!(record.enqueued_at, Some(record.created_at));
    assert_eq!(record.run_at, None);
    assert!(record.started_at.is_none() && record.worker_id.is_none() && record.result.is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_plain_task_is_written_alike_beside_others_and_among_its_like(db: PgPool) {
    let plain = || NewTask {
        tags: vec!["a".to_owned(), "b \"c\"".to_owned()],
        traceparent: Some("00-1-2-01".to_owned()),
        correlation_id: "one".to_owned(),
        ..a_task("echo")
    };
    let (alone, beside) = (plain(), plain());
    let keyed = NewTask {
        key: a_key("k"),
        ..a_task("echo")
    };
    submit(&db, std::slice::from_ref(&alone)).await;
    submit(&db, &[beside.clone(), keyed]).await;
    // except for its own id and time
    let kinds: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT to_jsonb(t) - ARRAY['id', 'created_at', 'updated_at', 'enqueued_at'])
           FROM tasks t WHERE correlation_id = 'one' AND enqueued_at = created_at AND updated_at = created_at",
    )
    .fetch_one(&db)
    .await
    .expect("a count");
    assert_eq!(kinds, 1);
    assert_eq!(record(&db, alone.id).await.tags, alone.tags);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_delayed_task_is_scheduled_and_not_enqueued(db: PgPool) {
    let task = NewTask {
        due: Due::InSeconds(60.5),
        ..a_task("echo")
    };
    let inserted = submit(&db, std::slice::from_ref(&task)).await;
    assert_eq!(inserted.status(&task), Some(TaskStatus::Scheduled));
    let record = record(&db, task.id).await;
    assert_eq!(record.status, TaskStatus::Scheduled);
    assert_eq!(record.enqueued_at, None);
    let wait = record.run_at.expect("a time") - record.created_at;
    assert_eq!(wait.to_std(), Ok(Duration::from_millis(60_500)));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_run_at_in_the_past_means_now_and_one_ahead_means_then(db: PgPool) {
    let at = |time: &str| NewTask {
        due: Due::At(DateTime::parse_from_rfc3339(time).expect("a time").to_utc()),
        ..a_task("echo")
    };
    let (past, ahead) = (at("2001-02-03T04:05:06Z"), at("2101-02-03T04:05:06.789Z"));
    let inserted = submit(&db, &[past.clone(), ahead.clone()]).await;
    assert_eq!(inserted.status(&past), Some(TaskStatus::Pending));
    assert_eq!(inserted.status(&ahead), Some(TaskStatus::Scheduled));
    assert_eq!(record(&db, past.id).await.status, TaskStatus::Pending);
    let run_at = record(&db, ahead.id).await.run_at.expect("a time");
    assert_eq!(run_at.to_rfc3339(), "2101-02-03T04:05:06.789+00:00");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn everything_that_was_sent_comes_back_as_it_was(db: PgPool) {
    let task = NewTask {
        queue: QueueName::low(),
        priority: -7,
        parameters: r#"{"b": 1.10, "a": "Grüße 🦀 \"'\\", "n": 12345678901234567890.5}"#.to_owned(),
        metadata: r#"{ "who":"日本" }"#.to_owned(),
        tags: ["plain", "with, comma", "\"quoted\"", "{brace}", "NULL", "🦀"]
            .map(str::to_owned)
            .into(),
        max_attempts: 101,
        timeout_seconds: 0.25,
        correlation_id: "Ω".to_owned(),
        traceparent: Some("00-1-2-01".to_owned()),
        key: a_key("ключ"),
        ..a_task("mail:send")
    };
    submit(&db, std::slice::from_ref(&task)).await;
    let record = record(&db, task.id).await;
    assert_eq!(record.task_name, task.task_name);
    assert_eq!(record.queue, task.queue);
    assert_eq!(record.priority, -7);
    assert_eq!(record.parameters, task.parameters);
    assert_eq!(record.metadata, task.metadata);
    assert_eq!(record.tags, task.tags);
    assert_eq!(record.max_attempts, 101);
    assert!((record.timeout_seconds - 0.25).abs() < f64::EPSILON);
    assert_eq!(record.correlation_id, "Ω");
    assert_eq!(record.idempotency_key.as_deref(), Some("ключ"));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_batch_of_every_kind_is_written_in_one_statement(db: PgPool) {
    let tasks: Vec<NewTask> = (0..10_000)
        .map(|n| NewTask {
            priority: i16::try_from(n % 201).expect("small") - 100,
            tags: vec!["t".to_owned(); n % 4],
            key: (n % 3 == 0).then(|| a_key(&n.to_string())).flatten(),
            due: if n % 5 == 0 {
                Due::InSeconds(60.0)
            } else {
                Due::Now
            },
            ..a_task("echo")
        })
        .collect();
    let inserted = submit(&db, &tasks).await;
    for (n, task) in tasks.iter().enumerate() {
        let due = if n % 5 == 0 {
            TaskStatus::Scheduled
        } else {
            TaskStatus::Pending
        };
        assert_eq!(inserted.status(task), Some(due));
    }
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(stored, 10_000);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_whose_key_is_taken_is_left_out_and_its_neighbours_are_not(db: PgPool) {
    let first = NewTask {
        key: a_key("k"),
        ..a_task("echo")
    };
    let second = NewTask {
        key: a_key("k"),
        ..a_task("echo")
    };
    let other_name = NewTask {
        key: a_key("k"),
        ..a_task("noop")
    };
    let plain = a_task("echo");
    assert_eq!(
        submit(&db, std::slice::from_ref(&first)).await.status(&first),
        Some(TaskStatus::Pending)
    );
    let inserted = submit(&db, &[second.clone(), other_name.clone(), plain.clone()]).await;
    assert_eq!(inserted.status(&second), None);
    assert_eq!(inserted.status(&other_name), Some(TaskStatus::Pending));
    assert_eq!(inserted.status(&plain), Some(TaskStatus::Pending));
    assert!(get(&db, second.id).await.expect("an answer").is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn of_fifty_who_insert_one_key_at_once_one_gets_it(db: PgPool) {
    let wins = join_all(
        connections(&db, 50)
            .await
            .into_iter()
            .map(async |mut connection| {
                let task = NewTask {
                    key: a_key("k"),
                    ..a_task("echo")
                };
                let inserted = insert(&mut connection, std::slice::from_ref(&task), KEY_TTL).await;
                inserted.expect("an answer").status(&task).is_some()
            }),
    )
    .await;
    assert_eq!(wins.into_iter().filter(|won| *won).count(), 1);
    let rows: (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM task_keys)")
            .fetch_one(&db)
            .await
            .expect("counts");
    assert_eq!(rows, (1, 1));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn flushes_that_share_many_keys_in_any_order_do_not_deadlock(db: PgPool) {
    let flush = |turn: usize| -> Vec<NewTask> {
        let mut tasks: Vec<NewTask> = (0..200)
            .map(|n| NewTask {
                key: a_key(&format!("k{n}")),
                ..a_task("echo")
            })
            .collect();
        tasks.rotate_left(turn * 13);
        if turn.is_multiple_of(2) {
            tasks.reverse();
        }
        tasks
    };
    let flushes = connections(&db, 12).await.into_iter().enumerate();
    let won = join_all(flushes.map(async |(turn, mut connection)| {
        let tasks = flush(turn);
        let inserted = insert(&mut connection, &tasks, KEY_TTL)
            .await
            .expect("no deadlock");
        tasks
            .iter()
            .filter(|task| inserted.status(task).is_some())
            .count()
    }))
    .await;
    assert_eq!(won.into_iter().sum::<usize>(), 200);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_row_that_cannot_be_stored_is_the_rows_fault_and_nothing_is_written(db: PgPool) {
    let sound = a_task("echo");
    for bad in [
        NewTask {
            parameters: r#"{"a":"\u0000"}"#.to_owned(),
            tags: vec!["nul\0".to_owned()],
            ..a_task("echo")
        },
        NewTask {
            parameters: "{".to_owned(),
            ..a_task("echo")
        },
        NewTask {
            max_attempts: 102,
            ..a_task("echo")
        },
    ] {
        let error = insert(&db, &[sound.clone(), bad], KEY_TTL)
            .await
            .expect_err("it cannot be stored");
        assert_eq!(error.kind(), ErrorKind::Row, "{error}");
    }
    assert!(get(&db, sound.id).await.expect("an answer").is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_submit_commits_durably_even_where_the_default_is_off(db: PgPool) {
    let mut connection = connections(&db, 1).await.remove(0);
    sqlx::query("SET synchronous_commit = off")
        .execute(&mut connection)
        .await
        .expect("a setting");
    let during = "CREATE TABLE seen (setting text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
        CREATE TRIGGER see AFTER INSERT ON tasks FOR EACH STATEMENT EXECUTE FUNCTION see()";
    sqlx::raw_sql(during).execute(&db).await.expect("a trigger");
    insert(&mut connection, &[a_task("echo")], KEY_TTL)
        .await
        .expect("it is stored");
    let seen: String = sqlx::query_scalar("SELECT setting FROM seen")
        .fetch_one(&db)
        .await
        .expect("the trigger ran");
    assert_eq!(seen, "on");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn an_insert_without_tasks_is_harmless(db: PgPool) {
    submit(&db, &[]).await;
    let id = submit_one(&db, a_task("echo")).await;
    assert_eq!(record(&db, id).await.id, id);
}
