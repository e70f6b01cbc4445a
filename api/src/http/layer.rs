//! The one layer around every route: request id, metrics, panics, problem documents.

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
use tasker_shared::lifecycle::panic_text;
use tasker_shared::task::TaskId;
use tasker_shared::telemetry::traces::{self, SPANS};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::error::{ApiError, Pending};

/// Finds a request in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over from a client.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The routes by which tasks come in.
const SUBMITS: [&str; 2] = ["/tasks/submit", "/tasks/submit/batch"];
/// Where pages for people are.
const PAGES: [&str; 2] = ["/api-docs", "/problems"];
/// Routes that are asked so often, and do so little, that their spans would only hide the others.
const PROBES: [&str; 2] = ["/health", "/metrics"];

/// Answers a request, whatever happens in its handler.
pub async fn answer(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let span = span(&method, route.as_ref(), request.headers());
    let answered = next.run(request).instrument(span.clone());
    let outcome = AssertUnwindSafe(answered).catch_unwind().await;
    let response = outcome.unwrap_or_else(|panic| {
        ApiError::Internal(format!("a handler panicked: {}", panic_text(&*panic))).into_response()
    });
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
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

/// Keeps a page out of frames of other sites, whose visitors would click into it unknowingly.
fn guard_page(headers: &mut HeaderMap) {
    let value = HeaderValue::from_static;
    headers.insert(header::X_FRAME_OPTIONS, value("DENY"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, value("frame-ancestors 'none'"));
}

/// Writes the problem document of a response that carries an error.
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
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(document);
    response
}

/// The span of a request, for a collector; it continues the caller's trace.
fn span(method: &Method, route: Option<&MatchedPath>, headers: &HeaderMap) -> Span {
    let route = route.map_or("none", MatchedPath::as_str);
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

/// Notes in its span how a request ended. What the caller did wrong is no error of this server.
fn note(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

fn record(route: &str, method: &Method, status: StatusCode, began: Instant) {
    let class = match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    };
    // a method that nobody knows must not become a label
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

/// The client's id where it is sane, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |text: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
        !text.is_empty() && text.len() <= REQUEST_ID_CHARS_MAX && text.bytes().all(allowed)
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given.filter(sane).map_or_else(new_request_id, ToOwned::to_owned)
}

/// Unique without asking for randomness each time: a random beginning of this process, and a count.
fn new_request_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| TaskId::generate().0.as_u64_pair().1);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{:x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The answer to a path that no route has.
pub async fn unknown_route() -> ApiError {
    ApiError::UnknownRoute
}

/// The answer to a method that a path does not take; the router adds `Allow`.
pub async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    ApiError::MethodNotAllowed.into_response()
}
