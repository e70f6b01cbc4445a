//! Requests whose responses may get lost.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use serde_json::Value;
use uuid::Uuid;

use super::run_log::RunLog;

/// Response timeout, longer than a running server needs even while its stores hang.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of a request.
#[derive(Debug)]
pub(super) enum Response {
    /// A complete response: status and body.
    Complete(u16, Value),
    /// A 503 that guarantees that the request had no effect, or a failed connection.
    NothingDone,
    /// No complete response, or a 503 with an unknown outcome.
    Unknown,
}

/// Sends a request, and records responses that a server must never send.
pub(super) async fn ask(log: &RunLog, request: reqwest::RequestBuilder) -> Response {
    let answer = match request.timeout(RESPONSE_TIMEOUT).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => {
            log.count("responses: not connected");
            return Response::NothingDone;
        }
        Err(_) => {
            log.count("responses: none");
            return Response::Unknown;
        }
    };
    let status = answer.status().as_u16();
    let has_retry_after = answer.headers().contains_key(RETRY_AFTER);
    let path = answer.url().path().to_owned();
    let Ok(body) = answer.bytes().await else {
        log.count("responses: none");
        return Response::Unknown;
    };
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        log.violation("every response is JSON", &format!("{path}: {status}"));
        return Response::Unknown;
    };
    let code = body["code"].as_str().unwrap_or_default();
    log.count(&format!("responses: {status} {code}"));
    if status == 503 && !has_retry_after {
        log.violation("every 503 has a Retry-After header", &path);
    }
    match (status, code) {
        (503, "unavailable" | "overloaded") => Response::NothingDone,
        (503, _) => Response::Unknown,
        (500.., _) => {
            log.violation("no response is a 500", &format!("{path}: {body}"));
            Response::Unknown
        }
        _ => Response::Complete(status, body),
    }
}

/// Returns the id in the response to a submit.
///
/// # Panics
/// If there is none.
pub(super) fn id_of(task: &Value) -> Uuid {
    let id = task["task_id"].as_str().expect("the id of a task");
    id.parse().expect("a UUID")
}
