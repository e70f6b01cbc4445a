//! Access tokens: JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256 by `TOKEN_SECRET`, valid for an hour.

use std::time::Duration;

use chrono::Utc;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tasker_core::role::Role;
use tracing::warn;

use super::identity::{Identity, SignedInBy};
use super::rejection::AuthRejection;
use crate::error::ApiError;

/// The lifetime of a token. A single token cannot be revoked; another `TOKEN_SECRET` revokes all of them.
pub const LIFETIME: Duration = Duration::from_hours(1);
/// The issuer claim.
const ISSUER: &str = "tasker";
/// The tolerated difference between the clocks of servers.
const LEEWAY_SECONDS: u64 = 5;

/// The signer and verifier of tokens.
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
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
}

impl Tokens {
    /// Creates a signer with `secret`, or with a random secret that lives as long as the process.
    pub fn new(secret: Option<&SecretString>) -> Self {
        let random: [u8; 32] = rand::random();
        let secret = secret.map_or(&random[..], |secret| secret.expose_secret().as_bytes());
        // this algorithm only: a token that names another one, or `none`, is rejected
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_issuer(&[ISSUER]);
        // a token without `exp` would be valid forever
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        Self {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            validation,
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
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
            .map_err(|error| ApiError::Internal(format!("a token cannot be signed: {error}")))
    }

    /// Returns the identity asserted by `token`.
    pub fn read(&self, token: &str) -> Result<Identity, AuthRejection> {
        let claims = match decode::<Claims>(token, &self.checking, &self.validation) {
            Ok(token) => token.claims,
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => return Err(AuthRejection::Expired),
            Err(_) => return Err(AuthRejection::Wrong),
        };
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
        encode(
            &Header::new(Algorithm::HS256),
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .expect("a token")
    }

    fn claims(sub: &str, exp: i64) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            sub: sub.to_owned(),
            role: Role::Admin,
            iat: now(),
            exp,
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
