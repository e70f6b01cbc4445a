//! Limits of files and lines: the length of Rust files, the width of comments and of prose.

use std::sync::LazyLock;

use regex::Regex;

use crate::finding::Finding;
use crate::rust::{Kind, Source};
use crate::tree::{File, Language};

const LENGTH: &str = "file-length";
const WIDTH: &str = "line-width";

/// The maximum number of lines of a Rust file.
const LINES_MAX: usize = 500;
/// The maximum number of lines of a Rust file of tests.
const TEST_LINES_MAX: usize = 600;
/// The maximum width of a line with a comment in Rust: that of `rustfmt.toml`; rustfmt wraps no comments.
const COMMENT_WIDTH_MAX: usize = 110;
/// The maximum width of prose in Markdown.
const PROSE_WIDTH_MAX: usize = 120;

/// Returns a finding for each file and line over its limit.
pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if let Some(source) = &file.rust {
            findings.extend(length(file));
            findings.extend(comments(file, source));
        } else if file.language() == Language::Markdown {
            findings.extend(prose(file));
        }
    }
    findings
}

fn length(file: &File) -> Option<Finding> {
    let limit = if file.is_test() { TEST_LINES_MAX } else { LINES_MAX };
    let lines = file.text.lines().count();
    let text = || format!("{lines} lines; at most {limit} are allowed");
    (lines > limit).then(|| Finding::new(&file.path, limit + 1, LENGTH, text()))
}

fn comments(file: &File, source: &Source) -> Vec<Finding> {
    let mut commented: Vec<usize> = source
        .pieces
        .iter()
        .filter(|piece| piece.kind != Kind::Literal)
        .map(|piece| piece.line)
        .collect();
    commented.dedup();
    let lines: Vec<&str> = file.text.lines().collect();
    let wide = commented.into_iter().filter_map(|line| {
        let width = lines.get(line - 1)?.chars().count();
        (width > COMMENT_WIDTH_MAX).then_some((line, width))
    });
    wide.map(|(line, width)| too_wide(file, line, "a comment", width, COMMENT_WIDTH_MAX))
        .collect()
}

fn prose(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fence: Option<&str> = None;
    for (line, text) in (1..).zip(file.text.lines()) {
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| text.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => {
                let width = prose_width(text);
                if width > PROSE_WIDTH_MAX {
                    findings.push(too_wide(file, line, "prose", width, PROSE_WIDTH_MAX));
                }
            }
        }
    }
    findings
}

/// Returns the width of a line of Markdown without the targets of its links; of a table or indented code, 0.
fn prose_width(text: &str) -> usize {
    static TARGETS: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\]\([^)]*\)|<?https?://\S+|^\[[^\]]+\]: .*").ok());
    if text.trim_start().starts_with('|') || text.starts_with("    ") {
        return 0;
    }
    let links: usize = TARGETS
        .iter()
        .flat_map(|targets| targets.find_iter(text))
        .map(|link| link.as_str().chars().count())
        .sum();
    text.chars().count() - links
}

fn too_wide(file: &File, line: usize, what: &str, width: usize, limit: usize) -> Finding {
    Finding::new(
        &file.path,
        line,
        WIDTH,
        format!("{what} of {width} columns; at most {limit} are allowed"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Result<Vec<usize>, String> {
        Ok(check(&[File::new(path, text.to_owned())?])
            .into_iter()
            .map(|finding| finding.line)
            .collect())
    }

    #[test]
    fn a_rust_file_has_at_most_500_lines() -> Result<(), String> {
        assert_eq!(lines("a/src/b.rs", &"\n".repeat(501))?, [501]);
        assert_eq!(lines("a/src/b.rs", &"\n".repeat(500))?, []);
        Ok(())
    }

    #[test]
    fn a_file_of_tests_has_at_most_600_lines() -> Result<(), String> {
        assert_eq!(lines("a/tests/it/b.rs", &"\n".repeat(601))?, [601]);
        assert_eq!(lines("a/tests/it/b.rs", &"\n".repeat(600))?, []);
        Ok(())
    }

    #[test]
    fn a_comment_has_at_most_110_columns() -> Result<(), String> {
        let comment = |columns: usize| format!("// {}\n", "x".repeat(columns - 3));
        assert_eq!(lines("a/src/b.rs", &comment(111))?, [1]);
        assert_eq!(lines("a/src/b.rs", &comment(110))?, []);
        Ok(())
    }

    #[test]
    fn prose_has_at_most_120_columns() -> Result<(), String> {
        assert_eq!(lines("a.md", &"x".repeat(121))?, [1]);
        assert_eq!(lines("a.md", &"ä".repeat(120))?, []);
        Ok(())
    }

    #[test]
    fn tables_links_and_code_blocks_may_be_wider() -> Result<(), String> {
        let wide = "x".repeat(130);
        let text = format!("| {wide} |\n[a](https://{wide})\n```\n{wide}\n```\n\n    {wide}\n[b]: {wide}\n");
        assert_eq!(lines("a.md", &text)?, []);
        assert_eq!(lines("a.md", &format!("{text}{wide}\n"))?, [9]);
        Ok(())
    }
}
