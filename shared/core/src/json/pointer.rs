//! JSON pointers (RFC 6901) to places of a text.

use std::fmt::Write as _;

use super::scan::scan_string;

/// The maximum length of a pointer, in characters.
pub(super) const POINTER_CHARS_MAX: usize = 256;

/// A container around the place that a pointer leads to.
enum Frame {
    /// The range of the last key, quotes included, once it was read.
    Object {
        key: Option<(usize, usize)>,
    },
    Array {
        index: usize,
    },
}

/// Returns the pointers to the tokens at `places`, which are in ascending order. They are correct only if the
/// text before them is JSON.
pub(super) fn pointers(text: &[u8], places: &[usize]) -> Vec<String> {
    let mut pointers = Vec::with_capacity(places.len());
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    // one pass over the text for all places
    for &place in places {
        while at < place {
            at = step(text, at, &mut frames);
        }
        pointers.push(pointer(text, &frames));
    }
    pointers
}

/// Advances past the token at `start`; returns the index behind it.
fn step(text: &[u8], start: usize, frames: &mut Vec<Frame>) -> usize {
    let at = start + 1;
    match (text[start], frames.last_mut()) {
        (b'{', _) => frames.push(Frame::Object { key: None }),
        (b'[', _) => frames.push(Frame::Array { index: 0 }),
        (b'}' | b']', _) => drop(frames.pop()),
        (b',', Some(Frame::Array { index })) => *index += 1,
        (b',', Some(Frame::Object { key })) => *key = None,
        (b'"', frame) => {
            let end = scan_string(text, at).0;
            // a string in an object whose key is not known yet is that key; the comma resets it
            if let Some(Frame::Object { key: key @ None }) = frame {
                *key = Some((start, end));
            }
            return end;
        }
        _ => {}
    }
    at
}

fn pointer(text: &[u8], frames: &[Frame]) -> String {
    let mut pointer = String::new();
    for frame in frames {
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

/// Escapes one part of a JSON pointer as RFC 6901 says.
pub fn escaped(key: &str) -> String {
    // `~` first, so that the `~` of `~1` is not escaped again
    key.replace('~', "~0").replace('/', "~1")
}

fn decoded(quoted: &[u8]) -> String {
    serde_json::from_slice(quoted).unwrap_or_else(|_| String::from_utf8_lossy(quoted).into_owned())
}

pub(super) fn cut(mut pointer: String) -> String {
    if let Some((index, _)) = pointer.char_indices().nth(POINTER_CHARS_MAX) {
        pointer.truncate(index);
        pointer.push('…');
    }
    pointer
}
