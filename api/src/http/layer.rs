//! The outermost middleware: request id, metrics, trace span, panics and problem documents.

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tasker_core::task::TaskId;
use tasker_platform::lifecycle::panic_text;
use tasker_platform::telemetry::traces::{self, SPANS};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::error::{ApiError, Pending};

/// The header of the request id, by which a request is found in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The maximum length of a request id of a client.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The routes that submit tasks.
const SUBMITS: [&str; 2] = ["/tasks/submit", "/tasks/submit/batch"];
/// The prefixes of HTML pages.
const PAGES: [&str; 2] = ["/api-docs", "/problems"];
/// The prefixes of routes without spans: frequent probes that would hide the other spans.
const PROBES: [&str; 2] = ["/health", "/metrics"];
/// The aliases of routes, each with its canonical template.
const ALIASES: [(&str, &str); 11] = [
    ("/v1/tasks", "/v1/workflows"),
    ("/v1/tasks/{id}", "/v1/workflows/{id}"),
    ("/v1/tasks/{id}/cancel", "/v1/workflows/{id}/cancel"),
    ("/v1/tasks/{id}/give_up", "/v1/workflows/{id}/give_up"),
    ("/v1/tasks/{id}/retry", "/v1/workflows/{id}/retry"),
    ("/v1/tasks/{id}/history", "/v1/workflows/{id}/history"),
    (
        "/v1/tasks/{id}/workflow_steps",
        "/v1/workflows/{id}/workflow_steps",
    ),
    (
        "/v1/tasks/{id}/workflow_steps/{step}",
        "/v1/workflows/{id}/workflow_steps/{step}",
    ),
    ("/dead-letter", "/dead-letters"),
    ("/dead-letter/retry", "/dead-letters/retry"),
    ("/dead-letter/purge", "/dead-letters/purge"),
];

/// Runs a request and answers it even if its handler panics.
pub async fn answer(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    // the template and not the path: as a metric label it has few values
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let span = span(&method, route.as_ref(), request.headers());
    let answered = next.run(request).instrument(span.clone());
    // unwind safe: the state that handlers share is behind locks whose poisoning is ignored
    let outcome = AssertUnwindSafe(answered).catch_unwind().await;
    let response = outcome.unwrap_or_else(|panic| {
        ApiError::Internal(format!("a handler panicked: {}", panic_text(&*panic))).into_response()
    });
    let route = route.as_ref().map_or("none", |route| canonical(route.as_str()));
    let mut response = finished(response, &id, route);
    record(route, &method, response.status(), began);
    note(&span, response.status());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if PAGES.iter().any(|pages| route.starts_with(pages)) {
        guard_page(response.headers_mut());
    }
    response
}

/// Forbids other sites to show a page in a frame (clickjacking).
fn guard_page(headers: &mut HeaderMap) {
    let value = HeaderValue::from_static;
    headers.insert(header::X_FRAME_OPTIONS, value("DENY"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, value("frame-ancestors 'none'"));
}

/// Writes the problem document of an error response.
fn finished(mut response: Response, id: &str, route: &str) -> Response {
    let Some(Pending(error)) = response.extensions_mut().remove::<Pending>() else {
        return response;
    };
    error.log(id, route);
    let code = error.problem_type().code;
    metrics::counter!("tasker_http_problems_total", "code" => code).increment(1);
    if SUBMITS.contains(&route) {
        metrics::counter!("tasker_submit_rejected_total", "reason" => code).increment(1);
    }
    let document = serde_json::to_vec(&error.problem(id)).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    // it is that of the empty body of the handler
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(document);
    response
}

/// Creates the trace span of a request as a child of the caller's trace.
fn span(method: &Method, route: Option<&MatchedPath>, headers: &HeaderMap) -> Span {
    let route = route.map_or("none", |route| canonical(route.as_str()));
    if PROBES.iter().any(|probe| route.starts_with(probe)) {
        return Span::none();
    }
    let span = info_span!(
        target: SPANS,
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = %method,
        http.route = route,
        http.response.status_code = Empty,
        otel.status_code = Empty,
    );
    let caller = headers.get("traceparent").and_then(|value| value.to_str().ok());
    traces::follow(&span, caller, false);
    span
}

/// Records the status in the span. Only a 5xx counts as an error, as OpenTelemetry defines it for servers.
fn note(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Returns the canonical template of a route, so that metrics, spans and logs do not count an alias apart.
fn canonical(route: &str) -> &str {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == route);
    alias.map_or(route, |alias| alias.1)
}

fn record(route: &str, method: &Method, status: StatusCode, began: Instant) {
    let class = match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    };
    // clients can send any method name: as labels these would be unlimited
    let method = match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        _ => "other",
    };
    let route = route.to_owned();
    metrics::counter!("tasker_http_requests_total", "route" => route.clone(), "method" => method, "status" => class)
        .increment(1);
    metrics::histogram!("tasker_http_request_duration_seconds", "route" => route).record(began.elapsed());
}

/// Returns the client's request id if it is valid, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let valid = |text: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
        !text.is_empty() && text.len() <= REQUEST_ID_CHARS_MAX && text.bytes().all(allowed)
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given.filter(valid).map_or_else(new_request_id, ToOwned::to_owned)
}

/// Returns a unique id without a random number for each request: the random prefix of this process and a
/// counter.
fn new_request_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| TaskId::generate().0.as_u64_pair().1);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{:x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Answers a path without a route.
pub async fn unknown_route() -> ApiError {
    ApiError::UnknownRoute
}

/// Answers a method that the path does not support; the router adds `Allow`.
pub async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    ApiError::MethodNotAllowed.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_counted_under_its_canonical_route() {
        assert_eq!(canonical("/dead-letter"), "/dead-letters");
        assert_eq!(canonical("/dead-letter/purge"), "/dead-letters/purge");
        assert_eq!(canonical("/tasks/{id}"), "/tasks/{id}");
    }
}
