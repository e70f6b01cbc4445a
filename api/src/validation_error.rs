//! Validation errors: the places and kinds of the mistakes in a request.

use std::fmt::Write as _;

use tasker_wire::ProblemPointer;

use crate::problems::{self, ProblemType};

/// The maximum length of one error text, in characters: schemas and values can be long.
const DETAIL_CHARS_MAX: usize = 300;

/// The maximum length of a name that is compared with others, in characters.
const NAME_CHARS_MAX: usize = 64;
/// The similarity (Jaro-Winkler) from which one name is treated as a misspelling of another.
const SIMILARITY_MIN: f64 = 0.8;
/// The minimum length of a part of a name that is treated as the name.
const PART_CHARS_MIN: usize = 3;

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

/// Returns `known` sorted by similarity to `name`, the most similar first; names without similarity keep
/// their order.
pub fn nearest_first<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    let mut ranked: Vec<(f64, &str)> = known
        .iter()
        .map(|other| (similarity(name, other), *other))
        .collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    ranked.into_iter().map(|(_, other)| other).collect()
}

/// Returns a "did you mean" for the name in `known` most similar to `name`, or the list of all known names.
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    match nearest_first(name, known).first() {
        Some(nearest) if similarity(name, nearest) > 0.0 => format!("did you mean `{nearest}`?"),
        _ => format!("known: {}", known.join(", ")),
    }
}

/// Returns the similarity of two names, 0 to 1; 0 below `SIMILARITY_MIN`.
fn similarity(name: &str, known: &str) -> f64 {
    // the comparison takes time in proportion to the product of the lengths, and the client chooses the name
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let name = name.to_lowercase().replace('-', "_");
    let known = known.to_lowercase();
    if name == known {
        return 1.0;
    }
    // `params` for `parameters`, `retries` for `max_retries`
    let parts = name.len() >= PART_CHARS_MIN && (known.contains(&name) || name.contains(&known));
    let alike = strsim::jaro_winkler(&name, &known);
    match (alike, parts) {
        (alike, true) => alike.max(SIMILARITY_MIN),
        (alike, false) if alike >= SIMILARITY_MIN => alike,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_parts_of_names_are_understood() {
        let known = [
            "task_name",
            "parameters",
            "priority",
            "queue",
            "run_at",
            "max_retries",
            "tags",
        ];
        for (name, meant) in [
            ("prioritty", "priority"),
            ("Priority", "priority"),
            ("taskName", "task_name"),
            ("params", "parameters"),
            ("retries", "max_retries"),
            ("name", "task_name"),
            ("que", "queue"),
            ("max-retries", "max_retries"),
            ("runat", "run_at"),
            ("tag", "tags"),
        ] {
            assert_eq!(did_you_mean(name, &known), format!("did you mean `{meant}`?"));
        }
        assert!(did_you_mean("zzz", &known).starts_with("known: task_name, parameters"));
        assert_eq!(nearest_first("tag", &known)[0], "tags");
        assert_eq!(nearest_first("", &known), known);
    }

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
