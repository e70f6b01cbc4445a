//! The files of `deploy/` that contain Prometheus queries.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A Prometheus query and its location.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) place: String,
    pub(super) expr: String,
}

/// An alert rule.
#[derive(Debug)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) expr: String,
    pub(super) severity: String,
    pub(super) runbook: String,
}

/// Returns a path in the checkout.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

pub(super) fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(super) fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/dashboards/tasker.json")).expect("JSON")
}

pub(super) fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

/// Returns the queries of all panels, with Grafana's variables replaced.
pub(super) fn queries(dashboard: &Value) -> Vec<Query> {
    let mut queries = Vec::new();
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().expect("a query");
            queries.push(Query {
                place: format!("{title}, {}", target["refId"]),
                expr: filled_in(expr),
            });
        }
    }
    assert!(queries.len() > 50, "{queries:?}");
    queries
}

/// Returns the queries of the dashboard's variables.
pub(super) fn variables(dashboard: &Value) -> Vec<Query> {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let chosen = variables.iter().filter(|variable| variable["type"] == "query");
    chosen
        .map(|variable| {
            let definition = variable["definition"].as_str().expect("a definition");
            let inner = definition
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inner
                .and_then(|inner| inner.split_once(", "))
                .expect("label_values(metric, label)");
            Query {
                place: format!("variable {}", variable["name"]),
                expr: format!("group by ({label}) ({metric})"),
            }
        })
        .collect()
}

/// The rate interval: four scrapes, of one second here and of 15 seconds in production.
fn filled_in(expr: &str) -> String {
    let filled = expr
        .replace("$__rate_interval", "4s")
        .replace("$queue", ".+")
        .replace("$type", ".+");
    assert!(!filled.contains('$'), "{filled}");
    filled
}

/// Returns the alerts in order of the file, which is parsed by indentation only; `promtool check rules`
/// validates it completely.
pub(super) fn alerts() -> Vec<Alert> {
    let text = read("deploy/prometheus/rules/tasker.yml");
    let blocks = text.split("\n      - alert: ").skip(1);
    blocks
        .map(|block| Alert {
            name: block.lines().next().expect("a name").to_owned(),
            expr: value(block, 8, "expr"),
            severity: value(block, 10, "severity"),
            runbook: value(block, 10, "runbook"),
        })
        .collect()
}

/// Returns a YAML value on the line of its key or in a block below it.
fn value(block: &str, indentation: usize, key: &str) -> String {
    let start = format!("{:indentation$}{key}: ", "");
    let mut lines = block.lines().skip_while(|line| !line.starts_with(&start));
    let first = lines.next().unwrap_or_else(|| panic!("no {key} in {block}"));
    let first = &first[start.len()..];
    if first != "|" {
        return first.to_owned();
    }
    let deeper = format!("{:width$}", "", width = indentation + 2);
    let lines: Vec<&str> = lines.map_while(|line| line.strip_prefix(&deeper)).collect();
    lines.join("\n")
}
