//! The folder of the dumps. Dumps are recognized by name: `tasker-<database>-<time>-<end of the task's
//! id>.dump`, with a dot before it and `.partial` after it while they are written. Other files are not
//! touched.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use tasker_core::task::TaskId;

const TIME: &str = "%Y%m%dT%H%M%SZ";
const DUMP: &str = ".dump";
const PARTIAL: &str = ".partial";
/// Age after the last write from which on a partial dump counts as left behind by a worker that crashed.
const LEFT_BEHIND: Duration = Duration::from_hours(24);
/// Number of characters of the task's id in a name.
const ID_LETTERS: usize = 8;

/// The dumps of one database.
#[derive(Debug, Clone)]
pub(super) struct Dumps {
    dir: PathBuf,
    /// The prefix of their names.
    prefix: String,
}

/// A dump that is being written. Dropped before `finish`, it is deleted.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    finished: PathBuf,
}

impl Dumps {
    pub(super) fn new(dir: &Path, database: &str) -> Self {
        let plain = |sign: char| {
            if sign.is_ascii_alphanumeric() || sign == '_' {
                sign
            } else {
                '_'
            }
        };
        let database: String = database.chars().map(plain).collect();
        Self {
            dir: dir.to_owned(),
            prefix: format!("tasker-{database}-"),
        }
    }

    /// Creates the partial file of a task, readable by the worker's user only. Creates the folder, but not
    /// its parent, which may be a volume that is not mounted.
    pub(super) fn begin(&self, task: TaskId) -> io::Result<Partial> {
        match fs::create_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let id = task.to_string();
        let end = id.len().saturating_sub(ID_LETTERS);
        let name = format!(
            "{}{}-{}{DUMP}",
            self.prefix,
            now().format(TIME),
            id.get(end..).unwrap_or(&id)
        );
        let path = self.dir.join(format!(".{name}{PARTIAL}"));
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Partial {
            finished: self.dir.join(name),
            path,
        })
    }

    /// Deletes all dumps but the `keep` newest, those older than `max_age` (never the newest one), and
    /// partial dumps that crashed workers left behind. Returns the names of the deleted dumps.
    pub(super) fn clean_up(&self, keep: Option<u32>, max_age: Option<Duration>) -> io::Result<Vec<String>> {
        let names: Vec<String> = fs::read_dir(&self.dir)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        for name in names.iter().filter(|name| self.is_partial(name)) {
            let path = self.dir.join(name);
            let written = fs::metadata(&path).and_then(|found| found.modified());
            if written.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > LEFT_BEHIND)) {
                fs::remove_file(path)?;
            }
        }
        let old = self.superfluous(names, keep, max_age, now());
        for name in &old {
            fs::remove_file(self.dir.join(name))?;
        }
        Ok(old)
    }

    /// Returns those of `names` that are dumps to delete.
    fn superfluous(
        &self,
        names: Vec<String>,
        keep: Option<u32>,
        max_age: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Vec<String> {
        let mut dumps: Vec<(DateTime<Utc>, String)> = names
            .into_iter()
            .filter_map(|name| Some((self.time_of(&name)?, name)))
            .collect();
        dumps.sort_unstable();
        let keep = keep.map_or(usize::MAX, |keep| keep.max(1) as usize);
        let oldest = max_age
            .and_then(|age| TimeDelta::from_std(age).ok())
            .and_then(|age| now.checked_sub_signed(age));
        let of_no_use = |(place, (time, name)): (usize, (DateTime<Utc>, String))| {
            let too_old = place > 0 && oldest.is_some_and(|oldest| time < oldest);
            (place >= keep || too_old).then_some(name)
        };
        dumps
            .into_iter()
            .rev()
            .enumerate()
            .filter_map(of_no_use)
            .collect()
    }

    /// Returns the time at which a dump was begun; `None` if `name` is not the name of a dump.
    fn time_of(&self, name: &str) -> Option<DateTime<Utc>> {
        let rest = name.strip_prefix(&self.prefix)?.strip_suffix(DUMP)?;
        let (time, id) = rest.split_once('-')?;
        let is_id = id.len() == ID_LETTERS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let time = NaiveDateTime::parse_from_str(time, TIME).ok()?;
        is_id.then(|| time.and_utc())
    }

    fn is_partial(&self, name: &str) -> bool {
        let inner = name.strip_prefix('.').and_then(|name| name.strip_suffix(PARTIAL));
        inner.is_some_and(|name| self.time_of(name).is_some())
    }
}

impl Partial {
    /// Returns the path of the partial file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the size so far, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Turns it into a dump and returns its path and size in bytes. The content is synced before the rename,
    /// and the folder after it, so that a dump with its final name is complete even after a power failure.
    pub(super) fn finish(self) -> io::Result<(PathBuf, u64)> {
        let file = File::open(&self.path)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&self.path, &self.finished)?;
        if let Some(dir) = self.finished.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok((self.finished.clone(), bytes))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // fails after `finish`, which has renamed the file
        let _ = fs::remove_file(&self.path);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "names files and compares those names; no task depends on it"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn at(text: &str) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(text, TIME)
            .expect("a time")
            .and_utc()
    }

    const A: &str = "tasker-db-20261101T000000Z-00000001.dump";
    const B: &str = "tasker-db-20261102T000000Z-00000002.dump";
    const C: &str = "tasker-db-20261103T000000Z-00000003.dump";

    #[test]
    fn the_newest_are_kept_and_other_files_left_alone() {
        let dumps = Dumps::new(Path::new("/x"), "db");
        let all = || {
            names(&[
                B,
                "tasker-other-20261101T000000Z-00000001.dump",
                "tasker-db-2-20261101T000000Z-00000001.dump",
                A,
                "tasker-db-latest.dump",
                "notes.txt",
                C,
                ".tasker-db-20261101T000000Z-00000001.dump.partial",
            ])
        };
        let now = at("20261103T120000Z");
        assert_eq!(dumps.superfluous(all(), Some(2), None, now), [A]);
        assert_eq!(dumps.superfluous(all(), None, None, now), names(&[]));
        let day = Duration::from_hours(24);
        assert_eq!(dumps.superfluous(all(), None, Some(day), now), [B, A]);
        assert_eq!(dumps.superfluous(all(), Some(1), Some(10 * day), now), [B, A]);
        let next_year = at("20271103T120000Z");
        assert_eq!(
            dumps.superfluous(all(), Some(9), Some(day), next_year),
            [B, A],
            "the newest stays"
        );
    }

    #[test]
    fn a_dump_that_is_not_finished_leaves_nothing_and_one_that_is_has_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let dumps = Dumps::new(dir.path(), "my db");
        let there = || fs::read_dir(dir.path()).expect("readable").count();
        drop(dumps.begin(TaskId::generate()).expect("begun"));
        assert_eq!(there(), 0);
        let partial = dumps.begin(TaskId::generate()).expect("begun");
        fs::write(partial.path(), "dump").expect("writable");
        let (file, bytes) = partial.finish().expect("finished");
        assert_eq!((there(), bytes), (1, 4));
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name.starts_with("tasker-my_db-2"), "{name}");
        assert!(dumps.time_of(name).is_some(), "{name}");
        assert_eq!(dumps.clean_up(Some(1), None).expect("clean"), names(&[]));
    }

    #[test]
    fn what_a_dead_worker_left_behind_is_deleted_after_a_day() {
        let dir = tempfile::tempdir().expect("a folder");
        let dumps = Dumps::new(dir.path(), "db");
        let [old, new] = ["00000001", "00000002"].map(|id| {
            dir.path()
                .join(format!(".tasker-db-20261101T000000Z-{id}.dump.partial"))
        });
        for path in [&old, &new] {
            fs::write(path, "half").expect("writable");
        }
        let file = OpenOptions::new().write(true).open(&old).expect("there");
        file.set_modified(std::time::UNIX_EPOCH).expect("a time");
        dumps.clean_up(None, None).expect("clean");
        assert!(!old.exists() && new.exists());
    }
}
