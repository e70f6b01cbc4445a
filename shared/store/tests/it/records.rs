use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use sqlx::PgPool;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::cancel::cancel;
use tasker_store::insert::{Due, NewTask};
use tasker_store::operator_retry::retry;
use tasker_store::records::{Filter, finished_or_missing, get, list, status_of};
use tasker_testkit::a_task;

use super::support::{
    KEY_TTL, a_dead_letter, claim_as, enter_worker, execute, finish, record, run_of, submit, submit_many,
    submit_one, wide_pool,
};

/// Returns the ids of every page, in order, and the number of pages.
async fn walk(db: &PgPool, filter: &Filter, limit: i64) -> (Vec<TaskId>, usize) {
    let (mut ids, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let page = list(db, filter, before, limit).await.expect("a page");
        assert!(page.tasks.len() <= usize::try_from(limit).expect("a small limit"));
        ids.extend(page.tasks.iter().map(|task| task.id));
        pages += 1;
        before = page.next;
        if before.is_none() {
            return (ids, pages);
        }
    }
}

async fn found(db: &PgPool, filter: Filter) -> Vec<TaskId> {
    walk(db, &filter, 2).await.0
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_is_found_wherever_it_is(db: PgPool) {
    enter_worker(&db, "w").await;
    let id = submit_one(&db, a_task("echo")).await;
    assert_eq!(record(&db, id).await.status, TaskStatus::Pending);
    finish(&db, "w", run_of(&db, "w", id).await).await;
    assert_eq!(record(&db, id).await.status, TaskStatus::Completed);
    assert_eq!(
        status_of(&db, id).await.expect("an answer"),
        Some(TaskStatus::Completed)
    );
    let unknown = TaskId::generate();
    assert!(get(&db, unknown).await.expect("an answer").is_none());
    assert_eq!(status_of(&db, unknown).await.expect("an answer"), None);
    let foreign = TaskId("6e8bc430-9c3a-11d9-9669-0800200c9a66".parse().expect("a UUID"));
    assert!(get(&db, foreign).await.expect("an answer").is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn finished_and_missing_tasks_are_named(db: PgPool) {
    enter_worker(&db, "w").await;
    let pending = submit_one(&db, a_task("echo")).await;
    let done = submit_one(&db, a_task("echo")).await;
    finish(&db, "w", run_of(&db, "w", done).await).await;
    let dead = a_dead_letter(&db, "w", a_task("echo")).await;
    let unknown = TaskId::generate();
    let over = finished_or_missing(&db, &[pending, done, dead, unknown])
        .await
        .expect("an answer");
    assert_eq!(HashSet::from_iter(over), HashSet::from([done, dead, unknown]));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_list_is_newest_first_and_its_pages_hold_every_task_once(db: PgPool) {
    enter_worker(&db, "w").await;
    let mut ids = submit_many(&db, 25).await;
    for id in ids.iter().step_by(3) {
        finish(&db, "w", run_of(&db, "w", *id).await).await;
    }
    ids.reverse();
    for limit in [1, 4, 5, 24, 25, 26, 1000] {
        assert_eq!(walk(&db, &Filter::default(), limit).await.0, ids, "limit {limit}");
    }
    let empty = list(&db, &Filter::default(), Some(TaskId::MIN), 10)
        .await
        .expect("a page");
    assert!(empty.tasks.is_empty() && empty.next.is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn every_filter_narrows_the_list_to_its_own(db: PgPool) {
    enter_worker(&db, "w").await;
    let low = NewTask {
        queue: QueueName::low(),
        ..a_task("echo")
    };
    let tagged = NewTask {
        tags: vec!["a".to_owned(), "b".to_owned()],
        ..a_task("echo")
    };
    let scheduled = NewTask {
        due: Due::InSeconds(60.0),
        ..a_task("noop")
    };
    let (low, tagged) = (submit_one(&db, low).await, submit_one(&db, tagged).await);
    let scheduled = submit_one(&db, scheduled).await;
    let dead = a_dead_letter(&db, "w", a_task("echo")).await;
    let done = submit_one(&db, a_task("echo")).await;
    finish(&db, "w", run_of(&db, "w", done).await).await;
    let running = submit_one(&db, a_task("echo")).await;
    run_of(&db, "w", running).await;
    let cancelled = submit_one(&db, a_task("echo")).await;
    cancel(&db, cancelled, "me").await.expect("an answer");

    for (status, ids) in [
        (TaskStatus::Pending, vec![tagged, low]),
        (TaskStatus::Scheduled, vec![scheduled]),
        (TaskStatus::DeadLetter, vec![dead]),
        (TaskStatus::Completed, vec![done]),
        (TaskStatus::Running, vec![running]),
        (TaskStatus::Cancelled, vec![cancelled]),
        (TaskStatus::ResolvedManually, vec![]),
        (TaskStatus::Skipped, vec![]),
    ] {
        let filter = Filter {
            status: Some(status),
            ..Filter::default()
        };
        assert_eq!(found(&db, filter).await, ids, "{status}");
    }
    let only = Filter::default;
    let queues = Some(vec![QueueName::low(), QueueName::high()]);
    assert_eq!(found(&db, Filter { queues, ..only() }).await, [low]);
    let task_name = Some("noop".to_owned());
    assert_eq!(found(&db, Filter { task_name, ..only() }).await, [scheduled]);
    let tag = Some("b".to_owned());
    assert_eq!(found(&db, Filter { tag, ..only() }).await, [tagged]);
    let worker_id = Some("w".to_owned());
    assert_eq!(found(&db, Filter { worker_id, ..only() }).await, [running, done]);
    let both = Filter {
        status: Some(TaskStatus::Pending),
        tag: Some("a".to_owned()),
        ..only()
    };
    assert_eq!(found(&db, both).await, [tagged]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_list_is_bounded_by_when_its_tasks_were_created(db: PgPool) {
    let ids = submit_many(&db, 3).await;
    execute(
        &db,
        "UPDATE tasks SET created_at = created_at + interval '1 hour'",
    )
    .await;
    let third = record(&db, ids[2]).await.created_at;
    let early = submit_one(&db, a_task("echo")).await;
    let after = Filter {
        created_after: Some(third),
        ..Filter::default()
    };
    assert_eq!(found(&db, after).await, [ids[2], ids[1], ids[0]]);
    let before = Filter {
        created_before: Some(third),
        ..Filter::default()
    };
    assert_eq!(found(&db, before).await, [early]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_rare_match_behind_ten_thousand_others_is_found_and_the_list_ends(db: PgPool) {
    let rare = NewTask {
        tags: vec!["rare".to_owned()],
        ..a_task("echo")
    };
    let first = submit_one(&db, rare.clone()).await;
    submit_many(&db, 10_000).await;
    let middle = NewTask {
        id: TaskId::generate(),
        ..rare
    };
    let middle = submit_one(&db, middle).await;
    submit_many(&db, 10_000).await;
    let filter = Filter {
        tag: Some("rare".to_owned()),
        ..Filter::default()
    };
    let (ids, pages) = walk(&db, &filter, 10).await;
    assert_eq!(ids, [middle, first]);
    assert_eq!(pages, 3);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn where_a_page_ends_names_no_task_of_another_queue(db: PgPool) {
    let own = submit_one(
        &db,
        NewTask {
            queue: QueueName::low(),
            ..a_task("echo")
        },
    )
    .await;
    let others = submit_many(&db, 10_001).await;
    let filter = Filter {
        queues: Some(vec![QueueName::low()]),
        ..Filter::default()
    };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = list(&db, &filter, before, 10).await.expect("a page");
        seen.extend(page.tasks.iter().map(|task| task.id));
        assert!(
            page.next.is_none_or(|id| !others.contains(&id)),
            "{:?}",
            page.next
        );
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [own]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_list_that_is_read_while_tasks_come_and_go_repeats_none_and_leaves_none_out(db: PgPool) {
    enter_worker(&db, "w").await;
    let tagged = || NewTask {
        tags: vec!["t".to_owned()],
        ..a_task("echo")
    };
    // of the tasks that stay pending, one in a hundred matches; those between come and go
    let mut stay = Vec::new();
    let mut go = Vec::new();
    for _ in 0..130 {
        go.extend(submit_many(&db, 99).await);
        stay.push(submit_one(&db, tagged()).await);
    }
    let filter = Filter {
        status: Some(TaskStatus::Pending),
        tag: Some("t".to_owned()),
        ..Filter::default()
    };
    let wide = wide_pool(&db, 6).await;
    let traffic = async {
        for chunk in go.chunks(150) {
            let runs = claim_as(&wide, "w", chunk).await;
            let newer: Vec<NewTask> = (0..150)
                .map(|n| if n % 10 == 0 { tagged() } else { a_task("echo") })
                .collect();
            let (_, ended) = join(
                submit(&wide, &newer),
                join_all(runs.tasks.chunks(50).map(async |tasks| {
                    let runs: Vec<_> = tasks
                        .iter()
                        .map(|task| super::support::success(task.run, "{}"))
                        .collect();
                    tasker_store::complete::complete(&wide, "w", &runs).await
                })),
            )
            .await;
            assert!(ended.iter().all(Result::is_ok));
        }
    };
    let reading = async {
        for _ in 0..12 {
            let (ids, _) = walk(&wide, &filter, 1000).await;
            let unique: HashSet<TaskId> = ids.iter().copied().collect();
            assert_eq!(unique.len(), ids.len(), "a task was listed twice");
            let lost = stay.iter().filter(|id| !unique.contains(id)).count();
            assert_eq!(lost, 0, "tasks were left out");
        }
    };
    join(traffic, reading).await;
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_moves_while_it_is_read_is_seen_exactly_once(db: PgPool) {
    enter_worker(&db, "w").await;
    let wide = wide_pool(&db, 8).await;
    let ids = submit_many(&wide, 150).await;
    let writing = async {
        for id in &ids {
            finish(&wide, "w", run_of(&wide, "w", *id).await).await;
        }
    };
    let reader = async |offset: usize| {
        for n in 0..100 {
            let id = ids[(n + offset) % ids.len()];
            let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM task_records WHERE id = $1")
                .bind(id)
                .fetch_one(&wide)
                .await
                .expect("an answer");
            assert_eq!(seen, 1);
            assert!(get(&wide, id).await.expect("an answer").is_some());
            let page = list(&wide, &Filter::default(), None, 1000).await.expect("a page");
            assert_eq!(page.tasks.len(), 150);
        }
    };
    join(writing, join_all([0, 50, 100].map(reader))).await;
    wide.close().await;
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_task_that_moves_back_and_forth_is_always_there(db: PgPool) {
    let wide = wide_pool(&db, 4).await;
    let id = submit_one(&wide, a_task("echo")).await;
    let moving = tokio::time::timeout(Duration::from_secs(2), async {
        loop {
            cancel(&wide, id, "me").await.expect("an answer");
            retry(&wide, id, "me", KEY_TTL).await.expect("an answer");
        }
    });
    let reading = tokio::time::timeout(Duration::from_secs(2), async {
        loop {
            assert!(get(&wide, id).await.expect("an answer").is_some());
        }
    });
    let (_, _) = join(moving, reading).await;
    wide.close().await;
}
