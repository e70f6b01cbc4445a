//! Response bodies in results: text if the body is text, else base64. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mime::Mime;
use schemars::JsonSchema;
use serde::Serialize;

/// The encoding of a body in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BodyEncoding {
    /// As text.
    Text,
    /// As base64 of its bytes.
    Base64,
}

/// A body in its encoding for a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) text: String,
    pub(super) encoding: BodyEncoding,
}

/// Decodes a body by its `Content-Type`. `truncated` is true if its end is missing.
///
/// A byte order mark takes precedence over the `charset`, and an unknown `charset` is ignored. Without
/// either, a body is text if it is UTF-8 without NUL, or if its type is textual: then it is read as
/// Windows-1252, as browsers do.
pub(super) fn read(bytes: &[u8], content_type: Option<&str>, truncated: bool) -> Body {
    let mime: Option<Mime> = content_type.and_then(|text| text.parse().ok());
    let charset = mime
        .as_ref()
        .and_then(|mime| mime.get_param(mime::CHARSET))
        .and_then(|name| Encoding::for_label(name.as_str().as_bytes()));
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let is_textual = mime.as_ref().is_some_and(is_textual);
    let encoding = marked.or(charset).or_else(|| {
        let is_utf8 = is_utf8(bytes, truncated);
        if is_utf8 && (is_textual || !bytes.contains(&0)) {
            Some(UTF_8)
        } else {
            is_textual.then_some(WINDOWS_1252)
        }
    });
    match encoding {
        Some(encoding) => Body {
            text: decode(bytes, encoding, truncated),
            encoding: BodyEncoding::Text,
        },
        None => Body {
            text: STANDARD.encode(bytes),
            encoding: BodyEncoding::Base64,
        },
    }
}

/// Decodes text without the byte order mark, and without a last character that was cut off.
fn decode(bytes: &[u8], encoding: &'static Encoding, truncated: bool) -> String {
    let mut decoder = encoding.new_decoder();
    let capacity = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len());
    let mut text = String::with_capacity(capacity);
    // the result is not needed: the buffer has the maximum length, so one call decodes everything
    let _ = decoder.decode_to_string(bytes, &mut text, !truncated);
    // NUL cannot be stored as text
    text.replace('\0', "\u{fffd}")
}

fn is_utf8(bytes: &[u8], truncated: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => truncated && error.error_len().is_none(),
    }
}

fn is_textual(mime: &Mime) -> bool {
    let subtype = mime.subtype().as_str();
    let is_form = mime.type_() == mime::APPLICATION && subtype == "x-www-form-urlencoded";
    let named = ["json", "xml", "javascript", "yaml"];
    let suffix = mime.suffix().map(|suffix| suffix.as_str());
    mime.type_() == mime::TEXT
        || is_form
        || named.contains(&subtype)
        || suffix.is_some_and(|suffix| named.contains(&suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], content_type: &str) -> String {
        let body = read(bytes, Some(content_type), false);
        assert_eq!(body.encoding, BodyEncoding::Text, "{content_type}");
        body.text
    }

    #[test]
    fn the_charset_of_the_content_type_decides_in_every_spelling() {
        for charset in ["ISO-8859-1", "latin1", "\"windows-1252\""] {
            assert_eq!(
                text(b"caf\xe9", &format!("text/plain; charset={charset}")),
                "café"
            );
        }
        assert_eq!(text("café".as_bytes(), "text/html;charset=UTF-8"), "café");
        assert_eq!(text(b"\x93\xfa\x96\x7b", "text/plain; charset=Shift_JIS"), "日本");
        assert_eq!(text(b"a\0b\0", "text/plain; charset=utf-16le"), "ab");
        assert_eq!(text(b"\xa4", "application/json; charset=iso-8859-15"), "€");
    }

    #[test]
    fn a_byte_order_mark_decides_and_is_left_out() {
        assert_eq!(
            text(b"\xef\xbb\xbfcaf\xc3\xa9", "text/plain; charset=latin1"),
            "café"
        );
        assert_eq!(text(b"\xff\xfea\0b\0", "application/octet-stream"), "ab");
        assert_eq!(text(b"\xfe\xff\0a\0b", "text/plain"), "ab");
    }

    #[test]
    fn a_charset_that_is_not_known_counts_as_none() {
        assert_eq!(text("é".as_bytes(), "text/plain; charset=klingon"), "é");
        assert_eq!(text(b"\xe9", "text/plain; charset=klingon"), "é");
        assert_eq!(text("é".as_bytes(), "text/plain; charset"), "é");
        assert_eq!(read("é".as_bytes(), None, false).text, "é");
    }

    #[test]
    fn what_is_not_text_is_base64() {
        for content_type in [
            Some("image/png"),
            Some("application/octet-stream"),
            None,
            Some("nonsense"),
        ] {
            let body = read(b"\x89PNG\r\n\0", content_type, false);
            let expected = Body {
                text: "iVBORw0KAA==".to_owned(),
                encoding: BodyEncoding::Base64,
            };
            assert_eq!(body, expected, "{content_type:?}");
        }
        assert_eq!(read(b"a\0b", None, false).encoding, BodyEncoding::Base64);
        assert_eq!(text(b"a\0b", "text/plain"), "a\u{fffd}b");
    }

    #[test]
    fn a_character_that_was_cut_off_is_left_out() {
        let cut = &"aé".as_bytes()[..2];
        assert_eq!(read(cut, None, true).text, "a");
        assert_eq!(read(cut, None, false).encoding, BodyEncoding::Base64);
        assert_eq!(
            read(b"a\0b", Some("text/plain; charset=utf-16le"), true).text,
            "a"
        );
    }
}
