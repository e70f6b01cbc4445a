//! Verifies the final rows against the requests and responses in the ledger. Pure functions.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::ledger::{Answer, CancelAnswer, Entries, Kind, Submit};

/// The final row of a task.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) correlation_id: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) runs: i32,
    pub(super) attempts: i32,
    pub(super) max_attempts: i32,
    pub(super) crash_count: i32,
}

/// A violated invariant, with details.
pub(super) type Violation = (&'static str, String);

/// Returns all violated invariants.
pub(super) fn verify(entries: &Entries, rows: &[Row]) -> Vec<Violation> {
    let mut verifier = Verifier {
        entries,
        rows: HashMap::new(),
        tags: HashMap::new(),
        violations: Vec::new(),
    };
    for row in rows {
        verifier
            .tags
            .entry(request_of(&row.correlation_id))
            .or_default()
            .push(row);
        if verifier.rows.insert(row.id, row).is_some() {
            verifier.report("a task has one row", row.id.to_string());
        }
    }
    verifier.requests();
    verifier.keys(rows);
    verifier.unknown_rows(rows);
    verifier.final_states();
    verifier.cancellations();
    verifier.counters(rows);
    verifier.violations
}

/// Returns the tag of the request that created a task.
fn request_of(correlation_id: &str) -> &str {
    correlation_id.split('/').next().unwrap_or_default()
}

struct Verifier<'a> {
    entries: &'a Entries,
    rows: HashMap<Uuid, &'a Row>,
    tags: HashMap<&'a str, Vec<&'a Row>>,
    violations: Vec<Violation>,
}

impl Verifier<'_> {
    fn report(&mut self, rule: &'static str, seen: String) {
        self.violations.push((rule, seen));
    }

    /// Compares the rows of each request with its response.
    fn requests(&mut self) {
        for submit in &self.entries.submits {
            let made = self.tags.get(submit.tag.as_str()).cloned().unwrap_or_default();
            let seen = || format!("{}: {} of {} rows", submit.tag, made.len(), submit.size);
            match &submit.answer {
                Answer::New(ids) => {
                    let made: HashSet<Uuid> = made.iter().map(|row| row.id).collect();
                    let acknowledged: HashSet<Uuid> = ids.iter().copied().collect();
                    if acknowledged.len() != submit.size || made != acknowledged {
                        self.report("exactly the acknowledged tasks of a request exist", seen());
                    }
                }
                Answer::Known(id) => {
                    if !self.rows.contains_key(id) {
                        self.report(
                            "a deduplicated submit names an existing task",
                            format!("{}: {id}", submit.tag),
                        );
                    }
                    if !made.is_empty() {
                        self.report("a deduplicated submit creates no task", seen());
                    }
                }
                Answer::NothingDone => {
                    if !made.is_empty() {
                        self.report("a rejected submit creates no task", seen());
                    }
                }
                Answer::Unknown => {
                    if !made.is_empty() && made.len() != submit.size {
                        self.report("a batch is stored as a whole or not at all", seen());
                    }
                }
            }
        }
    }

    /// Checks that each key has one task and that all responses name it.
    fn keys(&mut self, rows: &[Row]) {
        let mut of_key: HashMap<&str, Uuid> = HashMap::new();
        for row in rows {
            if let Some(key) = &row.idempotency_key
                && of_key.insert(key, row.id).is_some()
            {
                self.report("a key has one row", key.clone());
            }
        }
        for submit in &self.entries.submits {
            let Some(key) = &submit.key else { continue };
            let named = match &submit.answer {
                Answer::New(ids) => ids.first(),
                Answer::Known(id) => Some(id),
                _ => None,
            };
            if named.is_some() && named != of_key.get(key.as_str()) {
                self.report(
                    "every response to a key names its task",
                    format!("{key}: {named:?}"),
                );
            }
        }
    }

    fn unknown_rows(&mut self, rows: &[Row]) {
        let known: HashSet<&str> = self
            .entries
            .submits
            .iter()
            .map(|submit| submit.tag.as_str())
            .collect();
        for row in rows {
            if !known.contains(request_of(&row.correlation_id)) {
                self.report(
                    "every task belongs to a request",
                    format!("{} {}", row.id, row.correlation_id),
                );
            }
        }
    }

    /// Checks that the final status of each task fits its kind.
    fn final_states(&mut self) {
        let may_be_cancelled: HashSet<Uuid> = self
            .entries
            .cancels
            .iter()
            .filter(|(_, answer)| *answer != CancelAnswer::NothingDone)
            .map(|(id, _)| *id)
            .collect();
        for submit in &self.entries.submits {
            for row in self.tags.get(submit.tag.as_str()).cloned().unwrap_or_default() {
                let cancelled = row.status == "cancelled" && may_be_cancelled.contains(&row.id);
                if !cancelled && !has_expected_status(submit, row) {
                    self.report(
                        "every task ends with the status of its kind",
                        format!("{:?}: {row:?}", submit.kind),
                    );
                }
            }
        }
    }

    fn cancellations(&mut self) {
        for (id, answer) in &self.entries.cancels {
            let Some(row) = self.rows.get(id) else { continue };
            if *answer == CancelAnswer::Accepted
                && row.status != "cancelled"
                && !self.entries.retried.contains(id)
            {
                let seen = format!("{row:?}");
                self.report("an accepted cancellation takes effect", seen);
            }
        }
    }

    fn counters(&mut self, rows: &[Row]) {
        for row in rows {
            // an operator's retry resets attempts and crashes, but never runs
            if row.runs < row.attempts + row.crash_count {
                self.report("each attempt and each crash was a run", format!("{row:?}"));
            }
            if row.attempts > row.max_attempts {
                self.report("no task has more attempts than allowed", format!("{row:?}"));
            }
        }
    }
}

fn has_expected_status(submit: &Submit, row: &Row) -> bool {
    match (submit.kind, row.status.as_str(), row.reason.as_deref()) {
        // a task that was running on three workers that died is quarantined, whatever its kind
        (_, "dead_letter", Some("crash_loop")) => row.crash_count >= 3,
        (Kind::Succeeding, "completed", _) => row.attempts == 1,
        // a paused process may find its handler finished before it notices the timeout
        (Kind::Overlong, "completed", _) => row.attempts >= 1,
        (Kind::Failing, "dead_letter", Some("exhausted"))
        | (Kind::Overlong, "dead_letter", Some("timeout")) => row.attempts == row.max_attempts,
        _ => false,
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
