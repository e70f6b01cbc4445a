//! Recovers from crashes: declares workers dead that have vanished or are silent, and hands back what they ran.
//!
//! A worker has vanished when this very session saw its lock held, and two looks a second apart found neither the lock nor any
//! session of it (see [`super::watch`]). It is silent when its heartbeats stay away for `WORKER_TIMEOUT`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::store::end_runs::Ended;
use tasker_shared::store::liveness::{self, FleetCheck, FleetObserver};
use tasker_shared::store::{self, PgPool, recover};
use tasker_shared::task::retry::DeadLetterReason;
use tasker_shared::task::{Hint, TaskStatus};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::asked;
use super::journal::Page;
use super::leader_gauges::LeaderGauges;
use super::roster::Roster;
use super::watch::{Verdict, Watch};
use crate::submit::push::Pusher;

/// Time between passes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between looks for runs that outlived their timeout.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(5);
/// The longest time that a look may take, its connection included.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Most tasks of one statement.
const BATCH: i64 = 1_000;
/// Dead letters of one statement that are logged.
const LOGGED_MAX: usize = 100;

/// Recovers the tasks of dead workers.
#[derive(Debug)]
pub struct Recoverer {
    db: PgPool,
    pusher: Arc<Pusher>,
    worker_timeout: Duration,
    /// The session that looks at the fleet. A pass that fails ends it, and what it saw is forgotten.
    post: Option<Post>,
    gauges: LeaderGauges,
}

/// A session of this leader, and what follows from what it saw.
#[derive(Debug)]
struct Post {
    lookout: FleetObserver,
    watch: Watch,
    roster: Roster,
    /// Since when it has looked: heartbeats that did not come while Postgres was away accuse nobody.
    steady_since: Instant,
    ended_overdue: Option<Instant>,
}

/// What a pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Workers declared dead.
    pub workers: usize,
    /// Tasks handed back.
    pub tasks: usize,
    /// Runs ended that had outlived their timeout.
    pub overdue: usize,
}

impl Recoverer {
    /// A recoverer that takes a worker for dead after `worker_timeout` of silence.
    pub fn new(db: PgPool, pusher: Arc<Pusher>, worker_timeout: Duration) -> Self {
        Self {
            db,
            pusher,
            worker_timeout,
            post: None,
            gauges: LeaderGauges::default(),
        }
    }

    /// Recovers until `stop`.
    pub async fn run(mut self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Some(done) = page.pass(Box::pin(self.run_once(Instant::now()))).await
                && done != Recovered::default()
            {
                warn!(
                    workers.dead = done.workers,
                    tasks.recovered = done.tasks,
                    runs.overdue = done.overdue,
                    "recoverer: runs were lost"
                );
            }
            stop.run_until_cancelled(sleep(INTERVAL)).await;
        }
    }

    /// One pass at the time `now`.
    pub async fn run_once(&mut self, now: Instant) -> store::Result<Recovered> {
        let (mut post, look) = store::bounded(LOOK_MAX, self.look(now)).await?;
        let unhealthy = f64::from(u8::from(look.fleet_is_unhealthy));
        self.gauges.set("tasker_fleet_unhealthy", unhealthy);
        post.roster
            .look(look.workers.iter().map(|worker| worker.id.as_str()));
        let mut done = Recovered {
            workers: self.bury(&mut post, &look, now).await?,
            tasks: self.recover().await?,
            overdue: 0,
        };
        if post
            .ended_overdue
            .is_none_or(|last| now.duration_since(last) >= OVERDUE_INTERVAL)
        {
            post.ended_overdue = Some(now);
            done.overdue = self.end_overdue().await?;
        }
        self.post = Some(post);
        Ok(done)
    }

    /// Looks at the fleet, from a new post if there is none.
    async fn look(&mut self, now: Instant) -> store::Result<(Post, FleetCheck)> {
        let mut post = match self.post.take() {
            Some(post) => post,
            None => Post {
                lookout: FleetObserver::open(&self.db).await?,
                watch: Watch::default(),
                roster: Roster::default(),
                steady_since: now,
                ended_overdue: None,
            },
        };
        let look = post.lookout.check(self.worker_timeout.as_secs_f64()).await?;
        Ok((post, look))
    }

    /// Declares workers dead that have vanished or are silent, and returns how many. The silent are judged only when this post
    /// has seen Postgres answer for as long as they may be.
    async fn bury(&mut self, post: &mut Post, look: &FleetCheck, now: Instant) -> store::Result<usize> {
        let mut dead = 0;
        let verdict = post.watch.judge(look);
        #[expect(clippy::cast_precision_loss, reason = "a fleet is far below 2^52")]
        self.gauges.set("tasker_workers_watched", post.watch.len() as f64);
        match verdict {
            Verdict::Vanished(vanished) if vanished.is_empty() => {}
            Verdict::Vanished(vanished) => {
                for worker in asked(liveness::declare_vanished(&self.db, &vanished)).await? {
                    post.roster.died(&worker, "vanished");
                    info!(
                        worker.id = worker,
                        "recoverer: a worker has vanished and was declared dead"
                    );
                    dead += 1;
                }
            }
            Verdict::Group(workers) => warn!(
                workers,
                "recoverer: many workers vanished together; their heartbeats decide"
            ),
        }
        let steady = now.duration_since(post.steady_since) >= self.worker_timeout;
        if steady && look.workers.iter().any(|worker| worker.unresponsive) {
            for worker in asked(recover::declare_dead(&self.db, self.worker_timeout.as_secs_f64())).await? {
                post.roster.died(&worker, "unresponsive");
                info!(
                    worker.id = worker,
                    "recoverer: a worker is silent and was declared dead"
                );
                dead += 1;
            }
        }
        Ok(dead)
    }

    /// Hands back what dead workers ran, and returns how many tasks that were.
    async fn recover(&self) -> store::Result<usize> {
        let mut tasks = 0;
        loop {
            let ended = asked(recover::recover(&self.db, BATCH)).await?;
            let full = i64::try_from(ended.len()) == Ok(BATCH);
            tasks += ended.len();
            metrics::counter!("tasker_recovered_runs_total").increment(ended.len() as u64);
            report_dead_letters(&ended, DeadLetterReason::CrashLoop);
            let pending = ended
                .into_iter()
                .filter(|ended| ended.status == TaskStatus::Pending);
            self.pusher
                .push_front(
                    pending
                        .map(|ended| Hint::new(ended.id, ended.queue, ended.task_name))
                        .collect(),
                )
                .await;
            if !full {
                return Ok(tasks);
            }
        }
    }

    /// Ends runs that outlived their timeout by as long as a worker may be silent, and returns how many.
    async fn end_overdue(&self) -> store::Result<usize> {
        let grace = self.worker_timeout.as_secs_f64();
        let ended = asked(recover::end_overdue(&self.db, grace, BATCH)).await?;
        metrics::counter!("tasker_overdue_runs_total").increment(ended.len() as u64);
        report_dead_letters(&ended, DeadLetterReason::Timeout);
        Ok(ended.len())
    }
}

/// Counts and logs the tasks that became dead letters without a worker that could do so.
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
        error!(left_out, "task log limit reached: 100 lines of a batch");
    }
}
