//! Functions fit a screen.

use crate::finding::Finding;
use crate::tree::File;

const RULE: &str = "function-length";

/// The maximum number of lines of a function, without SQL.
const LINES_MAX: usize = 70;
/// The maximum number of lines of a function in test code, without SQL.
const TEST_LINES_MAX: usize = 100;

/// Returns a finding for each function that is too long.
pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for function in file.rust.iter().flat_map(|source| &source.functions) {
            let limit = if function.test || file.is_test() {
                TEST_LINES_MAX
            } else {
                LINES_MAX
            };
            if function.lines > limit {
                let text = format!(
                    "`{}` has {} lines; at most {limit} are allowed",
                    function.name, function.lines
                );
                findings.push(Finding::new(&file.path, function.line, RULE, text));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, lines: usize) -> Result<Vec<Finding>, String> {
        let text = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2));
        Ok(check(&[File::new(path, text)?]))
    }

    #[test]
    fn a_function_of_more_than_70_lines_is_found() -> Result<(), String> {
        let text = "`a` has 71 lines; at most 70 are allowed";
        assert_eq!(
            found("a/src/b.rs", 71)?,
            [Finding::new("a/src/b.rs", 1, RULE, text)]
        );
        assert_eq!(found("a/src/b.rs", 70)?, []);
        Ok(())
    }

    #[test]
    fn test_functions_may_have_100_lines() -> Result<(), String> {
        assert_eq!(found("a/tests/it/b.rs", 100)?, []);
        assert_eq!(found("a/tests/it/b.rs", 101)?.len(), 1);
        Ok(())
    }
}
