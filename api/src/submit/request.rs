//! The body of a submit as it is sent, and how it is read. Parameters and metadata stay the text that they are.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tasker_shared::config::duration;
use tasker_shared::json::{self, Limits};
use tasker_shared::task::limits::JSON_DEPTH;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use crate::error::ApiError;
use crate::fault::Fault;

/// The parameters lie within the object of the request.
const SINGLE_DEPTH: usize = JSON_DEPTH + 1;
/// A batch has an object and an array around its requests.
const BATCH_DEPTH: usize = JSON_DEPTH + 3;

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest<'a> {
    /// A registered task type.
    #[serde(borrow)]
    #[schema(value_type = String, example = "example_long_running")]
    pub task_name: Cow<'a, str>,
    /// An object that fits the type's schema; `{}` if left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<&'a RawValue>,
    /// −100 to 100; picks the queue unless one is named. The type's own if left out.
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    /// Name or alias of a queue.
    #[serde(default)]
    pub queue: Option<String>,
    /// How long to wait before the first try: seconds, or text like `1h30m`. Up to a year.
    #[serde(default)]
    #[schema(schema_with = seconds_schema, required = false)]
    pub delay: Option<Seconds>,
    /// Not before this time. One in the past means now. Not together with `delay`.
    #[serde(default)]
    pub run_at: Option<DateTime<Utc>>,
    /// Two requests with the same key make one task.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
    /// Retries after the first try. The type's own if left out.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i64>,
    /// Limit of one attempt: seconds, or text like `5m`. The type's own if left out.
    #[serde(default)]
    #[schema(schema_with = seconds_schema, required = false)]
    pub timeout: Option<Seconds>,
    /// At most 20.
    #[serde(default)]
    #[schema(max_items = 20)]
    pub tags: Option<Vec<String>>,
    /// An object, kept and shown with the task.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<&'a RawValue>,
    /// Text that ties log lines together; the task's id if left out.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub correlation_id: Option<String>,
}

/// Many tasks, all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// 1 to 10,000.
    #[serde(borrow)]
    #[schema(value_type = Vec<SubmitRequest<'a>>, min_items = 1, max_items = 10_000)]
    pub tasks: Vec<&'a RawValue>,
}

/// A duration in a request: a number of seconds, or text like `1h30m`. Its range is judged later.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub f64);

fn seconds_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Number, Type::String, Type::Null]))
        .description(Some("A number of seconds, or text like `1h30m`"))
        .examples([serde_json::json!("1h30m")])
        .build()
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds or text like 1h30m")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Seconds, E> {
        Ok(Seconds(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "what loses precision is far beyond every limit"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Seconds, E> {
        Ok(Seconds(value as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "what loses precision is far beyond every limit"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Seconds, E> {
        Ok(Seconds(value as f64))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Seconds, E> {
        let parsed = duration::parse(text).map_err(E::custom)?;
        Ok(Seconds(parsed.as_secs_f64()))
    }
}

/// Reads a body as one request.
pub fn read_single(body: &[u8]) -> Result<SubmitRequest<'_>, ApiError> {
    let text = checked_text(body, SINGLE_DEPTH)?;
    read(text, "").map_err(ApiError::from)
}

/// Reads a body as a batch; its requests are read one by one with [`read`].
pub fn read_batch(body: &[u8]) -> Result<BatchRequest<'_>, ApiError> {
    let text = checked_text(body, BATCH_DEPTH)?;
    read(text, "").map_err(ApiError::from)
}

/// Reads a body that is one object without others in it.
pub fn read_flat<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let text = checked_text(body, JSON_DEPTH)?;
    read(text, "").map_err(ApiError::from)
}

/// Why a text is not what it should be.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It is no JSON.
    Syntax(String),
    /// It is JSON of another shape.
    Shape(Fault),
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Syntax(detail) => Self::Malformed(detail),
            ReadError::Shape(fault) => Self::Refused(vec![fault]),
        }
    }
}

/// Reads a JSON object into `T`. A fault is looked for a second time to name its place, so that sound requests pay nothing
/// for it.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str, pointer: &str) -> Result<T, ReadError> {
    // serde would also take an array, whose items are the fields in their order
    if !text.trim_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => ReadError::Syntax(format!("The body is no JSON: {error}.")),
            Ok(_) => ReadError::Shape(Fault::invalid(pointer, "must be an object")),
        });
    }
    serde_json::from_str(text).map_err(|error| {
        // a wrong field may come before the place where the text stops being JSON
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            return ReadError::Syntax(format!("The body is no JSON: {error}."));
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(found) => ReadError::Shape(shape_fault(
                pointer,
                &pointer_of(found.path()),
                &found.into_inner(),
            )),
            Ok(_) => ReadError::Shape(shape_fault(pointer, "", &error)),
        }
    })
}

/// The body as text without anything that could not be stored.
fn checked_text(body: &[u8], depth_max: usize) -> Result<&str, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::Malformed("The body is empty.".to_owned()));
    }
    let text =
        std::str::from_utf8(body).map_err(|_| ApiError::Malformed("The body is no UTF-8.".to_owned()))?;
    json::check(body, Limits { depth_max })
        .map_err(|fault| ApiError::Refused(vec![Fault::invalid(fault.pointer.clone(), fault.to_string())]))?;
    Ok(text)
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => json::escaped(key),
            Segment::Enum { variant } => json::escaped(variant),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

fn shape_fault(prefix: &str, pointer: &str, error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    let quoted = |start: &str| text.strip_prefix(start)?.split('`').next().map(json::escaped);
    if let Some(field) = quoted("missing field `") {
        return Fault::invalid(format!("{prefix}{pointer}/{field}"), "is required");
    }
    if let Some(field) = quoted("unknown field `") {
        let place = format!("/{field}");
        let pointer = pointer.strip_suffix(place.as_str()).unwrap_or(pointer);
        return Fault::invalid(format!("{prefix}{pointer}{place}"), "is no field of a request");
    }
    Fault::invalid(format!("{prefix}{pointer}"), format!("is not valid: {text}"))
}

impl Seconds {
    /// The range check shared by all durations of a request.
    pub fn within(self, most: std::time::Duration) -> Result<f64, &'static str> {
        if self.0 < 0.0 {
            return Err("must not be negative");
        }
        if self.0 > most.as_secs_f64() {
            return Err("is too long");
        }
        Ok(self.0)
    }
}

/// Whether a JSON text, which is known to be sound, is an object.
pub fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &str) -> (String, String) {
        match read_single(body.as_bytes()) {
            Err(ApiError::Refused(faults)) => (faults[0].pointer.clone(), faults[0].detail.clone()),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_request_keeps_its_parameters_as_text() {
        let body = br#" {"task_name":"echo","parameters":{ "n":1.50 },"delay":"1h30m","timeout":2.5} "#;
        let request = read_single(body).expect("sound");
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
    fn what_is_no_json_is_malformed() {
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
                r#"{"task_name":"x","parameters":{"n":9223372036854775808}}"#,
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
