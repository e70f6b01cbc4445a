//! Errors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The address of the kind of error on this server: `/problems/{code}`.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/problems/invalid_request")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What was wrong with this request, and what helps.
    pub detail: String,
    /// The kind as a word for programs.
    pub code: String,
    /// Finds the request in the log.
    pub request_id: String,
    /// What was wrong where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemPointer>,
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemPointer {
    /// Where: a JSON pointer (RFC 6901) into the body, or the name of a query parameter or header.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// A kind of error: what the `type` of a problem says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDescription {
    /// Its address on this server.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/problems/invalid_request")]
    pub kind: String,
    /// The kind as a word for programs.
    pub code: String,
    /// The HTTP status of every answer of this kind.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The kind in words.
    pub title: String,
    /// When it is answered.
    pub meaning: String,
    /// How to go on.
    pub remedy: String,
}
