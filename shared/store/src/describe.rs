//! The description of a failed statement for logs.

/// Returns the loggable description of a failed statement. The text of a data or constraint error (classes 22
/// and 23) may contain the value, so only its code is returned.
pub fn describe(error: &crate::Error) -> String {
    let Some(answer) = error.as_database_error() else {
        return error.to_string();
    };
    match answer.code() {
        Some(code) if code.starts_with("22") || code.starts_with("23") => format!("SQLSTATE {code}"),
        _ => error.to_string(),
    }
}
