use std::collections::BTreeMap;

use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, Run, TaskId, TaskStatus};
use tasker_store::complete::Success;
use tasker_store::end_runs::{EndedRun, Verdict};
use tasker_store::steps::stop::{self, EndsAs};
use tasker_store::steps::{self, Advance};
use tasker_store::workflow_start::{Deadline, NewJoin, NewStep, NewWorkflow, start};
use tasker_testkit::a_key;

use super::support::{KEY_TTL, claim_as, ended, enter_worker, success};

const TO_TASK: i16 = 16;
const TO_JOIN: i16 = 32;
const TO_END: i16 = 64;
pub(crate) const FAIL: i16 = 0;
const CONTINUE: i16 = 1;
const SKIP: i16 = 2;
const ONLY: i16 = 3;

/// A workflow of the given steps: name, and its parents with the policy of the edge.
pub(crate) struct Graph {
    pub(crate) workflow: NewWorkflow,
    pub(crate) ids: BTreeMap<String, TaskId>,
}

/// An edge as a row stores it.
struct Edge {
    target: TaskId,
    kind: i16,
}

/// Returns the texts of the arrays of targets and of kinds.
fn arrays(edges: &[Edge]) -> (String, String) {
    let list = |items: Vec<String>| format!("{{{}}}", items.join(","));
    (
        list(edges.iter().map(|edge| edge.target.to_string()).collect()),
        list(edges.iter().map(|edge| edge.kind.to_string()).collect()),
    )
}

/// An edge of a test's graph: the parent and the policy.
pub(crate) type Need = (&'static str, i16);

impl Graph {
    pub(crate) fn of(steps: &[(&'static str, &[Need])]) -> Self {
        let workflow = TaskId::generate();
        let ids: BTreeMap<String, TaskId> = steps
            .iter()
            .map(|(name, _)| ((*name).to_owned(), TaskId::generate()))
            .collect();
        let mut edges: BTreeMap<&str, Vec<Edge>> = BTreeMap::new();
        let mut joins = Vec::new();
        let mut lead = |parents: &[Need], target: TaskId, kind: i16| {
            let (target, kind) = if let [_] = parents {
                (target, kind)
            } else {
                let join = TaskId::generate();
                let (targets, kinds) = arrays(&[Edge { target, kind }]);
                joins.push(NewJoin {
                    id: join,
                    size: i32::try_from(parents.len()).expect("few"),
                    targets,
                    kinds,
                });
                (join, TO_JOIN)
            };
            for (parent, policy) in parents {
                let kind = kind | policy;
                edges.entry(parent).or_default().push(Edge { target, kind });
            }
        };
        for (name, parents) in steps.iter().filter(|(_, parents)| !parents.is_empty()) {
            lead(parents, ids[*name], TO_TASK);
        }
        let is_parent = |name: &str| {
            steps
                .iter()
                .any(|(_, needs)| needs.iter().any(|(parent, _)| *parent == name))
        };
        let last: Vec<Need> = steps
            .iter()
            .filter(|(name, _)| !is_parent(name))
            .map(|(name, _)| (*name, FAIL))
            .collect();
        lead(&last, workflow, TO_END);
        let steps = steps
            .iter()
            .map(|(name, parents)| step(ids[*name], name, !parents.is_empty(), edges.remove(name)));
        Self {
            workflow: NewWorkflow {
                id: workflow,
                namespace: "example".to_owned(),
                name: "graph".to_owned(),
                version: "1.0.0".to_owned(),
                definition_hash: [7; 32],
                definition: "{}".to_owned(),
                context: r#"{"day": 1}"#.to_owned(),
                priority: 0,
                tags: Vec::new(),
                correlation_id: "test".to_owned(),
                traceparent: None,
                key: None,
                gives_up: false,
                deadline: Deadline::InSeconds(3600.0),
                steps: steps.collect(),
                joins,
            },
            ids,
        }
    }

    pub(crate) async fn start(steps: &[(&'static str, &[Need])], db: &PgPool) -> Self {
        Self::of(steps).write(db).await
    }

    pub(crate) async fn start_with_key(steps: &[(&'static str, &[Need])], key: &str, db: &PgPool) -> Self {
        let mut graph = Self::of(steps);
        graph.workflow.key = a_key(key);
        graph.write(db).await
    }

    /// Starts it.
    pub(crate) async fn write(self, db: &PgPool) -> Self {
        let started = start(db, std::slice::from_ref(&self.workflow), KEY_TTL).await;
        assert!(started.expect("it is started").contains_key(&self.workflow.id));
        self
    }

    pub(crate) async fn run(&self, db: &PgPool, name: &str) -> Run {
        let claim = claim_as(db, "w", &[self.ids[name]]).await;
        assert_eq!(claim.tasks.len(), 1, "{name} was not claimed");
        claim.tasks[0].run
    }

    /// Claims and completes a step.
    pub(crate) async fn complete(&self, db: &PgPool, name: &str) -> Advance {
        let run = self.run(db, name).await;
        let advance = steps::complete(db, "w", &[success(run, "{}")]).await;
        self.skip_all(db, advance.expect("it completes")).await
    }

    /// Claims a step and ends it as a dead letter.
    pub(crate) async fn fail(&self, db: &PgPool, name: &str) -> Advance {
        let run = self.run(db, name).await;
        let verdict = Verdict::DeadLetter(DeadLetterReason::Failed);
        let advance = steps::end_runs(db, "w", &[ended(run, verdict)]).await;
        self.skip_all(db, advance.expect("it ends")).await
    }

    /// Sends the waves of skips that follow.
    async fn skip_all(&self, db: &PgPool, mut advance: Advance) -> Advance {
        while !advance.to_skip.is_empty() {
            let wave = std::mem::take(&mut advance.to_skip);
            let next = steps::skip_wave(db, &wave).await.expect("a wave");
            assert_eq!(next.ended.len(), wave.len());
            advance.ready.extend(next.ready);
            advance.over.extend(next.over);
            advance.to_skip = next.to_skip;
        }
        advance
    }

    pub(crate) fn names(&self, advance: &Advance) -> Vec<&str> {
        let mut names: Vec<&str> = advance
            .ready
            .iter()
            .map(|hint| {
                let found = self.ids.iter().find(|(_, id)| **id == hint.id);
                found.map(|(name, _)| name.as_str()).expect("a step")
            })
            .collect();
        names.sort_unstable();
        names
    }

    pub(crate) async fn status(&self, db: &PgPool, name: &str) -> TaskStatus {
        super::support::record(db, self.ids[name]).await.status
    }

    /// Returns the state of the workflow, and whether its row is the live one.
    pub(crate) async fn state(&self, db: &PgPool) -> (String, bool) {
        sqlx::query_as(
            "SELECT status::text, true FROM workflows WHERE id = $1
              UNION ALL SELECT status::text, false FROM finished_workflows WHERE id = $1",
        )
        .bind(self.workflow.id)
        .fetch_one(db)
        .await
        .expect("the workflow exists")
    }
}

fn step(id: TaskId, name: &str, waits: bool, edges: Option<Vec<Edge>>) -> NewStep {
    let (targets, kinds) = arrays(&edges.unwrap_or_default());
    NewStep {
        id,
        name: name.to_owned(),
        task_name: "echo".to_owned(),
        queue: QueueName::default_class(),
        priority: 0,
        parameters: "{}".to_owned(),
        max_attempts: 3,
        timeout_seconds: 60.0,
        waits,
        targets,
        kinds,
        options: None,
    }
}

pub(crate) const CHAIN: &[(&str, &[Need])] = &[("a", &[]), ("b", &[("a", FAIL)]), ("c", &[("b", FAIL)])];
pub(crate) const DIAMOND: &[(&str, &[Need])] = &[
    ("top", &[]),
    ("left", &[("top", FAIL)]),
    ("right", &[("top", FAIL)]),
    ("bottom", &[("left", FAIL), ("right", FAIL)]),
];

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn each_step_of_a_chain_is_made_ready_by_the_end_of_the_one_before(db: PgPool) {
    enter_worker(&db, "w").await;
    let chain = Graph::start(CHAIN, &db).await;
    assert_eq!(chain.status(&db, "b").await, TaskStatus::Waiting);
    let advance = chain.complete(&db, "a").await;
    assert_eq!(chain.names(&advance), ["b"]);
    assert!(advance.ready[0].urgent, "a continuation goes to the head");
    assert_eq!(chain.names(&chain.complete(&db, "b").await), ["c"]);
    assert_eq!(chain.state(&db).await, ("steps_in_process".to_owned(), true));
    assert_eq!(chain.complete(&db, "c").await.over, [chain.workflow.id]);
    assert_eq!(chain.state(&db).await, ("complete".to_owned(), false));
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_step_with_several_parents_waits_for_all_of_them_also_if_they_end_together(db: PgPool) {
    enter_worker(&db, "w").await;
    for together in [false, true] {
        let diamond = Graph::start(DIAMOND, &db).await;
        assert_eq!(
            diamond.names(&diamond.complete(&db, "top").await),
            ["left", "right"]
        );
        let advance = if together {
            let runs = [diamond.run(&db, "left").await, diamond.run(&db, "right").await];
            let done: Vec<Success> = runs.iter().map(|run| success(*run, "{}")).collect();
            steps::complete(&db, "w", &done).await.expect("both complete")
        } else {
            assert!(diamond.complete(&db, "left").await.ready.is_empty());
            diamond.complete(&db, "right").await
        };
        assert_eq!(diamond.names(&advance), ["bottom"]);
        assert_eq!(diamond.complete(&db, "bottom").await.over, [diamond.workflow.id]);
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM step_joins")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert_eq!(left, 0);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_dead_letter_blocks_its_workflow_and_other_branches_go_on(db: PgPool) {
    enter_worker(&db, "w").await;
    let diamond = Graph::start(DIAMOND, &db).await;
    diamond.complete(&db, "top").await;
    assert!(diamond.fail(&db, "left").await.ready.is_empty());
    assert_eq!(diamond.state(&db).await, ("blocked_by_failures".to_owned(), true));
    assert_eq!(diamond.status(&db, "left").await, TaskStatus::DeadLetter);
    assert!(diamond.complete(&db, "right").await.ready.is_empty());
    assert_eq!(diamond.status(&db, "bottom").await, TaskStatus::Waiting);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_policy_of_an_edge_says_what_follows_a_dead_letter(db: PgPool) {
    enter_worker(&db, "w").await;
    let graph: &[(&str, &[Need])] = &[
        ("top", &[]),
        ("goes_on", &[("top", CONTINUE)]),
        ("is_skipped", &[("top", SKIP)]),
        ("handles", &[("top", ONLY)]),
        ("after", &[("is_skipped", FAIL)]),
    ];
    let failed = Graph::start(graph, &db).await;
    let advance = failed.fail(&db, "top").await;
    assert_eq!(failed.names(&advance), ["goes_on", "handles"]);
    assert_eq!(failed.status(&db, "is_skipped").await, TaskStatus::Skipped);
    assert_eq!(failed.status(&db, "after").await, TaskStatus::Skipped);
    assert_eq!(failed.status(&db, "top").await, TaskStatus::DeadLetter);
    failed.complete(&db, "goes_on").await;
    assert_eq!(failed.complete(&db, "handles").await.over, [failed.workflow.id]);

    let good = Graph::start(graph, &db).await;
    let advance = good.complete(&db, "top").await;
    assert_eq!(good.names(&advance), ["goes_on", "is_skipped"]);
    assert_eq!(good.status(&db, "handles").await, TaskStatus::Skipped);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_step_is_skipped_only_if_all_its_parents_were(db: PgPool) {
    enter_worker(&db, "w").await;
    let graph = Graph::start(
        &[
            ("top", &[]),
            ("branch", &[("top", ONLY)]),
            ("other", &[("top", FAIL)]),
            ("both", &[("branch", FAIL), ("other", FAIL)]),
        ],
        &db,
    )
    .await;
    assert_eq!(graph.names(&graph.complete(&db, "top").await), ["other"]);
    assert_eq!(graph.names(&graph.complete(&db, "other").await), ["both"]);
    assert_eq!(graph.complete(&db, "both").await.over, [graph.workflow.id]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_retry_and_a_released_run_leave_the_edges_for_the_run_that_ends(db: PgPool) {
    enter_worker(&db, "w").await;
    let chain = Graph::start(CHAIN, &db).await;
    let run = chain.run(&db, "a").await;
    let back = steps::end_runs(&db, "w", &[ended(run, Verdict::Released)]).await;
    assert_eq!(back.expect("it is released").ended[0].status, TaskStatus::Pending);
    assert_eq!(chain.names(&chain.complete(&db, "a").await), ["b"]);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn the_statements_for_plain_tasks_leave_steps_alone_and_the_table_refuses_to_lose_one(db: PgPool) {
    enter_worker(&db, "w").await;
    let chain = Graph::start(CHAIN, &db).await;
    let run = chain.run(&db, "a").await;
    assert!(super::support::finish(&db, "w", run).await.is_empty());
    let failed = EndedRun {
        run,
        verdict: Verdict::DeadLetter(DeadLetterReason::Failed),
        reason: "failed",
        error: None,
    };
    let ended = tasker_store::end_runs::end_runs(&db, "w", &[failed]).await;
    assert!(ended.expect("an answer").is_empty());
    let error = sqlx::query("DELETE FROM tasks WHERE id = $1")
        .bind(run.task)
        .execute(&db)
        .await
        .expect_err("it is refused");
    let error = error.into_database_error().expect("an answer of Postgres");
    assert_eq!(error.constraint(), Some("step_ends_with_its_edges"));
    assert_eq!(chain.status(&db, "a").await, TaskStatus::Running);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_cancelled_workflow_starts_no_step_and_ends_when_the_last_running_one_has(db: PgPool) {
    enter_worker(&db, "w").await;
    let diamond = Graph::start(DIAMOND, &db).await;
    diamond.complete(&db, "top").await;
    let run = diamond.run(&db, "left").await;
    let id = diamond.workflow.id;
    let marked = stop::mark(&db, id, EndsAs::Cancelled, "cancelled", Some("ann")).await;
    assert!(marked.expect("it is marked"));
    let none = claim_as(&db, "w", &[diamond.ids["right"]]).await;
    assert!(none.tasks.is_empty());
    let pass = stop::sweep(&db, id, 1000).await.expect("a pass");
    assert_eq!((pass.cancelled, pass.told, pass.hints.len()), (2, 1, 1));
    assert!(!stop::is_unfinished(&db, id).await.expect("an answer"));
    assert!(
        !stop::end(&db, id).await.expect("an answer"),
        "one step still runs"
    );
    let advance = steps::complete(&db, "w", &[success(run, "{}")])
        .await
        .expect("it ends");
    assert_eq!(advance.ended[0].status, TaskStatus::Cancelled);
    assert!(advance.ready.is_empty() && advance.over.is_empty());
    assert!(stop::end(&db, id).await.expect("an answer"));
    assert_eq!(diamond.state(&db).await, ("cancelled".to_owned(), false));
    assert_eq!(diamond.status(&db, "bottom").await, TaskStatus::Cancelled);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_workflow_that_gives_up_is_stopped_by_its_first_dead_letter_and_ends_as_an_error(db: PgPool) {
    enter_worker(&db, "w").await;
    let mut diamond = Graph::of(DIAMOND);
    diamond.workflow.gives_up = true;
    start(&db, std::slice::from_ref(&diamond.workflow), KEY_TTL)
        .await
        .expect("it is started");
    diamond.complete(&db, "top").await;
    diamond.fail(&db, "left").await;
    let id = diamond.workflow.id;
    assert_eq!(stop::stopped(&db, 10).await.expect("a list"), [id]);
    let pass = stop::sweep(&db, id, 1000).await.expect("a pass");
    assert_eq!((pass.cancelled, pass.told, pass.dead_letters), (2, 0, 1));
    assert!(stop::end(&db, id).await.expect("an answer"));
    assert_eq!(diamond.state(&db).await, ("error".to_owned(), false));
    assert_eq!(diamond.status(&db, "left").await, TaskStatus::DeadLetter);
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_blocked_workflow_goes_on_after_a_retry_a_resolution_or_a_skip_of_its_dead_letter(db: PgPool) {
    use tasker_store::steps::operate::{Verb, operate};
    enter_worker(&db, "w").await;
    for verb in [Verb::Retry, Verb::Resolve("{\"by\": \"hand\"}"), Verb::Skip] {
        let diamond = Graph::start(DIAMOND, &db).await;
        diamond.complete(&db, "top").await;
        diamond.fail(&db, "left").await;
        diamond.complete(&db, "right").await;
        let done = operate(
            &db,
            diamond.workflow.id,
            Some(diamond.ids["left"]),
            verb,
            "ann",
            None,
        )
        .await;
        let done = done.expect("it is done");
        assert_eq!(diamond.state(&db).await, ("steps_in_process".to_owned(), true));
        let ready = if verb == Verb::Retry {
            assert!(done.ready.is_empty());
            diamond.complete(&db, "left").await
        } else {
            done
        };
        assert_eq!(diamond.names(&ready), ["bottom"], "{verb:?}");
        assert_eq!(diamond.complete(&db, "bottom").await.over, [diamond.workflow.id]);
    }
}
