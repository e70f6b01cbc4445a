//! Progress reports: the latest one of each run, written a moment later, those of many runs in one statement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use tasker_core::task::Run;
use tasker_store::{self as store, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::statement_limit::STATEMENT_MAX;

/// Reports that come within this time of each other are written together.
const GATHER: Duration = Duration::from_millis(200);

/// The latest report of each run. Bounded by the slots.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    latest: Mutex<HashMap<Run, Report>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Report {
    text: String,
    /// True until it is written.
    new: bool,
}

impl Reports {
    /// Records the latest report of a run: JSON text, already checked.
    pub fn put(&self, run: Run, text: String) {
        self.latest().insert(run, Report { text, new: true });
        self.inner.arrived.notify_one();
    }

    /// Removes and returns the last report of a run that ended, which is written together with its
    /// completion.
    pub(crate) fn last(&self, run: Run) -> Option<String> {
        self.latest().remove(&run).map(|report| report.text)
    }

    fn take_new(&self) -> Vec<(Run, String)> {
        let mut latest = self.latest();
        let new = latest.iter_mut().filter(|(_, report)| report.new);
        new.map(|(run, report)| {
            report.new = false;
            (*run, report.text.clone())
        })
        .collect()
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, HashMap<Run, Report>> {
        self.inner.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes reports until stopped. A report that cannot be written is dropped, since the next one replaces
    /// it.
    pub(crate) async fn write(self, db: PgPool, worker_id: Arc<str>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.inner.arrived.notified() => {}
            }
            let reports = self.take_new();
            if reports.is_empty() {
                continue;
            }
            let report = store::progress::report(&db, &worker_id, &reports);
            match store::bounded(STATEMENT_MAX, report).await {
                Ok(_) => counter!("tasker_progress_reports_total").increment(reports.len() as u64),
                Err(error) => warn!(%error, reports = reports.len(), "failed to store progress reports"),
            }
            // bounds the number of writes per second that a handler with frequent reports can cause
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GATHER) => {}
            }
        }
    }
}
