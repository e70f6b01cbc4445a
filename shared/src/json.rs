//! Checks on raw JSON text, and its canonical form.
//!
//! Bodies keep their `parameters` as raw text on the way to Postgres, so what serde's raw values
//! let through and Postgres or another reader would not take is looked for here: deep nesting,
//! NUL characters, lone surrogates, numbers out of range.

use std::fmt::Write as _;

use serde_json::Value;

/// Longest pointer that a fault shows, in characters.
const POINTER_CHARS_MAX: usize = 256;
/// No integer of so many characters, sign included, is beyond `i64`.
const SAFE_INTEGER_CHARS: usize = 18;
/// No number of so many characters and without an exponent is beyond `f64`.
const SAFE_DECIMAL_CHARS: usize = 300;

/// What [`check`] tolerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most objects and arrays within each other.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: 128 }
    }
}

/// What is wrong at a place of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Objects and arrays nest deeper than [`Limits::depth_max`].
    #[error("is nested too deeply")]
    TooDeep,
    /// A string holds `\u0000`, escaped or not.
    #[error("contains the NUL character \\u0000, which cannot be stored")]
    Nul,
    /// A string escapes half of a surrogate pair.
    #[error("contains a lone surrogate, which is no character")]
    LoneSurrogate,
    /// A whole number beyond 64 signed bits.
    #[error("is a whole number beyond 64 bits")]
    IntegerRange,
    /// A number beyond what a double can hold.
    #[error("is a number out of range")]
    FloatRange,
}

/// A fault and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct JsonFault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The JSON pointer (RFC 6901) of the value, cut with `…` when long. For a fault in the key
    /// of an object it is that of the object.
    pub pointer: String,
}

/// Looks for the first fault in `text`, in one pass that allocates only when there is one.
///
/// No validator: malformed text is answered with `Ok`, as the parser that follows tells more.
pub fn check(text: &[u8], limits: Limits) -> Result<(), JsonFault> {
    match first_fault(text, limits) {
        None => Ok(()),
        Some((start, kind)) => Err(JsonFault {
            kind,
            pointer: pointer_to(text, start),
        }),
    }
}

/// The start of the faulty token, and its fault.
fn first_fault(text: &[u8], limits: Limits) -> Option<(usize, FaultKind)> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        let fault = match byte {
            b'"' => {
                let (end, fault) = scan_string(text, at);
                at = end;
                fault
            }
            b'-' | b'0'..=b'9' => {
                at = number_end(text, at);
                number_fault(&text[start..at])
            }
            b'{' | b'[' => {
                depth += 1;
                (depth > limits.depth_max).then_some(FaultKind::TooDeep)
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                None
            }
            _ => None,
        };
        if let Some(kind) = fault {
            return Some((start, kind));
        }
    }
    None
}

/// Scans from behind the opening quote; answers the index behind the closing one.
fn scan_string(text: &[u8], mut at: usize) -> (usize, Option<FaultKind>) {
    let mut fault = None;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            0 => fault = fault.or(Some(FaultKind::Nul)),
            b'\\' if text.get(at) == Some(&b'u') => {
                let (end, found) = scan_escape(text, at + 1);
                at = end;
                fault = fault.or(found);
            }
            b'\\' => at += 1,
            _ => {}
        }
    }
    (at.min(text.len()), fault)
}

/// Judges `\uXXXX` from behind its `u`; answers the index behind it, or behind the pair.
fn scan_escape(text: &[u8], at: usize) -> (usize, Option<FaultKind>) {
    let Some(unit) = hex_unit(text, at) else {
        return (at, None);
    };
    let end = at + 4;
    match unit {
        0 => (end, Some(FaultKind::Nul)),
        0xD800..=0xDBFF => {
            let pair = text.get(end..end + 2) == Some(b"\\u");
            match hex_unit(text, end + 2).filter(|_| pair) {
                Some(0xDC00..=0xDFFF) => (end + 6, None),
                _ => (end, Some(FaultKind::LoneSurrogate)),
            }
        }
        0xDC00..=0xDFFF => (end, Some(FaultKind::LoneSurrogate)),
        _ => (end, None),
    }
}

fn hex_unit(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..at + 4)?.iter().try_fold(0, |unit, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(unit << 4 | digit)
    })
}

fn number_end(text: &[u8], at: usize) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let length = text
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| is_part(byte))
        .count();
    at + length
}

fn number_fault(token: &[u8]) -> Option<FaultKind> {
    let has_exponent = token.iter().any(|byte| matches!(byte, b'e' | b'E'));
    if !has_exponent && !token.contains(&b'.') {
        if token.len() <= SAFE_INTEGER_CHARS {
            return None;
        }
        let parsed = std::str::from_utf8(token).ok()?.parse::<i64>();
        let kind = *parsed.err()?.kind();
        let overflow = std::num::IntErrorKind::PosOverflow;
        let underflow = std::num::IntErrorKind::NegOverflow;
        return (kind == overflow || kind == underflow).then_some(FaultKind::IntegerRange);
    }
    if token.len() <= SAFE_DECIMAL_CHARS && !has_exponent {
        return None;
    }
    let number: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    number.is_infinite().then_some(FaultKind::FloatRange)
}

/// A container around the place that a pointer leads to.
enum Frame {
    /// The range of the last key, quotes included, and whether its value has begun.
    Object {
        key: Option<(usize, usize)>,
    },
    Array {
        index: usize,
    },
}

/// The pointer to the token at `end`; everything before it has no fault.
fn pointer_to(text: &[u8], end: usize) -> String {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < end {
        let start = at;
        at += 1;
        match (text[start], frames.last_mut()) {
            (b'{', _) => frames.push(Frame::Object { key: None }),
            (b'[', _) => frames.push(Frame::Array { index: 0 }),
            (b'}' | b']', _) => drop(frames.pop()),
            (b',', Some(Frame::Array { index })) => *index += 1,
            (b',', Some(Frame::Object { key })) => *key = None,
            (b'"', frame) => {
                at = scan_string(text, at).0;
                if let Some(Frame::Object { key: key @ None }) = frame {
                    *key = Some((start, at));
                }
            }
            _ => {}
        }
    }
    let mut pointer = String::new();
    for frame in &frames {
        match frame {
            Frame::Object { key: None } => {}
            Frame::Object {
                key: Some((start, end)),
            } => {
                pointer.push('/');
                pointer.push_str(&escaped(&decoded(&text[*start..*end])));
            }
            Frame::Array { index } => {
                let _ = write!(pointer, "/{index}");
            }
        }
    }
    cut(pointer)
}

/// One part of a JSON pointer as RFC 6901 escapes it.
pub fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn decoded(quoted: &[u8]) -> String {
    serde_json::from_slice(quoted).unwrap_or_else(|_| String::from_utf8_lossy(quoted).into_owned())
}

fn cut(mut pointer: String) -> String {
    if let Some((index, _)) = pointer.char_indices().nth(POINTER_CHARS_MAX) {
        pointer.truncate(index);
        pointer.push('…');
    }
    pointer
}

/// The same text for values that mean the same: keys sorted, no white space, a number without a
/// fraction as an integer.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let mut separator = '{';
            for (key, value) in entries {
                text.push(separator);
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                write_canonical(value, text);
                separator = ',';
            }
            text.push_str(if separator == '{' { "{}" } else { "}" });
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Number(number) => match integral(number) {
            Some(integer) => {
                let _ = write!(text, "{integer}");
            }
            None => {
                let _ = write!(text, "{number}");
            }
        },
        Value::Null | Value::Bool(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

/// A number that was written with a fraction or an exponent but has none, within `i64`.
fn integral(number: &serde_json::Number) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let float = number.as_f64().filter(|_| number.is_f64())?;
    let fits = float.fract() == 0.0 && (-LIMIT..LIMIT).contains(&float);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the range, as just seen"
    )]
    fits.then_some(float as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn fault(text: &str) -> (FaultKind, String) {
        let fault = check(text.as_bytes(), Limits::default()).expect_err(text);
        (fault.kind, fault.pointer)
    }

    #[test]
    fn each_kind_of_fault_is_found_at_its_place() {
        use FaultKind::{FloatRange, IntegerRange, LoneSurrogate, Nul};
        for (text, kind, pointer) in [
            (r#"{"a":{"b":["x","\u0000"]}}"#, Nul, "/a/b/1"),
            ("{\"a\":\"x\0\"}", Nul, "/a"),
            (r#"{"a":1,"b":"\ud800"}"#, LoneSurrogate, "/b"),
            (r#"["\udc00\ud800"]"#, LoneSurrogate, "/0"),
            (r#"["\ud800\ud800"]"#, LoneSurrogate, "/0"),
            (r#"{"a/b~c":[0,9223372036854775808]}"#, IntegerRange, "/a~1b~0c/1"),
            ("-9223372036854775809", IntegerRange, ""),
            (r#"{"x":[[],{},1e400]}"#, FloatRange, "/x/2"),
            ("[-1.5E999]", FloatRange, "/0"),
            (r#"{"a":{"k\u0000":1}}"#, Nul, "/a"),
            (r#"{"\u00e4":"\u0000"}"#, Nul, "/ä"),
        ] {
            assert_eq!(fault(text), (kind, pointer.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_sound_passes() {
        for text in [
            r#"{"a":"\ud83d\ude00 \\u0000 \" ","b":[9223372036854775807,-9223372036854775808]}"#,
            "[1.7976931348623157e308, 1e-999, -0, 0.1]",
            "",
            "null",
        ] {
            assert_eq!(check(text.as_bytes(), Limits::default()), Ok(()), "{text}");
        }
    }

    #[test]
    fn nesting_is_allowed_up_to_the_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(128).as_bytes(), Limits::default()), Ok(()));
        assert_eq!(fault(&nested(129)).0, FaultKind::TooDeep);
        assert_eq!(fault(&nested(10_000)).1, cut("/0".repeat(128)));
        let siblings = format!("[{}]", ["[]"; 500].join(","));
        assert_eq!(check(siblings.as_bytes(), Limits::default()), Ok(()));
    }

    #[test]
    fn a_long_pointer_is_cut_and_says_so() {
        let text = format!("{{\"{}\":\"\\u0000\"}}", "ä".repeat(1_000));
        let (_, pointer) = fault(&text);
        assert_eq!(pointer.chars().count(), POINTER_CHARS_MAX + 1);
        assert!(pointer.ends_with('…'));
    }

    #[test]
    fn the_canonical_form_ignores_order_and_notation() {
        let one = json!({"b": [1.0, 2.5, -0.0], "a": {"y": null, "x": "ä\"\n"}});
        assert_eq!(canonical(&one), r#"{"a":{"x":"ä\"\n","y":null},"b":[1,2.5,0]}"#);
        assert_eq!(canonical(&json!([{}, [], 1e300])), "[{},[],1e+300]");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Dyadic, so that reading them back is exact with any parser.
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
            "[^\u{0}]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map("[^\u{0}]{0,8}", inner, 0..8)
                    .prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes, Limits::default());
        }

        #[test]
        fn any_json_like_text_is_answered(text in r#"([\[\]{},:"]|\\|\\u|d8|00|-|1e9|[0-9a-f])*"#) {
            let _ = check(text.as_bytes(), Limits { depth_max: 3 });
        }

        #[test]
        fn a_value_without_faults_passes(value in any_value()) {
            prop_assert_eq!(check(value.to_string().as_bytes(), Limits::default()), Ok(()));
        }

        #[test]
        fn a_fault_behind_any_value_is_pointed_at(value in any_value(), key in "[^\u{0}]{0,8}") {
            let whole = json!([value, {"k": {key: [u64::MAX]}}]);
            let found = check(whole.to_string().as_bytes(), Limits::default());
            let fault = found.expect_err("a number beyond i64");
            prop_assert_eq!(fault.kind, FaultKind::IntegerRange);
            prop_assert_eq!(whole.pointer(&fault.pointer), Some(&json!(u64::MAX)));
        }

        #[test]
        fn the_canonical_form_reads_back_as_the_same(value in any_value()) {
            let text = canonical(&value);
            let again: Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(canonical(&again), text);
        }
    }
}
