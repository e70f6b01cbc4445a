//! Recovers from crashes: declares silent workers dead and hands back what they ran.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::store::{self, PgPool, recover};
use tasker_shared::task::TaskStatus;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::describe;
use crate::submit::push::Pusher;

/// Time between passes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most tasks of one statement.
const BATCH: i64 = 1_000;

/// Recovers the tasks of dead workers.
#[derive(Debug)]
pub struct Recoverer {
    db: PgPool,
    pusher: Arc<Pusher>,
    worker_timeout: Duration,
    /// Since when every pass has succeeded: heartbeats that did not come while Postgres was away accuse nobody.
    steady_since: Option<Instant>,
}

/// What a pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Workers declared dead.
    pub workers: usize,
    /// Tasks handed back.
    pub tasks: usize,
}

impl Recoverer {
    /// A recoverer that takes a worker for dead after `worker_timeout` of silence.
    pub fn new(db: PgPool, pusher: Arc<Pusher>, worker_timeout: Duration) -> Self {
        Self {
            db,
            pusher,
            worker_timeout,
            steady_since: None,
        }
    }

    /// Recovers until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.run_once(Instant::now()).await {
                Ok(done) if done != Recovered::default() => {
                    warn!(
                        workers.dead = done.workers,
                        tasks.recovered = done.tasks,
                        "recoverer: workers were lost"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    self.steady_since = None;
                    warn!(cause = describe(&error), "recoverer: pass failed");
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// One pass at the time `now`. Workers are judged only when this recoverer has seen Postgres answer for as long as they
    /// may be silent.
    pub async fn run_once(&mut self, now: Instant) -> store::Result<Recovered> {
        let timeout = self.worker_timeout.as_secs_f64();
        let steady_since = *self.steady_since.get_or_insert(now);
        let mut done = Recovered::default();
        if now.duration_since(steady_since) >= self.worker_timeout {
            let dead = recover::declare_dead(&self.db, timeout).await?;
            done.workers = dead.len();
            for worker in dead {
                info!(
                    worker.id = worker,
                    "recoverer: a worker is silent and was declared dead"
                );
            }
        }
        loop {
            let ended = recover::recover(&self.db, BATCH).await?;
            let full = i64::try_from(ended.len()) == Ok(BATCH);
            done.tasks += ended.len();
            metrics::counter!("tasker_recovered_runs_total").increment(ended.len() as u64);
            let pending = ended
                .into_iter()
                .filter(|ended| ended.status == TaskStatus::Pending);
            self.pusher
                .push_front(pending.map(|ended| (ended.id, ended.queue)).collect())
                .await;
            if !full {
                break;
            }
        }
        Ok(done)
    }
}
