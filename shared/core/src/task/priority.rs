//! Queues and the three priority classes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A task's priority, −100 to 100: higher is more urgent. It picks the class unless a queue is named.
pub type Priority = i16;

/// The name of a queue in its canonical form. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Arc<str>);

/// A text that is not a queue name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a queue name: 1 to 64 of a-z, 0-9, `_`, `.`, `-`, the first a letter or digit")]
pub struct InvalidQueueName(pub String);

impl QueueName {
    /// Parses a canonical name or one of the aliases `high` and `low`.
    pub fn parse(text: &str) -> Result<Self, InvalidQueueName> {
        match text {
            "high" => return Ok(Self::high()),
            "low" => return Ok(Self::low()),
            _ => {}
        }
        let first_ok = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let rest_ok = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b));
        if first_ok && rest_ok && text.len() <= 64 {
            Ok(Self(text.into()))
        } else {
            Err(InvalidQueueName(text.to_owned()))
        }
    }

    /// Returns the queue that `text` is an alias of.
    pub fn of_alias(text: &str) -> Option<Self> {
        Self::parse(text).ok().filter(|name| name.as_str() != text)
    }

    /// Returns `high_priority`: priorities above 5.
    pub fn high() -> Self {
        Self("high_priority".into())
    }

    /// Returns `default`: priorities 0 to 5.
    pub fn default_class() -> Self {
        Self("default".into())
    }

    /// Returns `low_priority`: priorities below 0.
    pub fn low() -> Self {
        Self("low_priority".into())
    }

    /// Returns the three classes, the most urgent first.
    pub fn classes() -> [Self; 3] {
        [Self::high(), Self::default_class(), Self::low()]
    }

    /// Returns the class of a priority.
    pub fn for_priority(priority: Priority) -> Self {
        match priority {
            6.. => Self::high(),
            0..=5 => Self::default_class(),
            ..0 => Self::low(),
        }
    }

    /// Returns the class above this one; `None` for the highest and for queues that are not a class.
    pub fn class_above(&self) -> Option<Self> {
        match self.as_str() {
            "default" => Some(Self::high()),
            "low_priority" => Some(Self::default_class()),
            _ => None,
        }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The maximum number of declared names that a text lists.
const LISTED_MAX: usize = 50;

/// Returns the error for a queue that is not among `declared`, with the way to declare it; it continues a
/// sentence whose subject the caller writes.
pub fn undeclared<'a>(declared: impl IntoIterator<Item = &'a str>) -> String {
    let mut declared = declared.into_iter();
    let names: Vec<&str> = declared.by_ref().take(LISTED_MAX).collect();
    let more = declared.count();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(
        "is not a declared queue; declare it with `tasker queue create NAME`, POST /queues or EXTRA_QUEUES; \
         declared queues: {}{more}",
        names.join(", ")
    )
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for QueueName {
    type Error = InvalidQueueName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> Self {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_above_five_is_high_and_one_below_zero_is_low() {
        let class = |priority| QueueName::for_priority(priority).to_string();
        assert_eq!(class(6), "high_priority");
        assert_eq!(class(5), "default");
        assert_eq!(class(0), "default");
        assert_eq!(class(-1), "low_priority");
    }

    #[test]
    fn only_the_lower_classes_have_one_above() {
        let classes = QueueName::classes();
        assert_eq!(classes[0].class_above(), None);
        assert_eq!(classes[1].class_above().as_ref(), Some(&classes[0]));
        assert_eq!(classes[2].class_above().as_ref(), Some(&classes[1]));
        let extra = QueueName::parse("team.mail").expect("a name");
        assert_eq!(extra.class_above(), None);
    }

    #[test]
    fn an_alias_is_distinguished_from_a_name() {
        assert_eq!(QueueName::of_alias("low"), Some(QueueName::low()));
        for text in ["low_priority", "lows", "Low"] {
            assert_eq!(QueueName::of_alias(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_list_of_declared_queues_is_cut_and_counted() {
        let name = |number| QueueName::parse(&format!("q{number}")).expect("a name");
        let names: Vec<QueueName> = (0..60).map(name).collect();
        let text = undeclared(names.iter().map(QueueName::as_str));
        assert!(text.ends_with("q48, q49 and 10 more"), "{text}");
        let classes = QueueName::classes();
        assert!(
            undeclared(classes.iter().map(QueueName::as_str))
                .ends_with("high_priority, default, low_priority")
        );
    }

    #[test]
    fn aliases_become_canonical_names() {
        assert_eq!(QueueName::parse("high"), Ok(QueueName::high()));
        assert_eq!(QueueName::parse("low"), Ok(QueueName::low()));
    }

    #[test]
    fn a_name_with_capitals_or_spaces_or_a_leading_dash_is_rejected() {
        for text in ["", "High", "a b", "-a", "ä", &"a".repeat(65)] {
            assert!(QueueName::parse(text).is_err(), "{text:?} was taken");
        }
    }
}
