//! The repetition of statements that Postgres rolled back.

use std::future::Future;

use crate::{Fault, Result, fault};

/// The maximum number of retries of a statement that Postgres rolled back (deadlock, serialisation failure).
const ROLLED_BACK_MAX: u32 = 5;

/// Runs a statement, and again when Postgres rolled it back to resolve a conflict.
pub async fn retried<T, F>(mut send: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
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
