//! Random workflows whose steps end in any order, many at once: in the end every step is where a simulation
//! of the rules puts it.

use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{QueueName, Run, TaskId};
use tasker_store::claim_ready::claim_ready;
use tasker_store::complete::Success;
use tasker_store::end_runs::{EndedRun, Verdict};
use tasker_store::steps::{self, Advance};
use tasker_store::workflow_start::{Deadline, NewJoin, NewStep, NewWorkflow, start};
use tasker_store::{Result, retry_rolled_back, workflows};
use tasker_workflow::plan::{Plan, PlanIds};
use tasker_workflow::simulate::Simulation;
use tasker_workflow::{Definition, FailureReaction, ReadOptions, from_json};

use super::support::{KEY_TTL, claimant, ended, enter_worker, execute, success, wide_pool};

const PROCESSORS: u32 = 8;
const WORKFLOWS: usize = 25;

/// A workflow under test.
pub(crate) struct Graph {
    plan: Plan,
    ids: PlanIds,
    row: NewWorkflow,
    /// For each step whether it fails for good.
    fails: Vec<bool>,
}

impl Graph {
    fn random(random: &mut StdRng) -> Self {
        let steps = random.random_range(2..=24);
        let definition = definition(random, steps);
        let plan = Plan::of(&definition);
        let ids = PlanIds::assign(&plan, TaskId::generate().0, || TaskId::generate().0);
        let fails = (0..plan.steps.len()).map(|_| random.random_bool(0.2)).collect();
        let row = row(&definition, &plan, &ids);
        Self {
            plan,
            ids,
            row,
            fails,
        }
    }

    /// Returns the states of the steps and of the workflow by the rules.
    fn expected(&self) -> (Vec<String>, String) {
        let mut simulation = Simulation::start(&self.plan, FailureReaction::Block);
        while let Some(step) = simulation.ready().first().copied() {
            simulation.claim(step).expect("it is ready");
            let outcome = if self.fails[step] {
                simulation.fail(step)
            } else {
                simulation.complete(step)
            };
            outcome.expect("it runs");
            simulation.skip_all().expect("they are to be skipped");
        }
        let statuses = simulation.statuses().into_iter();
        (
            statuses.map(|status| status.as_str().to_owned()).collect(),
            simulation.state().as_str().to_owned(),
        )
    }

    fn fails(&self, id: TaskId) -> Option<bool> {
        let index = self.ids.steps.iter().position(|step| *step == id.0)?;
        Some(self.fails[index])
    }
}

/// Returns a random definition: each step has some of those before it as parents.
fn definition(random: &mut StdRng, steps: usize) -> Definition {
    let policies = ["fail", "continue", "skip"];
    let steps: Vec<serde_json::Value> = (0..steps)
        .map(|index| {
            let only = random.random_bool(0.15);
            let parents: Vec<usize> = (0..index).filter(|_| random.random_bool(0.3)).collect();
            let needs: Vec<serde_json::Value> = parents
                .into_iter()
                .map(|parent| {
                    let policy = if only { "only" } else { policies[random.random_range(0..3)] };
                    serde_json::json!({"step": format!("s{parent}"), "on_failure": policy})
                })
                .collect();
            let policy = policies[random.random_range(0..3)];
            serde_json::json!({"name": format!("s{index}"), "run": "echo", "needs": needs, "on_failure": policy})
        })
        .collect();
    let text = serde_json::json!({"name": "random", "steps": steps}).to_string();
    from_json(&text, ReadOptions::default())
        .expect("it is valid")
        .definition
}

fn row(definition: &Definition, plan: &Plan, ids: &PlanIds) -> NewWorkflow {
    let rows = plan.step_rows(ids);
    let steps = definition.steps.iter().enumerate().map(|(index, step)| NewStep {
        id: TaskId(rows.ids[index]),
        name: step.name.clone(),
        task_name: step.run.clone(),
        queue: QueueName::default_class(),
        priority: 0,
        parameters: "{}".to_owned(),
        max_attempts: 1,
        timeout_seconds: 60.0,
        waits: !rows.ready[index],
        targets: rows.targets[index].clone(),
        kinds: rows.kinds[index].clone(),
        options: None,
    });
    let joined = plan.join_rows(ids);
    let joins = joined.ids.iter().enumerate().map(|(index, id)| NewJoin {
        id: TaskId(*id),
        size: joined.sizes[index],
        targets: joined.targets[index].clone(),
        kinds: joined.kinds[index].clone(),
    });
    NewWorkflow {
        id: TaskId(ids.workflow),
        namespace: "test".to_owned(),
        name: "random".to_owned(),
        version: "1.0.0".to_owned(),
        definition_hash: definition.hash().0,
        definition: definition.to_json(),
        context: "{}".to_owned(),
        priority: 0,
        tags: Vec::new(),
        correlation_id: "test".to_owned(),
        traceparent: None,
        key: None,
        gives_up: false,
        deadline: Deadline::InSeconds(3600.0),
        steps: steps.collect(),
        joins: joins.collect(),
    }
}

/// A process that claims steps at random and ends them.
struct Processor<'a> {
    db: &'a PgPool,
    graphs: &'a [Graph],
    /// Steps that may still be claimed or end.
    live: &'a AtomicI64,
    random: StdRng,
}

impl Processor<'_> {
    async fn run(mut self) -> Result<()> {
        while self.live.load(Ordering::SeqCst) > 0 {
            let batch = self.random.random_range(1..=12);
            let ids: Vec<TaskId> = sqlx::query_scalar(
                "SELECT id FROM tasks WHERE status = 'pending' ORDER BY random() LIMIT $1",
            )
            .bind(batch)
            .fetch_all(self.db)
            .await?;
            let runs = self.claim(&ids).await?;
            self.end(&runs).await?;
            let live: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM tasks WHERE status IN ('pending', 'running') OR marks & 32 = 32",
            )
            .fetch_one(self.db)
            .await?;
            self.live.store(live, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn claim(&self, ids: &[TaskId]) -> Result<Vec<Run>> {
        let (queues, names) = (QueueName::classes(), ["echo".to_owned()]);
        let claimant = claimant("w", &queues, &names);
        let claim = retry_rolled_back(|| claim_ready(self.db, &claimant, ids)).await?;
        Ok(claim.tasks.into_iter().map(|task| task.run).collect())
    }

    /// Ends runs: most as their step is to end, some are released.
    async fn end(&mut self, runs: &[Run]) -> Result<()> {
        let (mut successes, mut others): (Vec<Success>, Vec<EndedRun>) = (Vec::new(), Vec::new());
        for run in runs {
            let fails = self.graphs.iter().find_map(|graph| graph.fails(run.task));
            if self.random.random_bool(0.1) {
                others.push(ended(*run, Verdict::Released));
            } else if fails.expect("a step of a workflow") {
                others.push(ended(*run, Verdict::DeadLetter(DeadLetterReason::Failed)));
            } else {
                successes.push(success(*run, "{}"));
            }
        }
        // a deadlock would be an error here: it is not sent again
        let advance = steps::complete(self.db, "w", &successes).await?;
        assert_eq!(advance.ended.len(), successes.len());
        self.follow(advance).await?;
        let advance = steps::end_runs(self.db, "w", &others).await?;
        assert_eq!(advance.ended.len(), others.len());
        self.follow(advance).await
    }

    async fn follow(&self, mut advance: Advance) -> Result<()> {
        while !advance.to_skip.is_empty() {
            let wave = std::mem::take(&mut advance.to_skip);
            advance = steps::skip_wave(self.db, &wave).await?;
        }
        Ok(())
    }
}

/// Runs random workflows to their ends, by many processors at once; returns them.
pub(crate) async fn run_random_workflows(db: &PgPool, seed: u64) -> Vec<Graph> {
    let mut random = StdRng::seed_from_u64(seed);
    enter_worker(db, "w").await;
    let graphs: Vec<Graph> = (0..WORKFLOWS).map(|_| Graph::random(&mut random)).collect();
    let rows: Vec<NewWorkflow> = graphs.iter().map(|graph| graph.row.clone()).collect();
    let started = start(db, &rows, KEY_TTL).await.expect("they are started");
    assert_eq!(started.len(), WORKFLOWS);

    let pool = wide_pool(db, PROCESSORS).await;
    let live = AtomicI64::new(1);
    let processors = (0..PROCESSORS).map(|_| {
        let processor = Processor {
            db: &pool,
            graphs: &graphs,
            live: &live,
            random: StdRng::seed_from_u64(random.random()),
        };
        processor.run()
    });
    for outcome in join_all(processors).await {
        outcome.unwrap_or_else(|error| panic!("seed {seed}: a statement failed: {error}"));
    }
    pool.close().await;
    graphs
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn many_processors_end_random_workflows_as_the_rules_say_and_without_a_deadlock(db: PgPool) {
    let seed: u64 = rand::random();
    let graphs = run_random_workflows(&db, seed).await;
    for graph in &graphs {
        let (statuses, state) = graph.expected();
        let id = TaskId(graph.ids.workflow);
        let found = workflows::get(&db, id)
            .await
            .expect("an answer")
            .expect("it exists");
        assert_eq!(found.status, state, "seed {seed}: {}", graph.row.definition);
        for (index, expected) in statuses.iter().enumerate() {
            let step = workflows::step(&db, id, TaskId(graph.ids.steps[index])).await;
            let step = step.expect("an answer").expect("it exists");
            assert_eq!(
                step.status.as_str(),
                expected,
                "seed {seed}: {} of {}",
                step.step,
                graph.row.definition
            );
        }
    }
    // of each join, what has still to arrive is what leads to it
    execute(
        &db,
        "DO $$ BEGIN
            IF EXISTS (SELECT FROM step_joins j WHERE j.pending <>
                       (SELECT count(*) FROM tasks t CROSS JOIN LATERAL UNNEST(t.targets) AS u(target)
                         WHERE t.workflow_id = j.workflow_id AND u.target = j.id))
            THEN RAISE 'a join counts other edges than there are'; END IF;
         END $$",
    )
    .await;
}
