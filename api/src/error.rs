//! The one error type of the HTTP interface, and its one way to a problem document (RFC 9457).
//!
//! A handler returns an [`ApiError`]; the response then carries it as an extension until the outermost layer, which
//! knows the request's id, writes the document and logs what is to be logged. Internal text stops here: a 5xx says
//! what the caller can do, and nothing of what broke.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tasker_shared::store;
use tasker_shared::task::priority::undeclared;
use tasker_shared::task::{QueueName, TaskId, TaskStatus};
use tasker_shared::wire::Problem;
use tracing::{error, warn};

use crate::auth::Refusal;
use crate::fault::{Fault, FaultKind, common_kind, summary};

/// When a caller who met an overload may come again.
const RETRY_AFTER_OVERLOAD: &str = "1";
/// When a caller who met an outage may come again.
const RETRY_AFTER_OUTAGE: &str = "2";

/// Why a request was not carried out.
#[derive(Debug)]
pub enum ApiError {
    /// The body, the path or a header cannot be read at all.
    Malformed(String),
    /// The id in the path is no UUID.
    InvalidId,
    /// Whoever asks is not let in, or not let do this.
    Auth(Refusal),
    /// There is nothing at this path.
    UnknownRoute,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// There is no such task.
    TaskNotFound(TaskId),
    /// There is no such queue; these are known.
    QueueNotFound(Vec<QueueName>),
    /// There is no such template, or not in that version.
    TemplateNotFound,
    /// The result was asked for before there is one.
    NotFinished(TaskStatus),
    /// The task has ended and cannot be cancelled.
    AlreadyOver(TaskStatus),
    /// The task is in a state from which there is no retry.
    NotRetryable(TaskStatus),
    /// Another live task holds the idempotency key.
    KeyTaken(Option<TaskId>),
    /// The body is larger than this many bytes.
    BodyTooLarge(usize),
    /// The body is no JSON by its content type.
    UnsupportedMediaType,
    /// The request can be read, and is wrong.
    Refused(Vec<Fault>),
    /// More work than there is room for.
    Overloaded(&'static str),
    /// Nothing happened, because a part of the system is away.
    Unavailable(Option<Arc<store::Error>>),
    /// It is not known whether it happened.
    OutcomeUnknown,
    /// A fault of Tasker itself.
    Internal(String),
}

impl ApiError {
    /// A request with one fault.
    pub fn refused(kind: FaultKind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Refused(vec![Fault::new(kind, pointer, detail)])
    }

    /// Status, code and title.
    pub fn head(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed(_) => (
                StatusCode::BAD_REQUEST,
                "malformed_request",
                "The request cannot be read",
            ),
            Self::InvalidId => (StatusCode::BAD_REQUEST, "invalid_id", "The id is no UUID"),
            Self::Auth(refusal) => refusal.head(),
            Self::UnknownRoute => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::TaskNotFound(_) => (StatusCode::NOT_FOUND, "task_not_found", "No such task"),
            Self::QueueNotFound(_) => (StatusCode::NOT_FOUND, "queue_not_found", "No such queue"),
            Self::TemplateNotFound => (StatusCode::NOT_FOUND, "template_not_found", "No such template"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The path does not take this method",
            ),
            Self::NotFinished(_) => (StatusCode::CONFLICT, "not_finished", "The task has not ended"),
            Self::AlreadyOver(_) => (StatusCode::CONFLICT, "already_over", "The task has already ended"),
            Self::NotRetryable(_) => (
                StatusCode::CONFLICT,
                "not_retryable",
                "The task cannot be retried",
            ),
            Self::KeyTaken(_) => (
                StatusCode::CONFLICT,
                "idempotency_key_taken",
                "Another task holds the idempotency key",
            ),
            Self::BodyTooLarge(_) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is too large",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be JSON",
            ),
            Self::Refused(faults) => {
                let (code, title) = common_kind(faults).code_and_title();
                (StatusCode::UNPROCESSABLE_ENTITY, code, title)
            }
            Self::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too much at once"),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "A part of the system is away",
            ),
            Self::OutcomeUnknown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "outcome_unknown",
                "It is not known whether it happened",
            ),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong here",
            ),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Malformed(detail) => detail.clone(),
            Self::InvalidId => "The id in the path must be a UUID.".to_owned(),
            Self::Auth(refusal) => refusal.detail(),
            Self::UnknownRoute => "No route has this path; see /api-docs/ui.".to_owned(),
            Self::TemplateNotFound => "GET /v1/templates lists what workers have published.".to_owned(),
            Self::MethodNotAllowed => "The methods that it takes are in the header Allow.".to_owned(),
            Self::TaskNotFound(id) => format!("There is no task {id}."),
            Self::QueueNotFound(known) => {
                format!("The name in the path {}.", undeclared(known))
            }
            Self::NotFinished(status) => format!("The task is {status}; it has no result yet."),
            Self::AlreadyOver(status) => format!("The task is already {status}."),
            Self::NotRetryable(status) => {
                format!("The task is {status}; only a dead_letter or cancelled one can be retried.")
            }
            Self::KeyTaken(Some(holder)) => format!("Task {holder} holds its idempotency key."),
            Self::KeyTaken(None) => "Another task holds its idempotency key.".to_owned(),
            Self::BodyTooLarge(limit) => format!("The body may have {limit} bytes at most."),
            Self::UnsupportedMediaType => "Send the body with Content-Type: application/json.".to_owned(),
            Self::Refused(faults) => summary(faults),
            Self::Overloaded(what) => format!("{what} Nothing was done; try again shortly."),
            Self::Unavailable(_) => "Nothing was done; try again shortly.".to_owned(),
            Self::OutcomeUnknown => {
                "The outcome is unknown: it may have been done or not. Look at the task, or send the request again: for a \
                 submit that is safe with an Idempotency-Key."
                    .to_owned()
            }
            Self::Internal(_) => {
                "The request was not carried out; the log has more under the request id.".to_owned()
            }
        }
    }

    fn retry_after(&self) -> Option<&'static str> {
        match self {
            Self::Overloaded(_) => Some(RETRY_AFTER_OVERLOAD),
            Self::Unavailable(_) | Self::OutcomeUnknown => Some(RETRY_AFTER_OUTAGE),
            _ => None,
        }
    }

    /// The problem document of this error in answer to the request `request_id`.
    pub fn problem(&self, request_id: &str) -> Problem {
        let (status, code, title) = self.head();
        let errors = match self {
            Self::Refused(faults) => faults.iter().map(Fault::to_wire).collect(),
            _ => Vec::new(),
        };
        Problem {
            kind: format!("about:blank#{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail(),
            code: code.to_owned(),
            request_id: request_id.to_owned(),
            errors,
        }
    }

    /// Logs what an operator has to know, once.
    pub fn log(&self, request_id: &str, route: &str) {
        match self {
            Self::Internal(text) => error!(
                request.id = request_id,
                http.route = route,
                cause = text,
                "request failed"
            ),
            Self::Unavailable(Some(source)) => warn!(
                request.id = request_id,
                http.route = route,
                cause = describe(source),
                "Postgres is away"
            ),
            _ => {}
        }
    }
}

/// What can be logged of a failed statement: the text of an error about a value may hold the value.
pub fn describe(error: &store::Error) -> String {
    let Some(answer) = error.as_database_error() else {
        return error.to_string();
    };
    match answer.code() {
        Some(code) if code.starts_with("22") || code.starts_with("23") => format!("SQLSTATE {code}"),
        _ => error.to_string(),
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Auth(refusal)
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match store::fault(&error) {
            store::Fault::Row => Self::Internal(describe(&error)),
            store::Fault::RolledBack | store::Fault::Outage | store::Fault::Unknown => {
                Self::Unavailable(Some(Arc::new(error)))
            }
        }
    }
}

/// Carries an error from its handler to the layer that writes the document.
#[derive(Debug, Clone)]
pub struct Pending(pub Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.head().0.into_response();
        if let Some(seconds) = self.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if let Self::Auth(refusal) = &self {
            refusal.headers(response.headers_mut());
        }
        response.extensions_mut().insert(Pending(Arc::new(self)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_carries_no_internal_text() {
        let error = ApiError::Internal("relation \"tasks\" does not exist".to_owned());
        let text = serde_json::to_string(&error.problem("r1")).expect("JSON");
        assert!(!text.contains("relation"), "{text}");
        assert!(text.contains("r1"), "{text}");
    }

    #[test]
    fn an_unknown_outcome_says_that_a_key_makes_it_safe() {
        let problem = ApiError::OutcomeUnknown.problem("r1");
        assert_eq!((problem.status, problem.code.as_str()), (503, "outcome_unknown"));
        assert!(problem.detail.contains("Idempotency-Key"));
    }

    #[test]
    fn every_503_says_when_to_come_again() {
        for error in [
            ApiError::Overloaded("x"),
            ApiError::Unavailable(None),
            ApiError::OutcomeUnknown,
        ] {
            assert!(error.into_response().headers().contains_key(header::RETRY_AFTER));
        }
    }
}
