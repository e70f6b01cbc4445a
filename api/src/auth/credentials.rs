//! The credentials in the headers of a request. Pure functions.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The prefix of API keys, by which people and secret scanners recognise them.
pub const KEY_PREFIX: &str = "tsk_";
/// An alternative to `Authorization: Bearer` for an API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The maximum size of credentials; Tasker issues none that are longer.
const CREDENTIAL_BYTES_MAX: usize = 4 * 1024;

/// Credentials that are parsed but not verified.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Name and password.
    Password(String, String),
    /// An API key.
    Key(String),
    /// A token.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(..) => "Password",
            Self::Key(_) => "Key",
            Self::Token(_) => "Token",
        })
    }
}

/// The error of credentials that cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Returns the credentials in `headers`, or `None` without any.
pub fn read(headers: &HeaderMap) -> Result<Option<Credentials>, Unreadable> {
    let key = only(headers, &API_KEY)?;
    let Some(value) = only(headers, &header::AUTHORIZATION)? else {
        return key.map(|key| bearer(text(key.as_bytes())?)).transpose();
    };
    let (scheme, rest) = text(value.as_bytes())?.split_once(' ').ok_or(Unreadable)?;
    if scheme.eq_ignore_ascii_case("basic") {
        basic(rest.trim()).map(Some)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        bearer(rest).map(Some)
    } else {
        Err(Unreadable)
    }
}

/// Returns the value of a header that may appear once at most.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Unreadable> {
    let mut given = headers.get_all(name).iter();
    // two values could be read differently by a proxy and by this server
    match (given.next(), given.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Unreadable),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    if bytes.len() > CREDENTIAL_BYTES_MAX {
        return Err(Unreadable);
    }
    std::str::from_utf8(bytes).map_err(|_| Unreadable)
}

fn basic(encoded: &str) -> Result<Credentials, Unreadable> {
    let bytes = STANDARD.decode(encoded).map_err(|_| Unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| Unreadable)?;
    let (user, password) = text.split_once(':').ok_or(Unreadable)?;
    Ok(Credentials::Password(user.to_owned(), password.to_owned()))
}

fn bearer(text: &str) -> Result<Credentials, Unreadable> {
    match text.trim() {
        "" => Err(Unreadable),
        key if key.starts_with(KEY_PREFIX) => Ok(Credentials::Key(key.to_owned())),
        token => Ok(Credentials::Token(token.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&'static str, &str)]) -> Result<Option<Credentials>, Unreadable> {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, value.parse().expect("a header value"));
        }
        read(&headers)
    }

    #[test]
    fn each_way_to_sign_in_is_read() {
        let password = Credentials::Password("ops".into(), "a:b c".into());
        let encoded = STANDARD.encode("ops:a:b c");
        assert_eq!(
            of(&[("authorization", &format!("Basic {encoded}"))]),
            Ok(Some(password))
        );
        let key = Credentials::Key("tsk_x".into());
        assert_eq!(of(&[("authorization", "bearer tsk_x")]), Ok(Some(key.clone())));
        assert_eq!(of(&[("x-api-key", "tsk_x")]), Ok(Some(key)));
        let token = Credentials::Token("a.b.c".into());
        assert_eq!(of(&[("authorization", "Bearer  a.b.c ")]), Ok(Some(token)));
        assert_eq!(of(&[]), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_not_nothing() {
        for value in [
            "Basic",
            "Basic !!",
            "Basic bm9jb2xvbg==",
            "Digest x",
            "Bearer ",
            "x",
        ] {
            assert_eq!(of(&[("authorization", value)]), Err(Unreadable), "{value}");
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(of(&twice), Err(Unreadable));
        let twice = [("x-api-key", "tsk_a"), ("x-api-key", "tsk_b")];
        assert_eq!(of(&twice), Err(Unreadable));
        let long = format!("Bearer {}", "x".repeat(5_000));
        assert_eq!(of(&[("authorization", &long)]), Err(Unreadable));
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = format!("{:?}", Credentials::Password("ops".into(), "hunter2".into()));
        assert_eq!(shown, "Password");
    }
}
