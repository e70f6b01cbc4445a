//! Reads single values: texts, names, numbers, durations and values of a list.

use std::str::FromStr;
use std::time::Duration;

use tasker_core::duration;
use tasker_core::task::{Priority, QueueName, limits as task_limits};

use super::fields::Place;
use crate::issue::{IssueCode, Issues, Spot};
use crate::json::Json;
use crate::limits;
use crate::nearest::did_you_mean;
use crate::source::Value;

pub(super) fn text<'n>(place: &Place<'n>, issues: &mut Issues) -> Option<&'n str> {
    match &place.node.value {
        Value::Text(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => {
            let message = format!("must be text, not {}; write it in quotes", place.node.kind());
            issues.error(&place.spot, IssueCode::WrongType, message);
            None
        }
        _ => {
            place.wrong_type("text", issues);
            None
        }
    }
}

pub(super) fn bool(place: &Place<'_>, issues: &mut Issues) -> Option<bool> {
    if let Value::Bool(bool) = place.node.value {
        return Some(bool);
    }
    place.wrong_type("true or false", issues);
    None
}

/// Reads an object that is kept as it is.
pub(super) fn object(place: &Place<'_>, issues: &mut Issues) -> Option<Json> {
    if place.is_object() {
        return Some(place.node.to_json());
    }
    place.wrong_type("an object", issues);
    None
}

/// Reads a whole number within a range.
pub(super) fn integer<T>(place: &Place<'_>, min: T, max: T, issues: &mut Issues) -> Option<T>
where
    T: FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let Value::Number(digits) = &place.node.value else {
        place.wrong_type("a whole number", issues);
        return None;
    };
    let number = digits.parse().ok().filter(|number| (min..=max).contains(number));
    if number.is_none() {
        let message = format!("must be a whole number from {min} to {max}, not {digits}");
        issues.error(&place.spot, IssueCode::OutOfRange, message);
    }
    number
}

pub(super) fn priority(place: &Place<'_>, issues: &mut Issues) -> Option<Priority> {
    integer(place, -100, 100, issues)
}

/// Reads a number of milliseconds to wait.
pub(super) fn milliseconds(place: &Place<'_>, issues: &mut Issues) -> Option<u64> {
    let max = u64::try_from(limits::TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    integer(place, 0, max, issues)
}

/// Reads a duration of more than zero: a text such as `1h30m`, or a number of seconds.
pub(super) fn positive_duration(place: &Place<'_>, max: Duration, issues: &mut Issues) -> Option<Duration> {
    let parsed = match &place.node.value {
        Value::Text(text) => duration::parse(text).map_err(|error| error.to_string()),
        Value::Number(digits) => seconds(digits),
        _ => {
            place.wrong_type("a duration such as 30s or 1h30m, or a number of seconds", issues);
            return None;
        }
    };
    let in_range = parsed.and_then(|duration| {
        let message = || format!("must be more than 0 and at most {}", duration::format(max));
        (duration > Duration::ZERO && duration <= max)
            .then_some(duration)
            .ok_or_else(message)
    });
    match in_range {
        Ok(duration) => Some(duration),
        Err(message) => {
            issues.error(&place.spot, IssueCode::OutOfRange, message);
            None
        }
    }
}

/// Parses a number of seconds in any notation of JSON.
fn seconds(digits: &str) -> Result<Duration, String> {
    if digits.contains(['e', 'E']) {
        let seconds: f64 = digits.parse().unwrap_or(f64::NAN);
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| "must be a duration of more than 0".to_owned());
    }
    duration::parse(digits).map_err(|error| error.to_string())
}

/// Reads one of the names of an enum.
pub(super) fn one_of<T: FromStr>(place: &Place<'_>, names: &[&str], issues: &mut Issues) -> Option<T> {
    let text = text(place, issues)?;
    let value = text.parse().ok();
    if value.is_none() {
        let nearest = did_you_mean(text, names.iter().copied());
        let message = format!(
            "`{}` is not one of {}; {nearest}",
            text.escape_debug(),
            names.join(", ")
        );
        issues.error(&place.spot, IssueCode::UnknownValue, message);
    }
    value
}

/// Reads the name of a definition or step; it is used in URLs and as a key of JSON objects.
pub(super) fn name<'n>(place: &Place<'n>, issues: &mut Issues) -> Option<&'n str> {
    let name = text(place, issues)?;
    check_name(name, &place.spot, issues).then_some(name)
}

/// Adds an error if a text is not a name; returns whether it is one.
pub(super) fn check_name(name: &str, spot: &Spot, issues: &mut Issues) -> bool {
    let valid = is_name(name);
    if !valid {
        let message = format!(
            "`{}` must be 1 to {} letters, digits, `_`, `.` or `-`, the first a letter or digit",
            shown(name),
            limits::NAME_BYTES
        );
        issues.error(spot, IssueCode::InvalidName, message);
    }
    valid
}

fn is_name(name: &str) -> bool {
    let first_ok = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest_ok = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    first_ok && rest_ok && name.len() <= limits::NAME_BYTES
}

pub(super) fn namespace<'n>(place: &Place<'n>, issues: &mut Issues) -> Option<&'n str> {
    let name = text(place, issues)?;
    let lower = !name.contains(|c: char| c.is_ascii_uppercase());
    if lower && is_name(name) && name.len() <= limits::NAMESPACE_BYTES {
        return Some(name);
    }
    let message = format!(
        "`{}` must be 1 to {} of a-z, 0-9, `_`, `.`, `-`, the first a letter or digit: its queue is \
         `{{namespace}}_queue`",
        shown(name),
        limits::NAMESPACE_BYTES
    );
    issues.error(&place.spot, IssueCode::InvalidName, message);
    None
}

/// Reads the name of a task type.
pub(super) fn task_type<'n>(place: &Place<'n>, issues: &mut Issues) -> Option<&'n str> {
    let name = text(place, issues)?;
    let chars = name.chars().count();
    if (1..=task_limits::TASK_NAME_CHARS).contains(&chars) && !name.contains(char::is_control) {
        return Some(name);
    }
    let message = format!(
        "must be the name of a task type: 1 to {} characters without control characters",
        task_limits::TASK_NAME_CHARS
    );
    issues.error(&place.spot, IssueCode::InvalidName, message);
    None
}

pub(super) fn queue(place: &Place<'_>, issues: &mut Issues) -> Option<QueueName> {
    let name = text(place, issues)?;
    QueueName::parse(name)
        .map_err(|error| issues.error(&place.spot, IssueCode::InvalidName, error.to_string()))
        .ok()
}

pub(super) fn description(place: &Place<'_>, issues: &mut Issues) -> Option<String> {
    let text = text(place, issues)?;
    if text.chars().count() > limits::DESCRIPTION_CHARS {
        let message = format!("must be at most {} characters", limits::DESCRIPTION_CHARS);
        issues.error(&place.spot, IssueCode::OutOfRange, message);
    }
    Some(text.to_owned())
}

/// Returns a text for a message: without control characters, and cut.
pub(super) fn shown(text: &str) -> String {
    let escaped: String = text.chars().take(limits::NAME_BYTES + 1).collect();
    escaped.escape_debug().to_string()
}
