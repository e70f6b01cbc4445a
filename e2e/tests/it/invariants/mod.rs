//! A test for each invariant of ARCHITECTURE.md, named after its number. They check the rule as a whole;
//! other tests cover the details.

mod fences;
mod limits;
mod truth;

use serde_json::Value;
use tasker_testkit::Running;

/// Returns a number from a record.
fn number(task: &Value, field: &str) -> i64 {
    task[field]
        .as_i64()
        .unwrap_or_else(|| panic!("{field} of {task}"))
}

/// Returns the resident memory of a process in `MiB`.
fn resident_mib(running: &Running) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", running.process.pid())).expect("a living process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("its memory");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("kB");
    kib / 1024
}
