//! The middleware around routes that need Postgres: it rejects requests during an outage and limits the
//! requests in progress.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::SemaphorePermit;

use crate::error::ApiError;
use crate::http::admission::Admission;

/// Rejects requests while Postgres is unavailable. For submits this is all: they handle an outage during the
/// request themselves, since they know whether their tasks were sent.
pub async fn require_postgres(State(state): State<Admission>, request: Request, next: Next) -> Response {
    match admitted(&state) {
        Ok(_permit) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Rejects requests while Postgres is unavailable, and aborts those in progress when it becomes unresponsive.
pub async fn abort_on_outage(State(state): State<Admission>, request: Request, next: Next) -> Response {
    let _permit = match admitted(&state) {
        Ok(permit) => permit,
        Err(error) => return error.into_response(),
    };
    let reads = request.method().is_safe();
    tokio::select! {
        // a response that is ready wins over a failed probe
        biased;
        response = next.run(request) => response,
        () = state.postgres.unresponsive() => {
            // dropping the handler does not stop a statement that was sent
            let error = if reads { ApiError::Unavailable(None) } else { ApiError::OutcomeUnknown };
            error.into_response()
        }
    }
}

/// Returns a permit of the requests in progress.
fn admitted(state: &Admission) -> Result<SemaphorePermit<'_>, ApiError> {
    state.postgres.check()?;
    state
        .requests
        .try_acquire()
        .map_err(|_| ApiError::Overloaded("Too many requests are in progress."))
}
