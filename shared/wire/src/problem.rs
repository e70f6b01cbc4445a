//! Errors of the API.

use serde::{Deserialize, Serialize};

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The address of the kind of error on this server: `/problems/{code}`.
    #[serde(rename = "type")]
    #[cfg_attr(
        feature = "openapi",
        schema(format = "uri-reference", example = "/problems/invalid_request")
    )]
    pub kind: String,
    /// The kind of error, for people.
    pub title: String,
    /// The HTTP status.
    #[cfg_attr(feature = "openapi", schema(minimum = 400, maximum = 599))]
    pub status: u16,
    /// The error of this request, and how to fix it.
    pub detail: String,
    /// The kind as a code, for programs.
    pub code: String,
    /// The id of the request in the server's log.
    pub request_id: String,
    /// The validation errors of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemPointer>,
}

/// A validation error of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemPointer {
    /// A JSON pointer (RFC 6901) into the body, or the name of a query parameter or header.
    pub pointer: String,
    /// The error, for people.
    pub detail: String,
}

/// The description of a kind of error, which the `type` of a problem refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemDescription {
    /// Its address on this server.
    #[serde(rename = "type")]
    #[cfg_attr(
        feature = "openapi",
        schema(format = "uri-reference", example = "/problems/invalid_request")
    )]
    pub kind: String,
    /// The kind as a code, for programs.
    pub code: String,
    /// The HTTP status of every answer of this kind.
    #[cfg_attr(feature = "openapi", schema(minimum = 400, maximum = 599))]
    pub status: u16,
    /// The kind of error, for people.
    pub title: String,
    /// The cases in which it is answered.
    pub meaning: String,
    /// The way to fix it.
    pub remedy: String,
}
