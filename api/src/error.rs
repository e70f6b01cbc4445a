//! The error type of the HTTP interface and its conversion to a problem document (RFC 9457).
//!
//! A handler returns an [`ApiError`]. The response carries it as an extension to the outermost layer, which
//! knows the request id, writes the document and logs server errors. A 5xx says what the caller can do and
//! never carries internal text.

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tasker_core::task::priority::undeclared;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::{self as store, ErrorKind};
use tasker_wire::Problem;
use tracing::{error, warn};

use crate::auth::rejection::AuthRejection;
use crate::problems::{self, ProblemType};
use crate::validation_error::{ValidationError, ValidationErrorKind, common_kind, summary};

/// The `Retry-After` of an overload, in seconds.
const RETRY_AFTER_OVERLOAD: &str = "1";
/// The `Retry-After` of an outage, in seconds.
const RETRY_AFTER_OUTAGE: &str = "2";

/// The reason for which a request failed.
#[derive(Debug)]
pub enum ApiError {
    /// The body, the path or a header cannot be parsed.
    Malformed(String),
    /// The id in the path is not a valid UUID.
    InvalidId,
    /// Sign-in, authorization or a rate limit rejected the request.
    Auth(AuthRejection),
    /// The path has no route.
    UnknownRoute,
    /// The code of a problem type is unknown.
    ProblemNotFound,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The task does not exist.
    TaskNotFound(TaskId),
    /// The queue is not declared; the declared queues.
    QueueNotFound(Vec<QueueName>),
    /// The template, or this version of it, does not exist.
    TemplateNotFound,
    /// This version of a template exists with another text.
    VersionExists(String),
    /// The workflow does not exist.
    WorkflowNotFound(TaskId),
    /// The workflow has no step of this name or id.
    StepNotFound,
    /// The task is a step of this workflow, whose routes alone change it.
    BelongsToWorkflow(TaskId),
    /// The workflow has ended, in this state.
    WorkflowOver(String),
    /// No step of the workflow, which is in this state, has failed.
    NothingFailed(String),
    /// The step is in a state that does not allow the action.
    StepState {
        /// Its state.
        status: TaskStatus,
        /// The action.
        action: String,
    },
    /// These processes are from before workflows, so none can be started.
    OldProcesses(Vec<String>),
    /// The result was requested before the task finished.
    NotFinished(TaskStatus),
    /// The task is terminal and cannot be cancelled.
    AlreadyOver(TaskStatus),
    /// The task is in a state that cannot be retried.
    NotRetryable(TaskStatus),
    /// Another task that is not terminal holds the idempotency key.
    KeyTaken(Option<TaskId>),
    /// The body is larger than this many bytes.
    BodyTooLarge(usize),
    /// The content type of the body is not JSON.
    UnsupportedMediaType,
    /// The content encoding of the body is not supported; the supported ones, as `Accept-Encoding` lists
    /// them.
    UnsupportedEncoding(&'static str),
    /// The request was parsed and is not valid.
    Invalid(Vec<ValidationError>),
    /// The server is overloaded; a sentence that names the limit.
    Overloaded(&'static str),
    /// Postgres is unavailable; the request had no effect.
    Unavailable(Option<store::Error>),
    /// The connection broke during a write, so the outcome is unknown.
    OutcomeUnknown,
    /// An internal error; its text is logged and not answered.
    Internal(String),
}

impl ApiError {
    /// Returns the error of a request with one validation error.
    pub fn invalid(kind: ValidationErrorKind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![ValidationError::new(kind, pointer, detail)])
    }

    /// Returns the problem type.
    pub fn problem_type(&self) -> &'static ProblemType {
        match self {
            Self::Malformed(_) => &problems::MALFORMED_REQUEST,
            Self::InvalidId => &problems::INVALID_ID,
            Self::Auth(rejection) => rejection.problem_type(),
            Self::UnknownRoute | Self::ProblemNotFound => &problems::NOT_FOUND,
            Self::TaskNotFound(_) => &problems::TASK_NOT_FOUND,
            Self::QueueNotFound(_) => &problems::QUEUE_NOT_FOUND,
            Self::TemplateNotFound => &problems::TEMPLATE_NOT_FOUND,
            Self::VersionExists(_) => &problems::VERSION_EXISTS,
            Self::WorkflowNotFound(_) => &problems::WORKFLOW_NOT_FOUND,
            Self::StepNotFound => &problems::STEP_NOT_FOUND,
            Self::BelongsToWorkflow(_) => &problems::BELONGS_TO_WORKFLOW,
            Self::WorkflowOver(_) => &problems::WORKFLOW_OVER,
            Self::NothingFailed(_) => &problems::NOTHING_FAILED,
            Self::StepState { .. } => &problems::WRONG_STEP_STATE,
            Self::OldProcesses(_) => &problems::OLD_PROCESSES,
            Self::MethodNotAllowed => &problems::METHOD_NOT_ALLOWED,
            Self::NotFinished(_) => &problems::NOT_FINISHED,
            Self::AlreadyOver(_) => &problems::ALREADY_OVER,
            Self::NotRetryable(_) => &problems::NOT_RETRYABLE,
            Self::KeyTaken(_) => &problems::IDEMPOTENCY_KEY_TAKEN,
            Self::BodyTooLarge(_) => &problems::BODY_TOO_LARGE,
            Self::UnsupportedMediaType => &problems::UNSUPPORTED_MEDIA_TYPE,
            Self::UnsupportedEncoding(_) => &problems::UNSUPPORTED_ENCODING,
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
            Self::UnknownRoute => "No route matches this path; see /api-docs/ui.".to_owned(),
            Self::ProblemNotFound => "No problem type has this code; docs/problems.md lists them.".to_owned(),
            Self::TemplateNotFound => "GET /v1/templates lists the published templates.".to_owned(),
            Self::VersionExists(id) => format!("{id} is published with another text."),
            Self::WorkflowNotFound(id) => format!("Workflow {id} does not exist."),
            Self::StepNotFound => "GET /v1/workflows/{id}/workflow_steps lists the steps.".to_owned(),
            Self::BelongsToWorkflow(workflow) => {
                format!("The task is a step of workflow {workflow}; use PATCH /v1/workflows/{workflow}/workflow_steps/{{step}}.")
            }
            Self::WorkflowOver(status) => format!("The workflow is already {status}."),
            Self::NothingFailed(status) => format!("The workflow is {status}; none of its steps has failed."),
            Self::StepState { status, action } => format!("The step is {status}, which does not allow {action}."),
            Self::OldProcesses(processes) => format!(
                "These processes are from a release without workflows: {}. Upgrade or stop them first.",
                processes.join(", ")
            ),
            Self::MethodNotAllowed => "The Allow header lists the supported methods.".to_owned(),
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
            Self::BodyTooLarge(limit) => format!("The maximum size of the body is {limit} bytes."),
            Self::UnsupportedMediaType => {
                "Send the body as UTF-8 with Content-Type: application/json.".to_owned()
            }
            Self::UnsupportedEncoding(supported) => format!("Supported content encodings: {supported}."),
            Self::Invalid(errors) => summary(errors),
            Self::Overloaded(what) => format!("{what} The request had no effect; try again shortly."),
            Self::Unavailable(_) => "The request had no effect; try again shortly.".to_owned(),
            Self::OutcomeUnknown => {
                "The request may or may not have taken effect. Check the task, or send the request again: a submit with an \
                 Idempotency-Key can be repeated safely."
                    .to_owned()
            }
            Self::Internal(_) => {
                "The request failed; the server log has the cause under the request id.".to_owned()
            }
        }
    }

    fn retry_after(&self) -> Option<&'static str> {
        match self {
            Self::Overloaded(_) => Some(RETRY_AFTER_OVERLOAD),
            Self::Unavailable(_) | Self::OutcomeUnknown | Self::OldProcesses(_) => Some(RETRY_AFTER_OUTAGE),
            _ => None,
        }
    }

    /// Returns the problem document of this error for the request `request_id`.
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

    /// Logs internal errors and outages; errors of the caller are not logged.
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
                cause = %source,
                "request failed: Postgres unavailable"
            ),
            _ => {}
        }
    }
}

impl From<AuthRejection> for ApiError {
    fn from(rejection: AuthRejection) -> Self {
        Self::Auth(rejection)
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error.kind() {
            ErrorKind::Row => Self::Internal(error.to_string()),
            // also an unknown outcome: this conversion serves reads, which had no effect; writes go through
            // `db::write_failed`
            ErrorKind::RolledBack | ErrorKind::Outage | ErrorKind::Unknown | ErrorKind::TimedOut => {
                Self::Unavailable(Some(error))
            }
        }
    }
}

/// The response extension that carries an error from its handler to the layer that writes the document.
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
        if let Self::UnsupportedEncoding(supported) = self {
            let encodings = HeaderValue::from_static(supported);
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
