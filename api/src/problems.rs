//! The problem types: the code, status, title, meaning and remedy of every error response.
//!
//! [`crate::error`] and [`crate::auth::rejection::AuthRejection`] take status, code and title from this
//! table, and `GET /problems/{code}` serves it. A test compares it with `docs/problems.md`.

use std::fmt::Write as _;

use axum::http::StatusCode;
use tasker_wire::ProblemDescription;

/// A problem type of RFC 9457: one kind of error response.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// The stable identifier for programs; the `type` URI is `/problems/{code}`.
    pub code: &'static str,
    /// The HTTP status of every response of this type.
    pub status: StatusCode,
    /// A short summary, the same for every response of this type.
    pub title: &'static str,
    /// The condition under which the server returns this type.
    pub meaning: &'static str,
    /// The recommended action for the client.
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
        /// All problem types, ordered by status.
        pub static ALL: &[&ProblemType] = &[$(&$name),+];
    };
}

problem_types! {
    MALFORMED_REQUEST: BAD_REQUEST "malformed_request", "Malformed request",
        "The body is empty, incomplete, or not JSON in UTF-8.",
        "Send one JSON document as the body. `detail` gives the position of the syntax error.";
    INVALID_ID: BAD_REQUEST "invalid_id", "Invalid id",
        "The id in the path is not a valid UUID.",
        "Use the `task_id` of a response unchanged.";
    UNAUTHORIZED: UNAUTHORIZED "unauthorized", "Authentication required",
        "The route requires authentication, and the request has no credentials.",
        "Send user name and password (Basic), or a token or API key (Bearer).";
    INVALID_CREDENTIALS: UNAUTHORIZED "invalid_credentials", "Invalid credentials",
        "The credentials are not valid on this server: mistyped, revoked, expired, or issued by another deployment.",
        "Check the credentials; an admin can create a new API key.";
    TOKEN_EXPIRED: UNAUTHORIZED "token_expired", "Token expired",
        "The token was valid, but has expired.",
        "Request a new token with POST /auth/token.";
    FORBIDDEN: FORBIDDEN "forbidden", "Insufficient role",
        "The caller's role is below the role that the route requires.",
        "Use credentials with the role that `detail` names.";
    QUEUE_NOT_ALLOWED: FORBIDDEN "queue_not_allowed", "Queue not allowed",
        "The API key is restricted to other queues, or to several queues and the request does not name one of them.",
        "Name a queue that the key may use, or use another key.";
    CROSS_SITE: FORBIDDEN "cross_site", "Cross-site request rejected",
        "A browser sent the request on behalf of a page from another site.",
        "Send the request from a program, or from a page of this server.";
    PASSWORD_NEEDED: FORBIDDEN "password_needed", "Password sign-in required",
        "Tokens are issued only for user name and password.",
        "Send POST /auth/token with Basic credentials.";
    NOT_FOUND: NOT_FOUND "not_found", "Not found",
        "No route has this path, or no problem type has this code.",
        "See /api-docs/ui for the routes.";
    TASK_NOT_FOUND: NOT_FOUND "task_not_found", "Task not found",
        "No task with this id is visible to the caller: it never existed, its retention has passed, it was purged, or the caller may not see its queue.",
        "Check the id. Finished tasks are kept for RETENTION_DAYS.";
    QUEUE_NOT_FOUND: NOT_FOUND "queue_not_found", "Queue not found",
        "The queue in the path is not declared.",
        "Use a queue that GET /queues lists, by name or alias.";
    TEMPLATE_NOT_FOUND: NOT_FOUND "template_not_found", "Template not found",
        "No worker has published this template or this version of it.",
        "Choose a template that GET /v1/templates lists.";
    KEY_NOT_FOUND: NOT_FOUND "key_not_found", "API key not found",
        "No API key has this id or name.",
        "Choose a key that GET /auth/keys lists.";
    WORKFLOW_NOT_FOUND: NOT_FOUND "workflow_not_found", "Workflow not found",
        "No workflow with this id is visible to the caller: it never existed, its retention has passed, or the caller may not see all its queues.",
        "Check the id. Finished workflows are kept for RETENTION_DAYS.";
    STEP_NOT_FOUND: NOT_FOUND "step_not_found", "Step not found",
        "The workflow has no step of this name or id.",
        "Use a name that GET /v1/workflows/{id}/workflow_steps lists.";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED "method_not_allowed", "Method not allowed",
        "The path exists, but does not support this method.",
        "Use a method that the Allow header lists.";
    NOT_FINISHED: CONFLICT "not_finished", "Task not finished",
        "The task has no result yet, because it has not finished.",
        "Retry later, or wait with GET /tasks/{id}?wait=30.";
    ALREADY_OVER: CONFLICT "already_over", "Task already finished",
        "A finished task cannot be cancelled.",
        "No action is needed; GET /tasks/{id} returns its result or error.";
    NOT_RETRYABLE: CONFLICT "not_retryable", "Task not retryable",
        "Only a task with status `dead_letter` or `cancelled` can be retried.",
        "Wait until it finishes, or submit a new task.";
    VERSION_EXISTS: CONFLICT "version_exists", "Template version exists",
        "A published version of a template never changes, and this one was published with another text.",
        "Raise the version of the template, or delete the published one first.";
    BELONGS_TO_WORKFLOW: CONFLICT "belongs_to_workflow", "Task is a step of a workflow",
        "The task is a step; only its workflow can cancel or retry it, so that the steps behind it follow.",
        "Use the routes of the workflow that `detail` names.";
    WORKFLOW_OVER: CONFLICT "workflow_over", "Workflow has ended",
        "A workflow that has ended cannot be changed.",
        "No action is needed; GET /v1/workflows/{id} returns how it ended.";
    NOTHING_FAILED: CONFLICT "nothing_failed", "No step has failed",
        "The workflow has no failed step to retry.",
        "GET /v1/workflows/{id} shows what its steps wait for.";
    WRONG_STEP_STATE: CONFLICT "wrong_step_state", "Step state does not allow the action",
        "A failed step can be retried, resolved or skipped; a step that waits for its parents can only be skipped.",
        "Read the step again and choose an action that its state allows.";
    IDEMPOTENCY_KEY_TAKEN: CONFLICT "idempotency_key_taken", "Idempotency key in use by another task",
        "The task cannot be retried, because another live task has its idempotency key.",
        "Wait for that task to finish or cancel it, then retry.";
    SIGN_IN_OFF: CONFLICT "sign_in_off", "Sign-in is off",
        "Sign-in is not configured on this server: it issues no tokens, and every caller has all permissions.",
        "Send requests without a token, or set EXECUTION_BACKEND_API_USER and EXECUTION_BACKEND_API_PASSWORD.";
    KEY_NAME_TAKEN: CONFLICT "key_name_taken", "API key name already in use",
        "Another API key that is not revoked has this name.",
        "Choose another name, or revoke that key first.";
    TOO_MANY_KEYS: CONFLICT "too_many_keys", "Too many API keys",
        "The maximum number of API keys is reached.",
        "Revoke unused keys.";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE "body_too_large", "Request body too large",
        "The body, after decompression, exceeds its limit: MAX_BODY_BYTES, or 32 MiB for a batch.",
        "Store large data elsewhere and send a reference to it, or split the batch.";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE "unsupported_media_type", "Request body must be JSON",
        "The Content-Type of the request is not JSON in UTF-8.",
        "Send the body as UTF-8 with Content-Type: application/json.";
    UNSUPPORTED_ENCODING: UNSUPPORTED_MEDIA_TYPE "unsupported_encoding", "Unsupported content encoding",
        "The Content-Encoding of the request is not gzip, deflate or identity, or names more than one.",
        "Send the body uncompressed, or in an encoding that the Accept-Encoding header of the response lists.";
    INVALID_REQUEST: UNPROCESSABLE_ENTITY "invalid_request", "Invalid request",
        "The request is well-formed, but has fields that are unknown, missing, of the wrong type or out of range.",
        "Correct the fields that `errors` lists; each entry has a JSON pointer, or the name of a parameter or header.";
    UNKNOWN_TASK_TYPE: UNPROCESSABLE_ENTITY "unknown_task_type", "Unknown task type",
        "No worker has registered a task type with this name.",
        "Use a name that GET /tasks/types lists, or start a worker that registers the type.";
    UNKNOWN_QUEUE: UNPROCESSABLE_ENTITY "unknown_queue", "Unknown queue",
        "The queue is not declared.",
        "Use a queue that GET /queues lists, or declare the queue.";
    INVALID_PARAMETERS: UNPROCESSABLE_ENTITY "invalid_parameters", "Invalid task parameters",
        "The parameters do not match the JSON Schema of the task type.",
        "Correct the fields that `errors` lists; GET /tasks/types returns the schema.";
    IDEMPOTENCY_KEY_REUSED: UNPROCESSABLE_ENTITY "idempotency_key_reused", "Idempotency key reused for another request",
        "The idempotency key was already used with a different request.",
        "Use a new key for a new request, and resend the same request with the same key.";
    FILTER_REQUIRED: UNPROCESSABLE_ENTITY "filter_required", "Filter required",
        "Without a filter, the request would affect every dead letter.",
        "Set `task_name`, `queue`, `reason` or `before`, or send `\"all\": true` to affect all of them.";
    UNSTORABLE: UNPROCESSABLE_ENTITY "unstorable", "Value cannot be stored",
        "Postgres rejected a value in the request.",
        "Change the value that `errors` names.";
    INVALID_CURSOR: UNPROCESSABLE_ENTITY "invalid_cursor", "Invalid cursor",
        "The cursor is not a `next_cursor` of this list with these filters.",
        "Start without a cursor, and keep the filters the same from page to page.";
    TOO_MANY_FAILURES: TOO_MANY_REQUESTS "too_many_failures", "Too many failed sign-ins",
        "Too many recent sign-ins failed from this address or for this user name.",
        "Wait for the time in Retry-After, then send valid credentials.";
    RATE_LIMITED: TOO_MANY_REQUESTS "rate_limited", "Rate limit exceeded",
        "The caller exceeded its rate limit. The request was not executed.",
        "Wait for the time in Retry-After; submit batches instead of single tasks.";
    INTERNAL: INTERNAL_SERVER_ERROR "internal", "Internal error",
        "The server failed unexpectedly. Its log has the cause under the `request_id`.",
        "Report the `request_id` to the operator of the server.";
    OVERLOADED: SERVICE_UNAVAILABLE "overloaded", "Server overloaded",
        "The server is at its capacity limit. The request was not executed.",
        "Wait for the time in Retry-After, then retry the request.";
    OLD_PROCESSES: SERVICE_UNAVAILABLE "old_processes", "Upgrade not finished",
        "A live worker or the leading server is from a release without workflows and would lose the edges of a step.",
        "Upgrade or stop the processes that `detail` names, then start the workflow.";
    UNAVAILABLE: SERVICE_UNAVAILABLE "unavailable", "Service unavailable",
        "Postgres is unavailable. The request was not executed.",
        "Wait for the time in Retry-After, then retry the request.";
    OUTCOME_UNKNOWN: SERVICE_UNAVAILABLE "outcome_unknown", "Outcome unknown",
        "The connection to Postgres was lost during the request, which may or may not have taken effect.",
        "Check the state of the task, or retry the request; a submit is safe to retry with an Idempotency-Key.";
}

impl ProblemType {
    /// Returns the type with this code, or `None` if there is none.
    pub fn find(code: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|problem| problem.code == code)
    }

    /// Returns the value of the member `type`, a URI relative to the server.
    pub fn address(&self) -> String {
        format!("/problems/{}", self.code)
    }

    /// Returns the JSON representation served at `GET /problems/{code}`.
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

    /// Returns an HTML page for browsers, built only from the constants of this file.
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
    // the ampersand first, or it would escape the escapes
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the Markdown table that `docs/problems.md` must contain.
pub fn table() -> String {
    let mut text = String::from("| code | status | meaning | what to do |\n|---|---|---|---|\n");
    for problem in ALL {
        // writing to a `String` cannot fail
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
