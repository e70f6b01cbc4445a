//! Parsing and formatting of durations: `100ms`, `30s`, `5m`, `1h30m`, `7d`; a bare number is seconds.
//!
//! Shared by the configuration and by the request fields of the HTTP interface.

use std::fmt::Write as _;
use std::time::Duration;

/// The maximum duration, a little over 100 years, so that adding it to a time stays in range.
pub const MAX: Duration = Duration::from_hours(36_600 * 24);

/// The reason why a text is not a valid duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Only white space.
    #[error("is empty; write a duration like 30s, 5m or 1h30m")]
    Empty,
    /// A minus sign.
    #[error("must not be negative")]
    Negative,
    /// Neither a number nor numbers with units.
    #[error("is not a duration; write one like 100ms, 30s, 5m, 1h30m or a number of seconds")]
    Malformed,
    /// Beyond [`MAX`].
    #[error("is too long")]
    TooLong,
}

/// The units with their nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Parses a duration: a bare number of seconds (`30`, `1.5`), or numbers with units from long to
/// short (`1h30m`, `1.5s`, `250ms`), each unit at most once.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let nanos = if text.bytes().all(is_number_byte) {
        scaled(text, 1_000_000_000)?
    } else {
        sum_of_parts(text)?
    };
    bounded(nanos)
}

/// Formats a duration as a text that [`parse`] reads back as the same duration: `1h30m`, `250ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for name in ["d", "h", "m", "s", "ms", "us", "ns"] {
        let unit = u128::from(unit_nanos(name).unwrap_or(1));
        if rest >= unit {
            // writing to a `String` never fails
            let _ = write!(text, "{}{name}", rest / unit);
            rest %= unit;
        }
    }
    text
}

fn sum_of_parts(text: &str) -> Result<u128, DurationError> {
    let mut rest = text;
    let mut total: u128 = 0;
    let mut previous_unit = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |byte| !is_number_byte(byte));
        let (name, after) = split_where(after, is_number_byte);
        let unit = unit_nanos(name).ok_or(DurationError::Malformed)?;
        // strictly descending, so `5m1h` and `1s1s` are typos instead of sums
        if unit >= previous_unit {
            return Err(DurationError::Malformed);
        }
        previous_unit = unit;
        total = total
            .checked_add(scaled(number, unit)?)
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    Ok(total)
}

/// Returns `number` (digits with an optional fraction) times `unit` in nanoseconds, rounded down.
fn scaled(number: &str, unit: u64) -> Result<u128, DurationError> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(DurationError::Malformed),
        None => (number, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(DurationError::Malformed);
    }
    let whole: u128 = whole.parse().map_err(|_| DurationError::TooLong)?;
    let mut nanos = whole
        .checked_mul(u128::from(unit))
        .ok_or(DurationError::TooLong)?;
    // digit by digit instead of in floating point, so that 0.1s is exactly 100ms
    let mut place = u128::from(unit);
    for digit in fraction.bytes() {
        place /= 10;
        nanos += place * u128::from(digit - b'0');
    }
    Ok(nanos)
}

fn bounded(nanos: u128) -> Result<Duration, DurationError> {
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| DurationError::TooLong)?;
    let subsecond = u32::try_from(nanos % 1_000_000_000).map_err(|_| DurationError::TooLong)?;
    let duration = Duration::new(seconds, subsecond);
    if duration > MAX {
        Err(DurationError::TooLong)
    } else {
        Ok(duration)
    }
}

fn unit_nanos(name: &str) -> Option<u64> {
    UNITS
        .iter()
        .find(|(unit, _)| *unit == name)
        .map(|(_, nanos)| *nanos)
}

fn is_number_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

fn split_where(text: &str, ends: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(ends).unwrap_or(text.len());
    // Both kinds of boundary touch an ASCII byte, so this never splits a character.
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(text: &str) -> u128 {
        parse(text).expect(text).as_millis()
    }

    #[test]
    fn every_notation_of_the_contract_is_read() {
        assert_eq!(millis("100ms"), 100);
        assert_eq!(millis("30s"), 30_000);
        assert_eq!(millis("5m"), 300_000);
        assert_eq!(millis("1h30m"), 5_400_000);
        assert_eq!(millis("7d"), 604_800_000);
        assert_eq!(millis("90"), 90_000);
        assert_eq!(millis(" 1.5 "), 1_500);
        assert_eq!(millis("1.5h"), 5_400_000);
        assert_eq!(millis("0"), 0);
    }

    #[test]
    fn a_text_that_is_not_a_duration_is_rejected() {
        use DurationError::{Empty, Malformed, Negative, TooLong};
        for (text, error) in [
            ("", Empty),
            ("  ", Empty),
            ("-1", Negative),
            ("-1s", Negative),
            ("s", Malformed),
            ("1.s", Malformed),
            (".5", Malformed),
            ("1.2.3", Malformed),
            ("1x", Malformed),
            ("1 s", Malformed),
            ("5m1h", Malformed),
            ("1s1s", Malformed),
            ("1h30", Malformed),
            ("NaN", Malformed),
            ("1e3", Malformed),
            ("1s€", Malformed),
            ("99999999999999999999", TooLong),
            ("40000000000000000000000000000000000000000", TooLong),
            ("1000000d", TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn a_formatted_duration_is_read_back(nanos in 0_u64..=u64::MAX / 8) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
