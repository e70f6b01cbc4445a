//! What is wrong with a request, and where.

use std::fmt::Write as _;

use tasker_shared::wire::ProblemPointer;

/// Longest text of one fault, in characters: schemas and values can be long.
const DETAIL_CHARS_MAX: usize = 300;

/// The kind of a fault, as programs tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A value that breaks the rules of its field.
    Invalid,
    /// A task type that nobody registered.
    UnknownTaskType,
    /// A queue that nobody declared.
    UnknownQueue,
    /// Parameters that the type's schema refuses.
    InvalidParameters,
    /// An idempotency key that was sent with another request.
    KeyReused,
    /// A value that Postgres cannot store.
    Unstorable,
    /// A cursor that this list did not give out.
    InvalidCursor,
}

impl FaultKind {
    /// The code and the title of a problem document about such faults.
    pub fn code_and_title(self) -> (&'static str, &'static str) {
        match self {
            Self::Invalid => ("invalid_request", "The request is not valid"),
            Self::UnknownTaskType => ("unknown_task_type", "No such task type"),
            Self::UnknownQueue => ("unknown_queue", "No such queue"),
            Self::InvalidParameters => ("invalid_parameters", "The parameters do not fit the task type"),
            Self::KeyReused => (
                "idempotency_key_reused",
                "The idempotency key belongs to another request",
            ),
            Self::Unstorable => ("unstorable", "A value cannot be stored"),
            Self::InvalidCursor => ("invalid_cursor", "The cursor does not belong to this list"),
        }
    }
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// A JSON pointer into the body, or the name of a query parameter or header.
    pub pointer: String,
    /// What is wrong there, for people.
    pub detail: String,
}

impl Fault {
    /// A fault of a kind; `detail` is cut to a length that can be answered.
    pub fn new(kind: FaultKind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            pointer: pointer.into(),
            detail: cut(detail.into()),
        }
    }

    /// A value that breaks the rules of its field.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, pointer, detail)
    }

    /// As it stands in a problem document.
    pub fn to_wire(&self) -> ProblemPointer {
        ProblemPointer {
            pointer: self.pointer.clone(),
            detail: self.detail.clone(),
        }
    }
}

/// Cuts a text to `DETAIL_CHARS_MAX` and says so.
fn cut(mut text: String) -> String {
    if let Some((index, _)) = text.char_indices().nth(DETAIL_CHARS_MAX) {
        text.truncate(index);
        text.push('…');
    }
    text
}

/// The kind that stands for all of `faults`: their own where they agree, the general one where not.
pub fn common_kind(faults: &[Fault]) -> FaultKind {
    match faults.split_first() {
        Some((first, rest)) if rest.iter().all(|fault| fault.kind == first.kind) => first.kind,
        _ => FaultKind::Invalid,
    }
}

/// One sentence about `faults`: the first in full, the others by number.
pub fn summary(faults: &[Fault]) -> String {
    let Some(first) = faults.first() else {
        return "The request is not valid.".to_owned();
    };
    let place = if first.pointer.is_empty() {
        "The body"
    } else {
        &first.pointer
    };
    let mut text = format!("{place} {}", first.detail);
    if faults.len() > 1 {
        let _ = write!(text, " (and {} more)", faults.len() - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_one_kind_give_the_problem_its_code() {
        let unknown = Fault::new(FaultKind::UnknownQueue, "/queue", "x");
        let invalid = Fault::invalid("/priority", "y");
        assert_eq!(
            common_kind(&[unknown.clone(), unknown.clone()]),
            FaultKind::UnknownQueue
        );
        assert_eq!(common_kind(&[unknown, invalid]), FaultKind::Invalid);
    }

    #[test]
    fn a_long_detail_is_cut_and_says_so() {
        let fault = Fault::invalid("/x", "ä".repeat(1000));
        assert_eq!(fault.detail.chars().count(), DETAIL_CHARS_MAX + 1);
        assert!(fault.detail.ends_with('…'));
    }

    #[test]
    fn a_summary_names_the_first_fault_and_counts_the_others() {
        let fault = Fault::invalid("/priority", "must be an integer");
        assert_eq!(
            summary(std::slice::from_ref(&fault)),
            "/priority must be an integer"
        );
        assert_eq!(
            summary(&[fault.clone(), fault]),
            "/priority must be an integer (and 1 more)"
        );
    }
}
