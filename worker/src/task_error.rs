//! The error of a handler.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

/// The error of a failed attempt, with the decision to retry. `?` turns any error, `anyhow::Error`, boxed
/// errors and texts into [`TaskError::Retry`].
#[derive(Debug)]
pub enum TaskError {
    /// Retry after the type's backoff, while attempts are left.
    Retry(Box<dyn Error + Send + Sync>),
    /// Retry after this delay, while attempts are left.
    RetryAfter(Duration, Box<dyn Error + Send + Sync>),
    /// Do not retry: the task becomes a dead letter.
    Fail(Box<dyn Error + Send + Sync>),
}

impl TaskError {
    /// Creates an error that is retried after the type's backoff.
    pub fn retry(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Retry(error.into())
    }

    /// Creates an error that is retried after `delay`.
    pub fn retry_after(delay: Duration, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::RetryAfter(delay, error.into())
    }

    /// Creates an error that is not retried.
    pub fn fail(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Fail(error.into())
    }

    /// Returns the error and its causes, joined by colons.
    pub fn text(&self) -> String {
        let (Self::Retry(error) | Self::RetryAfter(_, error) | Self::Fail(error)) = self;
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // writing to a String cannot fail
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        text
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_error_names_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the ledger")]
        struct Outer(#[source] std::io::Error);
        let error = TaskError::from(Outer(std::io::Error::other("disk on fire")));
        assert_eq!(error.text(), "cannot read the ledger: disk on fire");
    }

    #[test]
    fn the_question_mark_takes_every_kind_of_error() {
        fn any(fails: Result<(), impl Into<TaskError>>) -> String {
            fails.map_err(Into::into).expect_err("an error").text()
        }
        fn by_question_mark() -> Result<(), TaskError> {
            let boxed: Result<(), Box<dyn Error + Send + Sync>> = Err("boxed".into());
            Ok(boxed?)
        }
        let disk = || std::io::Error::other("disk on fire");
        let anyhow = anyhow::Error::new(disk()).context("cannot read the ledger");
        assert_eq!(any(Err(anyhow)), "cannot read the ledger: disk on fire");
        assert_eq!(any(Err(disk())), "disk on fire");
        assert_eq!(any(Err("a text")), "a text");
        assert_eq!(any(Err("a text".to_owned())), "a text");
        assert_eq!(any(Err(Box::new(disk()))), "disk on fire");
        assert_eq!(by_question_mark().expect_err("an error").text(), "boxed");
        assert!(matches!(by_question_mark(), Err(TaskError::Retry(_))));
    }
}
