//! The texts of a file that people read: comments, documents, messages, help and alerts.

use crate::rust::{Kind, Piece, Source};
use crate::tree::{File, Language};

/// A line that holds this mark is left out.
const MARK: &str = "words: ok";

/// Returns the lines of text that people read, with their numbers.
pub(crate) fn texts(file: &File) -> Vec<(usize, &str)> {
    let lines = || {
        (1..)
            .zip(file.text.lines())
            .filter(|(_, text)| !text.contains(MARK))
    };
    match (file.language(), &file.rust) {
        (Language::Rust, Some(source)) => of_rust(file, source),
        (Language::Markdown | Language::Yaml, _) => lines().map(|(line, text)| (line, text.trim())).collect(),
        (Language::Sql, _) => lines()
            .filter_map(|(line, text)| Some((line, comment(text, "--")?.trim())))
            .collect(),
        (Language::Hash, _) => of_script(lines()),
        _ => Vec::new(),
    }
}

fn of_rust<'a>(file: &'a File, source: &'a Source) -> Vec<(usize, &'a str)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let marked = |line: usize| lines.get(line - 1).is_some_and(|line| line.contains(MARK));
    let shown = source.pieces.iter().filter(|piece| match piece.kind {
        Kind::Doc | Kind::Comment => true,
        // The literals of tests are data, not messages.
        Kind::Literal => !file.is_test() && !source.in_test(piece.line),
    });
    // Inside of a literal no mark can stand: the one after its end holds for all its lines.
    let is_exempt =
        |piece: &&Piece| marked(piece.line) || (piece.kind == Kind::Literal && marked(piece.last));
    shown
        .filter(|piece| !is_exempt(piece))
        .map(|piece| (piece.line, piece.text.as_str()))
        .collect()
}

/// Returns the comments, the messages in double quotes and the texts that `cat <<'END'` prints.
fn of_script<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<(usize, &'a str)> {
    let mut texts = Vec::new();
    let mut printed_until: Option<&str> = None;
    for (line, text) in lines {
        if let Some(end) = printed_until {
            if text == end {
                printed_until = None;
            } else {
                texts.push((line, text.trim()));
            }
            continue;
        }
        let document = text
            .trim_end()
            .strip_suffix('\'')
            .and_then(|text| text.split_once("cat <<'"));
        printed_until = document.map(|(_, end)| end);
        let comment = comment(text, "#");
        let code = &text[..text.len() - comment.map_or(0, str::len)];
        texts.extend(message(code).map(|message| (line, message)));
        texts.extend(comment.map(|comment| (line, comment.trim())));
    }
    texts
}

/// Returns the text from the first to the last double quote.
fn message(code: &str) -> Option<&str> {
    let start = code.find('"')? + 1;
    code.get(start..code.rfind('"')?)
}

/// Returns the comment of a line. `sign` begins it at the line's start or after a space, outside of quotes.
fn comment<'a>(line: &'a str, sign: &str) -> Option<&'a str> {
    let mut quote: Option<char> = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if quote.is_none() && before.is_whitespace() && line[at..].starts_with(sign) {
            return Some(&line[at + sign.len()..]);
        }
        quote = match (quote, c) {
            (None, '"' | '\'') => Some(c),
            (Some(open), _) if open == c => None,
            (quote, _) => quote,
        };
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Result<Vec<String>, String> {
        let file = File::new(path, text.to_owned())?;
        Ok(texts(&file)
            .into_iter()
            .map(|(line, text)| format!("{line} {}", text.trim()))
            .collect())
    }

    #[test]
    fn comments_and_messages_of_rust_are_texts_but_test_data_is_not() -> Result<(), String> {
        let text = "/// A\nfn b() { c(\"d\"); } // e\n#[cfg(test)]\nmod tests {\n    // f\n    const G: &str = \"h\";\n}\n";
        assert_eq!(of("a.rs", text)?, ["1 A", "2 d", "2 e", "5 f"]);
        Ok(())
    }

    #[test]
    fn of_sql_comments_are_texts() -> Result<(), String> {
        assert_eq!(of("a.sql", "SELECT 1; -- a\nSELECT '-- b';\n")?, ["1 a"]);
        Ok(())
    }

    #[test]
    fn of_scripts_comments_messages_and_printed_texts_are_texts() -> Result<(), String> {
        let text = "a=${b#c} \"it's\" # d\nsay \"e # f\"\ncat <<'END'\n  help\nEND\ng\n";
        assert_eq!(of("a.sh", text)?, ["1 it's", "1 d", "2 e # f", "4 help"]);
        Ok(())
    }

    #[test]
    fn of_yaml_and_documents_every_line_is_text() -> Result<(), String> {
        assert_eq!(of("a.yml", "summary: >\n  a\n")?, ["1 summary: >", "2 a"]);
        assert_eq!(of("a.md", "# a\n")?, ["1 # a"]);
        Ok(())
    }

    #[test]
    fn marked_lines_are_left_out() -> Result<(), String> {
        assert_eq!(
            of(
                "a.rs",
                "// a (words: ok)\nconst A: &str = \"b \\\n c\"; // words: ok\n"
            )?,
            [""; 0]
        );
        assert_eq!(of("a.md", "a <!-- words: ok -->\nb\n")?, ["2 b"]);
        assert_eq!(of("a.sh", "# a, words: ok\n")?, [""; 0]);
        Ok(())
    }
}
