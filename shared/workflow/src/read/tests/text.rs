use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

#[test]
fn the_number_of_steps_and_the_size_of_a_text_are_bounded() {
    let steps = |n: usize| {
        let steps: Vec<String> = (0..n).map(|n| format!("{{name: s{n}, run: e}}")).collect();
        format!("name: x\nsteps: [{}]", steps.join(", "))
    };
    assert_eq!(valid(&steps(1_000)).steps.len(), 1_000);
    assert_issue(
        &steps(1_001),
        IssueCode::StepCount,
        "/steps",
        "1 to 1000 steps, not 1001",
    );
    assert_issue("name: x\nsteps: []", IssueCode::StepCount, "/steps", "not 0");
    assert_issue(
        &" ".repeat(limits::DEFINITION_BYTES + 1),
        IssueCode::TooLarge,
        "",
        "at most 1048576",
    );
}

#[test]
fn a_text_with_countless_errors_is_answered_with_the_first_hundred() {
    let names: Vec<String> = (0..50_000).map(|n| format!("n{n}")).collect();
    let edges = step(&format!(", needs: [{}]", names.join(", ")));
    assert_eq!(issues(&edges).len(), 100);
    let fields: Vec<String> = names.iter().map(|name| format!("{name}: 1")).collect();
    assert_eq!(issues(&step(&format!(", {}", fields.join(", ")))).len(), 100);
}

#[test]
fn aliases_that_expand_without_end_are_rejected_early() {
    let mut bomb = "name: x\nsteps: []\nmetadata:\n  a0: &a0 [lol, lol, lol]\n".to_owned();
    for n in 1..30 {
        let aliases = vec![format!("*a{}", n - 1); 9].join(", ");
        writeln!(bomb, "  a{n}: &a{n} [{aliases}]").expect("text");
    }
    assert_eq!(issue(&bomb).code, IssueCode::TooLarge);
    let itself = format!("{}\nmetadata: &a {{b: [*a]}}", step(""));
    assert_eq!(issue(&itself).code, IssueCode::NotJson);
}

#[test]
fn nesting_of_any_depth_is_rejected_without_exhausting_the_stack() {
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    let flow = format!("name: x\nmetadata: {{a: {open}{close}}}\nsteps: []");
    assert_eq!(issues(&flow).len(), 1);
    let json = format!("{{\"name\": \"x\", \"steps\": [], \"metadata\": {{\"a\": {open}{close}}}}}");
    let issues = from_json(&json, ReadOptions::default()).expect_err("deep").issues;
    assert_eq!(issues[0].code, IssueCode::TooDeep);
    let lines: Vec<String> = (0..500).map(|depth| format!("{}-", " ".repeat(depth))).collect();
    let block = lines.join(
        "
",
    );
    assert!(from_yaml(&block, ReadOptions::default()).is_err());
    let dashes = format!("metadata: {}x", "- ".repeat(10_000));
    assert!(from_yaml(&dashes, ReadOptions::default()).is_err());
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let definition = valid(
        "
name: x
metadata: {defaults: &defaults {run: echo, timeout: 5s, retry: &r {max_attempts: 9}}}
steps:
  - {<<: *defaults, name: a, timeout: 6s}
  - {name: b, run: e, retry: *r}
",
    );
    let [a, b] = &definition.steps[..] else {
        panic!("two steps")
    };
    assert_eq!((&*a.run, a.timeout.expect("set").as_secs()), ("echo", 6));
    assert_eq!((a.retry.max_attempts, b.retry.max_attempts), (9, 9));
}

#[test]
fn a_text_that_is_not_yaml_or_json_is_rejected_with_its_line() {
    for (text, line, code) in [
        ("name: [", 1, IssueCode::Syntax),
        ("name: x\n\tsteps: []", 1, IssueCode::Syntax),
        ("", 1, IssueCode::Syntax),
        ("name: x\nsteps: []\n---\nname: y", 3, IssueCode::Syntax),
        (
            "name: x\nmetadata: {a: !secret b}\nsteps: [{name: a, run: b}]",
            2,
            IssueCode::NotJson,
        ),
        (
            "name: x\nmetadata: {a: .inf}\nsteps: [{name: a, run: b}]",
            2,
            IssueCode::NotJson,
        ),
        ("name: x\n[a]: b", 2, IssueCode::NotJson),
    ] {
        let issue = issue(text);
        assert_eq!((issue.line, issue.code), (Some(line), code), "{text}: {issue}");
    }
    let issues = from_json("{\"name\":\n}", ReadOptions::default())
        .expect_err("invalid")
        .issues;
    assert_eq!((issues[0].line, issues[0].code), (Some(2), IssueCode::Syntax));
}

#[test]
fn a_reference_with_an_index_inside_braces_needs_quotes_and_the_error_says_so() {
    let text = step(", with: {a: $context.items[0]}");
    assert!(issue(&text).message.contains("in quotes"), "{}", issue(&text));
    valid(&text.replace("$context.items[0]", "'$context.items[0]'"));
}

#[test]
fn a_field_that_appears_twice_is_reported_in_yaml_and_json() {
    let yaml = "name: x\nname: y\nsteps: [{name: a, run: b}]";
    assert_issue(yaml, IssueCode::DuplicateField, "/name", "keep one of them");
    let json = r#"{"name": "x", "name": "y", "steps": [{"name": "a", "run": "b"}]}"#;
    let issues = from_json(json, ReadOptions::default())
        .expect_err("invalid")
        .issues;
    assert_eq!(
        (&*issues[0].pointer, issues[0].code),
        ("/name", IssueCode::DuplicateField)
    );
}

#[test]
fn a_value_that_cannot_be_stored_is_reported_with_its_place() {
    let nul = step(", with: {a: \"\\0\"}");
    assert_issue(&nul, IssueCode::NotStorable, "/steps/0/with/a", "NUL");
    let large = step(", with: {a: 123456789012345678901}");
    assert_issue(&large, IssueCode::NotStorable, "/steps/0/with/a", "whole number");
    let json = r#"{"name": "x", "steps": [{"name": "a", "run": "b", "with": {"a": "\ud800"}}]}"#;
    let issues = from_json(json, ReadOptions::default())
        .expect_err("invalid")
        .issues;
    assert_eq!(issues[0].code, IssueCode::NotStorable);
}

#[test]
fn control_characters_in_names_are_rejected_and_shown_escaped() {
    let text = "name: \"a\\e[31mb\"\nsteps: [{name: \"c\\nd\", run: \"e\\tf\"}]";
    let issues = issues(text);
    let codes: Vec<IssueCode> = issues.iter().map(|issue| issue.code).collect();
    assert_eq!(codes, [IssueCode::InvalidName; 3]);
    assert!(
        issues
            .iter()
            .all(|issue| !issue.message.contains(char::is_control)),
        "{issues:?}"
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "name: x", "steps:", "steps: [", "- name: a", "- {name: b, run: e}", "  handler: {callable: e}", "  needs: [a, b]",
                "{", "}", "[", "]", "&a", "*a", "<<: *a", "<<: [*a, *a]", "!!set", "!!str 5", "|", ">", "?", "---", "...", "\t", "\0",
                "metadata: {a: &b [*b]}", "version: 1", "timeout: 1e400", "with: {a: $b.c[0]}", "\u{feff}", "'", "\"", "%YAML 9.9",
            ]),
            0..12,
        ),
        separator in prop::sample::select(vec!["\n", "\n  ", " "]),
    ) {
        let text = words.join(separator);
        let _ = from_yaml(&text, ReadOptions::default());
        let _ = from_text(&text, ReadOptions::default());
    }

    #[test]
    fn literals_keep_every_character_and_digit(
        keys in prop::collection::vec("[^\u{0}]{0,1200}", 0..4),
        texts in prop::collection::vec("\\$?[^\u{0}]{0,20}", 4),
        number in prop::num::i64::ANY,
        fraction in prop::num::f64::NORMAL,
    ) {
        let value = |text: &String| serde_json::json!([escaped(text), number, fraction, null, {"a": true}]);
        let with: serde_json::Map<String, serde_json::Value> =
            keys.into_iter().zip(texts.iter().map(value)).collect();
        let body = serde_json::json!({"name": "x", "steps": [{"name": "a", "run": "e", "with": with}]});
        let read = from_json(&body.to_string(), ReadOptions::default()).expect("valid").definition;
        let stored = from_stored(&read.to_json());
        prop_assert_eq!(stored, Ok(read.clone()));
        let written: serde_json::Value = serde_json::from_str(&read.to_json()).expect("JSON");
        prop_assert_eq!(&written["steps"][0]["with"], &body["steps"][0]["with"]);
    }
}

/// Doubles the dollar that would begin a reference.
fn escaped(text: &str) -> String {
    if text.starts_with('$') {
        format!("${text}")
    } else {
        text.to_owned()
    }
}

#[test]
fn a_body_of_a_start_is_read_as_a_value_with_its_digits_and_further_fields() {
    let yaml = "name: x\ncontext: {n: 1.10}\nsteps: [{name: a, run: echo}]";
    let json = r#"{"context":{"n":1.10},"name":"x","steps":[{"name":"a","run":"echo"}]}"#;
    for text in [yaml, json] {
        assert_eq!(value_from_text(text).expect(text).to_text(), json);
    }
    assert!(is_json(json) && !is_json(yaml));
    let unfinished = value_from_text("name: [").expect_err("an error");
    assert_eq!(unfinished.issues[0].code, IssueCode::Syntax);
    let long = " ".repeat(limits::DEFINITION_BYTES + 1);
    assert_eq!(
        value_from_text(&long).expect_err("an error").issues[0].code,
        IssueCode::TooLarge
    );
}
