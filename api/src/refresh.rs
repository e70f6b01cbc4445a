//! The refresh of in-memory copies of tables.

use std::future::Future;
use std::time::{Duration, Instant};

use tasker_store as store;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::postgres::PostgresHealth;

/// The minimum time between two loads for missing names, so that a flood of unknown names stays cheap.
const MISS_INTERVAL: Duration = Duration::from_millis(250);

/// The refresher of one copy; one caller at a time loads it.
#[derive(Debug, Default)]
pub struct Refresher {
    /// The start of the last successful load; `None` before the first.
    last: Mutex<Option<Instant>>,
}

impl Refresher {
    /// Loads the copy after a name was missing in it. Concurrent callers share one load, and two loads are at
    /// least `MISS_INTERVAL` apart.
    pub async fn after_miss(&self, load: impl Future<Output = store::Result<()>>) -> store::Result<()> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        match *last {
            // a load that began after this call has seen whatever existed before it
            Some(began) if began > asked => return Ok(()),
            Some(began) => tokio::time::sleep_until((began + MISS_INTERVAL).into()).await,
            None => {}
        }
        timed(&mut last, load).await
    }

    /// Loads the copy each `interval` until `stop`, unless Postgres is unavailable. A failure is logged once
    /// for all in a row; `what` names the copy in that log line.
    pub async fn run<F>(
        &self,
        interval: Duration,
        postgres: &PostgresHealth,
        what: &'static str,
        stop: &CancellationToken,
        load: impl Fn() -> F,
    ) where
        F: Future<Output = store::Result<()>>,
    {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if postgres.check().is_err() {
                continue;
            }
            let result = timed(&mut *self.last.lock().await, load()).await;
            if let (Err(error), false) = (&result, failed) {
                warn!(cause = %error, "cannot refresh {what}");
            }
            failed = result.is_err();
        }
    }
}

async fn timed(
    last: &mut Option<Instant>,
    load: impl Future<Output = store::Result<()>>,
) -> store::Result<()> {
    let began = Instant::now();
    load.await?;
    *last = Some(began);
    Ok(())
}
