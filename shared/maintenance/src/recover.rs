//! Crash recovery: declares vanished and unresponsive workers dead, and requeues the tasks that they ran.
//!
//! A worker has vanished if this session of the leader saw its advisory lock held, and two checks at least a
//! second apart found neither the lock nor any session of that worker (see [`crate::failure_detector`]). It
//! is unresponsive if it has sent no heartbeat for `WORKER_TIMEOUT`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{Hint, TaskStatus};
use tasker_store::end_runs::Ended;
use tasker_store::liveness::{self, FleetCheck, FleetObserver};
use tasker_store::steps::{self, Advance};
use tasker_store::{self as store, ObservedPool, recover, retry_rolled_back};
use tracing::{error, info, warn};

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::failure_detector::{FailureDetector, Verdict};
use crate::fleet_changes::FleetChanges;
use crate::hints::HintSender;
use crate::leader_gauges::LeaderGauges;
use crate::step_follow::follow;

/// Time between runs.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between checks for runs that exceeded their timeout.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum duration of a check of the fleet, including its connection.
const CHECK_MAX: Duration = Duration::from_secs(5);
/// Maximum number of tasks per statement.
const BATCH: i64 = 1_000;
/// Maximum number of dead letters logged per statement.
const LOGGED_MAX: usize = 100;

/// The duty that recovers the tasks of dead workers.
#[derive(Debug)]
pub struct Recoverer {
    db: ObservedPool,
    hints: Arc<dyn HintSender>,
    worker_timeout: Duration,
    /// The session that checks the fleet. A failed run drops it, together with all that it observed.
    session: Option<FleetSession>,
    gauges: LeaderGauges,
}

/// A Postgres session of this leader, and the state derived from its checks.
#[derive(Debug)]
struct FleetSession {
    observer: FleetObserver,
    detector: FailureDetector,
    changes: FleetChanges,
    /// The time of its first check: heartbeats missing from before may be due to an outage of Postgres.
    steady_since: Instant,
    ended_overdue: Option<Instant>,
}

/// The result of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Workers declared dead.
    pub workers: usize,
    /// Tasks recovered from dead workers.
    pub tasks: usize,
    /// Runs ended because they exceeded their timeout.
    pub overdue: usize,
}

impl Recoverer {
    /// Creates the duty. A worker is unresponsive after `worker_timeout` without a heartbeat.
    pub fn new(db: impl Into<ObservedPool>, hints: Arc<dyn HintSender>, worker_timeout: Duration) -> Self {
        Self {
            db: db.into(),
            hints,
            worker_timeout,
            session: None,
            gauges: LeaderGauges::default(),
        }
    }

    /// Runs once at the time `now`.
    pub async fn run_once(&mut self, now: Instant) -> store::Result<Recovered> {
        // `check` takes the session; it goes back at the end, so any error on the way drops it and the next
        // run opens another
        let (mut session, check) = store::bounded(CHECK_MAX, self.check(now)).await?;
        let unhealthy = f64::from(u8::from(check.fleet_is_unhealthy));
        self.gauges.set("tasker_fleet_unhealthy", unhealthy);
        session
            .changes
            .observe(check.workers.iter().map(|worker| worker.id.as_str()));
        // in this order: `recover` takes the runs of workers that are dead, so those declared dead now are
        // included
        let mut done = Recovered {
            workers: self.declare_dead(&mut session, &check, now).await?,
            tasks: self.recover().await?,
            overdue: 0,
        };
        if session
            .ended_overdue
            .is_none_or(|last| now.duration_since(last) >= OVERDUE_INTERVAL)
        {
            session.ended_overdue = Some(now);
            done.overdue = self.end_overdue().await?;
        }
        self.session = Some(session);
        Ok(done)
    }

    /// Checks the fleet, in a new session if there is none.
    async fn check(&mut self, now: Instant) -> store::Result<(FleetSession, FleetCheck)> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => FleetSession {
                observer: FleetObserver::open(self.db.clone()).await?,
                detector: FailureDetector::default(),
                changes: FleetChanges::default(),
                steady_since: now,
                ended_overdue: None,
            },
        };
        let check = session.observer.check(self.worker_timeout.as_secs_f64()).await?;
        Ok((session, check))
    }

    /// Declares vanished and unresponsive workers dead; returns their number. Unresponsive ones only once
    /// this session has lasted for `worker_timeout`, so that an outage of Postgres kills no worker.
    async fn declare_dead(
        &mut self,
        session: &mut FleetSession,
        check: &FleetCheck,
        now: Instant,
    ) -> store::Result<usize> {
        let mut dead = 0;
        let verdict = session.detector.judge(check);
        #[expect(clippy::cast_precision_loss, reason = "a fleet is far below 2^52")]
        self.gauges
            .set("tasker_workers_watched", session.detector.len() as f64);
        match verdict {
            Verdict::Vanished(vanished) if vanished.is_empty() => {}
            Verdict::Vanished(vanished) => {
                for worker in bounded(liveness::declare_vanished(&self.db, &vanished)).await? {
                    session.changes.died(&worker, "vanished");
                    info!(worker.id = worker, "declared a vanished worker dead");
                    dead += 1;
                }
            }
            Verdict::Group(workers) => warn!(
                workers,
                "many workers vanished together; waiting for their heartbeats to expire"
            ),
        }
        let steady = now.duration_since(session.steady_since) >= self.worker_timeout;
        if steady && check.workers.iter().any(|worker| worker.unresponsive) {
            for worker in bounded(recover::declare_dead(&self.db, self.worker_timeout.as_secs_f64())).await? {
                session.changes.died(&worker, "unresponsive");
                info!(worker.id = worker, "declared an unresponsive worker dead");
                dead += 1;
            }
        }
        Ok(dead)
    }

    /// Recovers the tasks of dead workers, whatever run declared them dead; returns their number.
    async fn recover(&self) -> store::Result<usize> {
        let mut tasks = 0;
        loop {
            let ended = bounded(recover::recover(&self.db, BATCH)).await?;
            let full = i64::try_from(ended.len()) == Ok(BATCH);
            tasks += ended.len();
            metrics::counter!("tasker_recovered_runs_total").increment(ended.len() as u64);
            report_dead_letters(&ended, DeadLetterReason::CrashLoop);
            // at the head: they have waited their turn once. Rows first, hints second: a lost hint costs only
            // time
            let pending = ended
                .into_iter()
                .filter(|ended| ended.status == TaskStatus::Pending);
            self.hints
                .push_front(
                    pending
                        .map(|ended| Hint::new(ended.id, ended.queue, ended.task_name))
                        .collect(),
                )
                .await;
            if !full {
                return Ok(tasks + self.recover_steps().await?);
            }
        }
    }

    /// Recovers the steps of dead workers, and moves on the workflows of those that are dead letters now;
    /// returns their number.
    async fn recover_steps(&self) -> store::Result<usize> {
        let mut steps = 0;
        loop {
            let advance = retry_rolled_back(|| bounded(steps::recover(&self.db, BATCH))).await?;
            let found = advance.ended.len();
            steps += found;
            metrics::counter!("tasker_recovered_runs_total").increment(found as u64);
            report_dead_letters(&advance.ended, DeadLetterReason::CrashLoop);
            self.follow(advance).await?;
            if i64::try_from(found) != Ok(BATCH) {
                return Ok(steps);
            }
        }
    }

    /// Pushes the hints of steps that are pending again or ready, and sends the waves of skips.
    async fn follow(&self, mut advance: Advance) -> store::Result<()> {
        let pending = std::mem::take(&mut advance.ended)
            .into_iter()
            .filter(|ended| ended.status == TaskStatus::Pending)
            .map(|ended| Hint::new(ended.id, ended.queue, ended.task_name));
        self.hints.push_front(pending.collect()).await;
        follow(&self.db, &self.hints, advance).await
    }

    /// Ends runs that exceeded their timeout by more than `worker_timeout`; returns their number.
    async fn end_overdue(&self) -> store::Result<usize> {
        let grace = self.worker_timeout.as_secs_f64();
        // one batch per check: overdue runs are rare, since live workers end their own runs in time
        let ended = bounded(recover::end_overdue(&self.db, grace, BATCH)).await?;
        metrics::counter!("tasker_overdue_runs_total").increment(ended.len() as u64);
        report_dead_letters(&ended, DeadLetterReason::Timeout);
        let steps = retry_rolled_back(|| bounded(steps::end_overdue(&self.db, grace, BATCH))).await?;
        let found = ended.len() + steps.ended.len();
        metrics::counter!("tasker_overdue_runs_total").increment(steps.ended.len() as u64);
        report_dead_letters(&steps.ended, DeadLetterReason::Timeout);
        self.follow(steps).await?;
        Ok(found)
    }
}

impl Duty for Recoverer {
    const NAME: &'static str = "recoverer";
    type Outcome = Recovered;

    async fn run(&mut self) -> Result<Recovered, DutyError> {
        Ok(self.run_once(Instant::now()).await?)
    }

    fn report(&self, done: &Recovered) {
        if *done != Recovered::default() {
            warn!(
                workers.dead = done.workers,
                tasks.recovered = done.tasks,
                runs.overdue = done.overdue,
                "recovered runs of dead workers"
            );
        }
    }

    fn pause(&self, _: Option<&Recovered>) -> Duration {
        INTERVAL
    }
}

/// Counts and logs the tasks that became dead letters here rather than in a worker.
fn report_dead_letters(ended: &[Ended], reason: DeadLetterReason) {
    let dead = ended
        .iter()
        .filter(|ended| ended.status == TaskStatus::DeadLetter);
    for (logged, ended) in dead.clone().enumerate() {
        metrics::counter!("tasks_dead_letter_total", "type" => ended.task_name.clone()).increment(1);
        if logged < LOGGED_MAX {
            error!(
                task_id = %ended.id,
                task_name = ended.task_name,
                queue = %ended.queue,
                reason = reason.as_str(),
                "dead letter"
            );
        }
    }
    let left_out = dead.count().saturating_sub(LOGGED_MAX);
    if left_out > 0 {
        error!(left_out, "task log limit reached: 100 lines per batch");
    }
}
