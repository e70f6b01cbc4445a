//! Validates a request and converts it into a task that can be written: limits, defaults, aliases. Pure; the
//! time is an argument.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::RawValue;
use tasker_core::similar_names::nearest_first;
use tasker_core::task::limits::{DELAY, KEY_CHARS, MAX_RETRIES, TAG_CHARS, TAGS, TASK_NAME_CHARS, TIMEOUT};
use tasker_core::task::priority::undeclared;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::insert::{Due, NewKey, NewTask};
use tasker_store::task_types::TaskType;

use super::fingerprint::fingerprint;
use super::headers::Headers;
use super::request::SubmitRequest;
use crate::http::seconds::Seconds;
use crate::http::values::is_object;
use crate::schema::Unreadable;
use crate::types::{KnownType, TypeTable};
use crate::validation_error::{ValidationError, ValidationErrorKind};
use crate::write_only::Stripped;

/// Maximum number of names in an error text.
const NAMES_MAX: usize = 50;

/// The registered types, the declared queues and the time against which a request is validated.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The registered types.
    pub types: &'a TypeTable,
    /// The declared queues.
    pub queues: &'a [QueueName],
    /// This server's time, for the limit of `run_at`.
    pub now: DateTime<Utc>,
}

/// A valid task, and the names of the parameters that it was sent with and that are not stored.
#[derive(Debug)]
pub struct ValidTask {
    /// The task to write.
    pub task: NewTask,
    /// The names of the write-only parameters that were removed.
    pub not_stored: Vec<String>,
}

/// Returns the task of `request`, or all of its validation errors. `at` is the JSON pointer of the request in
/// the body.
pub fn validate(
    request: &SubmitRequest<'_>,
    headers: &Headers,
    rules: Rules<'_>,
    at: &str,
) -> Result<ValidTask, Vec<ValidationError>> {
    let mut check = Check {
        at,
        errors: request.errors.clone(),
    };
    let known = check.task_type(&request.task_name, rules.types);
    check.object(request, known);
    let (priority, queue) = check.class(request, known, rules.queues);
    let id = TaskId::generate();
    let max_retries = check.max_retries(request.max_retries, known);
    let timeout_seconds = check.timeout(request.timeout, known);
    let tags = check.tags(request.tags.as_deref().unwrap_or_default());
    let due = check.due(request.delay, request.run_at, rules.now);
    let key = check.key(request.idempotency_key.as_deref(), headers.key.as_deref());
    check.length("correlation_id", request.correlation_id.as_deref());
    check.printable("correlation_id", request.correlation_id.as_deref());
    if !check.errors.is_empty() {
        return Err(check.errors);
    }
    let raw = |value: Option<&RawValue>| value.map_or("{}", RawValue::get).to_owned();
    let (parameters, not_stored) = match request.parameters.zip(known).and_then(stripped) {
        Some(Stripped { text, removed }) => (text, removed),
        None => (raw(request.parameters), Vec::new()),
    };
    let mut task = NewTask {
        id,
        task_name: request.task_name.clone().into_owned(),
        queue,
        priority,
        parameters,
        metadata: raw(request.metadata),
        tags,
        max_attempts: max_retries + 1,
        timeout_seconds,
        key: None,
        correlation_id: request.correlation_id.clone().unwrap_or_else(|| id.to_string()),
        traceparent: headers.traceparent.clone(),
        due,
    };
    if let Some(key) = key {
        // last, because it covers the values after defaults and aliases, and no write-only parameter
        let fingerprint = fingerprint(&task);
        task.key = Some(NewKey { key, fingerprint });
    }
    Ok(ValidTask { task, not_stored })
}

fn stripped((parameters, known): (&RawValue, &KnownType)) -> Option<Stripped> {
    known.write_only.strip(parameters)
}

/// The collector of the validation errors below one JSON pointer of the body.
struct Check<'a> {
    at: &'a str,
    errors: Vec<ValidationError>,
}

impl Check<'_> {
    fn error(&mut self, field: &str, detail: impl Into<String>) {
        self.kind(ValidationErrorKind::Invalid, field, detail);
    }

    fn kind(&mut self, kind: ValidationErrorKind, field: &str, detail: impl Into<String>) {
        let pointer = format!("{}/{field}", self.at);
        // one error per field: a field that could not be read has one already
        if !self.errors.iter().any(|error| error.pointer == pointer) {
            self.errors.push(ValidationError::new(kind, pointer, detail));
        }
    }

    fn task_type<'t>(&mut self, name: &str, types: &'t TypeTable) -> Option<&'t KnownType> {
        if name.is_empty() || name.chars().count() > TASK_NAME_CHARS {
            self.error(
                "task_name",
                format!("must have 1 to {TASK_NAME_CHARS} characters"),
            );
            return None;
        }
        let known = types.get(name);
        if known.is_none() {
            let names = nearest_first(name, &types.names());
            let detail = format!(
                "is not a registered task type; registered types: {}",
                listed(&names)
            );
            self.kind(ValidationErrorKind::UnknownTaskType, "task_name", detail);
        }
        known.map(AsRef::as_ref)
    }

    fn object(&mut self, request: &SubmitRequest<'_>, known: Option<&KnownType>) {
        if request.metadata.is_some_and(|raw| !is_object(raw)) {
            self.error("metadata", "must be an object");
        }
        match (request.parameters, known) {
            (Some(raw), _) if !is_object(raw) => self.error("parameters", "must be an object"),
            (Some(raw), Some(known)) => {
                let pointer = format!("{}/parameters", self.at);
                match known.schema.validate(raw, &pointer) {
                    Ok(errors) => self.errors.extend(errors),
                    // the parameters hold a value that cannot be read, which was reported with the body
                    Err(Unreadable) if self.errors.iter().any(|f| f.pointer.starts_with(&pointer)) => {}
                    Err(Unreadable) => self.error("parameters", "cannot be read"),
                }
            }
            (None, Some(known)) => {
                let errors = known.schema.validate_missing(&format!("{}/parameters", self.at));
                self.errors.extend(errors);
            }
            (_, None) => {}
        }
    }

    /// Returns the priority and the queue: a named queue, else the class of a given priority, else the queue
    /// of the type.
    fn class(
        &mut self,
        request: &SubmitRequest<'_>,
        known: Option<&KnownType>,
        queues: &[QueueName],
    ) -> (i16, QueueName) {
        let given = request.priority.and_then(|priority| {
            let fits = i16::try_from(priority)
                .ok()
                .filter(|priority| (-100..=100).contains(priority));
            if fits.is_none() {
                self.error("priority", "must be a whole number from -100 to 100");
            }
            fits
        });
        let published = known.map(|known| &known.published);
        let priority = given
            .or(published.map(|published| published.priority))
            .unwrap_or_default();
        let named = request.queue.as_deref().and_then(|name| self.queue(name, queues));
        let queue = named
            .or_else(|| match given {
                Some(_) => None,
                None => self.default_queue(published?, queues),
            })
            .unwrap_or_else(|| QueueName::for_priority(priority));
        (priority, queue)
    }

    fn queue(&mut self, name: &str, queues: &[QueueName]) -> Option<QueueName> {
        let queue = QueueName::parse(name).ok().filter(|queue| queues.contains(queue));
        if queue.is_none() {
            let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
            self.kind(
                ValidationErrorKind::UnknownQueue,
                "queue",
                undeclared(nearest_first(name, &names)),
            );
        }
        queue
    }

    /// Returns the queue of a type. A worker may have published the type with a queue that is not declared.
    fn default_queue(&mut self, published: &TaskType, queues: &[QueueName]) -> Option<QueueName> {
        let queue = published.queue.clone()?;
        // rejected here rather than stored in a list that no worker pops
        if !queues.contains(&queue) {
            let detail = format!(
                "is left out, and `{queue}`, the queue of the task type, {}",
                undeclared(queues.iter().map(QueueName::as_str))
            );
            self.kind(ValidationErrorKind::UnknownQueue, "queue", detail);
        }
        Some(queue)
    }

    fn max_retries(&mut self, given: Option<i64>, known: Option<&KnownType>) -> i32 {
        let Some(retries) = given else {
            return known.map_or(0, |known| known.published.max_retries);
        };
        let fits = i32::try_from(retries)
            .ok()
            .filter(|retries| (0..=MAX_RETRIES).contains(retries));
        if fits.is_none() {
            self.error(
                "max_retries",
                format!("must be a whole number from 0 to {MAX_RETRIES}"),
            );
        }
        fits.unwrap_or_default()
    }

    fn timeout(&mut self, given: Option<Seconds>, known: Option<&KnownType>) -> f64 {
        let Some(seconds) = given else {
            return known.map_or(0.0, |known| known.published.timeout_seconds);
        };
        match seconds.within(TIMEOUT) {
            Ok(seconds) if seconds > 0.0 => return seconds,
            Ok(_) => self.error("timeout", "must be longer than 0, for example 30 or \"5m\""),
            Err(detail) => self.error("timeout", format!("{detail}; the maximum is 7 days")),
        }
        0.0
    }

    fn tags(&mut self, tags: &[String]) -> Vec<String> {
        if tags.len() > TAGS {
            self.error("tags", format!("has {} tags; {TAGS} are allowed", tags.len()));
            return Vec::new();
        }
        for (index, tag) in tags.iter().enumerate() {
            if tag.is_empty() || tag.chars().count() > TAG_CHARS {
                self.error(
                    &format!("tags/{index}"),
                    format!("must have 1 to {TAG_CHARS} characters"),
                );
            }
        }
        tags.to_vec()
    }

    fn due(&mut self, delay: Option<Seconds>, run_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Due {
        match (delay, run_at) {
            (None, None) => Due::Now,
            (Some(_), Some(_)) => {
                self.error("run_at", "cannot be given together with delay");
                Due::Now
            }
            (Some(delay), None) => match delay.within(DELAY) {
                Ok(0.0) => Due::Now,
                Ok(seconds) => Due::InSeconds(seconds),
                Err(detail) => {
                    self.error(
                        "delay",
                        format!("{detail}; a task can be scheduled up to a year ahead"),
                    );
                    Due::Now
                }
            },
            (None, Some(time)) => {
                let latest = TimeDelta::from_std(DELAY)
                    .ok()
                    .and_then(|delay| now.checked_add_signed(delay));
                if latest.is_some_and(|latest| time > latest) {
                    self.error(
                        "run_at",
                        "is too far ahead; a task can be scheduled up to a year ahead",
                    );
                }
                // Postgres cannot store times before 4713 BC; any time in the past means now
                Due::At(time.max(DateTime::UNIX_EPOCH))
            }
        }
    }

    fn key(&mut self, field: Option<&str>, header: Option<&str>) -> Option<String> {
        if let (Some(field), Some(header)) = (field, header)
            && field != header
        {
            self.error("idempotency_key", "differs from the header Idempotency-Key");
        }
        let key = field.or(header);
        self.length("idempotency_key", key);
        key.map(ToOwned::to_owned)
    }

    /// Rejects control characters in a text that goes into log lines, where they could start new lines.
    fn printable(&mut self, field: &str, text: Option<&str>) {
        if text.is_some_and(|text| text.chars().any(char::is_control)) {
            self.error(field, "must not hold control characters".to_owned());
        }
    }

    fn length(&mut self, field: &str, text: Option<&str>) {
        if text.is_some_and(|text| text.is_empty() || text.chars().count() > KEY_CHARS) {
            self.error(field, format!("must have 1 to {KEY_CHARS} characters"));
        }
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.get(..NAMES_MAX).unwrap_or(names).join(", ");
    match names.len().checked_sub(NAMES_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ if names.is_empty() => "none yet".to_owned(),
        _ => shown,
    }
}

#[cfg(test)]
mod tests;
