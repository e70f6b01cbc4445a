//! What a task type demands of its parameters.

use jsonschema::Validator;
use serde_json::Value;
use serde_json::value::RawValue;
use tracing::error;

use crate::validation_error::{Fault, ValidationErrorKind};

/// Most faults of one task's parameters that are answered.
const FAULTS_MAX: usize = 20;
/// In parameters longer than this only the first fault is looked for: a document can be wrong in as many places as it
/// has bytes, and the validator collects them all.
const COLLECTED_BYTES_MAX: usize = 16 * 1024;
/// Words of a schema that say nothing about the value.
const ANNOTATIONS: [&str; 9] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "type",
];

/// A compiled schema.
#[derive(Debug)]
pub enum ParametersSchema {
    /// Any object will do, so nothing is parsed.
    AnyObject,
    /// The parameters are held against this.
    Checked(Box<Validator>),
}

/// The parameters hold a value that cannot be read, such as a number out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl ParametersSchema {
    /// Compiles the schema of the type `name`. One that cannot be compiled takes any object: a worker's mistake must not
    /// stop submits, and the worker checks again.
    pub fn compile(name: &str, text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::AnyObject };
        let schema: Value = match serde_json::from_str(text) {
            Ok(schema) => schema,
            Err(error) => {
                error!(task.name = name, %error, "the schema of the task type is no JSON; any object will do");
                return Self::AnyObject;
            }
        };
        if takes_any_object(&schema) {
            return Self::AnyObject;
        }
        match jsonschema::validator_for(&schema) {
            Ok(validator) => Self::Checked(Box::new(validator)),
            Err(error) => {
                error!(task.name = name, %error, "the schema of the task type does not compile; any object will do");
                Self::AnyObject
            }
        }
    }

    /// Holds `parameters`, which are at `pointer` in the body, against the schema.
    pub fn faults(&self, parameters: &RawValue, pointer: &str) -> Result<Vec<Fault>, Unreadable> {
        let Self::Checked(validator) = self else {
            return Ok(Vec::new());
        };
        let value = serde_json::from_str(parameters.get()).map_err(|_| Unreadable)?;
        Ok(checked(validator, &value, parameters.get().len(), pointer))
    }

    /// Holds parameters that were left out against the schema.
    pub fn faults_of_nothing(&self, pointer: &str) -> Vec<Fault> {
        let Self::Checked(validator) = self else {
            return Vec::new();
        };
        checked(validator, &Value::Object(serde_json::Map::new()), 0, pointer)
    }
}

fn checked(validator: &Validator, value: &Value, bytes: usize, pointer: &str) -> Vec<Fault> {
    if validator.is_valid(value) {
        return Vec::new();
    }
    if bytes > COLLECTED_BYTES_MAX {
        return validator
            .validate(value)
            .err()
            .iter()
            .map(|error| described(error, pointer))
            .collect();
    }
    let errors = validator.iter_errors(value).take(FAULTS_MAX);
    errors.map(|error| described(&error, pointer)).collect()
}

fn described(error: &jsonschema::ValidationError<'_>, pointer: &str) -> Fault {
    // masked: what was sent is not sent back
    fault(
        &format!("{pointer}{}", error.instance_path()),
        error.masked().to_string(),
    )
}

fn fault(pointer: &str, detail: String) -> Fault {
    Fault::new(ValidationErrorKind::InvalidParameters, pointer, detail)
}

/// Whether every object fits, as far as that can be seen at a glance.
fn takes_any_object(schema: &Value) -> bool {
    match schema {
        Value::Bool(accepts) => *accepts,
        Value::Object(words) => {
            let silent = words
                .keys()
                .all(|word| ANNOTATIONS.contains(&word.as_str()) || is_open(word, &words[word]));
            silent && words.get("type").is_none_or(|kind| kind == "object")
        }
        _ => false,
    }
}

fn is_open(word: &str, value: &Value) -> bool {
    match word {
        "additionalProperties" => *value == Value::Bool(true),
        "properties" => value.as_object().is_some_and(serde_json::Map::is_empty),
        "required" => value.as_array().is_some_and(Vec::is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> ParametersSchema {
        ParametersSchema::compile("t", Some(text))
    }

    fn pointers(schema: &ParametersSchema, parameters: &str) -> Vec<String> {
        let raw: &RawValue = serde_json::from_str(parameters).expect("JSON");
        schema
            .faults(raw, "/parameters")
            .expect("readable")
            .into_iter()
            .map(|fault| fault.pointer)
            .collect()
    }

    #[test]
    fn a_schema_that_takes_any_object_parses_nothing() {
        for text in [
            "{}",
            "true",
            r#"{"type":"object"}"#,
            r#"{"$schema":"x","title":"Noop","type":"object","additionalProperties":true,"properties":{}}"#,
        ] {
            assert!(matches!(schema(text), ParametersSchema::AnyObject), "{text}");
        }
        for text in [
            "false",
            r#"{"type":"string"}"#,
            r#"{"required":["a"]}"#,
            r#"{"minProperties":1}"#,
        ] {
            assert!(matches!(schema(text), ParametersSchema::Checked(_)), "{text}");
        }
    }

    #[test]
    fn a_schema_that_does_not_compile_takes_any_object() {
        assert!(pointers(&schema(r#"{"type":"no such type"}"#), "{}").is_empty());
        assert!(pointers(&schema("not JSON"), "{}").is_empty());
    }

    #[test]
    fn faults_are_named_by_pointer_and_do_not_repeat_what_was_sent() {
        let schema = schema(r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["m"]}"#);
        let raw: &RawValue = serde_json::from_str(r#"{"n":"my secret"}"#).expect("JSON");
        let faults = schema.faults(raw, "/parameters").expect("readable");
        assert_eq!(faults.len(), 2);
        assert!(
            faults.iter().any(|fault| fault.pointer == "/parameters/n"),
            "{faults:?}"
        );
        assert!(
            faults.iter().all(|fault| !fault.detail.contains("secret")),
            "{faults:?}"
        );
    }

    #[test]
    fn faults_are_few_however_many_there_are() {
        let schema = schema(r#"{"additionalProperties":{"type":"integer"}}"#);
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":\"x\"")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(pointers(&schema, &many(100)).len(), FAULTS_MAX);
        assert_eq!(pointers(&schema, &many(10_000)).len(), 1);
    }
}
