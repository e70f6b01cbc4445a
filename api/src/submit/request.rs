//! Reads the body of a submit. Parameters and metadata stay the JSON text that the client sent.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use tasker_core::task::limits::{JSON_DEPTH, MAX_RETRIES};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::http::fields::{CheckedText, Fields, checked_text, read_valid};
use crate::http::seconds::Seconds;
use crate::http::values;
use crate::validation_error::ValidationError;

/// Maximum nesting of a single request, whose parameters lie within one object.
const SINGLE_DEPTH: usize = JSON_DEPTH + 1;
/// Maximum nesting of a batch, which has an object and an array around its requests.
const BATCH_DEPTH: usize = JSON_DEPTH + 3;

/// A task to submit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({"task_name": "noop"}),
    examples(
        json!({"task_name": "noop"}),
        json!({
            "task_name": "example_long_running",
            "parameters": {"duration": 5, "message": "hello"},
            "priority": 10,
            "max_retries": 5,
            "timeout": "5m",
            "tags": ["trial"]
        })
    )
)]
pub struct SubmitRequest<'a> {
    /// A registered task type.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255, example = "noop")]
    pub task_name: Cow<'a, str>,
    /// An object that fits the type's schema; `{}` if left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<&'a RawValue>,
    /// Picks the queue unless one is named. The type's own if left out.
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    /// Name or alias of a declared queue.
    #[serde(default)]
    #[schema(pattern = "^[a-z0-9][a-z0-9_.-]{0,63}$", example = "default")]
    pub queue: Option<String>,
    /// Delay of the first try: seconds, or text like `1h30m`. Up to a year.
    #[serde(default)]
    #[schema(schema_with = super::forms::delay, required = false)]
    pub delay: Option<Seconds>,
    /// Not before this time, which has a zone and is at most a year ahead. One in the past means now. Not
    /// together with `delay`.
    #[serde(default)]
    #[schema(example = "2026-12-10T11:55:47Z")]
    pub run_at: Option<DateTime<Utc>>,
    /// Two requests with the same key make one task.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
    /// Retries after the first try. The type's own if left out.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i64>,
    /// Limit of one attempt: seconds, or text like `5m`, up to 7 days. The type's own if left out.
    #[serde(default)]
    #[schema(schema_with = super::forms::timeout, required = false)]
    pub timeout: Option<Seconds>,
    /// Labels to filter by.
    #[serde(default)]
    #[schema(schema_with = super::forms::tags, required = false)]
    pub tags: Option<Vec<String>>,
    /// An object, kept and shown with the task.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<&'a RawValue>,
    /// Text that ties log lines together, without control characters; the task's id if left out.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub correlation_id: Option<String>,
    /// The validation errors of fields that could not be read. Those fields have the value of an absent
    /// field.
    #[serde(skip)]
    #[schema(ignore)]
    pub errors: Vec<ValidationError>,
}

/// Many tasks, all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tasks": [{"task_name": "noop"}, {"task_name": "noop", "priority": -5}]}))]
pub struct BatchRequest<'a> {
    /// 1 to 10,000.
    #[serde(borrow)]
    #[schema(value_type = Vec<SubmitRequest<'a>>, min_items = 1, max_items = 10_000)]
    pub tasks: Vec<&'a RawValue>,
    /// The validation errors of the body; those below `/tasks/{index}` belong to a task.
    #[serde(skip)]
    #[schema(ignore)]
    pub errors: Vec<ValidationError>,
}

/// Reads a body as one request.
pub fn read_single(body: &[u8]) -> Result<SubmitRequest<'_>, ApiError> {
    let CheckedText { text, errors } = checked_text(body, SINGLE_DEPTH)?;
    read(text, "", errors)
}

/// Reads a body as a batch; its requests are read one by one with [`read`].
pub fn read_batch(body: &[u8]) -> Result<BatchRequest<'_>, ApiError> {
    let CheckedText { text, errors } = checked_text(body, BATCH_DEPTH)?;
    if let Some(batch) = read_valid(text, &errors) {
        return Ok(batch);
    }
    let mut fields = Fields::read(text, "", errors)?;
    let tasks = fields.require("tasks", |raw| {
        serde_json::from_str::<Vec<&RawValue>>(raw.get())
            .map_err(|_| "must be an array of tasks, for example [{\"task_name\": \"echo\"}]".to_owned())
    });
    let tasks = tasks.unwrap_or_default();
    let errors = fields.finish();
    Ok(BatchRequest { tasks, errors })
}

/// Reads the request at `at` in the body. Fields that cannot be read are among its validation errors, beside
/// `errors`.
pub fn read<'a>(
    text: &'a str,
    at: &str,
    errors: Vec<ValidationError>,
) -> Result<SubmitRequest<'a>, ApiError> {
    match read_valid(text, &errors) {
        Some(request) => Ok(request),
        None => Fields::read(text, at, errors).map(read_fields),
    }
}

fn read_fields(mut fields: Fields<'_>) -> SubmitRequest<'_> {
    // serde reads null as an absent field, so this reader does as well
    let not_null = |raw: &&RawValue| raw.get() != "null";
    SubmitRequest {
        task_name: fields.require("task_name", values::text).unwrap_or_default(),
        parameters: fields.raw("parameters").filter(not_null),
        priority: fields.take("priority", values::whole(-100..=100)),
        queue: fields.take("queue", values::string),
        delay: fields.take("delay", values::seconds),
        run_at: fields.take("run_at", values::time),
        idempotency_key: fields.take("idempotency_key", values::string),
        max_retries: fields.take("max_retries", values::whole(0..=i64::from(MAX_RETRIES))),
        timeout: fields.take("timeout", values::seconds),
        tags: fields.take_texts("tags"),
        metadata: fields.raw("metadata").filter(not_null),
        correlation_id: fields.take("correlation_id", values::string),
        errors: fields.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(body: &str) -> Vec<ValidationError> {
        match read_single(body.as_bytes()) {
            Ok(request) => request.errors,
            Err(ApiError::Invalid(errors)) => errors,
            other => panic!("{body}: {other:?}"),
        }
    }

    fn fault(body: &str) -> (String, String) {
        let errors = errors(body);
        (errors[0].pointer.clone(), errors[0].detail.clone())
    }

    #[test]
    fn a_request_keeps_its_parameters_as_text() {
        let body = br#" {"task_name":"echo","parameters":{ "n":1.50 },"delay":"1h30m","timeout":2.5} "#;
        let request = read_single(body).expect("valid");
        assert_eq!(request.task_name, "echo");
        assert_eq!(request.parameters.map(RawValue::get), Some(r#"{ "n":1.50 }"#));
        assert_eq!(
            (request.delay, request.timeout),
            (Some(Seconds(5400.0)), Some(Seconds(2.5)))
        );
    }

    #[test]
    fn what_is_left_out_may_also_be_null() {
        let request = read_single(br#"{"task_name":"echo","parameters":null,"delay":null,"tags":null}"#);
        assert!(request.is_ok_and(|request| request.parameters.is_none() && request.delay.is_none()));
    }

    #[test]
    fn invalid_json_is_malformed() {
        for body in [
            "",
            "  \n",
            "{",
            "{\"task_name\":}",
            "{} {}",
            "nope",
            "{\"a\":\"\u{1}\"}",
        ] {
            let result = read_single(body.as_bytes());
            assert!(
                matches!(result, Err(ApiError::Malformed(_))),
                "{body:?}: {result:?}"
            );
        }
        assert!(matches!(
            read_single(b"{\"task_name\":\"\xff\"}"),
            Err(ApiError::Malformed(_))
        ));
    }

    #[test]
    fn unknown_and_missing_fields_are_named() {
        assert_eq!(fault(r#"{"task_name":"x","naem":1}"#).0, "/naem");
        assert_eq!(fault(r#"{"task_name":"x","a/b":1}"#).0, "/a~1b");
        assert_eq!(fault("{}"), ("/task_name".into(), "is required".into()));
        assert_eq!(fault("[]").0, "");
    }

    #[test]
    fn wrong_types_are_named_by_pointer() {
        for (body, pointer) in [
            (r#"{"task_name":5}"#, "/task_name"),
            (r#"{"task_name":"x","priority":"high"}"#, "/priority"),
            (r#"{"task_name":"x","priority":1.5}"#, "/priority"),
            (r#"{"task_name":"x","tags":["a",2]}"#, "/tags/1"),
            (r#"{"task_name":"x","delay":"soon"}"#, "/delay"),
            (r#"{"task_name":"x","delay":{}}"#, "/delay"),
            (r#"{"task_name":"x","run_at":"tomorrow"}"#, "/run_at"),
        ] {
            assert_eq!(fault(body).0, pointer, "{body}");
        }
    }

    #[test]
    fn what_cannot_be_stored_is_named_by_pointer() {
        for (body, pointer) in [
            (
                r#"{"task_name":"x","parameters":{"a":["\u0000"]}}"#,
                "/parameters/a/0",
            ),
            (r#"{"task_name":"x","tags":["\ud800"]}"#, "/tags/0"),
            (
                r#"{"task_name":"x","parameters":{"n":18446744073709551616}}"#,
                "/parameters/n",
            ),
            (r#"{"task_name":"x","parameters":{"n":1e999}}"#, "/parameters/n"),
        ] {
            assert_eq!(fault(body).0, pointer, "{body}");
        }
    }

    #[test]
    fn parameters_nest_up_to_the_limit() {
        let body = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            format!(r#"{{"task_name":"x","parameters":{{"a":{open}{close}}}}}"#)
        };
        assert!(read_single(body(JSON_DEPTH).as_bytes()).is_ok());
        assert!(fault(&body(JSON_DEPTH + 1)).1.contains("nested"));
        assert!(fault(&body(10_000)).1.contains("nested"));
    }

    #[test]
    fn a_huge_value_is_not_repeated() {
        let body = format!(r#"{{"task_name":"x","priority":"{}"}}"#, "a".repeat(100_000));
        assert!(fault(&body).1.len() < 2_000);
    }
}
