use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::role::Role;
use tasker_core::task::QueueName;
use tasker_store::task_types::{TaskType, all, publish};
use tasker_store::workers::{drain, register};
use tasker_testkit::a_worker;

use super::support::{WORKER_TIMEOUT, connections, execute};

fn a_type(name: &str) -> TaskType {
    TaskType {
        name: name.to_owned(),
        description: "Says it again".to_owned(),
        queue: None,
        priority: 0,
        max_retries: 3,
        timeout_seconds: 3600.0,
        parameters_schema: Some(r#"{"type": "object"}"#.to_owned()),
        result_schema: None,
        required_role: None,
    }
}

/// Returns every row of the types with its version: a row that was written again has another.
async fn versions(db: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as("SELECT name, xmin::text FROM task_types ORDER BY name")
        .fetch_all(db)
        .await
        .expect("rows")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_was_published_is_read_by_name_with_the_workers_that_know_it(db: PgPool) {
    let special = TaskType {
        queue: Some(QueueName::high()),
        priority: -3,
        max_retries: 0,
        timeout_seconds: 1.5,
        parameters_schema: None,
        result_schema: Some(r#"{"type":"integer"}"#.to_owned()),
        required_role: Some(Role::Operator),
        ..a_type("alpha")
    };
    publish(&db, &[a_type("echo"), special]).await.expect("published");
    for worker in ["a", "unresponsive", "draining"] {
        register(&db, &a_worker(worker)).await.expect("entered");
    }
    execute(
        &db,
        "UPDATE workers SET last_heartbeat = '2001-01-01' WHERE id = 'unresponsive'",
    )
    .await;
    drain(&db, "draining").await.expect("it drains");
    let types = all(&db, WORKER_TIMEOUT).await.expect("the types");
    let [alpha, echo] = &types[..] else {
        panic!("two types, not {}", types.len())
    };
    assert_eq!((alpha.task_type.name.as_str(), alpha.workers), ("alpha", 0));
    assert_eq!(alpha.task_type.queue, Some(QueueName::high()));
    assert_eq!((alpha.task_type.priority, alpha.task_type.max_retries), (-3, 0));
    assert_eq!(alpha.task_type.parameters_schema, None);
    assert_eq!(
        alpha.task_type.result_schema.as_deref(),
        Some(r#"{"type":"integer"}"#)
    );
    assert_eq!(alpha.task_type.required_role, Some(Role::Operator));
    assert_eq!(
        (&echo.task_type.result_schema, echo.task_type.required_role),
        (&None, None)
    );
    assert_eq!((echo.task_type.name.as_str(), echo.workers), ("echo", 1));
    assert_eq!(
        echo.task_type.parameters_schema.as_deref(),
        Some(r#"{"type": "object"}"#)
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn publishing_the_same_again_writes_nothing_and_a_change_is_taken(db: PgPool) {
    let bare = TaskType {
        parameters_schema: None,
        ..a_type("bare")
    };
    publish(&db, &[a_type("echo"), bare.clone()])
        .await
        .expect("published");
    let before = versions(&db).await;
    publish(&db, &[bare.clone(), a_type("echo")])
        .await
        .expect("published");
    assert_eq!(versions(&db).await, before);
    let changed = TaskType {
        queue: Some(QueueName::low()),
        ..bare
    };
    publish(&db, &[a_type("echo"), changed]).await.expect("published");
    let after = versions(&db).await;
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    let types = all(&db, WORKER_TIMEOUT).await.expect("the types");
    assert_eq!(types[0].task_type.queue, Some(QueueName::low()));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_strictest_published_role_is_kept_whatever_is_published_after_it(db: PgPool) {
    let publications = [
        (None, None),
        (Some(Role::Submitter), Some(Role::Submitter)),
        (None, Some(Role::Submitter)),
        (Some(Role::Admin), Some(Role::Admin)),
        (Some(Role::Operator), Some(Role::Admin)),
        (None, Some(Role::Admin)),
    ];
    for (published, required) in publications {
        // a role that changes, and one that does not beside a change of the description
        for description in ["same", "other"] {
            let task_type = TaskType {
                description: description.to_owned(),
                required_role: published,
                ..a_type("echo")
            };
            publish(&db, &[task_type]).await.expect("published");
            let types = all(&db, WORKER_TIMEOUT).await.expect("the types");
            assert_eq!(types[0].task_type.required_role, required, "{published:?}");
        }
    }
    let laxer = TaskType {
        description: "other".to_owned(),
        required_role: Some(Role::Viewer),
        ..a_type("echo")
    };
    let before = versions(&db).await;
    publish(&db, &[laxer]).await.expect("published");
    assert_eq!(versions(&db).await, before, "no rows change");
}

/// The columns that a worker without `result_schema` and `required_role` publishes.
const OLD_PUBLICATION: &str = r#"
    INSERT INTO task_types (name, description, priority, max_retries, timeout_seconds, parameters_schema)
    VALUES ('echo', 'old', 0, 3, 60, '{"type":"object"}')
        ON CONFLICT (name) DO UPDATE
       SET description = excluded.description, parameters_schema = excluded.parameters_schema"#;

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_publication_of_an_earlier_release_keeps_the_result_schema_and_the_role(db: PgPool) {
    execute(&db, OLD_PUBLICATION).await;
    let new = TaskType {
        result_schema: Some(r#"{"type":"object"}"#.to_owned()),
        required_role: Some(Role::Operator),
        ..a_type("echo")
    };
    publish(&db, std::slice::from_ref(&new)).await.expect("published");
    execute(&db, OLD_PUBLICATION).await;
    let types = all(&db, WORKER_TIMEOUT).await.expect("the types");
    let kept = &types[0].task_type;
    assert_eq!(kept.description, "old");
    assert_eq!(
        (&kept.result_schema, kept.required_role),
        (&new.result_schema, new.required_role)
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn workers_that_publish_overlapping_types_at_once_do_not_deadlock(db: PgPool) {
    let publishers = connections(&db, 16).await.into_iter().enumerate();
    join_all(publishers.map(async |(turn, mut connection)| {
        for round in 0..10 {
            let mut types: Vec<TaskType> = (turn..turn + 30)
                .map(|n| TaskType {
                    description: format!("of {turn} in round {round}"),
                    ..a_type(&format!("t{n}"))
                })
                .collect();
            if turn % 2 == 1 {
                types.reverse();
            }
            publish(&mut connection, &types).await.expect("no deadlock");
        }
    }))
    .await;
    assert_eq!(all(&db, WORKER_TIMEOUT).await.expect("the types").len(), 45);
}
