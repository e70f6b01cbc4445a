//! `POST /auth/token`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use tasker_wire::AccessToken;

use crate::auth::{Auth, AuthRejection, Caller, SignedInBy, token};
use crate::error::ApiError;
use crate::http::query::NoQuery;
use crate::openapi::problem_groups::TokenProblems;

/// Get a token
///
/// Requires name and password (Basic). Send the token as `Authorization: Bearer` until it expires.
#[utoipa::path(
    post,
    path = "/auth/token",
    tag = "sign-in",
    responses((status = 200, body = AccessToken, description = "The token"), TokenProblems),
)]
pub async fn issue_token(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    _: NoQuery,
) -> Result<([(HeaderName, HeaderValue); 1], Json<AccessToken>), ApiError> {
    match caller.identity.by {
        SignedInBy::Password => {}
        SignedInBy::Anonymous => return Err(AuthRejection::SignInOff.into()),
        // a token could otherwise be renewed forever, and one from a key would outlive the key's revocation
        SignedInBy::Token | SignedInBy::Key => return Err(AuthRejection::PasswordNeeded.into()),
    }
    let access_token = auth.tokens.issue(caller.name(), caller.identity.role)?;
    let answer = AccessToken {
        access_token,
        token_type: "Bearer".to_owned(),
        expires_in: token::LIFETIME.as_secs(),
    };
    Ok((
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Json(answer),
    ))
}
