//! Finds errors in one pass over the bytes of a JSON text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::num::IntErrorKind;

use super::{JsonErrorKind, Limits};

/// No integer with this number of characters, sign included, is beyond `i64`.
const SAFE_INTEGER_CHARS: usize = 18;
/// No number with this number of characters and without an exponent is beyond `f64`.
const SAFE_DECIMAL_CHARS: usize = 300;
/// Objects with at most this number of keys are compared pair by pair, which is faster than a set.
const FEW_KEYS: usize = 16;

/// Returns up to `max` errors in the order of their places: the start of the token, or the end of a doubled
/// key.
pub(super) fn errors(text: &[u8], limits: Limits, max: usize) -> Vec<(usize, JsonErrorKind)> {
    let mut scan = Scan {
        text,
        limits,
        depth: 0,
        objects: Vec::new(),
        keys: Vec::new(),
        key_is_next: false,
        found: Vec::new(),
    };
    scan.run(max);
    // a doubled key is found only where its object ends
    scan.found.sort_by_key(|(place, _)| *place);
    scan.found.truncate(max);
    scan.found
}

struct Scan<'t> {
    text: &'t [u8],
    limits: Limits,
    depth: usize,
    /// The containers around the current byte: where the keys of an object begin in `keys`, `None` for an
    /// array.
    objects: Vec<Option<usize>>,
    /// The ranges of the keys of all open objects, quotes included.
    keys: Vec<(usize, usize)>,
    key_is_next: bool,
    found: Vec<(usize, JsonErrorKind)>,
}

impl Scan<'_> {
    fn run(&mut self, max: usize) {
        let mut at = 0;
        // not recursive: the depth of the text must not become the depth of the stack
        while let Some(&byte) = self.text.get(at) {
            let start = at;
            at += 1;
            match byte {
                b'"' => {
                    let (end, error) = scan_string(self.text, at);
                    at = end;
                    self.note(start, error);
                    if std::mem::take(&mut self.key_is_next) {
                        self.keys.push((start, end));
                    }
                }
                b'-' | b'0'..=b'9' => {
                    at = number_end(self.text, at);
                    self.note(start, number_error(&self.text[start..at]));
                }
                b'{' | b'[' => {
                    self.depth += 1;
                    if self.depth > self.limits.depth_max {
                        return self.note(start, Some(JsonErrorKind::TooDeep));
                    }
                    self.open(byte == b'{');
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.close();
                }
                b',' => self.key_is_next = matches!(self.objects.last(), Some(Some(_))),
                _ => {}
            }
            if self.found.len() >= max {
                return;
            }
        }
    }

    fn note(&mut self, place: usize, error: Option<JsonErrorKind>) {
        self.found.extend(error.map(|kind| (place, kind)));
    }

    fn open(&mut self, object: bool) {
        if self.limits.unique_keys {
            self.objects.push(object.then_some(self.keys.len()));
            self.key_is_next = object;
        }
    }

    fn close(&mut self) {
        self.key_is_next = false;
        if let Some(Some(from)) = self.objects.pop() {
            let doubled = doubled_key(self.text, &self.keys[from..]);
            self.found
                .extend(doubled.map(|end| (end, JsonErrorKind::DoubledKey)));
            self.keys.truncate(from);
        }
    }
}

/// Returns the end of the first key that was there before.
fn doubled_key(text: &[u8], keys: &[(usize, usize)]) -> Option<usize> {
    if keys.len() < 2 {
        return None;
    }
    let raw = |(start, end): (usize, usize)| &text[start..end];
    // escaped keys must be decoded before they are compared; plain ones are compared as they stand
    let written_plainly = keys.iter().all(|key| !raw(*key).contains(&b'\\'));
    if written_plainly && keys.len() <= FEW_KEYS {
        let mut pairs = keys.iter().enumerate();
        let doubled = pairs.find(|(index, key)| keys[..*index].iter().any(|other| raw(*other) == raw(**key)));
        return doubled.map(|(_, (_, end))| *end);
    }
    let mut seen = HashSet::with_capacity(keys.len());
    let doubled = keys.iter().find(|key| !seen.insert(decoded(raw(**key))));
    doubled.map(|(_, end)| *end)
}

/// Returns the key without its escapes: `"a"` and `"\u0061"` are one key.
fn decoded(quoted: &[u8]) -> Cow<'_, [u8]> {
    if quoted.contains(&b'\\')
        && let Ok(text) = serde_json::from_slice::<String>(quoted)
    {
        return Cow::Owned(format!("\"{text}\"").into_bytes());
    }
    Cow::Borrowed(quoted)
}

/// Scans a string from behind the opening quote; returns the index behind the closing one and the first
/// error.
pub(super) fn scan_string(text: &[u8], mut at: usize) -> (usize, Option<JsonErrorKind>) {
    let mut error = None;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            0 => error = error.or(Some(JsonErrorKind::Nul)),
            b'\\' if text.get(at) == Some(&b'u') => {
                let (end, found) = scan_escape(text, at + 1);
                at = end;
                error = error.or(found);
            }
            b'\\' => at += 1,
            _ => {}
        }
    }
    (at.min(text.len()), error)
}

/// Checks `\uXXXX` from behind its `u`; returns the index behind it, or behind its surrogate pair.
fn scan_escape(text: &[u8], at: usize) -> (usize, Option<JsonErrorKind>) {
    let Some(unit) = hex_unit(text, at) else {
        return (at, None);
    };
    let end = at + 4;
    match unit {
        0 => (end, Some(JsonErrorKind::Nul)),
        0xD800..=0xDBFF => {
            let pair = text.get(end..end + 2) == Some(b"\\u");
            match hex_unit(text, end + 2).filter(|_| pair) {
                Some(0xDC00..=0xDFFF) => (end + 6, None),
                _ => (end, Some(JsonErrorKind::LoneSurrogate)),
            }
        }
        0xDC00..=0xDFFF => (end, Some(JsonErrorKind::LoneSurrogate)),
        _ => (end, None),
    }
}

fn hex_unit(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..at + 4)?.iter().try_fold(0, |unit, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(unit << 4 | digit)
    })
}

/// Returns the index behind the number whose first byte is before `at`.
pub(super) fn number_end(text: &[u8], at: usize) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let length = text
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| is_part(byte))
        .count();
    at + length
}

fn number_error(token: &[u8]) -> Option<JsonErrorKind> {
    let has_exponent = token.iter().any(|byte| matches!(byte, b'e' | b'E'));
    if !has_exponent && !token.contains(&b'.') {
        if token.len() <= SAFE_INTEGER_CHARS {
            return None;
        }
        let text = std::str::from_utf8(token).ok()?;
        let kind = match text.parse::<i64>().err()?.kind() {
            // beyond `i64`, but serde_json also reads `u64` exactly
            IntErrorKind::PosOverflow => *text.parse::<u64>().err()?.kind(),
            kind => *kind,
        };
        let overflows = matches!(kind, IntErrorKind::PosOverflow | IntErrorKind::NegOverflow);
        return overflows.then_some(JsonErrorKind::IntegerRange);
    }
    if token.len() <= SAFE_DECIMAL_CHARS && !has_exponent {
        return None;
    }
    let number: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    number.is_infinite().then_some(JsonErrorKind::FloatRange)
}
