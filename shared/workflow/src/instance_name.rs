//! The names of workflows from their context: `order-$context.order_id`.

use serde::{Serialize, Serializer};

use crate::limits::INSTANCE_NAME_CHARS;
use crate::reference::{Reference, ReferenceError};

/// The pattern of the names of workflows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceName {
    pieces: Vec<Piece>,
}

/// A piece of the pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Context(Reference),
}

/// The reason why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InstanceNameError {
    #[error("must have 1 to {INSTANCE_NAME_CHARS} characters")]
    Length,
    #[error("contains a control character; remove it")]
    Control,
    #[error("has a `$` that begins no `$context.path`; write `$$` for a dollar")]
    Reference,
}

impl InstanceName {
    pub(crate) fn parse(text: &str) -> Result<Self, InstanceNameError> {
        if text.is_empty() || text.chars().count() > INSTANCE_NAME_CHARS {
            return Err(InstanceNameError::Length);
        }
        if text.contains(char::is_control) {
            return Err(InstanceNameError::Control);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            push_text(&mut pieces, before);
            if let Some(after) = from.strip_prefix("$$") {
                push_text(&mut pieces, "$");
                rest = after;
                continue;
            }
            let (reference, after) = context_prefix(from)?;
            pieces.push(Piece::Context(reference));
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Self { pieces })
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the pattern as it is written in a definition.
    pub fn to_text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.replace('$', "$$"),
                Piece::Context(reference) => reference.to_string(),
            })
            .collect()
    }
}

fn context_prefix(text: &str) -> Result<(Reference, &str), InstanceNameError> {
    match Reference::parse_prefix(text) {
        Ok((reference, rest)) if reference.step().is_none() && !reference.path.is_empty() => {
            Ok((reference, rest))
        }
        Ok(_) | Err(ReferenceError::Malformed | ReferenceError::StepName | ReferenceError::Item) => {
            Err(InstanceNameError::Reference)
        }
        Err(ReferenceError::TooLong) => Err(InstanceNameError::Length),
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

impl Serialize for InstanceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dollar_that_begins_no_context_path_is_rejected() {
        use InstanceNameError::{Control, Length, Reference};
        for (text, error) in [
            ("", Length),
            ("$", Reference),
            ("$5", Reference),
            ("$context", Reference),
            ("$pay.id", Reference),
            ("a\nb", Control),
        ] {
            assert_eq!(InstanceName::parse(text), Err(error), "{text}");
        }
        assert_eq!(InstanceName::parse(&"x".repeat(256)), Err(Length));
    }

    proptest! {
        #[test]
        fn a_pattern_is_written_as_one_that_reads_the_same(text in "([a-z.]{0,3}(\\$\\$|\\$context\\.[a-z]{1,3}){0,2}){1,3}") {
            if let Ok(name) = InstanceName::parse(&text) {
                prop_assert_eq!(InstanceName::parse(&name.to_text()), Ok(name));
            }
        }
    }
}
