//! The log of a chaos run: events, counts and violated invariants.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Maximum number of occurrences of a violation that are shown.
const SHOWN_MAX: usize = 10;

/// The log of a chaos run, in addition to those of its processes.
#[derive(Debug)]
pub(super) struct RunLog {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    counts: BTreeMap<String, u64>,
    violations: BTreeMap<String, Vec<String>>,
}

impl RunLog {
    /// Creates the log file `chaos.log` in `folder`.
    ///
    /// # Panics
    /// If the file cannot be created.
    pub(super) fn begin(folder: &Path) -> Self {
        Self {
            began: Instant::now(),
            inner: Mutex::new(Inner {
                file: File::create(folder.join("chaos.log")).expect("the folder takes a file"),
                counts: BTreeMap::new(),
                violations: BTreeMap::new(),
            }),
        }
    }

    /// Writes a line with the elapsed seconds.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub(super) fn note(&self, line: &str) {
        let at = self.began.elapsed().as_secs_f64();
        writeln!(self.inner().file, "{at:9.3} {line}").expect("the file takes a line");
    }

    /// Counts one occurrence of `what`.
    pub(super) fn count(&self, what: &str) {
        self.add(what, 1);
    }

    /// Counts `count` occurrences of `what`.
    pub(super) fn add(&self, what: &str, count: u64) {
        *self.inner().counts.entry(what.to_owned()).or_default() += count;
    }

    /// Records a violation of the invariant `rule`, with details in `seen`.
    pub(super) fn violation(&self, rule: &str, seen: &str) {
        self.note(&format!("VIOLATION: {rule}: {seen}"));
        self.inner()
            .violations
            .entry(rule.to_owned())
            .or_default()
            .push(seen.to_owned());
    }

    /// Returns the counts in order of their names.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        self.inner().counts.clone().into_iter().collect()
    }

    /// Returns the violated invariants with their details.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (rule, seen) in &self.inner().violations {
            lines.push(format!("{rule}: {} times", seen.len()));
            lines.extend(seen.iter().take(SHOWN_MAX).map(|seen| format!("    {seen}")));
        }
        lines
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
