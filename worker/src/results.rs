//! Results of handlers, encoded as JSON that can be stored.

use serde::Serialize;
use tasker_core::json;
use tasker_core::task::limits::RESULT_BYTES;

use crate::task_error::TaskError;

/// Encodes a result. A result that is too long or cannot be stored fails the attempt without a retry: the
/// same code would return the same result.
pub(crate) fn encode(result: &impl Serialize) -> Result<String, TaskError> {
    let text = serde_json::to_string(result).map_err(|error| {
        TaskError::fail(format!(
            "result_unstorable: the result cannot be encoded as JSON: {error}"
        ))
    })?;
    if text.len() > RESULT_BYTES {
        return Err(TaskError::fail(format!(
            "result_too_long: the result has {} bytes of JSON, the limit is {RESULT_BYTES}",
            text.len()
        )));
    }
    json::check(text.as_bytes(), json::Limits::default())
        .map_err(|fault| TaskError::fail(format!("result_unstorable: `{}` {fault}", fault.pointer)))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_the_longest_length_is_taken_and_one_byte_more_is_not() {
        let text = |length: usize| "x".repeat(length - 2);
        assert!(encode(&text(RESULT_BYTES)).is_ok());
        let error = encode(&text(RESULT_BYTES + 1)).expect_err("too long");
        assert!(matches!(error, TaskError::Fail(_)));
        assert!(error.text().starts_with("result_too_long"), "{}", error.text());
    }

    #[test]
    fn a_result_with_a_nul_is_refused_with_the_place() {
        let error = encode(&serde_json::json!({"name": "a\0b"})).expect_err("NUL");
        assert!(error.text().contains("/name"), "{}", error.text());
    }
}
