//! Holds the rows at the end against what was asked for and answered. Pure.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::ledger::{Answer, CancelAnswer, Entries, Kind, Submit};

/// A task as it is at the end.
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

/// A sentence that does not hold, and where.
pub(super) type Wrong = (&'static str, String);

/// Everything that is wrong.
pub(super) fn judge(entries: &Entries, rows: &[Row]) -> Vec<Wrong> {
    let mut court = Court {
        entries,
        rows: HashMap::new(),
        tags: HashMap::new(),
        wrongs: Vec::new(),
    };
    for row in rows {
        court
            .tags
            .entry(request_of(&row.correlation_id))
            .or_default()
            .push(row);
        if court.rows.insert(row.id, row).is_some() {
            court.say("a task has one row", row.id.to_string());
        }
    }
    court.requests();
    court.keys(rows);
    court.strangers(rows);
    court.ends();
    court.cancellations();
    court.numbers(rows);
    court.wrongs
}

/// The request that a task came with.
fn request_of(correlation_id: &str) -> &str {
    correlation_id.split('/').next().unwrap_or_default()
}

struct Court<'a> {
    entries: &'a Entries,
    rows: HashMap<Uuid, &'a Row>,
    tags: HashMap<&'a str, Vec<&'a Row>>,
    wrongs: Vec<Wrong>,
}

impl Court<'_> {
    fn say(&mut self, rule: &'static str, seen: String) {
        self.wrongs.push((rule, seen));
    }

    /// What a request made is what its answer says.
    fn requests(&mut self) {
        for submit in &self.entries.submits {
            let made = self.tags.get(submit.tag.as_str()).cloned().unwrap_or_default();
            let seen = || format!("{}: {} of {} rows", submit.tag, made.len(), submit.size);
            match &submit.answer {
                Answer::New(ids) => {
                    let made: HashSet<Uuid> = made.iter().map(|row| row.id).collect();
                    let told: HashSet<Uuid> = ids.iter().copied().collect();
                    if told.len() != submit.size || made != told {
                        self.say("what was acknowledged is there, and nothing else", seen());
                    }
                }
                Answer::Known(id) => {
                    if !self.rows.contains_key(id) {
                        self.say(
                            "a key that is known names a task that is there",
                            format!("{}: {id}", submit.tag),
                        );
                    }
                    if !made.is_empty() {
                        self.say("a key that is known makes no task", seen());
                    }
                }
                Answer::NothingDone => {
                    if !made.is_empty() {
                        self.say("where nothing was done, nothing is there", seen());
                    }
                }
                Answer::Unknown => {
                    if !made.is_empty() && made.len() != submit.size {
                        self.say("a request is there as a whole or not at all", seen());
                    }
                }
            }
        }
    }

    /// One key, one task, and each answer names it.
    fn keys(&mut self, rows: &[Row]) {
        let mut of_key: HashMap<&str, Uuid> = HashMap::new();
        for row in rows {
            if let Some(key) = &row.idempotency_key
                && of_key.insert(key, row.id).is_some()
            {
                self.say("a key has one row", key.clone());
            }
        }
        for submit in &self.entries.submits {
            let Some(key) = &submit.key else { continue };
            let told = match &submit.answer {
                Answer::New(ids) => ids.first(),
                Answer::Known(id) => Some(id),
                _ => None,
            };
            if told.is_some() && told != of_key.get(key.as_str()) {
                self.say("every answer to a key names its task", format!("{key}: {told:?}"));
            }
        }
    }

    fn strangers(&mut self, rows: &[Row]) {
        let known: HashSet<&str> = self
            .entries
            .submits
            .iter()
            .map(|submit| submit.tag.as_str())
            .collect();
        for row in rows {
            if !known.contains(request_of(&row.correlation_id)) {
                self.say(
                    "every task was asked for",
                    format!("{} {}", row.id, row.correlation_id),
                );
            }
        }
    }

    /// Every task ended as its kind must.
    fn ends(&mut self) {
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
                if !cancelled && !ended_as_it_must(submit, row) {
                    self.say(
                        "every task ends as its kind must",
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
                self.say("a cancellation that was accepted holds", seen);
            }
        }
    }

    fn numbers(&mut self, rows: &[Row]) {
        for row in rows {
            // an operator's retry forgets attempts and crashes, never runs
            if row.runs < row.attempts + row.crash_count {
                self.say("each attempt and each crash was a run", format!("{row:?}"));
            }
            if row.attempts > row.max_attempts {
                self.say("nothing is tried more often than allowed", format!("{row:?}"));
            }
        }
    }
}

fn ended_as_it_must(submit: &Submit, row: &Row) -> bool {
    match (submit.kind, row.status.as_str(), row.reason.as_deref()) {
        // what was running on three workers that died is suspected of having killed them
        (_, "dead_letter", Some("crash_loop")) => row.crash_count >= 3,
        (Kind::Sound, "completed", _) => row.attempts == 1,
        // a process that was paused may find its handler done before it sees that the time is over
        (Kind::Overlong, "completed", _) => row.attempts >= 1,
        (Kind::Failing, "dead_letter", Some("exhausted"))
        | (Kind::Overlong, "dead_letter", Some("timeout")) => row.attempts == row.max_attempts,
        _ => false,
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
