//! From a request to a task that can be written: limits, defaults, aliases. Pure; the time is an argument.

use chrono::{DateTime, TimeDelta, Utc};
use tasker_shared::store::insert::{Due, NewKey, NewTask};
use tasker_shared::task::limits::{DELAY, KEY_CHARS, MAX_RETRIES, TAG_CHARS, TAGS, TASK_NAME_CHARS, TIMEOUT};
use tasker_shared::task::{QueueName, TaskId};

use super::fingerprint::fingerprint;
use super::request::{Seconds, SubmitRequest, is_object};
use crate::fault::{Fault, FaultKind};
use crate::types::{KnownType, TypeTable};

/// Most names that an answer lists.
const NAMES_MAX: usize = 50;

/// What a request is held against.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The registered types.
    pub types: &'a TypeTable,
    /// The declared queues.
    pub queues: &'a [QueueName],
    /// This server's time, for the one limit that needs it.
    pub now: DateTime<Utc>,
}

/// What the headers of a request say about its tasks.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// `traceparent`, well-formed.
    pub traceparent: Option<String>,
}

/// Makes a task of `request`, or tells everything that is wrong with it. `at` is where the request is in the body.
pub fn validate(
    request: &SubmitRequest<'_>,
    headers: &Headers,
    rules: Rules<'_>,
    at: &str,
) -> Result<NewTask, Vec<Fault>> {
    let mut check = Check {
        at,
        faults: Vec::new(),
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
    if !check.faults.is_empty() {
        return Err(check.faults);
    }
    let raw = |value: Option<&serde_json::value::RawValue>| value.map_or("{}", |raw| raw.get()).to_owned();
    let mut task = NewTask {
        id,
        task_name: request.task_name.clone().into_owned(),
        queue,
        priority,
        parameters: raw(request.parameters),
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
        let fingerprint = fingerprint(&task);
        task.key = Some(NewKey { key, fingerprint });
    }
    Ok(task)
}

/// Collects faults below one place of the body.
struct Check<'a> {
    at: &'a str,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, field: &str, detail: impl Into<String>) {
        self.kind(FaultKind::Invalid, field, detail);
    }

    fn kind(&mut self, kind: FaultKind, field: &str, detail: impl Into<String>) {
        self.faults
            .push(Fault::new(kind, format!("{}/{field}", self.at), detail));
    }

    fn task_type<'t>(&mut self, name: &str, types: &'t TypeTable) -> Option<&'t KnownType> {
        if name.is_empty() || name.chars().count() > TASK_NAME_CHARS {
            self.fault(
                "task_name",
                format!("must have 1 to {TASK_NAME_CHARS} characters"),
            );
            return None;
        }
        let known = types.get(name);
        if known.is_none() {
            let detail = format!("is no registered task type; known are {}", listed(&types.names()));
            self.kind(FaultKind::UnknownTaskType, "task_name", detail);
        }
        known.map(AsRef::as_ref)
    }

    fn object(&mut self, request: &SubmitRequest<'_>, known: Option<&KnownType>) {
        if request.metadata.is_some_and(|raw| !is_object(raw)) {
            self.fault("metadata", "must be an object");
        }
        match (request.parameters, known) {
            (Some(raw), _) if !is_object(raw) => self.fault("parameters", "must be an object"),
            (Some(raw), Some(known)) => {
                let faults = known.schema.faults(raw, &format!("{}/parameters", self.at));
                self.faults.extend(faults);
            }
            (None, Some(known)) => {
                let faults = known.schema.faults_of_nothing(&format!("{}/parameters", self.at));
                self.faults.extend(faults);
            }
            (_, None) => {}
        }
    }

    /// The priority and the queue: a named queue, else the class of a given priority, else what the type says.
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
                self.fault("priority", "must be −100 to 100");
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
                None => published.and_then(|published| published.queue.clone()),
            })
            .unwrap_or_else(|| QueueName::for_priority(priority));
        (priority, queue)
    }

    fn queue(&mut self, name: &str, queues: &[QueueName]) -> Option<QueueName> {
        let queue = QueueName::parse(name).ok().filter(|queue| queues.contains(queue));
        if queue.is_none() {
            let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
            let detail = format!("is no declared queue; known are {}", listed(&names));
            self.kind(FaultKind::UnknownQueue, "queue", detail);
        }
        queue
    }

    fn max_retries(&mut self, given: Option<i64>, known: Option<&KnownType>) -> i32 {
        let Some(retries) = given else {
            return known.map_or(0, |known| known.published.max_retries);
        };
        let fits = i32::try_from(retries)
            .ok()
            .filter(|retries| (0..=MAX_RETRIES).contains(retries));
        if fits.is_none() {
            self.fault("max_retries", format!("must be 0 to {MAX_RETRIES}"));
        }
        fits.unwrap_or_default()
    }

    fn timeout(&mut self, given: Option<Seconds>, known: Option<&KnownType>) -> f64 {
        let Some(seconds) = given else {
            return known.map_or(0.0, |known| known.published.timeout_seconds);
        };
        match seconds.within(TIMEOUT) {
            Ok(seconds) if seconds > 0.0 => return seconds,
            Ok(_) => self.fault("timeout", "must be longer than 0"),
            Err(detail) => self.fault("timeout", format!("{detail}; it may be 7 days at most")),
        }
        0.0
    }

    fn tags(&mut self, tags: &[String]) -> Vec<String> {
        if tags.len() > TAGS {
            self.fault("tags", format!("has {} tags; {TAGS} are allowed", tags.len()));
            return Vec::new();
        }
        for (index, tag) in tags.iter().enumerate() {
            if tag.is_empty() || tag.chars().count() > TAG_CHARS {
                self.fault(
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
                self.fault("run_at", "cannot be given together with delay");
                Due::Now
            }
            (Some(delay), None) => match delay.within(DELAY) {
                Ok(0.0) => Due::Now,
                Ok(seconds) => Due::InSeconds(seconds),
                Err(detail) => {
                    self.fault(
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
                    self.fault(
                        "run_at",
                        "is too far ahead; a task can be scheduled up to a year ahead",
                    );
                }
                // times before Postgres's own beginning cannot be stored, and are as past as this one
                Due::At(time.max(DateTime::UNIX_EPOCH))
            }
        }
    }

    fn key(&mut self, field: Option<&str>, header: Option<&str>) -> Option<String> {
        if let (Some(field), Some(header)) = (field, header)
            && field != header
        {
            self.fault("idempotency_key", "differs from the header Idempotency-Key");
        }
        let key = field.or(header);
        self.length("idempotency_key", key);
        key.map(ToOwned::to_owned)
    }

    fn length(&mut self, field: &str, text: Option<&str>) {
        if text.is_some_and(|text| text.is_empty() || text.chars().count() > KEY_CHARS) {
            self.fault(field, format!("must have 1 to {KEY_CHARS} characters"));
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

/// Whether a text is a W3C trace context of a version that can be read.
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else {
        return false;
    };
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let parts_are_sound = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    parts_are_sound
        && !zero(trace)
        && !zero(span)
        && *version != "ff"
        && (rest.is_empty() || *version != "00")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submit::request::read_single;
    use tasker_shared::store::task_types::TaskType;

    fn types() -> TypeTable {
        let noop = TaskType {
            name: "noop".into(),
            description: String::new(),
            queue: None,
            priority: 2,
            max_retries: 4,
            timeout_seconds: 30.0,
            parameters_schema: None,
        };
        let slow = TaskType {
            name: "slow".into(),
            queue: Some(QueueName::low()),
            parameters_schema: Some(r#"{"type":"object","required":["n"]}"#.into()),
            ..noop.clone()
        };
        TypeTable::of(vec![noop, slow], &TypeTable::default())
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    fn check_with(body: &str, headers: &Headers) -> Result<NewTask, Vec<Fault>> {
        let types = types();
        let rules = Rules {
            types: &types,
            queues: &QueueName::classes(),
            now: now(),
        };
        let request = read_single(body.as_bytes()).expect(body);
        validate(&request, headers, rules, "/at")
    }

    fn check(body: &str) -> Result<NewTask, Vec<Fault>> {
        check_with(body, &Headers::default())
    }

    fn task(fields: &str) -> NewTask {
        check(&format!(r#"{{"task_name":"noop"{fields}}}"#))
            .unwrap_or_else(|faults| panic!("{fields}: {faults:?}"))
    }

    fn pointers(fields: &str) -> Vec<String> {
        let faults = check(&format!(r#"{{"task_name":"noop"{fields}}}"#)).expect_err(fields);
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    fn fingerprint_of(fields: &str) -> [u8; 32] {
        task(&format!(r#","idempotency_key":"k"{fields}"#))
            .key
            .expect("a key")
            .fingerprint
    }

    #[test]
    fn what_is_left_out_is_the_types() {
        let task = task("");
        assert_eq!(
            (task.priority, task.max_attempts, task.timeout_seconds),
            (2, 5, 30.0)
        );
        assert_eq!(task.queue, QueueName::default_class());
        assert_eq!((task.parameters.as_str(), task.metadata.as_str()), ("{}", "{}"));
        assert_eq!(task.correlation_id, task.id.to_string());
        assert_eq!(task.due, Due::Now);
    }

    #[test]
    fn a_named_queue_comes_before_a_given_priority_and_that_before_the_types_queue() {
        assert_eq!(task(r#","queue":"high","priority":-5"#).queue, QueueName::high());
        assert_eq!(task(r#","priority":-5"#).queue, QueueName::low());
        assert_eq!(task(r#","priority":6"#).queue, QueueName::high());
        let slow = |fields: &str| {
            check(&format!(
                r#"{{"task_name":"slow","parameters":{{"n":1}}{fields}}}"#
            ))
        };
        assert_eq!(slow("").expect("sound").queue, QueueName::low());
        assert_eq!(slow(r#","priority":6"#).expect("sound").queue, QueueName::high());
    }

    #[test]
    fn limits_hold_on_both_sides() {
        for fields in [
            r#","priority":100"#.to_owned(),
            r#","priority":-100"#.to_owned(),
            r#","max_retries":100"#.to_owned(),
            r#","max_retries":0"#.to_owned(),
            r#","timeout":"7d""#.to_owned(),
            r#","timeout":0.001"#.to_owned(),
            r#","delay":"366d""#.to_owned(),
            format!(r#","tags":[{}]"#, [r#""t""#; 20].join(",")),
            format!(r#","tags":["{}"]"#, "ä".repeat(128)),
            format!(r#","idempotency_key":"{}""#, "ä".repeat(255)),
            format!(r#","correlation_id":"{}""#, "ä".repeat(255)),
        ] {
            task(&fields);
        }
        for (fields, pointer) in [
            (r#","priority":101"#, "/at/priority"),
            (r#","priority":-101"#, "/at/priority"),
            (r#","max_retries":101"#, "/at/max_retries"),
            (r#","timeout":"168h1s""#, "/at/timeout"),
            (r#","delay":"367d""#, "/at/delay"),
            (r#","delay":-0.5"#, "/at/delay"),
            (r#","tags":["a","","c"]"#, "/at/tags/1"),
            (r#","correlation_id":"""#, "/at/correlation_id"),
        ] {
            assert_eq!(pointers(fields), [pointer], "{fields}");
        }
    }

    #[test]
    fn all_faults_are_told_together() {
        let found =
            pointers(r#","priority":101,"queue":"x","tags":[""],"delay":1,"run_at":"2020-01-01T00:00:00Z""#);
        assert_eq!(found, ["/at/priority", "/at/queue", "/at/tags/0", "/at/run_at"]);
    }

    #[test]
    fn a_run_at_is_within_a_year_and_may_be_long_past() {
        assert!(matches!(
            task(r#","run_at":"2027-01-15T08:00:00Z""#).due,
            Due::At(_)
        ));
        assert_eq!(
            task(r#","run_at":"-100000-01-01T00:00:00Z""#).due,
            Due::At(DateTime::UNIX_EPOCH)
        );
        assert_eq!(pointers(r#","run_at":"2029-01-15T08:00:00Z""#), ["/at/run_at"]);
        assert_eq!(pointers(r#","run_at":"+262000-01-01T00:00:00Z""#), ["/at/run_at"]);
    }

    #[test]
    fn parameters_that_are_left_out_are_checked_as_an_empty_object() {
        let faults = check(r#"{"task_name":"slow"}"#).expect_err("n is required");
        assert_eq!(
            (faults[0].kind, faults[0].pointer.as_str()),
            (FaultKind::InvalidParameters, "/at/parameters")
        );
    }

    #[test]
    fn a_key_may_stand_in_the_field_or_in_the_header_but_not_differ() {
        let headers = Headers {
            key: Some("k".into()),
            traceparent: None,
        };
        let key = |body: &str| check_with(body, &headers).map(|task| task.key.map(|key| key.key));
        assert_eq!(key(r#"{"task_name":"noop"}"#), Ok(Some("k".into())));
        assert_eq!(
            key(r#"{"task_name":"noop","idempotency_key":"k"}"#),
            Ok(Some("k".into()))
        );
        assert!(key(r#"{"task_name":"noop","idempotency_key":"other"}"#).is_err());
    }

    #[test]
    fn requests_that_mean_the_same_have_one_fingerprint() {
        let plain = fingerprint_of("");
        for same in [
            r#","parameters":{},"metadata":{},"tags":[],"delay":0"#,
            r#","priority":2,"max_retries":4,"timeout":"30s","queue":"default""#,
            r#","correlation_id":"c""#,
        ] {
            assert_eq!(fingerprint_of(same), plain, "{same}");
        }
        for other in [
            r#","parameters":{"a":1}"#,
            r#","metadata":{"a":1}"#,
            r#","tags":["a"]"#,
            r#","priority":3"#,
            r#","max_retries":3"#,
            r#","timeout":31"#,
            r#","queue":"low""#,
            r#","delay":1"#,
            r#","run_at":"2020-01-01T00:00:00Z""#,
        ] {
            assert_ne!(fingerprint_of(other), plain, "{other}");
        }
        let order = |text: &str| fingerprint_of(&format!(r#","parameters":{text}"#));
        assert_eq!(order(r#"{"a":1,"b":[1.0]}"#), order(r#"{ "b": [1], "a": 1.0 }"#));
    }

    #[test]
    fn a_trace_context_is_kept_only_when_well_formed() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert!(is_traceparent(&format!("00-{trace}-{span}-01")));
        assert!(is_traceparent(&format!("01-{trace}-{span}-01-later")));
        for text in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
        ] {
            assert!(!is_traceparent(&text), "{text}");
        }
    }
}
