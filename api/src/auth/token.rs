//! Access tokens: JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256 by `TOKEN_SECRET`, valid for an hour.

use std::time::Duration;

use chrono::Utc;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tasker_core::role::Role;
use tracing::warn;

use super::identity::{Identity, SignedInBy};
use super::jwt::SigningKey;
use super::rejection::AuthRejection;
use crate::error::ApiError;

/// The lifetime of a token. A single token cannot be revoked; another `TOKEN_SECRET` revokes all of them.
pub const LIFETIME: Duration = Duration::from_hours(1);
/// The issuer claim.
const ISSUER: &str = "tasker";
/// The tolerated difference between the clocks of servers.
const LEEWAY_SECONDS: i64 = 5;

/// The signer and verifier of tokens.
pub struct Tokens {
    key: SigningKey,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    role: Role,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<Value>,
}

impl Tokens {
    /// Creates a signer with `secret`, or with a random secret that lives as long as the process.
    pub fn new(secret: Option<&SecretString>) -> Self {
        let random: [u8; 32] = rand::random();
        let secret = secret.map_or(&random[..], |secret| secret.expose_secret().as_bytes());
        Self {
            key: SigningKey::new(secret),
        }
    }

    /// Issues a token for `name` with `role`.
    pub fn issue(&self, name: &str, role: Role) -> Result<String, ApiError> {
        let iat = now();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: name.to_owned(),
            role,
            iat,
            exp: iat + LIFETIME.as_secs().cast_signed(),
            aud: None,
        };
        self.key
            .sign(&claims)
            .map_err(|error| ApiError::Internal(format!("a token cannot be signed: {error}")))
    }

    /// Returns the identity asserted by `token`.
    pub fn read(&self, token: &str) -> Result<Identity, AuthRejection> {
        let claims: Claims = self.key.verify(token).ok_or(AuthRejection::Wrong)?;
        if claims.exp < now() - LEEWAY_SECONDS {
            return Err(AuthRejection::Expired);
        }
        // a token for another service may be signed with the same secret
        if claims.iss != ISSUER || claims.aud.is_some() {
            return Err(AuthRejection::Wrong);
        }
        // the rules of user names: `key:` marks API keys, and control characters would break log lines
        if claims.sub.is_empty() || claims.sub.chars().any(|c| c == ':' || c.is_control()) {
            return Err(AuthRejection::Wrong);
        }
        Ok(Identity {
            name: claims.sub.into(),
            role: claims.role,
            // tokens are issued to the user with a password only, who may use all queues
            queues: None,
            by: SignedInBy::Token,
        })
    }
}

/// Logs the limits of a random secret.
pub fn warn_of_random_secret() {
    warn!("TOKEN_SECRET is not set: tokens are valid on this server only, until it stops");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a token is verified without a query, so its times are those of servers"
)]
fn now() -> i64 {
    Utc::now().timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(Some(&SecretString::from(secret)))
    }

    fn signed(secret: &str, claims: &Claims) -> String {
        let key = SigningKey::new(secret.as_bytes());
        key.sign(claims).expect("a token")
    }

    fn claims(sub: &str, exp: i64) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            sub: sub.to_owned(),
            role: Role::Admin,
            iat: now(),
            exp,
            aud: None,
        }
    }

    #[test]
    fn a_token_says_who_somebody_is_where_its_secret_is_known() {
        let token = tokens("one").issue("ops", Role::Operator).expect("a token");
        let identity = tokens("one").read(&token).expect("it holds");
        assert_eq!(
            (&*identity.name, identity.role, identity.by),
            ("ops", Role::Operator, SignedInBy::Token)
        );
        assert_eq!(tokens("other").read(&token), Err(AuthRejection::Wrong));
    }

    #[test]
    fn a_token_ends() {
        let ended = signed("one", &claims("ops", now() - 10));
        assert_eq!(tokens("one").read(&ended), Err(AuthRejection::Expired));
        let within_leeway = signed("one", &claims("ops", now() - 2));
        assert!(tokens("one").read(&within_leeway).is_ok());
    }

    #[test]
    fn a_token_of_another_issuer_or_for_another_audience_or_without_an_end_is_refused() {
        let foreign = Claims {
            iss: "other".to_owned(),
            ..claims("ops", now() + 60)
        };
        let for_another = Claims {
            aud: Some("other".into()),
            ..claims("ops", now() + 60)
        };
        let endless = serde_json::json!({"iss": ISSUER, "sub": "ops", "role": "admin", "iat": now()});
        let endless = SigningKey::new(b"one").sign(&endless).expect("a token");
        for token in [signed("one", &foreign), signed("one", &for_another), endless] {
            assert_eq!(tokens("one").read(&token), Err(AuthRejection::Wrong), "{token}");
        }
    }

    #[test]
    fn a_token_that_is_no_token_or_unsigned_or_tells_of_a_key_is_refused() {
        let of_key = signed("one", &claims("key:deploy", now() + 60));
        // {"alg":"none"}
        let unsigned = format!(
            "eyJhbGciOiJub25lIn0.{}.",
            of_key.split('.').nth(1).expect("claims")
        );
        for token in ["", "x", "a.b.c", &of_key, &unsigned] {
            assert_eq!(tokens("one").read(token), Err(AuthRejection::Wrong), "{token}");
        }
    }
}
