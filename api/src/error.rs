//! The one error type of the HTTP interface, and its one way to a problem document (RFC 9457).
//!
//! A handler returns an [`ApiError`]; the response then carries it as an extension until the outermost layer, which
//! knows the request's id, writes the document and logs what is to be logged. Internal text stops here: a 5xx says
//! what the caller can do, and nothing of what broke.

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tasker_shared::store;
use tasker_shared::task::priority::undeclared;
use tasker_shared::task::{QueueName, TaskId, TaskStatus};
use tasker_shared::wire::Problem;
use tracing::{error, warn};

use crate::auth::AuthRejection;
use crate::http::encoding::ENCODINGS;
use crate::problems::{self, ProblemType};
use crate::validation_error::{ValidationError, ValidationErrorKind, common_kind, summary};

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
    Auth(AuthRejection),
    /// There is nothing at this path.
    UnknownRoute,
    /// No problem type has that code.
    ProblemNotFound,
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
    /// The content type of the body is not JSON.
    UnsupportedMediaType,
    /// The content encoding of the body is not among those that are decoded.
    UnsupportedEncoding,
    /// The request can be read, and is wrong.
    Invalid(Vec<ValidationError>),
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
    pub fn invalid(kind: ValidationErrorKind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![ValidationError::new(kind, pointer, detail)])
    }

    /// Returns its type.
    pub fn problem_type(&self) -> &'static ProblemType {
        match self {
            Self::Malformed(_) => &problems::MALFORMED_REQUEST,
            Self::InvalidId => &problems::INVALID_ID,
            Self::Auth(rejection) => rejection.problem_type(),
            Self::UnknownRoute | Self::ProblemNotFound => &problems::NOT_FOUND,
            Self::TaskNotFound(_) => &problems::TASK_NOT_FOUND,
            Self::QueueNotFound(_) => &problems::QUEUE_NOT_FOUND,
            Self::TemplateNotFound => &problems::TEMPLATE_NOT_FOUND,
            Self::MethodNotAllowed => &problems::METHOD_NOT_ALLOWED,
            Self::NotFinished(_) => &problems::NOT_FINISHED,
            Self::AlreadyOver(_) => &problems::ALREADY_OVER,
            Self::NotRetryable(_) => &problems::NOT_RETRYABLE,
            Self::KeyTaken(_) => &problems::IDEMPOTENCY_KEY_TAKEN,
            Self::BodyTooLarge(_) => &problems::BODY_TOO_LARGE,
            Self::UnsupportedMediaType => &problems::UNSUPPORTED_MEDIA_TYPE,
            Self::UnsupportedEncoding => &problems::UNSUPPORTED_ENCODING,
            Self::Invalid(errors) => common_kind(errors).problem_type(),
            Self::Overloaded(_) => &problems::OVERLOADED,
            Self::Unavailable(_) => &problems::UNAVAILABLE,
            Self::OutcomeUnknown => &problems::OUTCOME_UNKNOWN,
            Self::Internal(_) => &problems::INTERNAL,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Malformed(detail) => detail.clone(),
            Self::InvalidId => {
                "The id in the path must be a UUID, for example 0190a5f0-0000-7000-8000-000000000000.".to_owned()
            }
            Self::Auth(rejection) => rejection.detail(),
            Self::UnknownRoute => "No route has this path; see /api-docs/ui.".to_owned(),
            Self::ProblemNotFound => "No problem type has this code; docs/problems.md lists them.".to_owned(),
            Self::TemplateNotFound => "GET /v1/templates lists what workers have published.".to_owned(),
            Self::MethodNotAllowed => "The header Allow lists the methods that it takes.".to_owned(),
            Self::TaskNotFound(id) => format!("Task {id} does not exist."),
            Self::QueueNotFound(known) => {
                format!("The name in the path {}.", undeclared(known.iter().map(QueueName::as_str)))
            }
            Self::NotFinished(status) => format!("The task is {status}; it has no result yet."),
            Self::AlreadyOver(status) => format!("The task is already {status}."),
            Self::NotRetryable(status) => {
                format!("The task is {status}; only a dead_letter or cancelled one can be retried.")
            }
            Self::KeyTaken(Some(holder)) => format!("Task {holder} holds its idempotency key."),
            Self::KeyTaken(None) => "Another task holds its idempotency key.".to_owned(),
            Self::BodyTooLarge(limit) => format!("The body may have {limit} bytes at most."),
            Self::UnsupportedMediaType => {
                "Send the body as UTF-8 with Content-Type: application/json.".to_owned()
            }
            Self::UnsupportedEncoding => format!("The encodings that are decoded: {ENCODINGS}."),
            Self::Invalid(errors) => summary(errors),
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
        let problem = self.problem_type();
        let errors = match self {
            Self::Invalid(errors) => errors.iter().map(ValidationError::to_wire).collect(),
            _ => Vec::new(),
        };
        Problem {
            kind: problem.address(),
            title: problem.title.to_owned(),
            status: problem.status.as_u16(),
            detail: self.detail(),
            code: problem.code.to_owned(),
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

impl From<AuthRejection> for ApiError {
    fn from(rejection: AuthRejection) -> Self {
        Self::Auth(rejection)
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
        let mut response = self.problem_type().status.into_response();
        if let Some(seconds) = self.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if let Self::UnsupportedEncoding = self {
            let encodings = HeaderValue::from_static(ENCODINGS);
            response.headers_mut().insert(header::ACCEPT_ENCODING, encodings);
        }
        if let Self::Auth(rejection) = &self {
            rejection.headers(response.headers_mut());
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
