//! The limit of the requests in progress.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::postgres::PostgresHealth;

/// The maximum number of requests in progress, including those that wait for a task; health and metrics are
/// not counted.
const REQUESTS_MAX: usize = 16_384;

/// The conditions under which a request is admitted: Postgres is available, and a permit is free.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The availability of Postgres.
    pub postgres: Arc<PostgresHealth>,
    /// Permits of requests in progress.
    pub requests: Arc<Semaphore>,
}

impl Admission {
    /// Creates the permits of `REQUESTS_MAX` requests.
    pub fn new(postgres: Arc<PostgresHealth>) -> Self {
        Self {
            postgres,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// Returns the number of requests in progress; health and metrics are not counted.
    pub fn in_progress(&self) -> usize {
        REQUESTS_MAX - self.requests.available_permits()
    }
}
