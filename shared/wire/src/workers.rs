//! Workers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The list of workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workers {
    /// One entry per worker, the newest first.
    pub workers: Vec<Worker>,
}

/// A worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct Worker {
    /// Its id, which contains the host and the process id.
    pub id: String,
    pub hostname: String,
    /// The queues it serves, in order.
    pub queues: Vec<String>,
    /// Maximum number of tasks that it runs at once.
    pub pool_size: i32,
    /// Number of tasks that it ran at its last heartbeat.
    pub active: i32,
    pub version: String,
    pub started_at: DateTime<Utc>,
    pub last_heartbeat: DateTime<Utc>,
    /// `alive`, `unresponsive` (its heartbeat is overdue), `draining` or `dead`.
    pub status: String,
}
