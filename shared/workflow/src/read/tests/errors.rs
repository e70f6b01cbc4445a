use super::*;

#[test]
fn all_errors_are_returned_at_once_with_their_lines() {
    let wrong = "
name: a/b
namespace: Big
version: one
priority: 101
deadline: 0
queue: Fast
description: TEXT
instance_name: $context
steps:
  - name: ''
    needs: [elsewhere]
    run: ''
    retry: {max_attempts: 0, backoff: square, backoff_base_ms: 604800001, max_backoff_ms: -1}
    timeout: 8d
    on_failure: stop
    stages: []
";
    let found = issues(&wrong.replace("TEXT", &"x".repeat(1_001)));
    let places: Vec<(u32, &str)> = found
        .iter()
        .map(|issue| (issue.line.unwrap_or(0), &*issue.pointer))
        .collect();
    assert_eq!(
        places,
        [
            (2, "/name"),
            (3, "/namespace"),
            (4, "/version"),
            (5, "/priority"),
            (6, "/deadline"),
            (7, "/queue"),
            (8, "/description"),
            (9, "/instance_name"),
            (11, "/steps/0/name"),
            (12, "/steps/0/needs/0"),
            (13, "/steps/0/run"),
            (14, "/steps/0/retry/backoff_base_ms"),
            (14, "/steps/0/retry/max_backoff_ms"),
            (14, "/steps/0/retry/max_attempts"),
            (14, "/steps/0/retry/backoff"),
            (15, "/steps/0/timeout"),
            (16, "/steps/0/on_failure"),
            (17, "/steps/0/stages"),
        ]
    );
}

#[test]
fn json_has_lines_and_the_pointers_of_its_own_field_names() {
    let text =
        "{\n \"name\": \"x\",\n \"steps\": [\n  {\"name\": \"a\", \"handler\": {\"callable\": \"\"}}\n ]\n}";
    let issues = from_json(text, ReadOptions::default())
        .expect_err("invalid")
        .issues;
    assert_eq!(issues.len(), 1);
    assert_eq!(
        (issues[0].line, &*issues[0].pointer),
        (Some(4), "/steps/0/handler/callable")
    );
}

#[test]
fn an_unknown_field_is_answered_with_the_nearest_known_one() {
    use IssueCode::UnknownField;
    assert_issue(
        &step(", dependancies: [b]"),
        UnknownField,
        "/steps/0/dependancies",
        "`dependencies`?",
    );
    assert_issue(
        &step(", neds: []"),
        UnknownField,
        "/steps/0/neds",
        "did you mean `needs`?",
    );
    assert_issue(
        "name: x\nstep: []\nsteps: [{name: a, run: b}]",
        UnknownField,
        "/step",
        "`steps`?",
    );
    assert_issue(
        &step(", retry: {attempts: 3}"),
        UnknownField,
        "/steps/0/retry/attempts",
        "max_attempts",
    );
    assert_issue(
        &step(", \"a\\u0007b\": 1"),
        UnknownField,
        "/steps/0/a\u{7}b",
        "a\\u{7}b",
    );
}

#[test]
fn a_field_of_a_later_release_is_refused_as_not_supported_yet() {
    for field in [
        "when",
        "join",
        "map",
        "wait_for",
        "delay",
        "workflow",
        "compensate",
        "unique",
    ] {
        let code = IssueCode::NotSupportedYet;
        assert_issue(
            &step(&format!(", {field}: x")),
            code,
            &format!("/steps/0/{field}"),
            "not supported yet",
        );
    }
    let compensate = format!("{}\non_failure: compensate", step(""));
    assert_issue(
        &compensate,
        IssueCode::NotSupportedYet,
        "/on_failure",
        "`block` or `error`",
    );
    // such a step has no `run`, which is not reported as well
    let signal = "name: x\nsteps: [{name: a, wait_for: approval}]";
    assert_issue(
        signal,
        IssueCode::NotSupportedYet,
        "/steps/0/wait_for",
        "remove it",
    );
}

#[test]
fn fields_of_the_source_without_an_effect_are_kept_with_a_warning() {
    let text = "
name: x
task_handler: {callable: Old::Handler}
steps: [{name: a, run: b, system_dependency: db}]
";
    let checked = from_yaml(text, ReadOptions::default()).expect("valid");
    let warned: Vec<&str> = checked.warnings.iter().map(|warning| &*warning.pointer).collect();
    assert_eq!(warned, ["/task_handler", "/steps/0/system_dependency"]);
    assert_eq!(checked.warnings[0].code, IssueCode::NoEffect);
    assert!(checked.definition.to_json().contains("Old::Handler"));
}

#[test]
fn a_missing_field_and_two_names_of_one_field_are_reported() {
    use IssueCode::{ConflictingFields, MissingField};
    assert_issue("steps: [{name: a, run: b}]", MissingField, "", "has no `name`");
    assert_issue("name: x", MissingField, "", "has no `steps`");
    assert_issue(
        "name: x\nsteps: [{name: a}]",
        MissingField,
        "/steps/0",
        "has no `run`",
    );
    assert_issue(
        "name: x\nsteps: [{name: a, handler: {}}]",
        MissingField,
        "/steps/0/handler",
        "`callable`",
    );
    assert_issue(
        &step(", needs: [], dependencies: []"),
        ConflictingFields,
        "/steps/0/dependencies",
        "`needs`",
    );
    assert_issue(
        &step(", handler: {callable: b}"),
        ConflictingFields,
        "/steps/0/run",
        "handler.callable",
    );
}

#[test]
fn a_value_of_another_type_is_reported_with_the_right_one() {
    use IssueCode::WrongType;
    assert_issue(
        "name: 7\nsteps: [{name: a, run: b}]",
        WrongType,
        "/name",
        "write it in quotes",
    );
    assert_issue(
        "name: x\nsteps: 3",
        WrongType,
        "/steps",
        "must be a list, not a number",
    );
    assert_issue(
        "name: x\nsteps: [a]",
        WrongType,
        "/steps/0",
        "must be an object, not text",
    );
    assert_issue(&step(", needs: b"), WrongType, "/steps/0/needs", "must be a list");
    assert_issue(
        &step(", with: [1]"),
        WrongType,
        "/steps/0/with",
        "must be an object",
    );
    assert_issue(
        &step(", timeout: [1]"),
        WrongType,
        "/steps/0/timeout",
        "a duration such as 30s",
    );
    assert_issue(
        &step(", retry: {retryable: no}"),
        WrongType,
        "/steps/0/retry/retryable",
        "true or false",
    );
    assert_issue("- 1", WrongType, "", "must be an object");
}

#[test]
fn steps_that_are_missing_or_named_twice_or_depend_on_themselves_are_named() {
    use IssueCode::{DuplicateEdge, DuplicateStep, SelfDependency, UnknownStep};
    let two = |a: &str, b: &str| {
        format!(
            "name: x\nsteps:\n- {{name: alpha, run: e, needs: [{a}]}}\n- {{name: {b}, run: e, needs: [alpha]}}"
        )
    };
    assert_issue(
        &two("beto", "beta"),
        UnknownStep,
        "/steps/0/needs/0",
        "did you mean `beta`?",
    );
    assert_issue(
        &two("{step: x}", "beta"),
        UnknownStep,
        "/steps/0/needs/0/step",
        "is not a step",
    );
    assert_issue(
        &step(", needs: [a]"),
        SelfDependency,
        "/steps/0/needs/0",
        "depends on itself",
    );
    let twice = two("", "beta").replace("[alpha]", "[alpha, alpha]");
    assert_issue(&twice, DuplicateEdge, "/steps/1/needs/1", "named twice");
    let same = "name: x\nsteps: [{name: a, run: e}, {name: a, run: e}]";
    assert_issue(same, DuplicateStep, "/steps/1/name", "/steps/0 too");
    let reserved = "name: x\nsteps: [{name: ALL, run: e}]";
    assert_issue(
        reserved,
        IssueCode::ReservedName,
        "/steps/0/name",
        "choose another name",
    );
}

#[test]
fn a_cycle_is_reported_with_its_path() {
    let circle = "
name: x
steps:
  - {name: start, run: e}
  - {name: a, run: e, needs: [start, c]}
  - {name: b, run: e, needs: [a]}
  - {name: c, run: e, needs: [b]}
  - {name: end, run: e, needs: [c]}
";
    assert_issue(
        circle,
        IssueCode::Cycle,
        "/steps/1/name",
        "`a` needs `c` needs `b` needs `a`",
    );
}

#[test]
fn edges_of_policy_only_stand_alone() {
    let mixed = "
name: x
steps:
  - {name: a, run: e}
  - {name: b, run: e}
  - {name: c, run: e, needs: [{step: a, on_failure: only}, b]}
";
    assert_issue(
        mixed,
        IssueCode::MixedOnlyEdges,
        "/steps/2/needs/1",
        "`c` needs `b`",
    );
    let as_default = step(", on_failure: only");
    assert_issue(
        &as_default,
        IssueCode::UnknownValue,
        "/steps/0/on_failure",
        "for single edges",
    );
    let unknown = step(", on_failure: skp");
    assert_issue(
        &unknown,
        IssueCode::UnknownValue,
        "/steps/0/on_failure",
        "did you mean `skip`?",
    );
}

#[test]
fn inputs_refer_only_to_steps_that_end_before() {
    let text = |with: &str| {
        format!(
            "
name: x
steps:
  - {{name: a, run: e}}
  - {{name: b, run: e, needs: [a]}}
  - {{name: c, run: e, needs: [b], with: {{deep: [{{x: {with}}}]}}}}
  - {{name: d, run: e}}
"
        )
    };
    valid(&text("'$a.result[0]'"));
    valid(&text("$context.a"));
    let place = "/steps/2/with/deep/0/x";
    assert_issue(
        &text("$d"),
        IssueCode::NotAnAncestor,
        place,
        "add `d` to the `needs` of `c`",
    );
    assert_issue(&text("$c.x"), IssueCode::NotAnAncestor, place, "`c`");
    assert_issue(&text("$aa"), IssueCode::UnknownStep, place, "did you mean `a`?");
    assert_issue(
        &text("$item.x"),
        IssueCode::InvalidReference,
        place,
        "not supported yet",
    );
    assert_issue(
        &text("'$5'"),
        IssueCode::InvalidReference,
        place,
        "`$$` for a dollar",
    );
    let output = format!("{}\noutput: $b", step(""));
    assert_issue(&output, IssueCode::UnknownStep, "/output", "is not a step");
}

#[test]
fn an_environment_changes_only_what_exists() {
    let text = |overrides: &str| format!("{}\nenvironments: {{test: {{steps: [{overrides}]}}}}", step(""));
    let place = "/environments/test/steps/0";
    assert_issue(
        &text("{name: b}"),
        IssueCode::UnknownStep,
        &format!("{place}/name"),
        "is not a step",
    );
    let with = text("{name: a, with: {x: 1}}");
    assert_issue(
        &with,
        IssueCode::NoInputsToOverride,
        &format!("{place}/with"),
        "add `with` to the step",
    );
    let long = text("{name: ALL, timeout: 8d}");
    assert_issue(
        &long,
        IssueCode::OutOfRange,
        &format!("{place}/timeout"),
        "at most 7d",
    );
}

#[test]
fn a_schema_is_checked_by_the_caller() {
    let check = |schema: &str| {
        assert_eq!(schema, r#"{"type":"objekt"}"#);
        vec![SchemaError {
            pointer: "/type".to_owned(),
            message: "is not a type".to_owned(),
        }]
    };
    let options = ReadOptions {
        check_schema: Some(&check),
        ..ReadOptions::default()
    };
    let text = format!("{}\ninput_schema: {{type: objekt}}", step(""));
    let issues = from_yaml(&text, options).expect_err("invalid").issues;
    assert_eq!(
        (&*issues[0].pointer, issues[0].code),
        ("/input_schema/type", IssueCode::InvalidSchema)
    );
}

#[test]
fn fields_of_the_caller_are_left_to_it() {
    let options = ReadOptions {
        other_fields: &["context", "tags"],
        ..ReadOptions::default()
    };
    let body = r#"{"name": "x", "steps": [{"name": "a", "run": "b"}], "context": {}, "tags": ["t"]}"#;
    assert!(from_json(body, options).is_ok());
    assert!(from_json(body, ReadOptions::default()).is_err());
}
