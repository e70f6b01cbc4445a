//! Validation errors: the places and kinds of the mistakes in a request.

use std::fmt::Write as _;

use tasker_wire::ProblemPointer;

use crate::problems::{self, ProblemType};

/// The maximum length of one error text, in characters: schemas and values can be long.
const DETAIL_CHARS_MAX: usize = 300;

/// The kind of a validation error, from which the problem code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValidationErrorKind {
    /// A value that breaks the rules of its field.
    Invalid,
    /// A task type that is not registered.
    UnknownTaskType,
    /// A queue that is not declared.
    UnknownQueue,
    /// Parameters that do not match the type's schema.
    InvalidParameters,
    /// An idempotency key that was sent with another request.
    KeyReused,
    /// A value that Postgres cannot store.
    Unstorable,
    /// A cursor that was not issued by this list for this filter.
    InvalidCursor,
    /// A bulk action without a filter and without `"all": true`.
    FilterRequired,
}

impl ValidationErrorKind {
    /// Returns the problem type of errors of this kind.
    pub fn problem_type(self) -> &'static ProblemType {
        match self {
            Self::Invalid => &problems::INVALID_REQUEST,
            Self::UnknownTaskType => &problems::UNKNOWN_TASK_TYPE,
            Self::UnknownQueue => &problems::UNKNOWN_QUEUE,
            Self::InvalidParameters => &problems::INVALID_PARAMETERS,
            Self::KeyReused => &problems::IDEMPOTENCY_KEY_REUSED,
            Self::Unstorable => &problems::UNSTORABLE,
            Self::InvalidCursor => &problems::INVALID_CURSOR,
            Self::FilterRequired => &problems::FILTER_REQUIRED,
        }
    }
}

/// One validation error of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError {
    /// Its kind.
    pub kind: ValidationErrorKind,
    /// A JSON pointer into the body, or the name of a query parameter or header.
    pub pointer: String,
    /// The error text for people.
    pub detail: String,
}

impl ValidationError {
    /// Creates an error of a kind; a long `detail` is cut.
    pub fn new(kind: ValidationErrorKind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            pointer: pointer.into(),
            detail: cut(detail.into()),
        }
    }

    /// Creates an error of a value that breaks the rules of its field.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ValidationErrorKind::Invalid, pointer, detail)
    }

    /// Returns its form in a problem document.
    pub fn to_wire(&self) -> ProblemPointer {
        ProblemPointer {
            pointer: self.pointer.clone(),
            detail: self.detail.clone(),
        }
    }
}

/// Cuts a text to `DETAIL_CHARS_MAX` characters and marks the cut with `…`.
fn cut(mut text: String) -> String {
    if let Some((index, _)) = text.char_indices().nth(DETAIL_CHARS_MAX) {
        text.truncate(index);
        text.push('…');
    }
    text
}

/// Returns the common kind of `errors`, or `Invalid` where their kinds differ.
pub fn common_kind(errors: &[ValidationError]) -> ValidationErrorKind {
    match errors.split_first() {
        Some((first, rest)) if rest.iter().all(|error| error.kind == first.kind) => first.kind,
        _ => ValidationErrorKind::Invalid,
    }
}

/// Returns one sentence about `errors`: the first in full and the number of the others.
pub fn summary(errors: &[ValidationError]) -> String {
    let Some(first) = errors.first() else {
        return "The request is not valid.".to_owned();
    };
    let place = if first.pointer.is_empty() {
        "The body"
    } else {
        &first.pointer
    };
    let mut text = format!("{place} {}", first.detail);
    if errors.len() > 1 {
        let _ = write!(text, " (and {} more)", errors.len() - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_one_kind_give_the_problem_its_code() {
        let unknown = ValidationError::new(ValidationErrorKind::UnknownQueue, "/queue", "x");
        let invalid = ValidationError::invalid("/priority", "y");
        assert_eq!(
            common_kind(&[unknown.clone(), unknown.clone()]),
            ValidationErrorKind::UnknownQueue
        );
        assert_eq!(common_kind(&[unknown, invalid]), ValidationErrorKind::Invalid);
    }

    #[test]
    fn a_long_detail_is_cut_and_says_so() {
        let error = ValidationError::invalid("/x", "ä".repeat(1000));
        assert_eq!(error.detail.chars().count(), DETAIL_CHARS_MAX + 1);
        assert!(error.detail.ends_with('…'));
    }

    #[test]
    fn a_summary_names_the_first_fault_and_counts_the_others() {
        let error = ValidationError::invalid("/priority", "must be an integer");
        assert_eq!(
            summary(std::slice::from_ref(&error)),
            "/priority must be an integer"
        );
        assert_eq!(
            summary(&[error.clone(), error]),
            "/priority must be an integer (and 1 more)"
        );
    }
}
