//! Validation of task parameters against the JSON Schema of their type.

use jsonschema::Validator;
use serde_json::Value;
use serde_json::value::RawValue;
use tasker_workflow::SchemaError;
use tracing::error;

use crate::validation_error::{ValidationError, ValidationErrorKind};

/// The maximum number of reported errors of one task's parameters.
const ERRORS_MAX: usize = 20;
/// The size in bytes above which only the first error is reported: a document can have as many errors as
/// bytes, and the validator collects them all.
const COLLECTED_BYTES_MAX: usize = 16 * 1024;
/// Keywords of a schema that do not restrict the value; `type` is checked apart.
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
    /// Any object is valid, so parameters are not parsed.
    AnyObject,
    /// Parameters are validated.
    Checked(Box<Validator>),
}

/// The error of parameters with a value that cannot be parsed, such as a number out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Returns the errors of a JSON Schema in the definition of a workflow.
pub fn definition_schema_errors(text: &str) -> Vec<SchemaError> {
    let compiled = serde_json::from_str::<Value>(text)
        .map_err(|error| error.to_string())
        .and_then(|schema| jsonschema::validator_for(&schema).map_err(|error| error.to_string()));
    let errors = compiled.err().into_iter();
    errors
        .map(|message| SchemaError {
            pointer: String::new(),
            message: format!("is not a JSON Schema: {message}"),
        })
        .collect()
}

impl ParametersSchema {
    /// Compiles the schema of the type `name`. A schema that does not compile accepts any object: a mistake
    /// in a worker's code must not stop submits, and the worker validates again.
    pub fn compile(name: &str, text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::AnyObject };
        let schema: Value = match serde_json::from_str(text) {
            Ok(schema) => schema,
            Err(error) => {
                error!(task.name = name, %error, "the schema of the task type is not valid JSON; accepting any object");
                return Self::AnyObject;
            }
        };
        if takes_any_object(&schema) {
            return Self::AnyObject;
        }
        match jsonschema::validator_for(&schema) {
            Ok(validator) => Self::Checked(Box::new(validator)),
            Err(error) => {
                error!(task.name = name, %error, "the schema of the task type does not compile; accepting any object");
                Self::AnyObject
            }
        }
    }

    /// Validates `parameters`, which are at `pointer` in the body.
    pub fn validate(&self, parameters: &RawValue, pointer: &str) -> Result<Vec<ValidationError>, Unreadable> {
        let Self::Checked(validator) = self else {
            return Ok(Vec::new());
        };
        let value = serde_json::from_str(parameters.get()).map_err(|_| Unreadable)?;
        Ok(checked(validator, &value, parameters.get().len(), pointer))
    }

    /// Validates omitted parameters, which count as an empty object.
    pub fn validate_missing(&self, pointer: &str) -> Vec<ValidationError> {
        let Self::Checked(validator) = self else {
            return Vec::new();
        };
        checked(validator, &Value::Object(serde_json::Map::new()), 0, pointer)
    }
}

fn checked(validator: &Validator, value: &Value, bytes: usize, pointer: &str) -> Vec<ValidationError> {
    // most parameters are valid, and a plain check is cheaper than collecting errors
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
    let errors = validator.iter_errors(value).take(ERRORS_MAX);
    errors.map(|error| described(&error, pointer)).collect()
}

fn described(error: &jsonschema::ValidationError<'_>, pointer: &str) -> ValidationError {
    // masked: the value may be a secret, and answers are often logged
    let pointer = format!("{pointer}{}", error.instance_path());
    let detail = error.masked().to_string();
    ValidationError::new(ValidationErrorKind::InvalidParameters, pointer, detail)
}

/// Returns true if the schema evidently accepts every object. False negatives only cost a validation.
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
            .validate(raw, "/parameters")
            .expect("readable")
            .into_iter()
            .map(|error| error.pointer)
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
        let errors = schema.validate(raw, "/parameters").expect("readable");
        assert_eq!(errors.len(), 2);
        assert!(
            errors.iter().any(|error| error.pointer == "/parameters/n"),
            "{errors:?}"
        );
        assert!(
            errors.iter().all(|error| !error.detail.contains("secret")),
            "{errors:?}"
        );
    }

    #[test]
    fn faults_are_few_however_many_there_are() {
        let schema = schema(r#"{"additionalProperties":{"type":"integer"}}"#);
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":\"x\"")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(pointers(&schema, &many(100)).len(), ERRORS_MAX);
        assert_eq!(pointers(&schema, &many(10_000)).len(), 1);
    }
}
