//! Requests whose answers may not come.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use serde_json::Value;
use uuid::Uuid;

use super::journal::Journal;

/// Longer than a server that is not paused takes for an answer, also while its stores hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// A whole answer: status and body.
    Answer(u16, Value),
    /// A 503 that says that nothing was done.
    NothingDone,
    /// No whole answer, or a 503 that says that the outcome is unknown.
    Unknown,
}

/// Asks, and holds against the server whatever it must never answer.
pub(super) async fn ask(journal: &Journal, request: reqwest::RequestBuilder) -> Heard {
    let answer = match request.timeout(PATIENCE).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => {
            journal.count("answers: not reached");
            return Heard::NothingDone;
        }
        Err(_) => {
            journal.count("answers: none");
            return Heard::Unknown;
        }
    };
    let status = answer.status().as_u16();
    let says_when = answer.headers().contains_key(RETRY_AFTER);
    let path = answer.url().path().to_owned();
    let Ok(body) = answer.bytes().await else {
        journal.count("answers: none");
        return Heard::Unknown;
    };
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        journal.wrong("every answer is JSON", &format!("{path}: {status}"));
        return Heard::Unknown;
    };
    let code = body["code"].as_str().unwrap_or_default();
    journal.count(&format!("answers: {status} {code}"));
    if status == 503 && !says_when {
        journal.wrong("every 503 says when to come again", &path);
    }
    match (status, code) {
        (503, "unavailable" | "overloaded") => Heard::NothingDone,
        (503, _) => Heard::Unknown,
        (500.., _) => {
            journal.wrong("no answer is a 500", &format!("{path}: {body}"));
            Heard::Unknown
        }
        _ => Heard::Answer(status, body),
    }
}

/// The id in an answer to a submit.
///
/// # Panics
/// If there is none.
pub(super) fn id_of(task: &Value) -> Uuid {
    let id = task["task_id"].as_str().expect("the id of a task");
    id.parse().expect("a UUID")
}
