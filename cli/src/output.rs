//! Terminal output: aligned tables, records, or the server's JSON unchanged.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit code of an invalid or incomplete command line.
const USAGE: u8 = 2;

/// The output format of results: tables or JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Returns true if `--json` was given.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }
}

/// Writes `text` and a line break to stdout.
pub(crate) fn print_line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    // tables end with a line break already, JSON of the server does not
    stdout.write_all(text.trim_end().as_bytes())?;
    stdout.write_all(b"\n")
}

/// Prints `rows` as a table with column headings.
pub(crate) fn print_table(heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    print_line(&table(heads, rows))
}

/// Formats a table with aligned columns; columns of numbers are right-aligned.
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
            // characters, not bytes: names may contain letters outside ASCII
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
    // a lone `-` is a missing value, which must not change the alignment of a column of numbers
    cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && cell.chars().all(|c| c.is_ascii_digit() || "-.,".contains(c))
}

/// Replaces control characters by spaces, since escape sequences in server data could control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Prints the progress of a long command to stderr.
pub(crate) fn progress(text: &str) {
    // a closed stderr must not fail a command whose work goes on
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints the error of a failed command, with its causes, to stderr.
pub(crate) fn print_error(error: &anyhow::Error) {
    // ignored: a closed stderr cannot be reported anywhere
    let _ = writeln!(io::stderr(), "tasker: {error:#}");
}

/// Prints the error of an invalid command line to stderr and returns its exit code.
pub(crate) fn usage_error(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "tasker: {text}");
    ExitCode::from(USAGE)
}

/// Returns true if the error is a write to a closed stdout, as under `| head`.
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
