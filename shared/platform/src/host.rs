//! Environment variables and files behind a trait, so that tests inject them instead of changing the process.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The environment variables and files that a process sees.
pub trait Host {
    /// Returns the variable named `name`.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// Returns the text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Returns the paths in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
}

/// The variables and files of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessHost;

impl Host for ProcessHost {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        // the system lists in any order; problems are reported in a stable one
        paths.sort_unstable();
        Ok(paths)
    }
}

/// A host for tests.
#[cfg(any(test, feature = "testing"))]
pub mod fake {
    use super::{Host, OsString, Path, PathBuf, io};
    use std::collections::HashMap;

    /// Variables and files defined by a test.
    #[derive(Debug, Default)]
    pub struct FakeHost {
        variables: HashMap<String, String>,
        files: HashMap<PathBuf, String>,
    }

    impl FakeHost {
        /// Returns a host with these variables and no files.
        pub fn with(variables: &[(&str, &str)]) -> Self {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Self {
                variables: variables.iter().map(own).collect(),
                ..Self::default()
            }
        }

        /// Adds a file.
        #[must_use]
        pub fn file(mut self, path: &str, text: &str) -> Self {
            self.files.insert(PathBuf::from(path), text.to_owned());
            self
        }
    }

    impl Host for FakeHost {
        fn variable(&self, name: &str) -> Option<OsString> {
            self.variables.get(name).map(OsString::from)
        }

        fn read(&self, path: &Path) -> io::Result<String> {
            self.files
                .get(path)
                .cloned()
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            let inside = self.files.keys().filter(|path| path.parent() == Some(folder));
            let mut paths: Vec<_> = inside.cloned().collect();
            paths.sort_unstable();
            if paths.is_empty() {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(paths)
        }
    }
}
