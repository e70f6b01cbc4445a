//! The words and phrases of `docs/words.txt` are not used in comments, documents and texts for people.

use regex::{Regex, RegexBuilder};

use crate::finding::Finding;
use crate::texts::texts;
use crate::tree::File;

const RULE: &str = "words";

/// The list: a regular expression a line.
pub(crate) const LIST: &str = "docs/words.txt";

/// The files that name the words in order to say what to write in their place.
const EXEMPT: &[&str] = &[
    LIST,
    "docs/glossary.md",
    // a migration never changes after it was applied: sqlx compares checksums
    "migrations/20261120000100_tasks.sql",
    "migrations/20261120000200_finished_tasks.sql",
    "migrations/20261121000400_tasks_beside_many_dead_letters.sql",
    "migrations/20261121000700_task_totals.sql",
];

/// Returns a finding for each line that uses a word of the list.
pub(crate) fn check(files: &[File]) -> Result<Vec<Finding>, String> {
    let list = files
        .iter()
        .find(|file| file.path == LIST)
        .ok_or_else(|| format!("{LIST} is missing"))?;
    let words = read_list(&list.text).map_err(|error| format!("{LIST}: {error}"))?;
    let files = files.iter().filter(|file| !EXEMPT.contains(&file.path.as_str()));
    Ok(files.flat_map(|file| check_file(file, &words)).collect())
}

fn read_list(text: &str) -> Result<Regex, regex::Error> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words: Vec<String> = lines.map(|line| format!("(?:{line})")).collect();
    // Without a word, nothing may match; an empty pattern would match everywhere.
    let words = if words.is_empty() {
        "[^\\s\\S]".to_owned()
    } else {
        words.join("|")
    };
    RegexBuilder::new(&words).case_insensitive(true).build()
}

fn check_file(file: &File, words: &Regex) -> Vec<Finding> {
    let mut findings: Vec<Finding> = texts(file)
        .into_iter()
        .filter_map(|(line, text)| {
            let word = words.find(text)?.as_str();
            Some(Finding::new(
                &file.path,
                line,
                RULE,
                format!("`{word}` in: {text}"),
            ))
        })
        .collect();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Result<Vec<usize>, String> {
        let list = File::new(LIST, "# a list\n\\banew\\b\nis no [a-z]\n".into())?;
        Ok(check(&[list, File::new(path, text.into())?])?
            .into_iter()
            .map(|finding| finding.line)
            .collect())
    }

    #[test]
    fn comments_and_messages_in_rust_are_checked() -> Result<(), String> {
        let text = "//! Made anew.\n\n/// It is no queue.\nfn a() {\n    // Anew.\n    warn!(\"it is no \\\n     queue; anew\");\n}\n";
        assert_eq!(lines("a.rs", text)?, [1, 3, 5, 7]);
        Ok(())
    }

    #[test]
    fn identifiers_and_test_data_in_rust_are_not_checked() -> Result<(), String> {
        let text = "/// Fine.\nfn anew() {}\n#[cfg(test)]\nmod tests {\n    fn a() { b(\"anew\"); }\n}\n";
        assert_eq!(lines("a.rs", text)?, []);
        Ok(())
    }

    #[test]
    fn documents_are_checked_line_by_line() -> Result<(), String> {
        assert_eq!(lines("docs/a.md", "# Title\n\nA crash is no failure.\n")?, [3]);
        assert_eq!(lines("docs/a.md", "# Title\n\nA crash is not a failure.\n")?, []);
        Ok(())
    }

    #[test]
    fn comments_of_sql_and_shell_are_checked() -> Result<(), String> {
        assert_eq!(lines("a.sql", "SELECT 1; -- anew\n")?, [1]);
        assert_eq!(lines("a.sh", "anew # fine\n# anew\n")?, [2]);
        Ok(())
    }

    #[test]
    fn the_list_and_the_glossary_are_exempt() -> Result<(), String> {
        assert_eq!(lines("docs/glossary.md", "anew\n")?, []);
        Ok(())
    }

    #[test]
    fn a_missing_list_is_an_error() {
        assert!(check(&[]).is_err());
    }
}
