//! The error of a failed request.

use std::fmt::Write as _;

use tasker_wire::Problem;
use url::Url;

/// The error of a failed request: no connection, a problem document, or an unexpected response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The credentials contain characters that an HTTP header cannot carry.
    #[error("the credentials cannot be sent")]
    Header,
    /// The HTTP client could not be set up.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    /// No response arrived: the server is down, the name is unknown, or the time ran out.
    #[error("cannot reach {base}: {}", innermost(cause))]
    Unreachable {
        /// The URL of the server.
        base: Url,
        /// The cause.
        cause: reqwest::Error,
    },
    /// The server rejected the request with a problem document.
    #[error("{}", problem_text(.0))]
    Rejected(Box<Problem>),
    /// The response is not one of a Tasker server.
    #[error("{base} did not respond like a Tasker server: {reason}")]
    Unexpected {
        /// The URL of the server.
        base: Url,
        /// The difference.
        reason: String,
    },
}

/// Formats a problem document: title, status and detail, then one line for each JSON pointer.
fn problem_text(problem: &Problem) -> String {
    let mut text = format!("{} ({}): {}", problem.title, problem.status, problem.detail);
    for error in &problem.errors {
        let place = if error.pointer.is_empty() {
            "(body)"
        } else {
            &error.pointer
        };
        let _ = write!(text, "\n  {place}: {}", error.detail);
    }
    // an operator finds the cause of a server error in the server's log by this id
    if problem.status >= 500 {
        let _ = write!(text, "\n  request id: {}", problem.request_id);
    }
    // text of a server may hold escape sequences, which a terminal would obey
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect()
}

/// Returns the root cause as text, which distinguishes a refused connection from an unknown host name.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_title_detail_and_pointers() {
        let text = r#"{"type":"/problems/invalid_request","status":422,"title":"Invalid request",
            "detail":"2 fields are wrong","code":"invalid","request_id":"r","errors":[
            {"pointer":"/delay","detail":"must not be negative"},{"pointer":"","detail":"x"}]}"#;
        let problem: Problem = serde_json::from_str(text).expect("a problem");
        assert_eq!(
            problem_text(&problem),
            "Invalid request (422): 2 fields are wrong\n  /delay: must not be negative\n  (body): x"
        );
    }
}
