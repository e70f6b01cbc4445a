//! Reads the body of a start: a template by its name, or the steps themselves.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use tasker_core::duration;
use tasker_core::task::limits::{JSON_DEPTH, KEY_CHARS, TAG_CHARS, TAGS};
use tasker_store::workflow_start::Deadline;
use tasker_workflow::{Definition, InvalidDefinition, ReadOptions, from_json, limits};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::http::fields::{CheckedText, Fields, checked_text};
use crate::http::values;
use crate::schema::definition_schema_errors;
use crate::submit::headers::Headers;
use crate::validation_error::ValidationError;

/// The fields of a body with steps that are not part of the definition.
const OTHER_FIELDS: &[&str] = &[
    "context",
    "configuration",
    "tags",
    "idempotency_key",
    "correlation_id",
    "deadline",
];

/// A workflow to start: a published template, or its steps.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(
    example = json!({
        "name": "report",
        "context": {"day": "2026-11-30"},
        "steps": [
            {"name": "load", "run": "noop", "with": {"day": "$context.day"}},
            {"name": "send", "run": "noop", "needs": ["load"], "with": {"loaded": "$load"}}
        ]
    })
)]
pub struct WorkflowRequest {
    /// The name of a published template; of the workflow, where `steps` are given. Also `template_name`.
    pub name: String,
    /// The namespace of the template; `default` if left out, or the only one with a template of that name.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The version of the template; the newest if left out.
    #[serde(default)]
    pub version: Option<String>,
    /// The steps, if no template is named; further fields of a template may stand beside them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub steps: Option<Vec<Box<RawValue>>>,
    /// An object that all steps can read. Also `configuration`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Box<RawValue>>,
    /// Priority of the steps that set none.
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    /// Labels to filter by.
    #[serde(default)]
    #[schema(schema_with = crate::submit::forms::tags, required = false)]
    pub tags: Option<Vec<String>>,
    /// Two requests with the same key start one workflow.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
    /// Text that ties log lines together; the workflow's id if left out.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub correlation_id: Option<String>,
    /// Time from the start, or a time, by which the workflow has to be over.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "2h")]
    pub deadline: Option<String>,
}

/// A request to start a workflow, whose definition may still have to be found.
#[derive(Debug)]
pub struct StartRequest {
    /// The definition, or the template that has it.
    pub(super) source: Source,
    /// JSON text of an object.
    pub(super) context: String,
    /// The priority of steps that set none.
    pub(super) priority: Option<i16>,
    pub(super) tags: Vec<String>,
    pub(super) key: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) deadline: Option<Deadline>,
    pub(super) traceparent: Option<String>,
}

/// The definition of a workflow to start.
#[derive(Debug)]
pub(super) enum Source {
    /// Given with the request.
    Inline(Box<Definition>),
    /// Published.
    Template {
        name: String,
        namespace: Option<String>,
        version: Option<String>,
    },
}

impl StartRequest {
    /// Reads a body.
    pub fn read(body: &[u8], headers: &Headers) -> Result<Self, ApiError> {
        let CheckedText { text, errors } = checked_text(body, JSON_DEPTH + 2)?;
        let mut fields = Fields::read(text, "", errors)?;
        let is_inline = fields.raw("steps").is_some();
        let context = context(&mut fields);
        let tags = tags(&mut fields);
        let key = key(&mut fields, headers);
        let correlation_id = bounded_text(&mut fields, "correlation_id");
        let deadline = fields.take("deadline", deadline);
        let (source, priority, errors) = if is_inline {
            let (definition, mut errors) = inline(text);
            errors.extend(fields.finish_known());
            let source = definition.map(|definition| Source::Inline(Box::new(definition)));
            (source, None, errors)
        } else {
            let source = template(&mut fields);
            let priority = fields.take("priority", values::whole(-100..=100));
            let priority = priority.and_then(|priority| i16::try_from(priority).ok());
            (source, priority, fields.finish())
        };
        match source {
            Some(source) if errors.is_empty() => Ok(Self {
                source,
                context,
                priority,
                tags,
                key,
                correlation_id,
                deadline,
                traceparent: headers.traceparent.clone(),
            }),
            _ => Err(ApiError::Invalid(errors)),
        }
    }
}

/// Reads the definition of a body with steps.
fn inline(text: &str) -> (Option<Definition>, Vec<ValidationError>) {
    let options = ReadOptions {
        other_fields: OTHER_FIELDS,
        check_schema: Some(&definition_schema_errors),
    };
    match from_json(text, options) {
        Ok(checked) => (Some(checked.definition), Vec::new()),
        Err(invalid) => (None, validation_errors(&invalid)),
    }
}

/// Returns the validation errors of a definition.
pub fn validation_errors(invalid: &InvalidDefinition) -> Vec<ValidationError> {
    let issues = invalid.issues.iter();
    issues
        .map(|issue| ValidationError::invalid(issue.pointer.clone(), issue.message.clone()))
        .collect()
}

fn template(fields: &mut Fields<'_>) -> Option<Source> {
    let by_alias = fields.take("template_name", values::string);
    let by_name = fields.take("name", values::string);
    let name = match (by_alias, by_name) {
        (Some(alias), Some(name)) if alias != name => {
            fields.add_error("template_name", "differs from `name`; give one of them");
            None
        }
        (None, None) => {
            fields.add_error(
                "name",
                "is required: the name of a published template, or give `steps`",
            );
            None
        }
        (alias, name) => alias.or(name),
    };
    let namespace = fields.take("namespace", values::string);
    let version = fields.take("version", values::string);
    // Postgres rejects NUL, so such a name cannot be that of a template
    let texts = [name.as_ref(), namespace.as_ref(), version.as_ref()];
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        fields.add_error("name", "must not hold the character NUL");
    }
    Some(Source::Template {
        name: name?,
        namespace,
        version,
    })
}

fn context(fields: &mut Fields<'_>) -> String {
    let object = |raw: &RawValue| {
        let is_object = values::is_object(raw);
        is_object
            .then(|| raw.get().to_owned())
            .ok_or_else(|| "must be an object".to_owned())
    };
    let by_alias = fields.take("configuration", object);
    let by_name = fields.take("context", object);
    if by_alias.is_some() && by_name.is_some() {
        fields.add_error("configuration", "is another name of `context`; give one of them");
    }
    by_name.or(by_alias).unwrap_or_else(|| "{}".to_owned())
}

fn tags(fields: &mut Fields<'_>) -> Vec<String> {
    let tags = fields.take_texts("tags").unwrap_or_default();
    if tags.len() > TAGS {
        fields.add_error("tags", format!("has {} tags; {TAGS} are allowed", tags.len()));
        return Vec::new();
    }
    for (index, tag) in tags.iter().enumerate() {
        if tag.is_empty() || tag.chars().count() > TAG_CHARS {
            fields.add_error(
                &format!("tags/{index}"),
                format!("must have 1 to {TAG_CHARS} characters"),
            );
        }
    }
    tags
}

fn key(fields: &mut Fields<'_>, headers: &Headers) -> Option<String> {
    let field = bounded_text(fields, "idempotency_key");
    if let (Some(field), Some(header)) = (&field, &headers.key)
        && field != header
    {
        fields.add_error("idempotency_key", "differs from the header Idempotency-Key");
    }
    let key = field.or_else(|| headers.key.clone());
    if key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.chars().count() > KEY_CHARS)
    {
        fields.add_error(
            "idempotency_key",
            format!("must have 1 to {KEY_CHARS} characters"),
        );
    }
    key
}

fn bounded_text(fields: &mut Fields<'_>, name: &'static str) -> Option<String> {
    fields.take(name, |raw| {
        let text = values::string(raw)?;
        if text.is_empty() || text.chars().count() > KEY_CHARS {
            return Err(format!("must have 1 to {KEY_CHARS} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err("must not hold control characters".to_owned());
        }
        Ok(text)
    })
}

fn deadline(raw: &RawValue) -> Result<Deadline, String> {
    if let Ok(time) = values::time(raw) {
        // Postgres cannot store times before 4713 BC; any time in the past means at once
        return Ok(Deadline::At(time.max(DateTime::<Utc>::UNIX_EPOCH)));
    }
    let seconds = values::seconds(raw).map_err(|_| {
        "must be a duration such as \"2h\", or a time such as 2026-12-10T11:55:47Z".to_owned()
    })?;
    match seconds.within(limits::DEADLINE) {
        Ok(seconds) if seconds > 0.0 => Ok(Deadline::InSeconds(seconds)),
        _ => Err(format!(
            "must be longer than 0 and at most {}",
            duration::format(limits::DEADLINE)
        )),
    }
}
