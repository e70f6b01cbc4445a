//! The files that git tracks or would add, read once for all rules.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::rust::Source;

/// A text file.
pub(crate) struct File {
    /// Relative to the root of the checkout.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Set for Rust files.
    pub(crate) rust: Option<Source>,
}

/// The language of a file, as far as rules need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Markdown,
    Sql,
    Yaml,
    /// Comments begin with `#`: shell, TOML, Python, Dockerfiles, variable files.
    Hash,
    Other,
}

impl File {
    pub(crate) fn new(path: &str, text: String) -> Result<Self, String> {
        let rust = (language(path, &text) == Language::Rust)
            .then(|| Source::read(&text).map_err(|error| format!("{path}: {error}")))
            .transpose()?;
        Ok(Self {
            path: path.to_owned(),
            text,
            rust,
        })
    }

    pub(crate) fn language(&self) -> Language {
        language(&self.path, &self.text)
    }

    /// Returns whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        is_test(&self.path)
    }
}

/// New files count before they are added, so that a check before a commit sees what the commit will hold.
const LS_FILES: [&str; 5] = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];

/// Reads the files below `root`, without generated ones, links and files that are not text.
pub(crate) fn read(root: &Path) -> Result<Vec<File>, String> {
    let listed = Command::new("git").arg("-C").arg(root).args(LS_FILES).output();
    let listed = listed.map_err(|error| format!("git ls-files: {error}"))?;
    if !listed.status.success() {
        return Err(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&listed.stderr).trim()
        ));
    }
    let listed = String::from_utf8_lossy(&listed.stdout);
    let paths: Vec<&str> = listed
        .split('\0')
        .filter(|path| !path.is_empty() && !is_generated(path))
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Vec<File>, String>> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let mine: Vec<&str> = paths.iter().copied().skip(part).step_by(threads).collect();
                scope.spawn(move || read_all(root, &mine))
            })
            .collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| Err("a reader panicked".into())))
            .collect()
    });
    let mut files = Vec::new();
    for part in results {
        files.extend(part?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_all(root: &Path, paths: &[&str]) -> Result<Vec<File>, String> {
    paths
        .iter()
        .filter_map(|path| read_one(root, path).transpose())
        .collect()
}

fn read_one(root: &Path, path: &str) -> Result<Option<File>, String> {
    let place = root.join(path);
    // A file that is deleted but not yet committed is still listed.
    let Ok(metadata) = place.symlink_metadata() else {
        return Ok(None);
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    match std::fs::read_to_string(&place) {
        Ok(text) => File::new(path, text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

fn is_generated(path: &str) -> bool {
    let extension = extension(path);
    path.contains(".sqlx/") || matches!(extension, "snap" | "svg" | "lock" | "json")
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn extension(path: &str) -> &str {
    Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or("")
}

fn language(path: &str, text: &str) -> Language {
    let name = path.rsplit('/').next().unwrap_or(path);
    match extension(path) {
        "rs" => Language::Rust,
        "md" => Language::Markdown,
        "sql" => Language::Sql,
        "yml" | "yaml" => Language::Yaml,
        "sh" | "toml" | "py" | "template" | "example" => Language::Hash,
        _ if name.starts_with("Dockerfile") || name.starts_with('.') || text.starts_with("#!") => {
            Language::Hash
        }
        _ => Language::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_follows_from_the_name_or_the_first_line() {
        assert_eq!(language("a/b.rs", ""), Language::Rust);
        assert_eq!(language("docs/b.md", ""), Language::Markdown);
        assert_eq!(language("migrations/1_a.sql", ""), Language::Sql);
        assert_eq!(language("dev", "#!/usr/bin/env bash\n"), Language::Hash);
        assert_eq!(language("docker/api/Dockerfile", ""), Language::Hash);
        assert_eq!(language("LICENSE", "MIT"), Language::Other);
    }

    #[test]
    fn generated_files_are_left_out() {
        assert!(is_generated(".sqlx/query-1.json"));
        assert!(is_generated("Cargo.lock"));
        assert!(!is_generated("Cargo.toml"));
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        assert!(is_test("api/tests/it/main.rs"));
        assert!(is_test("e2e/src/chaos/plan_tests.rs"));
        assert!(!is_test("api/src/main.rs"));
    }
}
