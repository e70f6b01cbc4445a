//! Progress reports: the latest of each run, written a moment later, many runs at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tasker_shared::store::{self, PgPool};
use tasker_shared::task::Run;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Reports that come within this time of each other are written together.
const GATHER: Duration = Duration::from_millis(200);

/// The reports that wait to be written. Holds one a run, so it is bounded by the slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    latest: Mutex<HashMap<Run, String>>,
    arrived: Notify,
}

impl Reports {
    pub(crate) fn put(&self, run: Run, report: String) {
        self.latest().insert(run, report);
        self.inner.arrived.notify_one();
    }

    fn take(&self) -> Vec<(Run, String)> {
        self.latest().drain().collect()
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, HashMap<Run, String>> {
        self.inner.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes reports until stopped. One that cannot be written is dropped: the next one says more.
    pub(crate) async fn write(self, db: PgPool, worker_id: Arc<str>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.inner.arrived.notified() => {}
            }
            let reports = self.take();
            if reports.is_empty() {
                continue;
            }
            if let Err(error) = store::progress::report(&db, &worker_id, &reports).await {
                warn!(%error, reports = reports.len(), "progress was not stored");
            }
            // not a wait for something: it bounds how often a chatty handler makes the worker write
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GATHER) => {}
            }
        }
    }
}
