//! The headers of a submit.

use axum::http::HeaderMap;
use tasker_platform::telemetry::traces;
use tracing::Span;

use crate::error::ApiError;
use crate::validation_error::ValidationErrorKind;

/// The headers of a request that concern its tasks.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// `traceparent`, well-formed.
    pub traceparent: Option<String>,
}

impl Headers {
    /// Reads the headers of a request.
    pub fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let wrong = |detail| ApiError::invalid(ValidationErrorKind::Invalid, "Idempotency-Key", detail);
        let mut keys = headers.get_all("idempotency-key").iter();
        let key = keys
            .next()
            .map(|value| std::str::from_utf8(value.as_bytes()).map(ToOwned::to_owned))
            .transpose()
            .map_err(|_| wrong("is not valid UTF-8"))?;
        if keys.next().is_some() {
            return Err(wrong("is given twice"));
        }
        let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let traceparent = traceparent
            .filter(|text| is_traceparent(text))
            .map(ToOwned::to_owned);
        Ok(Self {
            key,
            // without one, the trace begins with this request
            traceparent: traceparent.or_else(|| traces::traceparent_of(&Span::current())),
        })
    }
}

/// Returns true if a text is a W3C `traceparent` of a known layout.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else {
        return false;
    };
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let parts_are_valid = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    parts_are_valid
        && !zero(trace)
        && !zero(span)
        && *version != "ff"
        && (rest.is_empty() || *version != "00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_kept_only_when_well_formed() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert!(is_traceparent(&format!("00-{trace}-{span}-01")));
        assert!(is_traceparent(&format!("01-{trace}-{span}-01-later")));
        for text in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
        ] {
            assert!(!is_traceparent(&text), "{text}");
        }
    }
}
