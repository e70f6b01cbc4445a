use super::*;
use crate::submit::request::read_single;
use tasker_store::task_types::TaskType;

fn types() -> TypeTable {
    let noop = TaskType {
        name: "noop".into(),
        description: String::new(),
        queue: None,
        priority: 2,
        max_retries: 4,
        timeout_seconds: 30.0,
        parameters_schema: None,
        result_schema: None,
        required_role: None,
    };
    let slow = TaskType {
        name: "slow".into(),
        queue: Some(QueueName::low()),
        parameters_schema: Some(r#"{"type":"object","required":["n"]}"#.into()),
        ..noop.clone()
    };
    let login = TaskType {
        name: "login".into(),
        parameters_schema: Some(
            r#"{"type":"object","properties":{"user":{},"password":{"type":"string","writeOnly":true}}}"#
                .into(),
        ),
        ..noop.clone()
    };
    TypeTable::of(vec![noop, slow, login], &TypeTable::default())
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

fn valid_with(body: &str, headers: &Headers) -> Result<ValidTask, Vec<ValidationError>> {
    let types = types();
    let rules = Rules {
        types: &types,
        queues: &QueueName::classes(),
        now: now(),
    };
    let request = read_single(body.as_bytes()).expect(body);
    validate(&request, headers, rules, "/at")
}

fn check_with(body: &str, headers: &Headers) -> Result<NewTask, Vec<ValidationError>> {
    valid_with(body, headers).map(|valid| valid.task)
}

fn check(body: &str) -> Result<NewTask, Vec<ValidationError>> {
    check_with(body, &Headers::default())
}

fn task(fields: &str) -> NewTask {
    check(&format!(r#"{{"task_name":"noop"{fields}}}"#))
        .unwrap_or_else(|errors| panic!("{fields}: {errors:?}"))
}

fn pointers(fields: &str) -> Vec<String> {
    let errors = check(&format!(r#"{{"task_name":"noop"{fields}}}"#)).expect_err(fields);
    errors.into_iter().map(|error| error.pointer).collect()
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
        (r#","correlation_id":"a\r\nb""#, "/at/correlation_id"),
    ] {
        assert_eq!(pointers(fields), [pointer], "{fields}");
    }
}

#[test]
fn all_errors_are_reported_together() {
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
    let errors = check(r#"{"task_name":"slow"}"#).expect_err("n is required");
    assert_eq!(
        (errors[0].kind, errors[0].pointer.as_str()),
        (ValidationErrorKind::InvalidParameters, "/at/parameters")
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
fn write_only_parameters_are_validated_and_are_in_neither_the_task_nor_its_fingerprint() {
    let login = |parameters: &str| {
        let body = format!(
            r#"{{"task_name":"login","idempotency_key":"k","parameters":{parameters},"metadata":{{"password":"m"}}}}"#
        );
        valid_with(&body, &Headers::default())
    };
    let valid = login(r#"{"user":"ada","password":"hunter2"}"#).expect("valid");
    assert_eq!(valid.task.parameters, r#"{"user":"ada"}"#);
    assert_eq!(
        valid.task.metadata, r#"{"password":"m"}"#,
        "the rule is about parameters"
    );
    assert_eq!(valid.not_stored, ["password"]);
    let fingerprint = |parameters: &str| {
        let key = login(parameters).expect("valid").task.key;
        key.expect("a key").fingerprint
    };
    assert_eq!(
        fingerprint(r#"{"user":"ada"}"#),
        fingerprint(r#"{"user":"ada","password":"another"}"#)
    );
    assert!(login(r#"{"user":"ada"}"#).expect("valid").not_stored.is_empty());
    let errors = login(r#"{"password":["hunter2"]}"#).expect_err("of another type");
    assert_eq!(errors[0].pointer, "/at/parameters/password");
    assert!(!errors[0].detail.contains("hunter2"), "{errors:?}");
}
