//! The names that requests may use, of task types and of queues, from the copies of their tables.

use std::sync::Arc;

use tasker_core::task::QueueName;

use crate::error::ApiError;
use crate::queues::QueueTable;
use crate::types::{TypeCache, TypeTable};
use crate::validation_error::{ValidationError, ValidationErrorKind};

/// The copies of the task types and of the declared queues.
#[derive(Debug, Clone)]
pub struct KnownNames {
    /// The registered task types.
    pub types: Arc<TypeCache>,
    /// The declared queues.
    pub queues: Arc<QueueTable>,
}

/// The types and queues at one moment.
#[derive(Debug, Clone)]
pub struct NamesSnapshot {
    /// The registered task types.
    pub types: Arc<TypeTable>,
    /// The declared queues.
    pub queues: Arc<[QueueName]>,
}

impl KnownNames {
    /// Returns the types and queues that are known now.
    pub fn snapshot(&self) -> NamesSnapshot {
        NamesSnapshot {
            types: self.types.current(),
            queues: self.queues.declared().snapshot(),
        }
    }

    /// Returns the result of `check`. If it reports an unknown name, the copies are refreshed and it is
    /// checked once more, since the name may be new.
    pub async fn checked<T, F>(&self, check: impl Fn(NamesSnapshot) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        match check(self.snapshot()).await {
            Err(ApiError::Invalid(errors)) if names_unknown(&errors) => {
                // boxed, so that the future of every request does not reserve space for this rare case
                Box::pin(self.refresh(&errors)).await?;
                check(self.snapshot()).await
            }
            result => result,
        }
    }

    /// Refreshes the types or the queues from Postgres if `errors` report an unknown one.
    async fn refresh(&self, errors: &[ValidationError]) -> Result<(), ApiError> {
        if has(errors, ValidationErrorKind::UnknownTaskType) {
            self.types.reload_after_miss().await?;
        }
        if has(errors, ValidationErrorKind::UnknownQueue) {
            self.queues.refresh().await?;
        }
        Ok(())
    }
}

/// Returns true if an error may be due to an outdated copy of types or queues.
fn names_unknown(errors: &[ValidationError]) -> bool {
    has(errors, ValidationErrorKind::UnknownTaskType) || has(errors, ValidationErrorKind::UnknownQueue)
}

fn has(errors: &[ValidationError], kind: ValidationErrorKind) -> bool {
    errors.iter().any(|error| error.kind == kind)
}
