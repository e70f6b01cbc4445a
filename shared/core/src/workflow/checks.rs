//! Validation of templates beyond their form. All problems are returned at once, each with a JSON pointer.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::dag::{self, Cycle};
use super::template::{Step, Template};
use crate::json;
use crate::task::limits;

/// Maximum size of a template in bytes, as text and as JSON.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// Maximum number of steps of a template.
const STEPS_MAX: usize = 1_000;
/// Maximum length of the name of a template or a step.
const NAME_CHARS_MAX: usize = 128;
/// Maximum length of a version, which is part of a key.
const VERSION_CHARS_MAX: usize = 128;
/// Maximum length of a template's description, which lists contain.
const DESCRIPTION_CHARS_MAX: usize = 1_000;
/// Maximum length of a namespace: its queue is `{namespace}_queue`, a name of at most 64 characters.
const NAMESPACE_CHARS_MAX: usize = 58;
/// Maximum wait between two attempts, in milliseconds: the maximum timeout of a task.
const BACKOFF_MAX_MS: u128 = limits::TIMEOUT.as_millis();
/// Maximum number of steps of a cycle that a message names.
const CYCLE_SHOWN: usize = 10;

/// A validation error of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// The error, and the valid values.
    pub message: String,
}

impl Problem {
    fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.message)
    }
}

/// The reason why a text is not a valid template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is longer than a template may be.
    #[error("has {0} bytes, more than the {BYTES_MAX} that a template may have")]
    TooLong(usize),
    /// The text is not YAML, or not in the form of a template.
    #[error("{0}")]
    Unreadable(String),
    /// The template has validation errors.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Problem>),
}

/// Returns all validation errors of a template.
pub(super) fn problems(template: &Template) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut note = |pointer: &str, error: Option<String>| {
        found.extend(error.map(|message| Problem::new(pointer, message)));
    };
    note("/name", name_error(&template.name));
    note("/namespace", namespace_error(&template.namespace));
    note(
        "/version",
        too_long(&template.version.to_string(), VERSION_CHARS_MAX),
    );
    note(
        "/description",
        too_long(&template.description, DESCRIPTION_CHARS_MAX),
    );
    note("/steps", step_count_error(template.steps.len()));
    for (place, step) in template.steps.iter().enumerate() {
        found.extend(step_problems(place, step));
    }
    found.extend(graph_problems(&template.steps));
    found.extend(text_problem(template));
    found
}

fn step_problems(place: usize, step: &Step) -> impl Iterator<Item = Problem> {
    let callable = &step.handler.callable;
    let retry = &step.retry;
    let long = callable.chars().count() > limits::TASK_NAME_CHARS;
    let attempts_max = limits::MAX_RETRIES.unsigned_abs() + 1;
    let timeout_max = limits::TIMEOUT.as_secs_f64();
    let waits_too_long = |milliseconds: u64| u128::from(milliseconds) > BACKOFF_MAX_MS;
    let errors = [
        ("name", name_error(&step.name)),
        (
            "handler/callable",
            (callable.is_empty() || long)
                .then(|| "must be the name of a task type, 1 to 255 characters".to_owned()),
        ),
        (
            "retry/max_attempts",
            (!(1..=attempts_max).contains(&retry.max_attempts))
                .then(|| format!("must be from 1 to {attempts_max}, the first try included")),
        ),
        (
            "retry/backoff_base_ms",
            waits_too_long(retry.backoff_base_ms).then(|| "must be at most 7 days".to_owned()),
        ),
        (
            "retry/max_backoff_ms",
            waits_too_long(retry.max_backoff_ms).then(|| "must be at most 7 days".to_owned()),
        ),
        (
            "timeout_seconds",
            step.timeout_seconds
                // negated as a whole, so that NaN is rejected too
                .is_some_and(|seconds| !(seconds > 0.0 && seconds <= timeout_max))
                .then(|| "must be more than 0 and at most 7 days".to_owned()),
        ),
    ];
    errors
        .into_iter()
        .filter_map(move |(field, error)| Some(Problem::new(format!("/steps/{place}/{field}"), error?)))
}

/// Returns the errors in the graph of the steps. Cycles are searched only once all names and edges are valid.
fn graph_problems(steps: &[Step]) -> Vec<Problem> {
    let mut places = HashMap::new();
    let mut found = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        if let Some(first) = places.insert(step.name.as_str(), place) {
            let message = format!("`{}` is the name of /steps/{first} too", step.name);
            found.push(Problem::new(format!("/steps/{place}/name"), message));
        }
    }
    let mut parents = Vec::with_capacity(steps.len());
    for (place, step) in steps.iter().enumerate() {
        let mut of_step = Vec::with_capacity(step.dependencies.len());
        let mut seen = HashSet::new();
        for (edge, name) in step.dependencies.iter().enumerate() {
            let error = match places.get(name.as_str()) {
                None => "is not a step of this template",
                Some(parent) if !seen.insert(parent) => "is named twice",
                Some(parent) => {
                    of_step.push(*parent);
                    continue;
                }
            };
            let message = format!("`{}` {error}", name.escape_debug());
            found.push(Problem::new(
                format!("/steps/{place}/dependencies/{edge}"),
                message,
            ));
        }
        parents.push(of_step);
    }
    // after an error some edges are missing, so this check would be incomplete
    if let (true, Err(cycle)) = (found.is_empty(), dag::order(&parents)) {
        found.push(cycle_problem(steps, &cycle));
    }
    found
}

fn cycle_problem(steps: &[Step], Cycle(places): &Cycle) -> Problem {
    let first = places.first().copied().unwrap_or_default();
    let mut names: Vec<&str> = places
        .iter()
        .take(CYCLE_SHOWN)
        .map(|place| steps[*place].name.as_str())
        .collect();
    // ends with the first name again, or with an ellipsis if the cycle is cut
    names.push(if places.len() > CYCLE_SHOWN {
        "…"
    } else {
        names[0]
    });
    let message = format!(
        "depend on each other in a cycle, so that none could start: {}",
        names.join(" depends on ")
    );
    Problem::new(format!("/steps/{first}/dependencies"), message)
}

/// Returns an error if Postgres or a JSON reader would reject the template.
fn text_problem(template: &Template) -> Option<Problem> {
    // YAML aliases can expand a short text into long JSON
    let text = template.to_json();
    if text.len() > BYTES_MAX {
        let message = format!("has {} bytes as JSON, more than {BYTES_MAX}", text.len());
        return Some(Problem::new("", message));
    }
    let error = json::check(text.as_bytes(), json::Limits::default()).err()?;
    Some(Problem::new(error.pointer, error.kind.to_string()))
}

fn step_count_error(steps: usize) -> Option<String> {
    (!(1..=STEPS_MAX).contains(&steps)).then(|| format!("must be 1 to {STEPS_MAX} steps, not {steps}"))
}

fn too_long(text: &str, chars_max: usize) -> Option<String> {
    (text.chars().count() > chars_max).then(|| format!("must be at most {chars_max} characters"))
}

/// Returns an error for an invalid name: names are used in URLs and as keys of JSON objects.
fn name_error(name: &str) -> Option<String> {
    let first_ok = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest_ok = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    (!first_ok || !rest_ok || name.len() > NAME_CHARS_MAX).then(|| {
        format!("must be 1 to {NAME_CHARS_MAX} letters, digits, `_`, `.` or `-`, the first a letter or digit")
    })
}

fn namespace_error(namespace: &str) -> Option<String> {
    let lower = !namespace.contains(|c: char| c.is_ascii_uppercase());
    (!lower || name_error(namespace).is_some() || namespace.len() > NAMESPACE_CHARS_MAX).then(|| {
        format!(
            "must be 1 to {NAMESPACE_CHARS_MAX} of a-z, 0-9, `_`, `.`, `-`, the first a letter or digit: its queue is \
             `{{namespace}}_queue`"
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIAMOND: &str = "
name: diamond
namespace_name: shapes
version: 1.2.0
input_schema: {type: object}
steps:
  - {name: bottom, dependencies: [left, right], handler: {callable: echo}}
  - name: top
    handler: {callable: echo, initialization: {how: fast}}
    retry: {max_attempts: 5, backoff: linear}
    timeout_seconds: 30
  - {name: left, dependencies: [top], handler: {callable: echo}}
  - {name: right, dependencies: [top], handler: {callable: echo}}
";

    fn error_of(text: &str) -> String {
        Template::parse(text).expect_err(text).to_string()
    }

    fn step(rest: &str) -> String {
        format!("name: x\nsteps: [{{name: a, handler: {{callable: echo}}{rest}}}]")
    }

    #[test]
    fn a_template_is_read_with_its_defaults_and_its_json_reads_the_same() {
        let diamond = Template::parse(DIAMOND).expect("valid");
        assert_eq!(
            diamond.id(),
            ("shapes", "diamond", &semver::Version::new(1, 2, 0))
        );
        let top = &diamond.steps[1];
        assert_eq!((top.retry.max_attempts, top.retry.backoff_base_ms), (5, 1_000));
        assert_eq!(top.timeout_seconds, Some(30.0));
        assert_eq!(Template::parse(&diamond.to_json()), Ok(diamond));
        let least = Template::parse(&step("")).expect("valid");
        assert_eq!(least.id(), ("default", "x", &semver::Version::new(1, 0, 0)));
    }

    #[test]
    fn a_text_that_is_not_a_template_is_rejected_with_its_line() {
        for (text, part) in [
            ("name: [", "line 1"),
            ("name: x\nsteps: 3", "line 2"),
            ("name: x\nsteps: []\nstages: []", "unknown field `stages`"),
            ("name: x\nname: y\nsteps: []", "duplicate mapping key: name"),
            ("name: x\nversion: one\nsteps: []", "line 2"),
            ("", "line 1"),
        ] {
            assert!(error_of(text).contains(part), "{}", error_of(text));
        }
        assert!(error_of(&step(", dependancies: [b]")).contains("unknown field `dependancies`"));
        assert!(error_of(&" ".repeat(BYTES_MAX + 1)).contains("bytes"));
    }

    #[test]
    fn every_value_out_of_its_range_is_reported_with_its_place() {
        let wrong = "
name: a/b
namespace: Big
version: 1.0.0-VERSION
description: TEXT
steps:
  - name: ''
    dependencies: [elsewhere]
    handler: {callable: ''}
    retry: {max_attempts: 0, backoff_base_ms: 604800001, max_backoff_ms: 604800001}
    timeout_seconds: 604801
";
        let wrong = wrong
            .replace("VERSION", &"x".repeat(123))
            .replace("TEXT", &"x".repeat(1_001));
        let Err(TemplateError::Invalid(problems)) = Template::parse(&wrong) else {
            panic!("it is valid")
        };
        let places: Vec<&str> = problems.iter().map(|problem| &*problem.pointer).collect();
        assert_eq!(
            places,
            [
                "/name",
                "/namespace",
                "/version",
                "/description",
                "/steps/0/name",
                "/steps/0/handler/callable",
                "/steps/0/retry/max_attempts",
                "/steps/0/retry/backoff_base_ms",
                "/steps/0/retry/max_backoff_ms",
                "/steps/0/timeout_seconds",
                "/steps/0/dependencies/0",
            ]
        );
        assert!(error_of("name: x\nsteps: []").contains("/steps: must be 1 to 1000 steps"));
        assert!(error_of(&step(", timeout_seconds: 0")).contains("more than 0"));
    }

    #[test]
    fn steps_that_are_missing_or_named_twice_or_form_a_cycle_are_named() {
        let two = |a: &str, b: &str| {
            format!(
                "name: x\nsteps:\n- {{name: a, handler: {{callable: e}}, dependencies: [{a}]}}\n- {{name: {b}, handler: {{callable: e}}, dependencies: [a]}}"
            )
        };
        assert!(error_of(&two("c", "b")).contains("/steps/0/dependencies/0: `c` is not a step"));
        assert!(error_of(&two("", "a")).contains("/steps/1/name: `a` is the name of /steps/0 too"));
        assert!(error_of(&two("b, b", "b")).contains("/steps/0/dependencies/1: `b` is named twice"));
        assert!(error_of(&two("b", "b")).contains("a depends on b depends on a"));
        assert!(error_of(&step(", dependencies: [a]")).contains("a depends on a"));
    }

    #[test]
    fn words_and_numbers_that_older_yaml_takes_for_something_else_stay_text() {
        let given = step("").replace(
            "callable: echo",
            "callable: echo, initialization: {country: NO, zip: 01234, big: 1_000, yes: on, truth: true, number: 7}",
        );
        let template = Template::parse(&given).expect("valid");
        let initialization = serde_json::to_value(&template.steps[0].handler.initialization).expect("JSON");
        assert_eq!(
            initialization,
            serde_json::json!({
                "country": "NO", "zip": "01234", "big": "1_000", "yes": "on", "truth": true, "number": 7,
            })
        );
    }

    #[test]
    fn a_value_that_cannot_be_stored_is_reported_with_its_place() {
        let nul = step("").replace("callable: echo", "callable: echo, initialization: {a: \"\\0\"}");
        assert!(error_of(&nul).contains("/steps/0/handler/initialization/a: contains the NUL"));
        let deep = format!(
            "name: x\nmetadata: {{a: {}{}}}\nsteps: [{{name: a, handler: {{callable: e}}}}]",
            "[".repeat(200),
            "]".repeat(200)
        );
        assert!(error_of(&deep).contains("Depth"), "{}", error_of(&deep));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "name: x", "steps:", "steps: [", "- name: a", "- {name: b, handler: {callable: e}}", "  handler: {callable: e}",
                    "  dependencies: [a, b]", "{", "}", "[", "]", "&a", "*a", "<<: *a", "!!set", "|", ">", "?", "---", "...", "\t", "\0",
                    "metadata: {a: &b [*b]}", "version: 1", "timeout_seconds: 1e400", "\u{feff}", "'", "\"", "%YAML 9.9",
                ]),
                0..12,
            ),
            separator in prop::sample::select(vec!["\n", "\n  ", " "]),
        ) {
            let _ = Template::parse(&words.join(separator));
        }

        #[test]
        fn the_json_of_a_template_reads_the_same(
            description in "\\PC{0,40}",
            keys in prop::collection::vec("[^\u{0}]{0,1200}", 0..4),
            texts in prop::collection::vec("[^\u{0}]{0,20}", 4),
            number in prop::num::i64::ANY,
            fraction in prop::num::f64::NORMAL,
        ) {
            let mut template = Template::parse(DIAMOND).expect("valid");
            template.description = description;
            let values = texts.into_iter().map(|text| serde_json::json!([text, number, fraction, null, {"a": true}]));
            template.steps[0].handler.initialization = keys.into_iter().zip(values).collect();
            prop_assert_eq!(Template::parse(&template.to_json()), Ok(template));
        }
    }
}
