mod errors;
mod form;
mod text;

use super::*;

fn valid(text: &str) -> Definition {
    from_yaml(text, ReadOptions::default()).expect(text).definition
}

fn issues(text: &str) -> Vec<Issue> {
    from_yaml(text, ReadOptions::default()).expect_err(text).issues
}

/// Returns the only error of a text.
fn issue(text: &str) -> Issue {
    let mut issues = issues(text);
    assert_eq!(issues.len(), 1, "{issues:?}");
    issues.remove(0)
}

/// Returns a definition of one step with further fields.
fn step(rest: &str) -> String {
    format!("name: x\nsteps: [{{name: a, run: echo{rest}}}]")
}

fn assert_issue(text: &str, code: IssueCode, pointer: &str, part: &str) {
    let issue = issue(text);
    assert_eq!((issue.code, &*issue.pointer), (code, pointer), "{issue}");
    assert!(issue.message.contains(part), "{issue}");
}
