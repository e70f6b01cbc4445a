//! Why somebody is not let in, or not let do something, as it is answered.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use tasker_shared::role::Role;
use tasker_shared::store::api_keys::KEYS_MAX;
use tasker_shared::task::QueueName;

use crate::problems::{self, ProblemType};

/// How one signs in: a browser asks for name and password, others read that a token or key will do.
const CHALLENGES: [&str; 2] = [
    r#"Basic realm="tasker", charset="UTF-8""#,
    r#"Bearer realm="tasker""#,
];

/// Why somebody is not let in, or not let do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthRejection {
    /// They did not sign in.
    Missing,
    /// Name and password, token or key are wrong.
    Wrong,
    /// The token has expired.
    Expired,
    /// Too many sign-ins failed lately; so long until the next may be tried.
    Locked(Duration),
    /// Their role is too low for the route.
    Role {
        /// Their role.
        has: Role,
        /// The one that it takes.
        needs: Role,
    },
    /// They may not use this queue.
    Queue(QueueName),
    /// They are held to several queues and did not say which they mean.
    QueueNeeded,
    /// A page of another site sent the request.
    CrossSite,
    /// The table of rules lacks the route.
    NoRule,
    /// They have asked for too much; so long until there is room for more.
    Rate(Duration),
    /// A token is given for name and password alone.
    PasswordNeeded,
    /// There is no sign-in, so nobody can be given a token.
    SignInOff,
    /// There is no such API key.
    KeyNotFound,
    /// Another API key has that name.
    KeyNameTaken,
    /// There is no room for another API key.
    TooManyKeys,
}

impl AuthRejection {
    /// Returns its type.
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

    /// What to do about it.
    pub fn detail(&self) -> String {
        match self {
            Self::Missing => "Send name and password (Basic), a token or an API key (Bearer).".to_owned(),
            Self::Wrong => {
                "They are not known here: mistyped, revoked, expired, or of another deployment.".to_owned()
            }
            Self::Expired => "POST /auth/token gives a new one.".to_owned(),
            Self::Role { has, needs } => format!("It takes the role {needs}; yours is {has}."),
            Self::Queue(queue) => format!("This key may not use the queue {queue}."),
            Self::QueueNeeded => "This key is held to several queues; say which one is meant.".to_owned(),
            Self::CrossSite => "A page of another site sent it, and may not act here.".to_owned(),
            Self::NoRule => "The route has no rule that would allow it.".to_owned(),
            Self::Locked(_) => "Try again after the time in Retry-After.".to_owned(),
            Self::Rate(_) => "Nothing was done; try again after the time in Retry-After.".to_owned(),
            Self::PasswordNeeded => "A token is given for name and password alone.".to_owned(),
            Self::SignInOff => {
                "Everybody may do everything; requests need no token. Set EXECUTION_BACKEND_API_USER and its password."
                    .to_owned()
            }
            Self::KeyNotFound => "There is no key with this id.".to_owned(),
            Self::KeyNameTaken => "Choose another name, or revoke that key first.".to_owned(),
            Self::TooManyKeys => format!("There may be {KEYS_MAX}; revoke some."),
        }
    }

    /// The headers that tell how to go on.
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

/// Seconds, never too few.
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
