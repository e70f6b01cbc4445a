//! JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256, in the compact form of RFC 7515.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac::{self, HMAC_SHA256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A key that signs and verifies tokens.
pub(super) struct SigningKey(hmac::Key);

/// The header of each token. A token that names another algorithm or a parameter beyond these is not valid.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    typ: String,
    alg: String,
}

impl Header {
    fn hs256() -> Self {
        Self {
            typ: "JWT".to_owned(),
            alg: "HS256".to_owned(),
        }
    }
}

impl SigningKey {
    /// Creates a key from a secret of any length.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, secret))
    }

    /// Signs `claims`; fails if they have no JSON form.
    pub(super) fn sign(&self, claims: &impl Serialize) -> serde_json::Result<String> {
        let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Header::hs256())?);
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
        let message = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }

    /// Returns the claims of `token` if its signature is that of this key; their times are not checked.
    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str) -> Option<C> {
        let (message, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // compares in constant time; before it, no part of the token is parsed
        hmac::verify(&self.0, message.as_bytes(), &signature).ok()?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = decoded(header)?;
        (header == Header::hs256()).then(|| decoded(claims)).flatten()
    }
}

fn decoded<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Signs any header, as a caller with the secret could.
    fn forged(key: &SigningKey, header: &str) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode("{}")
        );
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key.0, message.as_bytes()));
        format!("{message}.{signature}")
    }

    #[test]
    fn the_example_of_rfc_7515_is_valid() {
        // appendix A.1
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = SigningKey::new(&URL_SAFE_NO_PAD.decode(secret).expect("base64"));
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
                     .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
                     .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let claims = json!({"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true});
        assert_eq!(key.verify::<Value>(token), Some(claims));
    }

    #[test]
    fn a_signed_token_is_valid_with_its_key_and_unchanged_only() {
        let key = SigningKey::new(b"one");
        let token = key.sign(&json!({"sub": "ops"})).expect("a token");
        assert!(
            token.starts_with("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."),
            "{token}"
        );
        assert_eq!(key.verify(&token), Some(json!({"sub": "ops"})));
        assert_eq!(SigningKey::new(b"other").verify::<Value>(&token), None);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key.verify::<Value>(&changed), None, "{changed}");
        }
    }

    #[test]
    fn another_algorithm_is_refused_even_with_a_valid_signature() {
        let key = SigningKey::new(b"one");
        let valid = forged(&key, r#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(key.verify(&valid), Some(json!({})));
        for header in [
            r#"{"alg":"none","typ":"JWT"}"#,
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"HS256","typ":"JWT","crit":["exp"]}"#,
            r#"{"typ":"JWT"}"#,
            "HS256",
        ] {
            assert_eq!(key.verify::<Value>(&forged(&key, header)), None, "{header}");
        }
    }
}
