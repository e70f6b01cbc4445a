//! The JSON reader of all routes: the fields of an object, read one by one, so that one answer lists all
//! validation errors.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tasker_core::json::{self, Limits};
use tasker_core::similar_names::did_you_mean;
use tasker_core::task::limits::JSON_DEPTH;

use super::values::Texts;
use crate::error::ApiError;
use crate::validation_error::ValidationError;

/// The maximum number of unknown fields that are reported.
const UNKNOWN_MAX: usize = 50;
/// The byte order mark that some systems put at the start of text files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The text of a body, with the validation errors of its values.
#[derive(Debug)]
pub struct CheckedText<'a> {
    /// The body.
    pub text: &'a str,
    /// Values that could not be stored as they are.
    pub errors: Vec<ValidationError>,
}

/// Checks the values of a body whose objects and arrays nest up to `depth_max`. Its syntax is checked by the
/// parser later.
pub fn checked_text(body: &[u8], depth_max: usize) -> Result<CheckedText<'_>, ApiError> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::Malformed("The body is empty.".to_owned()));
    }
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::Malformed("The body is not text in UTF-8.".to_owned()))?;
    let limits = Limits {
        depth_max,
        unique_keys: true,
    };
    let errors = json::errors(body, limits)
        .into_iter()
        .map(|error| ValidationError::invalid(error.pointer.clone(), error.to_string()))
        .collect();
    Ok(CheckedText { text, errors })
}

/// Reads a valid object in one pass. `None` if it has an error: [`Fields`], which is slower, then collects
/// all of them.
pub fn read_valid<'a, T: Deserialize<'a>>(text: &'a str, errors: &[ValidationError]) -> Option<T> {
    // serde would also take an array, whose items are the fields in their order
    let is_object = text.trim_start().starts_with('{');
    let valid = errors.is_empty() && is_object;
    valid.then(|| serde_json::from_str(text).ok()).flatten()
}

/// The fields of an object. Each known one has to be taken; [`Fields::finish`] reports the others as unknown.
#[derive(Debug)]
pub struct Fields<'a> {
    /// A JSON pointer to the object.
    at: String,
    values: Vec<(Cow<'a, str>, &'a RawValue)>,
    taken: Vec<&'static str>,
    errors: Vec<ValidationError>,
}

impl<'a> Fields<'a> {
    /// Reads a body that is an object.
    pub fn of_body(body: &'a [u8]) -> Result<Self, ApiError> {
        let CheckedText { text, errors } = checked_text(body, JSON_DEPTH)?;
        Self::read(text, "", errors)
    }

    /// Reads an object at the pointer `at`, to which `errors` belong already.
    pub fn read(text: &'a str, at: &str, mut errors: Vec<ValidationError>) -> Result<Self, ApiError> {
        // syntax first: the errors of values mean little in a text that is not JSON
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            return Err(ApiError::Malformed(format!("The body is not JSON: {error}.")));
        }
        let values = if text.trim_start().starts_with('{') {
            // a key that is not valid text is among `errors` already
            serde_json::from_str::<Pairs<'a>>(text).map(|pairs| pairs.0)
        } else {
            // first, since the summary of a problem quotes the first error
            errors.insert(0, ValidationError::invalid(at, "must be an object"));
            return Err(ApiError::Invalid(errors));
        };
        match values {
            Ok(values) => Ok(Self {
                at: at.to_owned(),
                values,
                taken: Vec::new(),
                errors,
            }),
            Err(_) if errors.is_empty() => Err(ApiError::invalid(
                crate::validation_error::ValidationErrorKind::Invalid,
                at,
                "has a key that cannot be read",
            )),
            Err(_) => Err(ApiError::Invalid(errors)),
        }
    }

    /// Takes the raw field `name`, or `None` if it is left out.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.taken.push(name);
        // the last of several, as JSON parsers do it; the repetition is reported as an error
        let found = self.values.iter().rfind(|(key, _)| key == name);
        found.map(|(_, value)| *value)
    }

    /// Takes the field `name` parsed by `read`; null counts as left out.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a RawValue) -> Result<T, String>,
    ) -> Option<T> {
        let raw = self.raw(name).filter(|raw| raw.get() != "null")?;
        self.read_value(name, raw, read)
    }

    /// Takes the field `name`, which may be left out but not null: an unset variable of a client must not
    /// widen a filter.
    pub fn take_given<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a RawValue) -> Result<T, String>,
    ) -> Option<T> {
        let raw = self.raw(name)?;
        if raw.get() == "null" {
            self.add_error(name, "must not be null; leave it out instead");
            return None;
        }
        self.read_value(name, raw, read)
    }

    /// Takes the required field `name`.
    pub fn require<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a RawValue) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.raw(name).filter(|raw| raw.get() != "null");
        let Some(raw) = given else {
            self.add_error(name, "is required");
            return None;
        };
        self.read_value(name, raw, read)
    }

    /// Takes the field `name`, an array of texts.
    pub fn take_texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let Texts { texts, errors } = self.take(name, super::values::texts)?;
        for (index, detail) in errors {
            self.add_error(&format!("{name}/{index}"), detail);
        }
        Some(texts)
    }

    fn read_value<T>(
        &mut self,
        name: &str,
        raw: &'a RawValue,
        read: impl FnOnce(&'a RawValue) -> Result<T, String>,
    ) -> Option<T> {
        read(raw).map_err(|detail| self.add_error(name, detail)).ok()
    }

    /// Adds an error of a field, unless the field has one already.
    pub fn add_error(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = format!("{}/{name}", self.at);
        if !self.errors.iter().any(|error| error.pointer == pointer) {
            self.errors.push(ValidationError::invalid(pointer, detail));
        }
    }

    /// Returns all errors; fields that were not taken are left to another reader.
    pub fn finish_known(self) -> Vec<ValidationError> {
        self.errors
    }

    /// Returns all errors, including those of unknown fields.
    pub fn finish(mut self) -> Vec<ValidationError> {
        let names: Vec<String> = self.values.iter().map(|(name, _)| name.to_string()).collect();
        let unknown = names.iter().filter(|name| !self.taken.contains(&name.as_str()));
        let unknown: Vec<&String> = unknown.take(UNKNOWN_MAX).collect();
        for name in unknown {
            let detail = format!("is not a known field; {}", did_you_mean(name, &self.taken));
            self.add_error(&json::escaped(name), detail);
        }
        self.errors
    }
}

/// The members of an object in their order, including repeated names.
#[derive(Debug)]
pub struct Pairs<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

/// A key; a plain `Cow` field would always be copied by serde.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            pairs.push((key, value));
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;

    fn found(body: &str) -> Vec<(String, String)> {
        let errors = match Fields::of_body(body.as_bytes()) {
            Ok(mut fields) => {
                fields.require("name", values::string);
                fields.take("count", values::whole(1..=9));
                fields.take_given("before", values::time);
                fields.take_texts("tags");
                fields.finish()
            }
            Err(ApiError::Invalid(errors)) => errors,
            Err(other) => panic!("{body}: {other:?}"),
        };
        errors
            .into_iter()
            .map(|error| (error.pointer, error.detail))
            .collect()
    }

    fn pointers(body: &str) -> Vec<String> {
        found(body).into_iter().map(|(pointer, _)| pointer).collect()
    }

    #[test]
    fn all_faults_are_named_at_once() {
        assert_eq!(
            pointers(r#"{"nmae":1,"count":"x","before":null,"tags":["a",1],"other":{"n":1e999}}"#),
            [
                "/other/n", "/name", "/count", "/before", "/tags/1", "/nmae", "/other"
            ]
        );
        assert_eq!(pointers(r#"{"name":"x","count":null,"tags":null}"#), [""; 0]);
        assert_eq!(pointers("[]"), [""]);
        assert_eq!(pointers(r#"{"name":"x","a/b":1}"#), ["/a~1b"]);
    }

    #[test]
    fn an_unknown_field_comes_with_the_nearest_known_one() {
        let (_, detail) = found(r#"{"name":"x","cuont":1}"#).remove(0);
        assert_eq!(detail, "is not a known field; did you mean `count`?");
        let (_, detail) = found(r#"{"name":"x","zzz":1}"#).remove(0);
        assert!(detail.ends_with("known: name, count, before, tags"), "{detail}");
    }

    #[test]
    fn a_field_that_is_given_twice_is_named_once() {
        let errors = found(r#"{"name":"x","name":5,"name":"y"}"#);
        assert_eq!(
            errors,
            [("/name".to_owned(), "appears twice in its object".to_owned())]
        );
    }

    #[test]
    fn a_key_that_is_not_text_is_a_fault_of_its_object() {
        assert_eq!(pointers(r#"{"\ud800":1,"name":"x"}"#), [""]);
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        assert_eq!(pointers("\u{feff}{\"name\":\"x\"}"), [""; 0]);
        assert!(matches!(
            Fields::of_body(b"\xff\xfe{\0}\0"),
            Err(ApiError::Malformed(_))
        ));
    }

    #[test]
    fn unknown_fields_are_named_up_to_a_limit() {
        let many: Vec<String> = (0..1_000).map(|n| format!("\"x{n}\":1")).collect();
        assert_eq!(
            found(&format!("{{\"name\":\"x\",{}}}", many.join(","))).len(),
            UNKNOWN_MAX
        );
    }
}
