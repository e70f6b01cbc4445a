//! What happened when, and what should not have happened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// More of one wrong thing than this many are only counted.
const SHOWN_MAX: usize = 10;

/// The log of a run itself, beside those of its processes.
#[derive(Debug)]
pub(super) struct Journal {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    counts: BTreeMap<String, u64>,
    wrong: BTreeMap<String, Vec<String>>,
}

impl Journal {
    /// Begins; the lines go to `chaos.log` in `folder`.
    ///
    /// # Panics
    /// If the file cannot be made.
    pub(super) fn begin(folder: &Path) -> Self {
        Self {
            began: Instant::now(),
            inner: Mutex::new(Inner {
                file: File::create(folder.join("chaos.log")).expect("the folder takes a file"),
                counts: BTreeMap::new(),
                wrong: BTreeMap::new(),
            }),
        }
    }

    /// Writes a line.
    ///
    /// # Panics
    /// If the file takes no more.
    pub(super) fn note(&self, line: &str) {
        let at = self.began.elapsed().as_secs_f64();
        writeln!(self.inner().file, "{at:9.3} {line}").expect("the file takes a line");
    }

    /// Counts something.
    pub(super) fn count(&self, what: &str) {
        self.add(what, 1);
    }

    /// Counts so many of something.
    pub(super) fn add(&self, what: &str, count: u64) {
        *self.inner().counts.entry(what.to_owned()).or_default() += count;
    }

    /// Writes down that the sentence `rule` does not hold, and where it was seen.
    pub(super) fn wrong(&self, rule: &str, seen: &str) {
        self.note(&format!("WRONG: {rule}: {seen}"));
        self.inner()
            .wrong
            .entry(rule.to_owned())
            .or_default()
            .push(seen.to_owned());
    }

    /// Everything that was counted, in the order of names.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        self.inner().counts.clone().into_iter().collect()
    }

    /// The sentences that do not hold, each with what was seen.
    pub(super) fn wrongs(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (rule, seen) in &self.inner().wrong {
            lines.push(format!("{rule}: {} times", seen.len()));
            lines.extend(seen.iter().take(SHOWN_MAX).map(|seen| format!("    {seen}")));
        }
        lines
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
