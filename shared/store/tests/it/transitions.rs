//! Random mixes of every statement, checked against the transition table of the pure core.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::state::Event;
use tasker_core::task::{QueueName, Run, TaskId, TaskStatus};
use tasker_store::cancel::cancel;
use tasker_store::claim::{Claimant, claim};
use tasker_store::claim_ready::claim_ready;
use tasker_store::complete::{Success, complete};
use tasker_store::dead_letters::{Filter, Position, matched, retry_batch};
use tasker_store::end_runs::{EndedRun, Verdict, end_runs};
use tasker_store::insert::{Due, NewTask, insert};
use tasker_store::operator_retry::retry;
use tasker_store::progress::report;
use tasker_store::promote::promote;
use tasker_store::totals::{self, fold, totals};
use tasker_store::{ErrorKind, Result};
use tasker_testkit::{a_key, a_task};

use super::support::{KEY_TTL, enter_worker, execute, wide_pool};

const ACTORS: usize = 8;
const STEPS: usize = 250;
const TASKS: i64 = 600;
const EVENTS: [Event; 11] = [
    Event::ParentsDone,
    Event::Due,
    Event::Deferred,
    Event::Claimed,
    Event::Succeeded,
    Event::RetryDecided,
    Event::DeadLettered,
    Event::RunLost,
    Event::Cancelled,
    Event::RetriedByOperator,
    Event::Resolved,
];

/// Logs every change of a status, in both tables. A move is a row that leaves one table and enters the other.
const WATCH: &str = "
    CREATE TABLE seen (id uuid, txid xid8 DEFAULT pg_current_xact_id(), old task_status, new task_status);
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'INSERT' THEN INSERT INTO seen (id, new) VALUES (NEW.id, NEW.status);
        ELSIF TG_OP = 'DELETE' THEN INSERT INTO seen (id, old) VALUES (OLD.id, OLD.status);
        ELSIF OLD.status <> NEW.status THEN
            INSERT INTO seen (id, old, new) VALUES (NEW.id, OLD.status, NEW.status);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION see();
    CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON finished_tasks FOR EACH ROW EXECUTE FUNCTION see();";

/// An actor that does random things to all tasks.
struct Actor<'a> {
    db: &'a PgPool,
    tasks: &'a [TaskId],
    worker: String,
    rng: StdRng,
    held: Vec<Run>,
}

impl Actor<'_> {
    async fn act(&mut self) {
        for _ in 0..STEPS {
            match self.step().await {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::RolledBack, "{error}"),
            }
        }
    }

    async fn step(&mut self) -> Result<()> {
        let some: Vec<TaskId> = self.tasks.sample(&mut self.rng, 15).copied().collect();
        match self.rng.random_range(0..22) {
            0..=5 => self.claim(&some).await,
            6..=9 => self.complete().await,
            10..=13 => self.end().await,
            14..=15 => promote(self.db, 10).await.map(drop),
            16..=17 => cancel(self.db, some[0], "me").await.map(drop),
            18 => self.retry_some().await,
            19 => fold(self.db, 0, 1).await.map(drop),
            _ => retry(self.db, some[0], "me", KEY_TTL).await.map(drop),
        }
    }

    async fn retry_some(&self) -> Result<()> {
        let all = Filter::default();
        let position = Position {
            above: TaskId::MIN,
            up_to: TaskId::MAX,
            as_of: matched(self.db, &all).await?.as_of,
        };
        retry_batch(self.db, &all, position, 5, "me", KEY_TTL)
            .await
            .map(drop)
    }

    async fn claim(&mut self, ids: &[TaskId]) -> Result<()> {
        let names = ["echo".to_owned()];
        let claimant = Claimant {
            worker_id: &self.worker,
            queues: &QueueName::classes(),
            task_names: &names,
            runs_suspect: self.rng.random_bool(0.5),
        };
        let mut tasks = claim_ready(self.db, &claimant, ids).await?.tasks;
        // a worker makes a full claim of what the fast path left
        if self.rng.random_bool(0.5) {
            tasks.extend(claim(self.db, &claimant, ids).await?.tasks);
        }
        self.held.extend(tasks.iter().map(|task| task.run));
        Ok(())
    }

    /// Some of the in-flight runs. Sometimes they stay in flight, so that a later write about them comes too
    /// late.
    fn some_in_flight(&mut self) -> Vec<Run> {
        let runs: Vec<Run> = self.held.sample(&mut self.rng, 4).copied().collect();
        if self.rng.random_bool(0.8) {
            self.held.retain(|run| !runs.contains(run));
        }
        runs
    }

    async fn complete(&mut self) -> Result<()> {
        let runs = self.some_in_flight();
        let reports: Vec<_> = runs.iter().map(|run| (*run, "1".to_owned())).collect();
        report(self.db, &self.worker, &reports).await?;
        let result = "{}".to_owned();
        let done: Vec<Success> = runs
            .into_iter()
            .map(|run| Success {
                run,
                result: result.clone(),
                progress: None,
            })
            .collect();
        complete(self.db, &self.worker, &done).await.map(drop)
    }

    async fn end(&mut self) -> Result<()> {
        let verdicts = [
            Verdict::RetryIn(Duration::ZERO),
            Verdict::RetryIn(Duration::from_millis(30)),
            Verdict::DeadLetter(DeadLetterReason::Failed),
            Verdict::Released,
        ];
        let runs = self.some_in_flight();
        let ended: Vec<EndedRun> = runs
            .into_iter()
            .map(|run| EndedRun {
                run,
                verdict: *verdicts.choose(&mut self.rng).expect("one of four"),
                reason: "failed",
                error: None,
            })
            .collect();
        end_runs(self.db, &self.worker, &ended).await.map(drop)
    }
}

async fn submit_a_mix(db: &PgPool) -> Vec<TaskId> {
    let tasks: Vec<NewTask> = (0..TASKS)
        .map(|n| NewTask {
            task_name: if n % 6 == 0 { "mail:send" } else { "echo" }.to_owned(),
            due: if n % 4 == 0 {
                Due::InSeconds(0.02)
            } else {
                Due::Now
            },
            key: a_key(&n.to_string()).filter(|_| n % 3 == 0),
            ..a_task("echo")
        })
        .collect();
    insert(db, &tasks, KEY_TTL).await.expect("stored");
    tasks.iter().map(|task| task.id).collect()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn every_change_is_one_that_the_core_allows_and_no_task_is_lost_or_doubled(db: PgPool) {
    const SEED: u64 = 20_261_120;
    sqlx::raw_sql(WATCH).execute(&db).await.expect("the triggers");
    let wide = wide_pool(&db, 10).await;
    let tasks = submit_a_mix(&wide).await;
    let mut actors = Vec::new();
    for n in 0..ACTORS {
        let worker = format!("w{n}");
        enter_worker(&wide, &worker).await;
        actors.push(Actor {
            db: &wide,
            tasks: &tasks,
            worker,
            rng: StdRng::seed_from_u64(SEED + n as u64),
            held: Vec::new(),
        });
    }
    // some have crashed workers before: a worker that runs such a task defers them
    execute(&db, "UPDATE tasks SET crash_count = 2 WHERE id::text ~ '[0-3]$'").await;
    join_all(actors.iter_mut().map(Actor::act)).await;
    wide.close().await;

    let (rows, ids): (i64, i64) = sqlx::query_as("SELECT count(*), count(DISTINCT id) FROM task_records")
        .fetch_one(&db)
        .await
        .expect("counts");
    assert_eq!((rows, ids), (TASKS, TASKS));
    assert_legal(&db).await;
    assert_totals(&db).await;
}

async fn assert_legal(db: &PgPool) {
    // within one transaction, a row that left one table and one that entered the other are one step
    let steps: Vec<(TaskStatus, TaskStatus, i64)> = sqlx::query_as(
        "SELECT old, new, count(*)
           FROM (SELECT max(old) AS old, max(new) AS new FROM seen GROUP BY txid, id) AS steps
          WHERE old IS NOT NULL
          GROUP BY old, new ORDER BY old, new",
    )
    .fetch_all(db)
    .await
    .expect("every row that left came in somewhere");
    for (old, new, count) in &steps {
        let legal = EVENTS.iter().any(|event| old.next(*event) == Ok(*new));
        assert!(legal, "{count} times from {old} to {new}");
    }
    let seen: Vec<_> = steps.iter().map(|(old, new, _)| (*old, *new)).collect();
    for step in expected_steps() {
        assert!(
            seen.contains(&step),
            "the mix never went from {} to {}",
            step.0,
            step.1
        );
    }
}

/// The totals that the statements recorded match the transitions of the rows, for each type.
async fn assert_totals(db: &PgPool) {
    let steps: Vec<(String, Option<TaskStatus>, Option<TaskStatus>, i64)> = sqlx::query_as(
        "SELECT task_name, old, new, count(*)
           FROM (SELECT id, max(old) AS old, max(new) AS new FROM seen GROUP BY txid, id) AS steps
           JOIN task_records USING (id)
          GROUP BY task_name, old, new",
    )
    .fetch_all(db)
    .await
    .expect("steps");
    let mut wanted = BTreeMap::new();
    for (name, old, new, count) in steps {
        let event = match (old, new) {
            (None, Some(_)) => totals::Event::Submitted,
            (_, Some(TaskStatus::Completed)) => totals::Event::Completed,
            (_, Some(TaskStatus::Cancelled)) => totals::Event::Cancelled,
            (_, Some(TaskStatus::DeadLetter)) => totals::Event::DeadLetter,
            (_, Some(TaskStatus::RetryScheduled)) => totals::Event::RetryScheduled,
            (Some(TaskStatus::Cancelled), _) => totals::Event::CancelledRetried,
            (Some(TaskStatus::DeadLetter), _) => totals::Event::DeadLetterRetried,
            _ => continue,
        };
        *wanted.entry((name, event)).or_default() += count;
    }
    let filter = totals::Filter {
        days: 2,
        ..totals::Filter::default()
    };
    let noted = totals(db, &filter).await.expect("totals");
    let of_types = noted
        .into_iter()
        .filter_map(|total| Some(((total.task_name?, total.event), total.tasks)));
    assert_eq!(of_types.collect::<BTreeMap<_, _>>(), wanted);
}

/// The events that a mix of this size always contains: without them the test would prove little.
fn expected_steps() -> [(TaskStatus, TaskStatus); 12] {
    use TaskStatus::{Cancelled, Completed, DeadLetter, Pending, RetryScheduled, Running, Scheduled};
    [
        (Scheduled, Pending),
        (Pending, Scheduled),
        (Pending, Running),
        (Pending, Cancelled),
        (Running, Completed),
        (Running, RetryScheduled),
        (Running, DeadLetter),
        (Running, Pending),
        (Running, Cancelled),
        (RetryScheduled, Pending),
        (DeadLetter, Pending),
        (Cancelled, Pending),
    ]
}
