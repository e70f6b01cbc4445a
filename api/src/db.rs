//! What every caller of a statement does alike.

use std::future::Future;

use tasker_shared::store::{self, Fault, fault};

use crate::error::ApiError;

/// How often a statement that Postgres rolled back (a deadlock, a serialisation failure) is sent again.
const ROLLED_BACK_MAX: u32 = 5;

/// Sends a statement, and again when Postgres rolled it back to solve a conflict.
pub async fn retried<T, F>(mut send: impl FnMut() -> F) -> store::Result<T>
where
    F: Future<Output = store::Result<T>>,
{
    let mut rolled_back = 0;
    loop {
        match send().await {
            Err(error) if fault(&error) == Fault::RolledBack && rolled_back < ROLLED_BACK_MAX => {
                rolled_back += 1;
            }
            result => return result,
        }
    }
}

/// What the caller of a failed write is told: a read that broke off did nothing, a write may have.
pub fn write_failed(error: store::Error) -> ApiError {
    match fault(&error) {
        Fault::Unknown => ApiError::OutcomeUnknown,
        _ => error.into(),
    }
}
