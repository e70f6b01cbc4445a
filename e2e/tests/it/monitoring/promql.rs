//! A minimal `PromQL` parser that finds the metrics in a query.

use std::collections::BTreeSet;

/// Keywords that are followed by labels in parentheses.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Keywords at the position of a metric.
const WORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

/// Returns the names of the metrics in a query: words that are neither functions, nor labels, nor keywords.
pub(super) fn metrics(expr: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = without(&without(expr, '{', '}'), '[', ']');
    while let Some(start) = rest.find(is_part) {
        let end = rest[start..]
            .find(|c| !is_part(c))
            .map_or(rest.len(), |length| start + length);
        let word = rest[start..end].to_owned();
        rest = rest[end..].trim_start().to_owned();
        if BEFORE_LABELS.contains(&word.as_str()) {
            rest = rest.find(')').map_or(String::new(), |end| rest[end..].to_owned());
            continue;
        }
        let number = word.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        if !number && !rest.starts_with('(') && !WORDS.contains(&word.as_str()) && !aggregates(&rest) {
            names.insert(word);
        }
    }
    names
}

/// Returns true if the text after a word makes it an aggregation: `sum by (queue) (…)`.
fn aggregates(rest: &str) -> bool {
    ["by", "without"].iter().any(|word| {
        let after = rest.strip_prefix(word);
        after.is_some_and(|after| after.trim_start().starts_with('('))
    })
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_:.".contains(c)
}

/// Removes the text between two delimiters.
fn without(text: &str, open: char, close: char) -> String {
    let mut depth = 0_u32;
    let mut kept = String::new();
    for c in text.chars() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.saturating_sub(1);
        } else if depth == 0 {
            kept.push(c);
        }
    }
    kept
}

#[test]
fn the_metrics_of_a_query_are_found() {
    let found = |expr: &str| metrics(expr).into_iter().collect::<Vec<_>>();
    let expr = r#"histogram_quantile(0.95, sum by (le, job) (rate(a_bucket{x=~"y b"}[5m] offset 1h))) > 1e3"#;
    assert_eq!(found(expr), ["a_bucket"]);
    assert_eq!(
        found("sum(a) / on (job) group_left (x) b:c or vector(0)"),
        ["a", "b:c"]
    );
    assert_eq!(
        found("max without (le) (a unless b) and count by (c) (d)"),
        ["a", "b", "d"]
    );
}
