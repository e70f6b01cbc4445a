//! Statements about ended runs: each is sent until Postgres accepts it, since it is fenced and may be
//! repeated.

use std::sync::Arc;
use std::time::Duration;

use tasker_store::{self as store, ConnectionCache, ErrorKind};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::availability::Availability;

/// Time limit of one statement. It may commit all the same and is repeated: the write is fenced, and a run
/// that the first one completed is then counted as fenced.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// The first and the maximum wait after a failed write.
const RETRY_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// The connections for writes, which are retried until the hard stop.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) worker_id: Arc<str>,
    pub(crate) connections: Arc<ConnectionCache>,
    pub(crate) postgres: Arc<Availability>,
    pub(crate) hard_stop: CancellationToken,
}

/// The reason for which completions were not written.
pub(crate) enum Unwritten {
    /// Postgres rejected a row, and would reject it each time.
    Row(store::Error),
    /// The worker was stopped hard; recovery requeues the tasks if the write did not commit.
    Stopped,
}

/// Retries a statement until Postgres accepts it or rejects a row, or the worker is stopped hard.
pub(crate) async fn until_written<T, F>(
    statements: &Statements,
    statement: impl Fn() -> F,
) -> Result<T, Unwritten>
where
    F: Future<Output = store::Result<T>>,
{
    let hard = &statements.hard_stop;
    let mut wait = *RETRY_WAIT.start();
    loop {
        let written = hard.run_until_cancelled(Box::pin(store::bounded(WRITE_MAX, statement())));
        let error = match written.await.ok_or(Unwritten::Stopped)? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Row => return Err(Unwritten::Row(error)),
            ErrorKind::RolledBack => {}
            ErrorKind::Outage | ErrorKind::Unknown | ErrorKind::TimedOut => {
                statements.postgres.mark_unavailable();
                warn!(%error, "failed to write completions; retrying");
            }
        }
        hard.run_until_cancelled(tokio::time::sleep(wait)).await;
        wait = (wait * 2).min(*RETRY_WAIT.end());
    }
}
