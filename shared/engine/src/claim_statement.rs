//! The statement of one claim, within a time limit.
//!
//! While a claim is pending, the heartbeat cannot requeue runs whose claim response was lost, so a claim is
//! abandoned after half a heartbeat interval.

use std::time::{Duration, Instant};

use metrics::histogram;
use tasker_core::task::TaskId;
use tasker_store::claim::{Claim, Claimant, Poll, claim, claim_oldest};
use tasker_store::claim_ready::claim_ready;
use tasker_store::{self as store, ConnectionCache, PgConnection, retry_rolled_back};
use tokio::sync::Mutex;

/// Bounds of the time limit of a claim.
const LIMIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

/// The kind of a claim, with the rows that it asks for.
pub(crate) enum Wanted<'a> {
    /// The fast-path claim of popped hints: takes the rows that are ready.
    Ready(&'a [TaskId]),
    /// The full claim of popped hints.
    Popped(&'a [TaskId]),
    /// A fallback poll for the oldest pending rows.
    Oldest(Poll<'a>),
}

impl Wanted<'_> {
    async fn send(&self, db: &mut PgConnection, claimant: &Claimant<'_>) -> Result<Claim, store::Error> {
        match self {
            Self::Ready(ids) => claim_ready(db, claimant, ids).await,
            Self::Popped(ids) => claim(db, claimant, ids).await,
            Self::Oldest(poll) => claim_oldest(db, claimant, *poll).await,
        }
    }
}

/// Returns the time limit of a claim by a worker with this heartbeat interval.
pub(crate) fn time_limit(heartbeat_interval: Duration) -> Duration {
    (heartbeat_interval / 2).clamp(*LIMIT.start(), *LIMIT.end())
}

/// Sends a claim, and repeats it while deadlocks roll it back. A claim that is not answered within `limit`
/// has an unknown outcome; its connection is closed, since the answer may still arrive on it.
pub(crate) async fn claim_in_time(
    connections: &ConnectionCache,
    claimant: &Claimant<'_>,
    wanted: Wanted<'_>,
    limit: Duration,
) -> Result<Claim, store::Error> {
    let began = Instant::now();
    // never contended: the lock only lends the connection to one attempt after the other
    let connection = Mutex::new(connections.take().await?);
    let (lent, wanted) = (&connection, &wanted);
    let sent = retry_rolled_back(|| async move {
        let mut connection = lent.lock().await;
        wanted.send(&mut connection, claimant).await
    });
    if let Ok(answer) = tokio::time::timeout(limit, sent).await {
        if answer.is_ok() {
            connections.release(connection.into_inner());
            histogram!("task_claim_duration_seconds").record(began.elapsed());
        }
        return answer;
    }
    connection.into_inner().discard();
    Err(store::Error::timed_out())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_abandoned_after_half_a_heartbeat_interval_within_bounds() {
        for (interval, limit) in [(1, 1.0), (5, 2.5), (60, 5.0)] {
            let interval = Duration::from_secs(interval);
            assert_eq!(time_limit(interval), Duration::from_secs_f64(limit));
        }
    }
}
