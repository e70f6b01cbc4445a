//! Retries and error mapping of statements.

use std::future::Future;

use tasker_store::{self as store, Fault, fault};

use crate::error::ApiError;

/// The maximum number of retries of a statement that Postgres rolled back (deadlock, serialisation failure).
const ROLLED_BACK_MAX: u32 = 5;

/// Runs a statement, and again when Postgres rolled it back to resolve a conflict.
pub async fn retried<T, F>(mut send: impl FnMut() -> F) -> store::Result<T>
where
    F: Future<Output = store::Result<T>>,
{
    let mut rolled_back = 0;
    loop {
        match send().await {
            // without a pause: Postgres rolls back one side of a conflict, so the other one goes on
            Err(error) if fault(&error) == Fault::RolledBack && rolled_back < ROLLED_BACK_MAX => {
                rolled_back += 1;
            }
            result => return result,
        }
    }
}

/// Returns the API error of a failed write. Unlike a read, a write whose connection broke may have taken
/// effect.
pub fn write_failed(error: store::Error) -> ApiError {
    match fault(&error) {
        Fault::Unknown => ApiError::OutcomeUnknown,
        _ => error.into(),
    }
}
