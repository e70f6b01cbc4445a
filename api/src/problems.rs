//! The problem types: every code that the server answers, with what it means and what helps.
//!
//! This is the one table of them. [`crate::error`] and [`crate::auth::Refusal`] take status, code and title from it,
//! `GET /problems/{code}` answers from it, and `docs/problems.md` is held against it by a test.

use std::fmt::Write as _;

use axum::http::StatusCode;
use tasker_shared::wire::ProblemDescription;

/// A kind of error, as programs and people know it.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// The word for programs; its address is `/problems/{code}`.
    pub code: &'static str,
    /// The status of every answer of this type.
    pub status: StatusCode,
    /// The type in a few words.
    pub title: &'static str,
    /// When it is answered.
    pub meaning: &'static str,
    /// How to go on.
    pub remedy: &'static str,
}

macro_rules! problem_types {
    ($($name:ident: $status:ident $code:literal, $title:literal, $meaning:literal, $remedy:literal;)+) => {
        $(
            #[doc = concat!("`", $code, "`. ", $meaning)]
            pub static $name: ProblemType = ProblemType {
                code: $code,
                status: StatusCode::$status,
                title: $title,
                meaning: $meaning,
                remedy: $remedy,
            };
        )+
        /// Every problem type, by status.
        pub static ALL: &[&ProblemType] = &[$(&$name),+];
    };
}

problem_types! {
    MALFORMED_REQUEST: BAD_REQUEST "malformed_request", "The request cannot be read",
        "The body is not JSON in UTF-8, is empty, or did not arrive whole.",
        "Send one JSON document as the body. `detail` names the place where it stops being JSON.";
    INVALID_ID: BAD_REQUEST "invalid_id", "The id is not a valid UUID",
        "The id in the path is not a UUID.",
        "Use the `task_id` of an answer as it is.";
    UNAUTHORIZED: UNAUTHORIZED "unauthorized", "Sign in first",
        "The route needs a signed-in caller and the request has no credentials.",
        "Send name and password (Basic), or a token or an API key (Bearer).";
    INVALID_CREDENTIALS: UNAUTHORIZED "invalid_credentials", "The credentials are wrong",
        "The credentials are not known here: mistyped, revoked, expired, or of another deployment.",
        "Check them; an admin can create a new API key.";
    TOKEN_EXPIRED: UNAUTHORIZED "token_expired", "The token has expired",
        "The token was valid and has expired.",
        "POST /auth/token returns a new one.";
    FORBIDDEN: FORBIDDEN "forbidden", "Not allowed",
        "The caller's role is below the one that the route needs.",
        "Use credentials with the role that `detail` names.";
    QUEUE_NOT_ALLOWED: FORBIDDEN "queue_not_allowed", "The queue is not allowed",
        "The API key is limited to other queues, or to several, and the request does not say which.",
        "Name a queue that the key may use, or use another key.";
    CROSS_SITE: FORBIDDEN "cross_site", "The request comes from another site",
        "A browser sent the request for a page of another site.",
        "Send it from a program, or from a page of this server.";
    PASSWORD_NEEDED: FORBIDDEN "password_needed", "Sign in by name and password",
        "A token is issued for name and password only.",
        "Send POST /auth/token with Basic credentials.";
    NOT_FOUND: NOT_FOUND "not_found", "Not found",
        "No route has this path, or no problem type this code.",
        "See /api-docs/ui for the routes.";
    TASK_NOT_FOUND: NOT_FOUND "task_not_found", "Task not found",
        "No task with this id exists: it never did, its retention is over, it was purged, or the caller may not see its queue.",
        "Check the id. Finished tasks are kept for RETENTION_DAYS.";
    QUEUE_NOT_FOUND: NOT_FOUND "queue_not_found", "Queue not found",
        "The queue in the path is not declared.",
        "Use one that GET /queues lists, by name or alias.";
    TEMPLATE_NOT_FOUND: NOT_FOUND "template_not_found", "Template not found",
        "No worker has published this template, or not in this version.",
        "GET /v1/templates lists what workers have published.";
    KEY_NOT_FOUND: NOT_FOUND "key_not_found", "API key not found",
        "No API key has this id or name.",
        "GET /auth/keys lists them.";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED "method_not_allowed", "The path does not take this method",
        "The path exists, but not with this method.",
        "Use a method that the header Allow lists.";
    NOT_FINISHED: CONFLICT "not_finished", "The task has not ended",
        "The result was requested of a task that has none yet.",
        "Ask again later, or wait with GET /tasks/{id}?wait=30.";
    ALREADY_OVER: CONFLICT "already_over", "The task has already ended",
        "A task that has ended cannot be cancelled.",
        "There is nothing to do; GET /tasks/{id} has its result or error.";
    NOT_RETRYABLE: CONFLICT "not_retryable", "The task cannot be retried",
        "Only a task that is dead_letter or cancelled can be retried.",
        "Wait until it has ended, or submit it again.";
    IDEMPOTENCY_KEY_TAKEN: CONFLICT "idempotency_key_taken", "Another task holds the idempotency key",
        "The task cannot be retried, because a live task has its idempotency key.",
        "Let that task end, or cancel it, then retry.";
    SIGN_IN_OFF: CONFLICT "sign_in_off", "Sign-in is off",
        "This server has no sign-in, so it issues no tokens and every caller may do everything.",
        "Send requests without a token, or set EXECUTION_BACKEND_API_USER and its password.";
    KEY_NAME_TAKEN: CONFLICT "key_name_taken", "Another API key has this name",
        "Names of API keys are unique.",
        "Choose another name, or revoke that key first.";
    TOO_MANY_KEYS: CONFLICT "too_many_keys", "Too many API keys",
        "The maximum number of API keys exists.",
        "Revoke keys that are not used.";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE "body_too_large", "The body is too large",
        "The body, decoded where it is compressed, is over its limit: MAX_BODY_BYTES, or 32 MiB for a batch.",
        "Send less: keep large data elsewhere and send its address, or split the batch.";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE "unsupported_media_type", "The body must be JSON",
        "The Content-Type of the body is not JSON in UTF-8.",
        "Send the body as UTF-8 with Content-Type: application/json.";
    UNSUPPORTED_ENCODING: UNSUPPORTED_MEDIA_TYPE "unsupported_encoding", "The content encoding is not supported",
        "The Content-Encoding of the body is not gzip, deflate or identity, or it is more than one.",
        "Send the body plain, or in one of the encodings that the header Accept-Encoding of the answer lists.";
    INVALID_REQUEST: UNPROCESSABLE_ENTITY "invalid_request", "The request is not valid",
        "The request can be read, but some of its fields are unknown, missing, of the wrong type or out of range.",
        "Correct what `errors` lists: each has the place as a JSON pointer, or the name of the parameter or header.";
    UNKNOWN_TASK_TYPE: UNPROCESSABLE_ENTITY "unknown_task_type", "Unknown task type",
        "No worker has registered a task type with this name.",
        "Check the name against GET /tasks/types, or start a worker that registers it.";
    UNKNOWN_QUEUE: UNPROCESSABLE_ENTITY "unknown_queue", "Unknown queue",
        "The queue is not declared.",
        "Use one that GET /queues lists, or declare it.";
    INVALID_PARAMETERS: UNPROCESSABLE_ENTITY "invalid_parameters", "The parameters do not fit the task type",
        "The parameters do not match the JSON Schema of their task type.",
        "Correct what `errors` lists; GET /tasks/types has the schema.";
    IDEMPOTENCY_KEY_REUSED: UNPROCESSABLE_ENTITY "idempotency_key_reused", "The idempotency key belongs to another request",
        "The key was sent before with another request.",
        "Use a new key for a new request, and the same request for the same key.";
    FILTER_REQUIRED: UNPROCESSABLE_ENTITY "filter_required", "A filter is required",
        "Without a filter the request would act on every dead letter.",
        "Name a `task_name`, `queue`, `reason` or `before`, or send `\"all\": true` to act on all of them.";
    UNSTORABLE: UNPROCESSABLE_ENTITY "unstorable", "A value cannot be stored",
        "Postgres rejected a value of the request.",
        "Change the value that `errors` points at.";
    INVALID_CURSOR: UNPROCESSABLE_ENTITY "invalid_cursor", "The cursor does not belong to this list",
        "The cursor is not a `next_cursor` of this list with this filter.",
        "Begin without a cursor, and keep the filter from page to page.";
    TOO_MANY_FAILURES: TOO_MANY_REQUESTS "too_many_failures", "Too many failed sign-ins",
        "Sign-ins from this address failed too often lately.",
        "Wait as long as Retry-After says; then send the right credentials.";
    RATE_LIMITED: TOO_MANY_REQUESTS "rate_limited", "Too many requests",
        "The caller is over its rate limit. Nothing was done.",
        "Wait as long as Retry-After says; send batches instead of single tasks.";
    INTERNAL: INTERNAL_SERVER_ERROR "internal", "Internal error",
        "The server failed. Its log has the cause under the `request_id`.",
        "Report the `request_id` to the operator of the server.";
    OVERLOADED: SERVICE_UNAVAILABLE "overloaded", "Server overloaded",
        "The server has more work than it has room for. Nothing was done.",
        "Wait as long as Retry-After says, then send the request again.";
    UNAVAILABLE: SERVICE_UNAVAILABLE "unavailable", "Service unavailable",
        "Postgres does not answer. Nothing was done.",
        "Wait as long as Retry-After says, then send the request again.";
    OUTCOME_UNKNOWN: SERVICE_UNAVAILABLE "outcome_unknown", "Outcome unknown",
        "Postgres was lost while the request was carried out: it may have been done or not.",
        "Check the task, or send the request again: for a submit that is safe with an Idempotency-Key.";
}

impl ProblemType {
    /// Returns the type with this code.
    pub fn find(code: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|problem| problem.code == code)
    }

    /// Returns its address, relative to the server.
    pub fn address(&self) -> String {
        format!("/problems/{}", self.code)
    }

    /// Returns it as JSON has it.
    pub fn to_wire(&self) -> ProblemDescription {
        ProblemDescription {
            kind: self.address(),
            code: self.code.to_owned(),
            status: self.status.as_u16(),
            title: self.title.to_owned(),
            meaning: self.meaning.to_owned(),
            remedy: self.remedy.to_owned(),
        }
    }

    /// Returns a page about it. Its texts are those of this file.
    pub fn page(&self) -> String {
        let [title, meaning, remedy] = [self.title, self.meaning, self.remedy].map(escaped);
        let (code, status) = (self.code, self.status.as_u16());
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <h1>{title}</h1>\n<p><code>{code}</code>, status {status}</p>\n\
             <h2>Meaning</h2>\n<p>{meaning}</p>\n<h2>What to do</h2>\n<p>{remedy}</p>\n</html>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the table as `docs/problems.md` has it.
pub fn table() -> String {
    let mut text = String::from("| code | status | meaning | what to do |\n|---|---|---|---|\n");
    for problem in ALL {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            problem.code,
            problem.status.as_u16(),
            problem.meaning,
            problem.remedy
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_words_and_ordered_by_status() {
        let codes: HashSet<&str> = ALL.iter().map(|problem| problem.code).collect();
        assert_eq!(codes.len(), ALL.len());
        let word = |code: &str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(codes.into_iter().all(word));
        assert!(ALL.windows(2).all(|pair| pair[0].status <= pair[1].status));
    }

    #[test]
    fn the_document_has_the_table() {
        let document = include_str!("../../docs/problems.md");
        assert!(
            document.contains(&table()),
            "docs/problems.md must hold this table:\n{}",
            table()
        );
    }
}
