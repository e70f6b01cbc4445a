//! Checks on raw JSON text, and its canonical form.
//!
//! Bodies keep their `parameters` as raw text on the way to Postgres. Values that serde's raw values accept,
//! but that Postgres or another reader would reject or change, are found here: deep nesting, NUL characters,
//! lone surrogates, numbers out of range, keys that appear twice.

mod canonical;
mod pointer;
mod scan;

pub use canonical::canonical;
pub use pointer::escaped;

/// The maximum number of errors that [`errors`] returns.
const ERRORS_MAX: usize = 20;

/// Limits of [`check`] and [`errors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of objects and arrays within each other.
    pub depth_max: usize,
    /// True if keys must be unique within their object: readers disagree on which of two values counts.
    pub unique_keys: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 128,
            unique_keys: false,
        }
    }
}

/// The kind of an error at a place of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// Objects and arrays nest deeper than [`Limits::depth_max`].
    #[error("is nested too deeply")]
    TooDeep,
    /// A string holds `\u0000`, escaped or not.
    #[error("contains the NUL character \\u0000, which cannot be stored")]
    Nul,
    /// A string escapes half of a surrogate pair.
    #[error("contains half of a surrogate pair (\\ud800 to \\udfff), which is not a character")]
    LoneSurrogate,
    /// A whole number that neither `i64` nor `u64` holds.
    #[error("is a whole number outside -9223372036854775808 to 18446744073709551615; send it as text")]
    IntegerRange,
    /// A number beyond the largest double.
    #[error("is a number beyond 1.7976931348623157e308, the largest double; send it as text")]
    FloatRange,
    /// A key that its object has already.
    #[error("appears twice in its object")]
    DoubledKey,
}

/// An error and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct JsonError {
    /// The kind of the error.
    pub kind: JsonErrorKind,
    /// The JSON pointer (RFC 6901) of the value, cut with `…` when long. For an error in the key
    /// of an object it is that of the object.
    pub pointer: String,
}

/// Returns the first error in `text`, if any, after one pass.
///
/// Not a validator: malformed text is answered with `Ok`, as the parser that follows says more.
pub fn check(text: &[u8], limits: Limits) -> Result<(), JsonError> {
    located(text, scan::errors(text, limits, 1))
        .into_iter()
        .next()
        .map_or(Ok(()), Err)
}

/// Returns the errors in `text` in the order of their places, at most `ERRORS_MAX` of them.
pub fn errors(text: &[u8], limits: Limits) -> Vec<JsonError> {
    located(text, scan::errors(text, limits, ERRORS_MAX))
}

fn located(text: &[u8], found: Vec<(usize, JsonErrorKind)>) -> Vec<JsonError> {
    if found.is_empty() {
        return Vec::new();
    }
    let places: Vec<usize> = found.iter().map(|(place, _)| *place).collect();
    let pointers = pointer::pointers(text, &places);
    let pairs = found.into_iter().zip(pointers);
    pairs
        .map(|((_, kind), pointer)| JsonError { kind, pointer })
        .collect()
}

#[cfg(test)]
mod tests;
