//! Numbers of the language over all product code: how doc comments begin, the words they use, and the share
//! of lines that a comment explains.

use regex::Regex;

use crate::finding::Finding;
use crate::rust::Kind;
use crate::tree::File;

const RULE: &str = "numbers";

/// The share of doc comments that begin with a question word, in percent, is below this.
const QUESTIONS_MAX: f64 = 7.0;
/// Words that make a person of a process are fewer than this in 1,000 words of doc comments.
const PERSONS_MAX: f64 = 1.5;
/// The share of lines with a plain comment, in percent, is at least this.
const EXPLAINED_MIN: f64 = 1.2;

/// The folders of code that is not shipped.
const NOT_PRODUCT: &[&str] = &["lint/", "testkit/", "e2e/", "bench/", "model/", "examples/"];

/// The counts behind the numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    docs: usize,
    questions: usize,
    words: usize,
    persons: usize,
    lines: usize,
    comments: usize,
}

/// Returns a finding for each number that is out of bounds, and a line of text for each number.
pub(crate) fn check(files: &[File]) -> Result<(Vec<Finding>, Vec<String>), String> {
    let counts = count(files).map_err(|error| error.to_string())?;
    let questions = share(counts.questions, counts.docs, 100.0);
    let persons = share(counts.persons, counts.words, 1000.0);
    let explained = share(counts.comments, counts.lines, 100.0);
    let numbers = [
        (
            questions < QUESTIONS_MAX,
            format!(
                "{questions:.1} % of {} doc comments begin with What, Who, Whether, How, …; goal: under {QUESTIONS_MAX} %",
                counts.docs
            ),
        ),
        (
            persons < PERSONS_MAX,
            format!(
                "{persons:.2} of 1,000 words of doc comments are \"nothing\", \"tell\" and the like; goal: under {PERSONS_MAX}"
            ),
        ),
        (
            explained >= EXPLAINED_MIN || counts.lines == 0,
            format!(
                "{explained:.2} % of {} lines have a comment inside a body; goal: at least {EXPLAINED_MIN} %",
                counts.lines
            ),
        ),
    ];
    let broken = numbers.iter().filter(|(fine, _)| !fine);
    let findings = broken
        .map(|(_, text)| Finding::new("workspace", 0, RULE, text))
        .collect();
    Ok((findings, numbers.into_iter().map(|(_, text)| text).collect()))
}

fn count(files: &[File]) -> Result<Counts, regex::Error> {
    let question = Regex::new(r"^(What|Who|Whether|How|When|Why|Which|Where|Whoever|Whose)\b")?; // words: ok
    let person = r"(?i)\b(nothing|nobody|somebody|whoever|tells?|told|heed(?:s|ed)?)\b"; // words: ok
    let person = Regex::new(person)?;
    let mut counts = Counts::default();
    for file in files.iter().filter(|file| is_product(file)) {
        let Some(source) = &file.rust else { continue };
        counts.lines += (1..=file.text.lines().count())
            .filter(|&line| !source.in_test(line))
            .count();
        let mut last_doc = None;
        for piece in source.pieces.iter().filter(|piece| !source.in_test(piece.line)) {
            match piece.kind {
                Kind::Doc => {
                    if last_doc.is_none_or(|last| last + 1 != piece.line) {
                        counts.docs += 1;
                        counts.questions += usize::from(question.is_match(&piece.text));
                    }
                    last_doc = Some(piece.line);
                    counts.words += piece.text.split_whitespace().count();
                    counts.persons += person.find_iter(&piece.text).count();
                }
                Kind::Comment => counts.comments += 1,
                Kind::Literal => {}
            }
        }
    }
    Ok(counts)
}

fn is_product(file: &File) -> bool {
    !file.is_test() && !NOT_PRODUCT.iter().any(|folder| file.path.starts_with(folder))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of lines and words are far below 2^52"
)]
fn share(part: usize, whole: usize, of: f64) -> f64 {
    of * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "/// The queue.\n/// What it holds.\nfn a() {\n    // Because of b.\n    c();\n}\n";

    fn found(path: &str, text: &str) -> Result<usize, String> {
        Ok(check(&[File::new(path, text.into())?])?.0.len())
    }

    #[test]
    fn a_doc_comment_counts_by_its_first_line() -> Result<(), String> {
        let counts = count(&[File::new("api/src/a.rs", GOOD.into())?]).map_err(|error| error.to_string())?;
        assert_eq!(
            counts,
            Counts {
                docs: 1,
                questions: 0,
                words: 5,
                persons: 0,
                lines: 6,
                comments: 1
            }
        );
        Ok(())
    }

    #[test]
    fn code_within_the_bounds_is_fine() -> Result<(), String> {
        assert_eq!(found("api/src/a.rs", GOOD)?, 0);
        Ok(())
    }

    #[test]
    fn each_number_out_of_bounds_is_found() -> Result<(), String> {
        assert_eq!(
            found("api/src/a.rs", "/// Whether it runs.\nfn a() {} // so\n")?,
            1
        );
        assert_eq!(found("api/src/a.rs", "/// Nobody runs.\nfn a() {} // so\n")?, 1);
        assert_eq!(found("api/src/a.rs", "/// The run.\nfn a() {}\n")?, 1);
        Ok(())
    }

    #[test]
    fn tests_do_not_count() -> Result<(), String> {
        let tests = "#[cfg(test)]\nmod tests {\n    /// Nobody.\n    fn a() {}\n}\n";
        assert_eq!(found("api/src/a.rs", &format!("{GOOD}{tests}"))?, 0);
        assert_eq!(found("api/tests/it/a.rs", "/// Nobody.\nfn a() {}\n")?, 0);
        assert_eq!(found("e2e/src/a.rs", "/// Nobody.\nfn a() {}\n")?, 0);
        Ok(())
    }
}
