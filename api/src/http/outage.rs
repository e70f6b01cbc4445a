//! The layers around the routes that need Postgres: nobody waits for one that is away, and only so many wait at all.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::SemaphorePermit;

use crate::error::{ApiError, Pending};
use crate::state::AppState;

/// Turns requests away while Postgres is known to be away. Submits do the rest themselves: they know what was sent.
pub async fn turn_away(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match admitted(&state) {
        Ok(_place) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The same, and gives up those for whose statements Postgres falls silent.
pub async fn give_up(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let _place = match admitted(&state) {
        Ok(place) => place,
        Err(error) => return error.into_response(),
    };
    let reads = request.method().is_safe();
    tokio::select! {
        biased;
        response = next.run(request) => {
            note(&state, &response);
            response
        }
        () = state.postgres.unresponsive() => {
            let error = if reads { ApiError::Unavailable(None) } else { ApiError::OutcomeUnknown };
            error.into_response()
        }
    }
}

/// A place among the requests in progress.
fn admitted(state: &AppState) -> Result<SemaphorePermit<'_>, ApiError> {
    state.postgres.check()?;
    state
        .requests
        .try_acquire()
        .map_err(|_| ApiError::Overloaded("Too many requests are in progress."))
}

/// Notes what an answer says of Postgres.
fn note(state: &AppState, response: &Response) {
    if response.status().is_success() {
        return state.postgres.answered();
    }
    match response.extensions().get::<Pending>().map(|pending| &*pending.0) {
        Some(ApiError::Unavailable(Some(error))) => state.postgres.failed(error),
        Some(ApiError::OutcomeUnknown) => state.postgres.breaker().failed(),
        _ => {}
    }
}
