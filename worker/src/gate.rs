//! Whether work may be taken: only while the last word from Postgres was a good one.

use tokio::sync::watch;
use tracing::{info, warn};

/// Closed by any statement that failed, opened again by a heartbeat that was written, and by nothing else.
#[derive(Debug)]
pub(crate) struct Gate {
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: watch::Sender::new(true) }
    }
}

impl Gate {
    /// Notes that a statement failed.
    pub(crate) fn close(&self) {
        if self.open.send_replace(false) {
            warn!("Postgres does not answer as it should; no work is taken until it does");
        }
    }

    /// Notes that a heartbeat was written.
    pub(crate) fn open(&self) {
        if !self.open.send_replace(true) {
            info!("Postgres answers again");
        }
    }

    /// Whether the gate is open.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until the gate is open.
    pub(crate) async fn opened(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Waits until the gate is closed.
    pub(crate) async fn closed(&self) {
        let _ = self.open.subscribe().wait_for(|open| !*open).await;
    }
}
