//! Small runs of the binary: a drain with its baseline, and errors. It needs the other binaries in the same
//! folder, where `cargo build --workspace` puts them.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tasker-bench"))
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_small_drain_is_measured_beside_the_bare_statements() {
    let output = bench(&["drain", "--tasks=500", "--repeat=1", "--json"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["failures"], serde_json::json!([]), "{said}");
    assert_eq!(document["settings"]["tasks in a backlog"], "500");
    let figures = document["figures"].as_array().expect("figures");
    for (line, name) in [
        ("sketch", "insert and push"),
        ("sketch", "pop, claim and complete"),
        ("drain", "rate"),
        ("drain", "worker, peak memory"),
        ("drain", "share of the bare statements"),
    ] {
        let found = figures
            .iter()
            .find(|figure| figure["line"] == line && figure["name"] == name);
        let median = found.and_then(|figure| figure["median"].as_f64());
        assert!(
            median.is_some_and(|median| median > 0.0),
            "{line}, {name}: {figures:?}"
        );
    }
}

#[test]
fn a_folder_without_the_binaries_is_refused_by_name() {
    let output = bench(&["drain", "--binaries=/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("/nonexistent/tasker-server is missing"), "{said}");
}

#[test]
fn an_unknown_scenario_is_rejected() {
    assert_eq!(bench(&["fast"]).status.code(), Some(2));
}
