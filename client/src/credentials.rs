//! Credentials, read from environment variables only: arguments show in process lists.

use std::ffi::OsString;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KEY: &str = "TASKER_API_KEY";
const USER: &str = "EXECUTION_BACKEND_API_USER";
const PASSWORD: &str = "EXECUTION_BACKEND_API_PASSWORD";

/// The error of credentials that cannot be used. It never contains their values.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Only one of user and password is set.
    #[error("set both {USER} and {PASSWORD}: one of them is missing")]
    OneOfTwo,
    /// A variable is not valid UTF-8.
    #[error("{0} is not valid UTF-8")]
    Utf8(String),
    /// The file that `NAME_FILE` names cannot be read.
    #[error("cannot read the file that {0}_FILE names")]
    File(String, #[source] std::io::Error),
    /// The header would break the request.
    #[error("{KEY} contains characters that an HTTP header cannot carry, such as a line break")]
    Header,
}

/// Returns the `Authorization` header: the API key, else user and password, `None` if neither is set.
///
/// # Errors
/// If only one of user and password is set, or a value cannot be read or sent.
pub fn authorization() -> Result<Option<String>, CredentialsError> {
    from(|name| std::env::var_os(name))
}

fn from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<String>, CredentialsError> {
    if let Some(key) = read(KEY, &variable)? {
        return sendable(format!("Bearer {key}")).map(Some);
    }
    match (read(USER, &variable)?, read(PASSWORD, &variable)?) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => {
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            sendable(format!("Basic {encoded}")).map(Some)
        }
        _ => Err(CredentialsError::OneOfTwo),
    }
}

/// Reads a variable, or the file that `NAME_FILE` names; an empty value counts as not set.
fn read(
    name: &str,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, CredentialsError> {
    if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
        let value = value.into_string();
        return value
            .map(Some)
            .map_err(|_| CredentialsError::Utf8(name.to_owned()));
    }
    let Some(path) = variable(&format!("{name}_FILE")).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let unreadable = |source| CredentialsError::File(name.to_owned(), source);
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    // editors and `echo` end a file with a line break
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Returns the header if it is printable ASCII; a line break would split the request.
fn sendable(header: String) -> Result<String, CredentialsError> {
    if header.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(header)
    } else {
        Err(CredentialsError::Header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Option<String>, CredentialsError> {
        from(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_key_beats_a_password_and_without_either_there_is_none() {
        let password = [(USER, "ops"), (PASSWORD, "p w")];
        assert_eq!(with(&[]).expect("valid"), None);
        assert_eq!(
            with(&password).expect("valid").as_deref(),
            Some("Basic b3BzOnAgdw==")
        );
        let both = [&[(KEY, "tsk_x")][..], &password].concat();
        assert_eq!(with(&both).expect("valid").as_deref(), Some("Bearer tsk_x"));
        assert_eq!(with(&[(KEY, "")]).expect("valid"), None);
    }

    #[test]
    fn half_a_password_and_a_key_of_two_lines_are_rejected() {
        assert!(with(&[(USER, "ops")]).is_err());
        let error = with(&[(KEY, "tsk_x\r\nHost: y")]).expect_err("refused");
        assert!(!error.to_string().contains("tsk_x"), "{error}");
    }
}
