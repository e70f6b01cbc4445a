//! What goes to the terminal: aligned tables, records, or JSON as the server wrote it.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// How results are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }
}

/// Writes `text` to stdout and ends the line.
pub(crate) fn print_line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.trim_end().as_bytes())?;
    stdout.write_all(b"\n")
}

/// Writes rows below their heads, the columns aligned.
pub(crate) fn print_table(heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    print_line(&table(heads, rows))
}

/// Rows below their heads, the columns aligned; numbers to the right.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let columns: Vec<(usize, bool)> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let width = cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
            (
                width.max(head.chars().count()),
                cells(column).all(|cell| is_number(cell)),
            )
        })
        .collect();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(&rows) {
        let mut line = String::new();
        for (cell, (width, right)) in row.iter().zip(&columns) {
            let _ = match right {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn is_number(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && cell.chars().all(|c| c.is_ascii_digit() || "-.,".contains(c))
}

/// `text` without control characters, which could play tricks on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The same for text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect()
}

/// Says on stderr what a long command is doing.
pub(crate) fn progress(text: &str) {
    // Progress is a courtesy: a closed stderr does not end the work.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says on stderr why the command failed.
pub(crate) fn complain(error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "tasker: {error:#}");
}

/// Whether the reader of stdout went away, as `head` does.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let rows = [
            vec!["default".into(), "7".into()],
            vec!["x\u{1b}[0m".into(), "120".into()],
        ];
        let text = table(&["QUEUE", "DEPTH"], &rows);
        assert_eq!(text, "QUEUE    DEPTH\ndefault      7\nx [0m      120\n");
    }
}
