//! Parsers of request values with errors for people: the expected form, an example, the kind that was sent.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, Utc};
use serde_json::value::RawValue;
use tasker_core::duration::{self, DurationError};

use super::seconds::Seconds;

/// An example of a time.
const TIME: &str = "2026-12-10T11:55:47Z";
/// An example of a duration.
const DURATION: &str = "90 or \"1h30m\"";

/// Reads a text.
pub fn text(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    if !raw.get().starts_with('"') {
        return Err(format!("must be text in quotes; {} was sent", kind(raw)));
    }
    // without escapes the text is borrowed from the body
    let plain = serde_json::from_str::<&str>(raw.get()).map(Cow::Borrowed);
    let read = plain.or_else(|_| serde_json::from_str(raw.get()).map(Cow::Owned));
    read.map_err(|_| "holds characters that are not valid Unicode".to_owned())
}

/// Reads a text into a `String`.
pub fn string(raw: &RawValue) -> Result<String, String> {
    text(raw).map(Cow::into_owned)
}

/// Returns a reader of whole numbers within `range`.
pub fn whole<'a>(range: RangeInclusive<i64>) -> impl FnOnce(&'a RawValue) -> Result<i64, String> {
    move |raw| {
        let expected = format!("must be a whole number from {} to {}", range.start(), range.end());
        match integer(raw.get()) {
            Some(number) if range.contains(&number) => Ok(number),
            Some(_) => Err(expected),
            None => Err(format!("{expected}; {} was sent", kind(raw))),
        }
    }
}

/// Reads `true` or `false`.
pub fn boolean(raw: &RawValue) -> Result<bool, String> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!(
            "must be true or false without quotes; {} was sent",
            kind(raw)
        )),
    }
}

/// An array of texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Texts {
    /// The texts; `?` replaces an element that is not text, so that the others keep their indexes.
    pub texts: Vec<String>,
    /// The indexes of those elements, with their errors.
    pub errors: Vec<(usize, String)>,
}

/// Reads an array of texts.
pub fn texts(raw: &RawValue) -> Result<Texts, String> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        return Err(format!(
            "must be an array of texts, for example [\"a\", \"b\"]; {} was sent",
            kind(raw)
        ));
    };
    let mut errors = Vec::new();
    let texts = items.into_iter().enumerate().map(|(index, item)| {
        string(item).unwrap_or_else(|detail| {
            errors.push((index, detail));
            "?".to_owned()
        })
    });
    let texts = texts.collect();
    Ok(Texts { texts, errors })
}

/// Reads a duration: a number of seconds, or text like `1h30m`.
pub fn seconds(raw: &RawValue) -> Result<Seconds, String> {
    let json = raw.get();
    if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return json.parse().map(Seconds).map_err(|_| expected_seconds(raw));
    }
    if !json.starts_with('"') {
        return Err(expected_seconds(raw));
    }
    match duration::parse(&text(raw)?) {
        Ok(read) => Ok(Seconds(read.as_secs_f64())),
        Err(error @ (DurationError::Negative | DurationError::TooLong)) => Err(error.to_string()),
        Err(DurationError::Empty | DurationError::Malformed) => Err(format!(
            "must be a number of seconds or a duration of d, h, m, s and ms, for example {DURATION}"
        )),
    }
}

fn expected_seconds(raw: &RawValue) -> String {
    format!(
        "must be a number of seconds or a duration, for example {DURATION}; {} was sent",
        kind(raw)
    )
}

/// Reads a time with a zone.
pub fn time(raw: &RawValue) -> Result<DateTime<Utc>, String> {
    if !raw.get().starts_with('"') {
        return Err(format!(
            "must be a time with a zone as text, for example \"{TIME}\"; {} was sent",
            kind(raw)
        ));
    }
    time_of(&text(raw)?)
}

/// Reads a time with a zone from a text.
pub fn time_of(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse::<DateTime<FixedOffset>>()
        .map(|time| time.to_utc())
        .map_err(|_| wrong_time(text))
}

/// Reads a time that is compared in a statement: years 0 to 9999, which Postgres supports.
pub fn stored_time_of(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| wrong_time(text))?;
    let time = time.to_utc();
    if (0..=9999).contains(&time.year()) {
        Ok(time)
    } else {
        Err("must be a time of the years 0 to 9999".to_owned())
    }
}

fn wrong_time(text: &str) -> String {
    let zoneless = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
    ];
    let without_zone = zoneless
        .iter()
        .any(|form| NaiveDateTime::parse_from_str(text, form).is_ok());
    if without_zone {
        return format!(
            "has no time zone: end it with Z for UTC or with an offset like +01:00, for example {TIME}"
        );
    }
    if NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() {
        return format!("is a date without a time and a zone: write it as in {TIME}");
    }
    format!("must be a time with a zone (RFC 3339), for example {TIME}")
}

/// Returns a whole number in any JSON notation, saturated to 64 bits; `None` for other values.
fn integer(json: &str) -> Option<i64> {
    if let Ok(number) = json.parse() {
        return Some(number);
    }
    if !json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    // notations such as 5.0 and 50e-1, which are whole numbers too
    let number: f64 = json.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and no range reaches that far"
    )]
    (number.fract() == 0.0 || number.is_infinite()).then_some(number as i64)
}

/// Returns true if a JSON text, which is known to be valid, is an object.
pub fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// Returns the kind of a value for people.
fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'"') => "text",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ if integer(raw.get()).is_none() => "a number with a fraction",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn a_whole_number_may_be_written_in_any_notation() {
        for json in ["5", "5.0", "50e-1", "0.5e1"] {
            assert_eq!(whole(-100..=100)(raw(json)), Ok(5), "{json}");
        }
        for (json, sent) in [
            ("\"5\"", "text was sent"),
            ("1.5", "a number with a fraction was sent"),
            ("[]", "an array was sent"),
            ("101", "from -100 to 100"),
            ("1e300", "from -100 to 100"),
            ("-18446744073709551615", "from -100 to 100"),
            ("null", "null was sent"),
        ] {
            let error = whole(-100..=100)(raw(json)).expect_err(json);
            assert!(
                error.starts_with("must be a whole number") && error.ends_with(sent),
                "{error}"
            );
        }
    }

    #[test]
    fn a_time_without_a_zone_is_said_to_lack_it() {
        for text in [
            "2026-12-10T11:55:47",
            "2026-12-10 11:55:47",
            "2026-12-10T11:55:47.123456",
            "2026-12-10T11:55",
        ] {
            for error in [
                time(raw(&format!("\"{text}\""))).expect_err(text),
                stored_time_of(text).expect_err(text),
            ] {
                assert!(
                    error.contains("no time zone") && error.ends_with(TIME),
                    "{text}: {error}"
                );
            }
        }
        for json in [
            "\"2026-12-10\"",
            "\"tomorrow\"",
            "1765367747",
            "\"\"",
            "\"2026-13-10T11:55:47Z\"",
        ] {
            let error = time(raw(json)).expect_err(json);
            assert!(error.contains(TIME), "{json}: {error}");
        }
        assert!(time(raw("\"2026-12-10T11:55:47+01:00\"")).is_ok());
    }

    #[test]
    fn times_that_postgres_does_not_have_are_refused() {
        for text in [
            "now",
            "2026-01-31",
            "+12026-01-31T12:00:00Z",
            "-0001-01-01T00:00:00Z",
        ] {
            assert!(stored_time_of(text).is_err(), "{text}");
        }
        assert!(stored_time_of("2026-01-31T12:00:00+01:00").is_ok());
    }

    #[test]
    fn durations_are_numbers_or_texts() {
        for (json, read) in [("90", 90.0), ("1.5", 1.5), ("\"1h30m\"", 5400.0), ("-1", -1.0)] {
            assert_eq!(seconds(raw(json)), Ok(Seconds(read)), "{json}");
        }
        for json in ["\"soon\"", "\"\"", "{}", "true", "[1]"] {
            let error = seconds(raw(json)).expect_err(json);
            assert!(error.contains("1h30m"), "{json}: {error}");
        }
        assert_eq!(seconds(raw("\"-5s\"")), Err("must not be negative".to_owned()));
    }

    #[test]
    fn wrong_elements_of_an_array_keep_the_places_of_the_others() {
        let read = texts(raw(r#"["a",2,"c",null]"#)).expect("an array");
        assert_eq!(read.texts, ["a", "?", "c", "?"]);
        let places: Vec<usize> = read.errors.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [1, 3]);
        assert!(texts(raw("\"a\"")).is_err());
    }
}
