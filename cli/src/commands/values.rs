//! Values of arguments that several commands take.

use std::io::Read as _;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use tasker_core::duration;

/// A JSON argument: JSON, `@FILE`, or `-` for standard input; files are read when the command runs, not when
/// it is parsed.
#[derive(Debug, Clone)]
pub(crate) enum JsonArg {
    Inline(Box<RawValue>),
    File(String),
    Stdin,
}

impl JsonArg {
    /// Parses the argument.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // unambiguous: JSON is never a lone `-` and never starts with `@`
        match (text, text.strip_prefix('@')) {
            ("-", _) => Ok(Self::Stdin),
            (_, Some(path)) => Ok(Self::File(path.to_owned())),
            _ => RawValue::from_string(text.to_owned())
                .map(Self::Inline)
                .map_err(|error| format!("is not JSON: {error}")),
        }
    }

    /// Returns the JSON, verbatim.
    pub(super) fn read(self) -> anyhow::Result<Box<RawValue>> {
        let (text, place) = match self {
            Self::Inline(value) => return Ok(value),
            Self::File(path) => {
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
                (text, path)
            }
            Self::Stdin => (read_stdin()?, "standard input".to_owned()),
        };
        RawValue::from_string(text).with_context(|| format!("{place} is not valid JSON"))
    }
}

/// Reads standard input to its end.
pub(super) fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    Ok(text)
}

/// Validates a duration before the request, so that a typo is a usage error, and returns it with a unit.
pub(super) fn parse_duration(text: &str) -> Result<String, String> {
    duration::parse(text)
        .map(duration::format)
        .map_err(|error| error.to_string())
}

/// Parses a time in RFC 3339.
pub(super) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.to_utc())
        .map_err(|_| "must be a time with a zone, like 2030-01-31T12:00:00Z".to_owned())
}

/// Validates a duration, or a time in RFC 3339, and returns it as the server reads it.
pub(super) fn parse_deadline(text: &str) -> Result<String, String> {
    if parse_time(text).is_ok() {
        return Ok(text.to_owned());
    }
    parse_duration(text).map_err(|_| {
        "must be a duration such as 2h, or a time with a zone such as 2030-01-31T12:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_comes_from_the_line_a_file_or_standard_input() {
        assert!(matches!(JsonArg::parse("-"), Ok(JsonArg::Stdin)));
        assert!(matches!(JsonArg::parse("@a.json"), Ok(JsonArg::File(path)) if path == "a.json"));
        let inline = JsonArg::parse(r#"{"n":1.10}"#);
        assert!(matches!(inline, Ok(JsonArg::Inline(v)) if v.get() == r#"{"n":1.10}"#));
        assert!(JsonArg::parse("{").is_err());
    }

    #[test]
    fn a_bare_number_of_seconds_is_sent_with_its_unit() {
        assert_eq!(parse_duration("90"), Ok("1m30s".to_owned()));
        assert!(parse_duration("-1").is_err());
    }

    #[test]
    fn a_deadline_is_a_duration_or_a_time() {
        assert_eq!(parse_deadline("7200"), Ok("2h".to_owned()));
        let time = "2030-01-31T12:00:00+01:00";
        assert_eq!(parse_deadline(time), Ok(time.to_owned()));
        assert!(parse_deadline("tomorrow").is_err());
    }
}
