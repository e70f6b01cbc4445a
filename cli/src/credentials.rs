//! Credentials of the command line, read from environment variables only: arguments show in process lists.

use std::ffi::OsString;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KEY: &str = "TASKER_API_KEY";
const USER: &str = "EXECUTION_BACKEND_API_USER";
const PASSWORD: &str = "EXECUTION_BACKEND_API_PASSWORD";

/// Returns the `Authorization` header: the API key, else user and password, `None` if neither is set.
pub(crate) fn authorization() -> anyhow::Result<Option<String>> {
    from(|name| std::env::var_os(name))
}

fn from(variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Option<String>> {
    if let Some(key) = read(KEY, &variable)? {
        return sendable(format!("Bearer {key}")).map(Some);
    }
    match (read(USER, &variable)?, read(PASSWORD, &variable)?) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => {
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            sendable(format!("Basic {encoded}")).map(Some)
        }
        _ => bail!("set both {USER} and {PASSWORD}: one of them is missing"),
    }
}

/// Reads a variable, or the file that `NAME_FILE` names; an empty value counts as not set.
fn read(name: &str, variable: &impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Option<String>> {
    if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
        let value = value.into_string();
        return value
            .map(Some)
            .map_err(|_| anyhow::anyhow!("{name} is not valid UTF-8"));
    }
    let Some(path) = variable(&format!("{name}_FILE")).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the file that {name}_FILE names"))?;
    // editors and `echo` end a file with a line break
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Returns the header if it is printable ASCII; a line break would split the request.
fn sendable(header: String) -> anyhow::Result<String> {
    if header.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(header)
    } else {
        // without the value, which is a secret
        bail!("{KEY} contains characters that an HTTP header cannot carry, such as a line break")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> anyhow::Result<Option<String>> {
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
