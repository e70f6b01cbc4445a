//! Resolves inputs when a step starts. Values are copied as text, so the result is the same byte for byte on
//! every attempt and numbers keep their digits.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::Step;
use crate::input::Input;
use crate::instance_name::{InstanceName, Piece};
use crate::json::{Json, write_text};
use crate::limits::{INPUT_BYTES, INSTANCE_NAME_CHARS};
use crate::lookup::find;
use crate::reference::{Reference, Root};

/// How a step ended, as the steps behind it see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome<'a> {
    /// It completed, or an operator resolved it: the JSON text of its result, `null` without one.
    Completed(&'a str),
    /// It failed and an edge handled that: the text of its error. Its value is `{"error": text}`.
    Failed(&'a str),
    /// It was skipped; its value is `null`.
    Skipped,
}

/// The reason why inputs cannot be resolved. The step fails with it and is not retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A path does not exist in a result or in the context.
    #[error("`{reference}` refers to a value that is not there")]
    NotThere {
        /// The reference as it is written.
        reference: String,
    },
    /// The outcome of a step is not known.
    #[error("the result of the step `{step}` is not there")]
    NoOutcome {
        /// The name of the step.
        step: String,
    },
    /// The inputs have more than 16 MiB.
    #[error("the inputs have more than {INPUT_BYTES} bytes; let the steps before pass less")]
    TooLarge,
    /// A value in the name of an instance is an object, a list or null.
    #[error("`{reference}` in the name of the instance must be a text, a number, true or false")]
    NotText {
        /// The reference as it is written.
        reference: String,
    },
    /// The name of an instance is empty or too long.
    #[error(
        "the name of the instance must have 1 to {INSTANCE_NAME_CHARS} characters without control characters"
    )]
    InstanceName,
}

impl ResolveError {
    /// Returns the reason of the dead letter.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotThere { .. } | Self::NoOutcome { .. } => "unresolved_reference",
            Self::TooLarge => "inputs_too_large",
            Self::NotText { .. } | Self::InstanceName => "invalid_instance_name",
        }
    }
}

/// The names of steps whose results a step reads: those that its inputs refer to, or its parents.
pub fn steps_read(step: &Step) -> BTreeSet<&str> {
    match &step.inputs {
        None => step.needs.iter().map(|edge| edge.step.as_str()).collect(),
        Some(inputs) => inputs.values().flat_map(steps_of).collect(),
    }
}

fn steps_of(input: &Input) -> Vec<&str> {
    match input {
        Input::Literal(_) => Vec::new(),
        Input::Reference(reference) => reference.step().into_iter().collect(),
        Input::List(items) => items.iter().flat_map(steps_of).collect(),
        Input::Object(entries) => entries.values().flat_map(steps_of).collect(),
    }
}

/// Returns whether a step reads the context of its workflow.
pub fn reads_context(step: &Step) -> bool {
    let Some(inputs) = &step.inputs else {
        return true;
    };
    let mut reads = false;
    for input in inputs.values() {
        input.for_each_reference(&mut |reference| reads |= reference.step().is_none());
    }
    reads
}

/// Returns the parameters of a step as JSON text.
///
/// With inputs they are an object with the keys of the inputs, sorted. Without, they are `{"context": …,
/// "steps": {name: value}}` of the direct parents, sorted by name. `outcome` returns how a step ended.
pub fn parameters<'a>(
    step: &Step,
    context: &str,
    outcome: impl Fn(&str) -> Option<StepOutcome<'a>>,
) -> Result<String, ResolveError> {
    let mut writer = Writer::new(context, outcome);
    match &step.inputs {
        Some(inputs) => writer.object(inputs)?,
        None => writer.defaults(step)?,
    }
    Ok(writer.out)
}

/// Returns a value, such as the output of a workflow, as JSON text.
pub fn value<'a>(
    input: &Input,
    context: &str,
    outcome: impl Fn(&str) -> Option<StepOutcome<'a>>,
) -> Result<String, ResolveError> {
    let mut writer = Writer::new(context, outcome);
    writer.input(input)?;
    Ok(writer.out)
}

/// Returns the name of a workflow with this context.
pub fn instance_name(pattern: &InstanceName, context: &str) -> Result<String, ResolveError> {
    let mut name = String::new();
    for piece in pattern.pieces() {
        match piece {
            Piece::Text(text) => name.push_str(text),
            Piece::Context(reference) => name.push_str(&text_at(reference, context)?),
        }
    }
    let chars = name.chars().count();
    if (1..=INSTANCE_NAME_CHARS).contains(&chars) && !name.contains(char::is_control) {
        Ok(name)
    } else {
        Err(ResolveError::InstanceName)
    }
}

fn text_at(reference: &Reference, context: &str) -> Result<String, ResolveError> {
    let found = find(context, &reference.path).ok_or_else(|| not_there(reference))?;
    match found.as_bytes().first() {
        Some(b'"') => serde_json::from_str(found).map_err(|_| not_there(reference)),
        Some(b'{' | b'[' | b'n') | None => Err(ResolveError::NotText {
            reference: reference.to_string(),
        }),
        Some(_) => Ok(found.to_owned()),
    }
}

fn not_there(reference: &Reference) -> ResolveError {
    ResolveError::NotThere {
        reference: reference.to_string(),
    }
}

/// Writes JSON text of at most [`INPUT_BYTES`].
struct Writer<'c, F> {
    context: &'c str,
    outcome: F,
    out: String,
}

impl<'c, 'a, F: Fn(&str) -> Option<StepOutcome<'a>>> Writer<'c, F> {
    fn new(context: &'c str, outcome: F) -> Self {
        Self {
            context,
            outcome,
            out: String::new(),
        }
    }

    fn push(&mut self, text: &str) -> Result<(), ResolveError> {
        if self.out.len() + text.len() > INPUT_BYTES {
            return Err(ResolveError::TooLarge);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn input(&mut self, input: &Input) -> Result<(), ResolveError> {
        match input {
            Input::Literal(literal) => self.push(&literal.to_text()),
            Input::Reference(reference) => self.reference(reference),
            Input::List(items) => {
                self.push("[")?;
                for (index, item) in items.iter().enumerate() {
                    self.separator(index)?;
                    self.input(item)?;
                }
                self.push("]")
            }
            Input::Object(entries) => self.object(entries),
        }
    }

    fn object(&mut self, entries: &BTreeMap<String, Input>) -> Result<(), ResolveError> {
        self.push("{")?;
        for (index, (key, input)) in entries.iter().enumerate() {
            self.key(index, key)?;
            self.input(input)?;
        }
        self.push("}")
    }

    fn defaults(&mut self, step: &Step) -> Result<(), ResolveError> {
        self.push("{\"context\":")?;
        self.push(self.context)?;
        self.push(",\"steps\":{")?;
        for (index, name) in steps_read(step).into_iter().enumerate() {
            self.key(index, name)?;
            match self.outcome_of(name)? {
                StepOutcome::Completed(result) => self.push(result)?,
                StepOutcome::Failed(error) => self.push(&failed(error))?,
                StepOutcome::Skipped => self.push("null")?,
            }
        }
        self.push("}}")
    }

    fn reference(&mut self, reference: &Reference) -> Result<(), ResolveError> {
        let name = match &reference.root {
            Root::Context => {
                let found = find(self.context, &reference.path).ok_or_else(|| not_there(reference))?;
                return self.push(found);
            }
            Root::Step(name) => name,
        };
        match self.outcome_of(name)? {
            StepOutcome::Completed(result) => {
                let found = find(result, &reference.path).ok_or_else(|| not_there(reference))?;
                self.push(found)
            }
            StepOutcome::Failed(error) => {
                let value = failed(error);
                self.push(find(&value, &reference.path).unwrap_or("null"))
            }
            StepOutcome::Skipped => self.push("null"),
        }
    }

    fn outcome_of(&self, step: &str) -> Result<StepOutcome<'a>, ResolveError> {
        (self.outcome)(step).ok_or_else(|| ResolveError::NoOutcome {
            step: step.to_owned(),
        })
    }

    fn key(&mut self, index: usize, key: &str) -> Result<(), ResolveError> {
        self.separator(index)?;
        let mut quoted = String::new();
        write_text(key, &mut quoted);
        self.push(&quoted)?;
        self.push(":")
    }

    fn separator(&mut self, index: usize) -> Result<(), ResolveError> {
        if index > 0 { self.push(",") } else { Ok(()) }
    }
}

/// Returns the value of a step that failed.
fn failed(error: &str) -> String {
    let error = Json::Text(error.to_owned());
    Json::Object([("error".to_owned(), error)].into()).to_text()
}

#[cfg(test)]
mod tests;
