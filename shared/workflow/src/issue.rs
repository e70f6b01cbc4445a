//! Validation errors and warnings of a definition.

use std::fmt;

use strum::{Display, IntoStaticStr};

/// The maximum number of errors that one validation returns.
const ISSUES_MAX: usize = 100;

/// A validation error or a warning, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// The place in the text as it was written, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The kind, stable across releases.
    pub code: IssueCode,
    /// One sentence that continues after the pointer and names the fix.
    pub message: String,
    /// The line in the text, counted from 1.
    pub line: Option<u32>,
}

/// The kind of an [`Issue`]. Its name in `snake_case` is part of the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum IssueCode {
    /// The text is not JSON or YAML.
    Syntax,
    /// The text or its normalised form has too many bytes.
    TooLarge,
    /// Objects and lists are nested too deeply.
    TooDeep,
    /// A value that YAML has and JSON has not.
    NotJson,
    /// A text or number that Postgres or another reader would reject or change.
    NotStorable,
    /// A field that its object has already.
    DuplicateField,
    /// A field that does not exist.
    UnknownField,
    /// A field or value of a later release.
    NotSupportedYet,
    /// A required field is missing.
    MissingField,
    /// Two fields of which only one can be given.
    ConflictingFields,
    /// A value of another JSON type.
    WrongType,
    /// A number, duration or text outside its range.
    OutOfRange,
    /// A text that is not a valid name, version or queue.
    InvalidName,
    /// A name with a meaning of its own.
    ReservedName,
    /// A value that is not one of a list.
    UnknownValue,
    /// The input schema is not a JSON Schema.
    InvalidSchema,
    /// The number of steps is out of range.
    StepCount,
    /// Two steps have the same name.
    DuplicateStep,
    /// A step that does not exist.
    UnknownStep,
    /// A step that depends on itself.
    SelfDependency,
    /// A step that depends on another one twice.
    DuplicateEdge,
    /// Steps that depend on each other.
    Cycle,
    /// A step with edges of policy `only` and others.
    MixedOnlyEdges,
    /// A text that begins with `$` and is not a reference.
    InvalidReference,
    /// A reference to a step that has not ended when the value is needed.
    NotAnAncestor,
    /// An environment sets inputs of a step that has none.
    NoInputsToOverride,
    /// A warning: a field that is kept and has no effect.
    NoEffect,
}

impl IssueCode {
    /// Returns the name in the HTTP API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        let pointer = if self.pointer.is_empty() {
            "the definition"
        } else {
            &self.pointer
        };
        write!(f, "{pointer}: {}", self.message)
    }
}

/// The validation errors of a definition: all of them, up to 100, by line where lines are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .issues.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidDefinition {
    /// The errors; at least one.
    pub issues: Vec<Issue>,
}

/// A place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) pointer: String,
    pub(crate) line: u32,
}

/// Collects the issues of one validation.
#[derive(Debug, Default)]
pub(crate) struct Issues {
    errors: Vec<Issue>,
    warnings: Vec<Issue>,
}

impl Issues {
    pub(crate) fn error(&mut self, spot: &Spot, code: IssueCode, message: impl Into<String>) {
        if !self.is_full() {
            self.errors.push(issue(spot, code, message.into()));
        }
    }

    pub(crate) fn warning(&mut self, spot: &Spot, code: IssueCode, message: impl Into<String>) {
        if self.warnings.len() < ISSUES_MAX {
            self.warnings.push(issue(spot, code, message.into()));
        }
    }

    /// Returns whether further errors are dropped, so that a caller can save the work of finding them.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ISSUES_MAX
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Returns the warnings, or the errors if there are any.
    pub(crate) fn finish(mut self) -> Result<Vec<Issue>, InvalidDefinition> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.sort_by_key(|issue| issue.line);
        Err(InvalidDefinition { issues: self.errors })
    }
}

fn issue(spot: &Spot, code: IssueCode, message: String) -> Issue {
    Issue {
        pointer: spot.pointer.clone(),
        code,
        message,
        line: (spot.line > 0).then_some(spot.line),
    }
}
