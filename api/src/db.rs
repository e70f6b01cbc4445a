//! The API error of a failed write.

use tasker_store as store;

use crate::error::ApiError;

/// Returns the API error of a failed write. Unlike a read, a write whose connection broke may have taken
/// effect.
pub fn write_failed(error: store::Error) -> ApiError {
    if error.kind().may_have_happened() {
        ApiError::OutcomeUnknown
    } else {
        error.into()
    }
}
