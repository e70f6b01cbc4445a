//! Turns at reading a table that the server keeps a copy of.

use std::future::Future;
use std::time::{Duration, Instant};

use tasker_shared::store;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::describe;
use crate::postgres::PostgresHealth;

/// The minimum time between two loads for missing names: a flood of them costs little.
const MISS_INTERVAL: Duration = Duration::from_millis(250);

/// Lets one caller at a time load the copy.
#[derive(Debug, Default)]
pub struct Refresher {
    /// When the last load began that succeeded; `None` before the first.
    last: Mutex<Option<Instant>>,
}

impl Refresher {
    /// Loads the copy after a name was missing in it. Of many callers at once one loads, and loads are apart: a caller that asks
    /// soon after the last one waits a moment.
    pub async fn after_miss(&self, load: impl Future<Output = store::Result<()>>) -> store::Result<()> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        match *last {
            Some(began) if began > asked => return Ok(()),
            Some(began) => tokio::time::sleep_until((began + MISS_INTERVAL).into()).await,
            None => {}
        }
        noted(&mut last, load).await
    }

    /// Loads the copy each `interval` until `stop`, unless Postgres is unavailable. A failure is logged once for all in a row;
    /// `what` is what cannot be refreshed.
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
            let result = noted(&mut *self.last.lock().await, load()).await;
            if let (Err(error), false) = (&result, failed) {
                warn!(cause = describe(error), "cannot refresh {what}");
            }
            failed = result.is_err();
        }
    }
}

async fn noted(
    last: &mut Option<Instant>,
    load: impl Future<Output = store::Result<()>>,
) -> store::Result<()> {
    let began = Instant::now();
    load.await?;
    *last = Some(began);
    Ok(())
}
