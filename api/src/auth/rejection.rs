//! Rejections of sign-in and authorization, and the answers to them.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use tasker_core::role::Role;
use tasker_core::task::QueueName;
use tasker_store::api_keys::KEYS_MAX;

use crate::problems::{self, ProblemType};

/// The challenges of a 401: browsers prompt for name and password, programs learn that a token or key works
/// too.
const CHALLENGES: [&str; 2] = [
    r#"Basic realm="tasker", charset="UTF-8""#,
    r#"Bearer realm="tasker""#,
];

/// A rejection by sign-in, authorization or rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthRejection {
    /// The request has no credentials.
    Missing,
    /// The name and password, token or key are not valid.
    Wrong,
    /// The token has expired.
    Expired,
    /// Too many sign-ins failed; the time until the next may be tried.
    Locked(Duration),
    /// The role of the caller is too low for the route.
    Role {
        /// The caller's role.
        has: Role,
        /// The required role.
        needs: Role,
    },
    /// The caller may not use this queue.
    Queue(QueueName),
    /// The caller is restricted to several queues and the request names none of them.
    QueueNeeded,
    /// A page of another site sent the request.
    CrossSite,
    /// The route has no access rule.
    NoRule,
    /// The rate limit is exceeded; the time until the next request is permitted.
    Rate(Duration),
    /// A token was requested without name and password.
    PasswordNeeded,
    /// A token was requested while sign-in is off.
    SignInOff,
    /// The API key does not exist.
    KeyNotFound,
    /// Another API key has that name.
    KeyNameTaken,
    /// The maximum number of API keys is reached.
    TooManyKeys,
}

impl AuthRejection {
    /// Returns the problem type.
    pub fn problem_type(&self) -> &'static ProblemType {
        match self {
            Self::Missing => &problems::UNAUTHORIZED,
            Self::Wrong => &problems::INVALID_CREDENTIALS,
            Self::Expired => &problems::TOKEN_EXPIRED,
            Self::Role { .. } | Self::NoRule => &problems::FORBIDDEN,
            Self::Queue(_) | Self::QueueNeeded => &problems::QUEUE_NOT_ALLOWED,
            Self::CrossSite => &problems::CROSS_SITE,
            Self::PasswordNeeded => &problems::PASSWORD_NEEDED,
            Self::Locked(_) => &problems::TOO_MANY_FAILURES,
            Self::Rate(_) => &problems::RATE_LIMITED,
            Self::SignInOff => &problems::SIGN_IN_OFF,
            Self::KeyNotFound => &problems::KEY_NOT_FOUND,
            Self::KeyNameTaken => &problems::KEY_NAME_TAKEN,
            Self::TooManyKeys => &problems::TOO_MANY_KEYS,
        }
    }

    /// Returns the detail of the problem document: the cause or the fix.
    pub fn detail(&self) -> String {
        match self {
            Self::Missing => "Send name and password (Basic), a token or an API key (Bearer).".to_owned(),
            Self::Wrong => {
                "The credentials are mistyped, revoked, expired, or of another deployment.".to_owned()
            }
            Self::Expired => "Get a new token with POST /auth/token.".to_owned(),
            Self::Role { has, needs } => format!("The role {needs} is required; yours is {has}."),
            Self::Queue(queue) => format!("This key may not use the queue {queue}."),
            Self::QueueNeeded => "This key is restricted to several queues; name one of them in `queue`.".to_owned(),
            Self::CrossSite => "A page of another site sent this request.".to_owned(),
            Self::NoRule => "The route has no access rule.".to_owned(),
            Self::Locked(_) => "Try again after the time in Retry-After.".to_owned(),
            Self::Rate(_) => "The rate limit is exceeded; try again after the time in Retry-After.".to_owned(),
            Self::PasswordNeeded => "A token is issued for name and password only (Basic).".to_owned(),
            Self::SignInOff => {
                "Sign-in is off, so requests need no token. To turn it on, set EXECUTION_BACKEND_API_USER and its password."
                    .to_owned()
            }
            Self::KeyNotFound => "No API key has this id.".to_owned(),
            Self::KeyNameTaken => "Choose another name, or revoke that key first.".to_owned(),
            Self::TooManyKeys => format!("The maximum is {KEYS_MAX} keys; revoke some."),
        }
    }

    /// Adds the headers of the rejection: `WWW-Authenticate` or `Retry-After`.
    pub fn headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Missing | Self::Wrong | Self::Expired => {
                for challenge in CHALLENGES {
                    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            Self::Locked(wait) | Self::Rate(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(*wait)));
            }
            _ => {}
        }
    }
}

/// Rounds up to whole seconds, at least 1.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rejection: &AuthRejection) -> HeaderMap {
        let mut headers = HeaderMap::new();
        rejection.headers(&mut headers);
        headers
    }

    #[test]
    fn a_401_says_how_to_sign_in_and_a_429_when_to_come_again() {
        for rejection in [
            AuthRejection::Missing,
            AuthRejection::Wrong,
            AuthRejection::Expired,
        ] {
            assert_eq!(
                headers(&rejection)
                    .get_all(header::WWW_AUTHENTICATE)
                    .iter()
                    .count(),
                2
            );
        }
        for (millis, seconds) in [(0, "1"), (200, "1"), (1_000, "1"), (1_001, "2")] {
            let rejection = AuthRejection::Locked(Duration::from_millis(millis));
            assert_eq!(headers(&rejection)[header::RETRY_AFTER], seconds);
        }
    }
}
