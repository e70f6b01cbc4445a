//! The handle through which handlers and duties send their statements, and the API error of a failed write.

use tasker_store as store;

use crate::error::ApiError;

/// Postgres. Each statement reports its outcome to the circuit breaker, see
/// [`PostgresHealth`](crate::postgres::PostgresHealth).
pub type Db = store::ObservedPool;

/// Returns the API error of a failed write. Unlike a read, a write whose connection broke may have taken
/// effect.
pub fn write_failed(error: store::Error) -> ApiError {
    if error.kind().may_have_happened() {
        ApiError::OutcomeUnknown
    } else {
        error.into()
    }
}
