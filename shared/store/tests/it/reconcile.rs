//! Faults of workflows are found in any snapshot and repaired; healthy workflows are never touched.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_core::task::{TaskId, TaskStatus};
use tasker_store::complete::Success;
use tasker_store::steps::reconcile::{
    Fault, Found, Target, Window, delete_orphan_joins, find, reach, recount, recount_failed,
};
use tasker_store::steps::stop::{self, EndsAs};
use tasker_store::steps::{self, Advance};

use super::plans::{UNTIL_PLANNED, rows_read};
use super::step_graphs::run_random_workflows;
use super::steps::{CHAIN, DIAMOND, FAIL, Graph, Need};
use super::support::{enter_worker, execute, submit_many, success, wide_pool};

/// A window with all workflows.
const ALL: Window = Window {
    after: None,
    limit: 1_000,
    large: true,
};

async fn check(db: &PgPool) -> Found {
    find(db, ALL).await.expect("an answer")
}

/// Returns the faults of all workflows, by kind.
async fn faults(db: &PgPool) -> Vec<(Fault, Vec<TaskId>)> {
    check(db).await.faults.into_iter().collect()
}

async fn recounted(db: &PgPool) -> (usize, Advance) {
    let found = check(db).await;
    let joins = &found.faults[&Fault::JoinCount];
    let mut connection = db.acquire().await.expect("a connection");
    recount(&mut connection, joins).await.expect("an answer")
}

async fn pending(db: &PgPool) -> Option<i32> {
    sqlx::query_scalar("SELECT pending FROM step_joins")
        .fetch_optional(db)
        .await
        .expect("an answer")
}

/// A diamond whose first step has ended.
async fn diamond(db: &PgPool) -> Graph {
    enter_worker(db, "w").await;
    let diamond = Graph::start(DIAMOND, db).await;
    diamond.complete(db, "top").await;
    diamond
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_join_that_waits_for_another_number_of_edges_than_there_are_is_counted_anew(db: PgPool) {
    let diamond = diamond(&db).await;
    assert_eq!(faults(&db).await, []);
    for wrong in [1, 3, 0, -1] {
        sqlx::query("UPDATE step_joins SET pending = $1")
            .bind(wrong)
            .execute(&db)
            .await
            .expect("it is broken");
        let (repaired, advance) = recounted(&db).await;
        assert_eq!((repaired, advance.ready.len()), (1, 0));
        assert_eq!((pending(&db).await, faults(&db).await), (Some(2), vec![]));
    }
    diamond.complete(&db, "left").await;
    assert_eq!(diamond.names(&diamond.complete(&db, "right").await), ["bottom"]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_join_whose_last_edge_was_lost_is_opened_and_its_step_runs(db: PgPool) {
    let diamond = diamond(&db).await;
    execute(&db, "UPDATE step_joins SET pending = 4, good = -2").await;
    diamond.complete(&db, "left").await;
    assert!(diamond.complete(&db, "right").await.ready.is_empty());
    let (repaired, advance) = recounted(&db).await;
    assert_eq!((repaired, diamond.names(&advance)), (1, vec!["bottom"]));
    assert_eq!((pending(&db).await, faults(&db).await), (None, vec![]));
    assert_eq!(diamond.complete(&db, "bottom").await.over, [diamond.workflow.id]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_join_before_the_end_that_waits_for_no_edge_ends_its_workflow(db: PgPool) {
    enter_worker(&db, "w").await;
    let pair: &[(&str, &[Need])] = &[("a", &[]), ("b", &[])];
    let pair = Graph::start(pair, &db).await;
    execute(&db, "UPDATE step_joins SET pending = 3").await;
    for step in ["a", "b"] {
        let advance = pair.complete(&db, step).await;
        assert_eq!((advance.over.len(), advance.not_over), (0, 1));
    }
    // the join is repaired first: once it is open, the workflow is over
    assert_eq!(faults(&db).await.len(), 2);
    let (repaired, advance) = recounted(&db).await;
    assert_eq!((repaired, advance.over), (1, vec![pair.workflow.id]));
    assert_eq!(pair.state(&db).await, ("complete".to_owned(), false));
    assert_eq!(faults(&db).await, []);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_step_that_waits_and_that_no_edge_leads_to_is_made_ready(db: PgPool) {
    enter_worker(&db, "w").await;
    let chain = Graph::start(CHAIN, &db).await;
    execute(
        &db,
        "UPDATE tasks SET targets = '{}', kinds = '{}' WHERE step = 'a'",
    )
    .await;
    assert!(chain.complete(&db, "a").await.ready.is_empty());
    let lost = vec![chain.ids["b"]];
    assert_eq!(faults(&db).await, [(Fault::LostStep, lost.clone())]);
    let advance = reach(&db, &lost, Target::Step).await.expect("an answer");
    assert_eq!(chain.names(&advance), ["b"]);
    assert_eq!(faults(&db).await, []);
    let again = reach(&db, &lost, Target::Step).await.expect("an answer");
    assert!(again.ready.is_empty(), "it no longer waits");
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_step_that_waits_to_be_skipped_is_not_lost(db: PgPool) {
    enter_worker(&db, "w").await;
    let chain = Graph::start(CHAIN, &db).await;
    let skip = steps::operate::skip_later(&db, chain.workflow.id, chain.ids["b"], "ann").await;
    assert!(skip.expect("an answer"));
    let run = chain.run(&db, "a").await;
    let advance = steps::complete(&db, "w", &[success(run, "{}")]).await;
    assert_eq!(advance.expect("it ends").to_skip, [chain.ids["b"]]);
    assert_eq!(faults(&db).await, []);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_step_whose_join_is_gone_waits_until_those_before_it_have_ended(db: PgPool) {
    let diamond = diamond(&db).await;
    execute(&db, "DELETE FROM step_joins").await;
    assert_eq!(faults(&db).await, []);
    for step in ["left", "right"] {
        let advance = diamond.complete(&db, step).await;
        assert_eq!((advance.late_edges, advance.ready.len()), (1, 0));
    }
    assert_eq!(
        faults(&db).await,
        [(Fault::LostStep, vec![diamond.ids["bottom"]])]
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_workflow_without_a_live_step_is_ended(db: PgPool) {
    enter_worker(&db, "w").await;
    let chain = Graph::start(&[("a", &[])], &db).await;
    execute(&db, "UPDATE tasks SET targets = '{}', kinds = '{}'").await;
    assert!(chain.complete(&db, "a").await.over.is_empty());
    let id = chain.workflow.id;
    execute(&db, "UPDATE workflows SET failed = 1").await;
    assert_eq!(faults(&db).await, [(Fault::NoDeadLetters, vec![id])]);
    execute(&db, "UPDATE workflows SET failed = 0").await;
    assert_eq!(faults(&db).await, [(Fault::NoSteps, vec![id])]);
    let advance = reach(&db, &[id], Target::End).await.expect("an answer");
    assert_eq!(advance.over, [id]);
    assert_eq!(chain.state(&db).await, ("complete".to_owned(), false));
    let again = reach(&db, &[id], Target::End).await.expect("an answer");
    assert_eq!((again.over.len(), again.late_ends), (0, 1));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_workflow_that_counts_other_dead_letters_than_it_has_is_counted_anew(db: PgPool) {
    let diamond = diamond(&db).await;
    diamond.fail(&db, "left").await;
    assert_eq!(faults(&db).await, []);
    let ids = vec![diamond.workflow.id];
    let mut connection = db.acquire().await.expect("a connection");
    for broken in [
        "UPDATE workflows SET failed = 0, status = 'steps_in_process'",
        "UPDATE workflows SET failed = 2",
    ] {
        execute(&db, broken).await;
        assert_eq!(faults(&db).await, [(Fault::FailedCount, ids.clone())]);
        assert_eq!(recount_failed(&mut connection, &ids).await.expect("an answer"), 1);
        assert_eq!(recount_failed(&mut connection, &ids).await.expect("an answer"), 0);
        assert_eq!(diamond.state(&db).await, ("blocked_by_failures".to_owned(), true));
        assert_eq!(faults(&db).await, []);
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn joins_and_steps_of_a_workflow_that_does_not_exist_are_deleted_and_cancelled(db: PgPool) {
    let gone = diamond(&db).await;
    let healthy = Graph::start(DIAMOND, &db).await;
    let id = gone.workflow.id;
    sqlx::query("DELETE FROM workflows WHERE id = $1")
        .bind(id)
        .execute(&db)
        .await
        .expect("it is broken");
    let expected = [(Fault::OrphanJoins, vec![id]), (Fault::OrphanSteps, vec![id])];
    assert_eq!(faults(&db).await, expected);
    let both = [id, healthy.workflow.id];
    assert_eq!(delete_orphan_joins(&db, &both, 10).await.expect("an answer"), 1);
    let pass = stop::sweep(&db, id, 10).await.expect("a pass");
    assert_eq!(pass.cancelled, 3);
    let pass = stop::sweep(&db, healthy.workflow.id, 10).await.expect("a pass");
    assert_eq!(pass.cancelled, 0);
    assert_eq!(faults(&db).await, []);
    assert_eq!(gone.status(&db, "bottom").await, TaskStatus::Cancelled);
    assert_eq!(pending(&db).await, Some(2));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_stopped_workflow_whose_steps_are_being_cancelled_is_left_alone(db: PgPool) {
    let diamond = diamond(&db).await;
    let id = diamond.workflow.id;
    let mut connection = db.acquire().await.expect("a connection");
    let joins: Vec<TaskId> = diamond.workflow.joins.iter().map(|join| join.id).collect();
    let marked = stop::mark(&db, id, EndsAs::Cancelled, "cancelled", None).await;
    assert!(marked.expect("it is marked"));
    for _ in 0..3 {
        assert_eq!(stop::sweep(&db, id, 1).await.expect("a pass").cancelled, 1);
        assert_eq!(faults(&db).await, []);
        // it may have been stopped after its join was found
        let (repaired, advance) = recount(&mut connection, &joins).await.expect("an answer");
        assert_eq!((repaired, advance.ready.len(), advance.over.len()), (0, 0, 0));
    }
    assert!(stop::end(&db, id).await.expect("an answer"));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_round_goes_over_all_workflows_in_windows_and_over_large_ones_on_demand(db: PgPool) {
    enter_worker(&db, "w").await;
    let pair: &[(&str, &[Need])] = &[("a", &[]), ("b", &[("a", FAIL)]), ("c", &[("a", FAIL)])];
    let mut graphs = Vec::new();
    for _ in 0..5 {
        graphs.push(Graph::start(pair, &db).await);
    }
    execute(&db, "UPDATE step_joins SET pending = 7").await;
    sqlx::query("UPDATE workflows SET steps = 10001 WHERE id = $1")
        .bind(graphs[1].workflow.id)
        .execute(&db)
        .await
        .expect("it is large");
    let mut window = Window {
        limit: 2,
        large: false,
        ..ALL
    };
    let mut numbers = Vec::new();
    loop {
        let found = find(&db, window).await.expect("an answer");
        numbers.push(found.faults.get(&Fault::JoinCount).map_or(0, Vec::len));
        window.after = found.up_to;
        if window.after.is_none() {
            break;
        }
    }
    assert_eq!(numbers, [1, 2, 1]);
    assert_eq!(check(&db).await.faults[&Fault::JoinCount].len(), 5);
    // the steps bound a window too, but one workflow is always taken
    execute(&db, "UPDATE workflows SET steps = 60000").await;
    let found = check(&db).await;
    assert_eq!(found.faults[&Fault::JoinCount].len(), 1);
    assert_eq!(found.up_to, Some(graphs[0].workflow.id));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn no_fault_is_found_while_many_processors_end_random_workflows(db: PgPool) {
    let over = AtomicBool::new(false);
    let work = async {
        run_random_workflows(&db, rand::random()).await;
        over.store(true, Ordering::SeqCst);
    };
    let checks = async {
        let mut checks = 0;
        while !over.load(Ordering::SeqCst) {
            assert_eq!(faults(&db).await, []);
            checks += 1;
        }
        checks
    };
    let ((), checks) = tokio::join!(work, checks);
    assert!(checks > 5, "only {checks} checks");
    assert_eq!(faults(&db).await, []);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_check_planned_while_the_tables_were_empty_reads_only_the_steps_of_its_window(db: PgPool) {
    let mut connection = db.acquire().await.expect("a connection").detach();
    let window = Window { limit: 2, ..ALL };
    for _ in 0..UNTIL_PLANNED {
        find(&mut connection, window).await.expect("an answer");
        recount(&mut connection, &[]).await.expect("an answer");
        execute(&db, "VACUUM ANALYZE tasks").await;
    }
    submit_many(&db, 1_000).await;
    let first = Graph::start(DIAMOND, &db).await;
    for _ in 0..100 {
        Graph::start(DIAMOND, &db).await;
    }
    let before = rows_read(&mut connection).await;
    let found = find(&mut connection, window).await.expect("an answer");
    assert!(found.faults.is_empty() && found.up_to.is_some());
    let joins = [first.workflow.joins[0].id];
    let (wrong, _) = recount(&mut connection, &joins).await.expect("an answer");
    assert_eq!(wrong, 0);
    let read = rows_read(&mut connection).await - before;
    assert!(read < 100, "{read} rows were read to check two workflows");
}

/// Finds and recounts until `over`; returns the number of steps that became ready.
async fn keep_recounting(db: &PgPool, over: &AtomicBool) -> usize {
    let mut ready = 0;
    loop {
        let last = over.load(Ordering::SeqCst);
        if let Some(joins) = check(db).await.faults.get(&Fault::JoinCount) {
            let mut connection = db.acquire().await.expect("a connection");
            let (_, advance) = recount(&mut connection, joins).await.expect("no deadlock");
            ready += advance.ready.len();
        }
        if last {
            return ready;
        }
    }
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn two_servers_repair_joins_while_their_edges_arrive_and_each_opens_once(db: PgPool) {
    const GRAPHS: usize = 30;
    enter_worker(&db, "w").await;
    let mut runs = Vec::new();
    for _ in 0..GRAPHS {
        let diamond = Graph::start(DIAMOND, &db).await;
        diamond.complete(&db, "top").await;
        for step in ["left", "right"] {
            runs.push(diamond.run(&db, step).await);
        }
    }
    execute(&db, "UPDATE step_joins SET pending = pending + 1").await;
    let pool = wide_pool(&db, 8).await;
    let over = AtomicBool::new(false);
    let work = async {
        let ends = runs.chunks(3).map(async |runs| {
            let done: Vec<Success> = runs.iter().map(|run| success(*run, "{}")).collect();
            let advance = steps::complete(&pool, "w", &done).await;
            advance.expect("no deadlock").ready.len()
        });
        let ready: usize = join_all(ends).await.into_iter().sum();
        over.store(true, Ordering::SeqCst);
        ready
    };
    let (by_work, first, second) =
        tokio::join!(work, keep_recounting(&pool, &over), keep_recounting(&pool, &over));
    pool.close().await;
    assert_eq!(by_work + first + second, GRAPHS);
    assert_eq!((faults(&db).await, pending(&db).await), (vec![], None));
}
