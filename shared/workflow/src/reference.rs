//! References in inputs: `$step.path.to[0]` and `$context.path`.

use std::fmt;

use crate::limits::REFERENCE_PARTS;

/// A reference to a value that exists when a step starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The value that the path begins at.
    pub root: Root,
    /// The path within that value.
    pub path: Vec<Part>,
}

/// The beginning of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The context of the workflow.
    Context,
    /// The result of a step.
    Step(String),
}

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A field of an object.
    Field(String),
    /// An item of a list, counted from 0.
    Item(usize),
}

/// The reason why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error(
        "is not a reference; write `$step.path`, `$step.list[0]` or `$context.path`, or `$$` for a dollar at the start"
    )]
    Malformed,
    #[error(
        "cannot refer to a step with such a name; rename the step to letters, digits and `_`, or write `$$` for a \
         dollar at the start"
    )]
    StepName,
    #[error("refers to an item of a map, which is not supported yet; remove it")]
    Item,
    #[error("has a path of more than {REFERENCE_PARTS} parts; shorten it")]
    TooLong,
}

impl Reference {
    /// Parses all of `text`, which begins with `$`.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (reference, rest) = Self::parse_prefix(text)?;
        match rest.chars().next() {
            None => Ok(reference),
            Some('-') if reference.path.is_empty() => Err(ReferenceError::StepName),
            Some(_) => Err(ReferenceError::Malformed),
        }
    }

    /// Parses the longest reference that `text` begins with; returns it and the rest of the text.
    pub(crate) fn parse_prefix(text: &str) -> Result<(Self, &str), ReferenceError> {
        let text = text.strip_prefix('$').ok_or(ReferenceError::Malformed)?;
        let (name, mut rest) = split_word(text, |c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(ReferenceError::Malformed);
        }
        let root = match name {
            "context" => Root::Context,
            "item" => return Err(ReferenceError::Item),
            "steps" => return Err(ReferenceError::StepName),
            name => Root::Step(name.to_owned()),
        };
        let mut path = Vec::new();
        while let Some((part, after)) = next_part(rest) {
            path.push(part);
            rest = after;
            if path.len() > REFERENCE_PARTS {
                return Err(ReferenceError::TooLong);
            }
        }
        Ok((Self { root, path }, rest))
    }

    /// Returns the name of the step that it refers to; `None` for the context.
    pub fn step(&self) -> Option<&str> {
        match &self.root {
            Root::Context => None,
            Root::Step(name) => Some(name),
        }
    }
}

fn next_part(text: &str) -> Option<(Part, &str)> {
    if let Some(after) = text.strip_prefix('.') {
        let (name, rest) = split_word(after, |c| c.is_alphanumeric() || c == '_' || c == '-');
        return (!name.is_empty()).then(|| (Part::Field(name.to_owned()), rest));
    }
    let (digits, rest) = text.strip_prefix('[')?.split_once(']')?;
    let canonical = digits == "0" || !digits.starts_with('0');
    let all_digits = canonical && digits.bytes().all(|byte| byte.is_ascii_digit());
    let index = digits.parse().ok().filter(|_| all_digits)?;
    Some((Part::Item(index), rest))
}

fn split_word(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Context => f.write_str("$context")?,
            Root::Step(name) => write!(f, "${name}")?,
        }
        for part in &self.path {
            match part {
                Part::Field(name) => write!(f, ".{name}")?,
                Part::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_the_context_fields_and_items_are_read() {
        let reference = Reference::parse("$reserve.parcels[0].zip-code").expect("valid");
        assert_eq!(reference.step(), Some("reserve"));
        assert_eq!(
            reference.path,
            [
                Part::Field("parcels".to_owned()),
                Part::Item(0),
                Part::Field("zip-code".to_owned())
            ]
        );
        let context = Reference::parse("$context").expect("valid");
        assert_eq!((context.step(), context.path.len()), (None, 0));
    }

    #[test]
    fn a_text_that_is_not_a_reference_is_rejected_with_the_way_to_write_it() {
        use ReferenceError::{Item, Malformed, StepName, TooLong};
        for (text, error) in [
            ("$", Malformed),
            ("$5", Malformed),
            ("$a.", Malformed),
            ("$a[", Malformed),
            ("$a[-1]", Malformed),
            ("$a[01]", Malformed),
            ("$a b", Malformed),
            ("$a\u{7}", Malformed),
            ("$ship-order", StepName),
            ("$steps.a", StepName),
            ("$item.id", Item),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text}");
        }
        let long = format!("$a{}", ".b".repeat(REFERENCE_PARTS + 1));
        assert_eq!(Reference::parse(&long), Err(TooLong));
    }

    proptest! {
        #[test]
        fn a_reference_is_written_as_it_was_read(text in "\\$[a-z_]{1,8}(\\.[a-z0-9_-]{1,4}|\\[[1-9][0-9]{0,3}\\]){0,4}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(reference.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\$?.{0,20}") {
            let _ = Reference::parse(&text);
        }
    }
}
