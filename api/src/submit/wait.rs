//! The wait of a caller for its tasks to be written.

use std::time::Duration;

use super::ticket::Ticket;
use crate::error::ApiError;
use crate::postgres::PostgresHealth;

/// Waits for `answer` up to `limit`, or until Postgres is unresponsive; `None` counts as no answer. Without
/// one the ticket decides whether the outcome is known.
pub(super) async fn wait_for<T>(
    answer: impl Future<Output = Option<T>>,
    limit: Duration,
    ticket: &Ticket,
    postgres: &PostgresHealth,
) -> Result<T, ApiError> {
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        () = postgres.unresponsive() => None,
        () = tokio::time::sleep(limit) => None,
    };
    match answer {
        Some(answer) => Ok(answer),
        // a ticket that was not taken: the tasks will not be sent, so the outcome is known
        None if ticket.withdraw() => Err(ApiError::Unavailable(None)),
        // the tasks may have been sent
        None => Err(ApiError::OutcomeUnknown),
    }
}
