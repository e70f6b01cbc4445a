//! Compressed bodies: decoded as they arrive, each decoded piece counted before the next is made.
//!
//! The formats of gzip and zlib need 32,768 bytes beside the body. Those of `zstd` and `brotli` let the sender choose windows of many megabytes, which no
//! budget counts, and so are not taken.

use std::io::{self, Write};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use crate::error::ApiError;
use crate::submit::budget::{MemoryBudget, Reservation};

/// The encodings that are decoded, as a header `Accept-Encoding` lists them.
pub const ENCODINGS: &str = "gzip, deflate";
/// Compressed bytes that are decoded at once: a thousand times as many may come of them.
pub(super) const PIECE_BYTES: usize = 4 * 1024;

/// An encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    /// The format of zlib, as RFC 9110 says.
    Deflate,
}

impl Encoding {
    /// Returns the encoding that the headers name, `None` for a plain body.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut encoding = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let text = value.to_str().map_err(|_| ApiError::UnsupportedEncoding)?;
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let named = match name.to_ascii_lowercase().as_str() {
                    "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => return Err(ApiError::UnsupportedEncoding),
                };
                // two would be one within the other
                if encoding.replace(named).is_some() {
                    return Err(ApiError::UnsupportedEncoding);
                }
            }
        }
        Ok(encoding)
    }
}

/// A body that is being decoded.
pub(super) enum Decoder<'a> {
    Gzip(MultiGzDecoder<Decoded<'a>>),
    Deflate(ZlibDecoder<Decoded<'a>>),
}

/// The decoded bytes, within their limit and their budget.
pub(super) struct Decoded<'a> {
    bytes: Vec<u8>,
    limit: usize,
    held: Reservation,
    room: &'a MemoryBudget,
    /// Why no more is taken.
    refusal: Option<ApiError>,
}

impl Write for Decoded<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let taken = if self.bytes.len() + piece.len() > self.limit {
            Err(ApiError::BodyTooLarge(self.limit))
        } else {
            self.held.grow(self.room, piece.len())
        };
        if let Err(refusal) = taken {
            self.refusal = Some(refusal);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> Decoder<'a> {
    /// Starts to decode a body of up to `limit` decoded bytes.
    pub(super) fn new(encoding: Encoding, limit: usize, held: Reservation, room: &'a MemoryBudget) -> Self {
        let decoded = Decoded {
            bytes: Vec::new(),
            limit,
            held,
            room,
            refusal: None,
        };
        match encoding {
            Encoding::Gzip => Self::Gzip(MultiGzDecoder::new(decoded)),
            Encoding::Deflate => Self::Deflate(ZlibDecoder::new(decoded)),
        }
    }

    /// Decodes a piece of the body.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), ApiError> {
        let result = match self {
            Self::Gzip(decoder) => decoder.write_all(piece),
            Self::Deflate(decoder) => decoder.write_all(piece),
        };
        result.map_err(|_| self.refused())
    }

    /// Ends the body and returns what it holds.
    pub(super) fn finish(mut self) -> Result<(Bytes, Reservation), ApiError> {
        let result = match &mut self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
        };
        result.map_err(|_| self.refused())?;
        let decoded = match self {
            Self::Gzip(decoder) => decoder.finish(),
            Self::Deflate(decoder) => decoder.finish(),
        };
        let decoded =
            decoded.map_err(|_| ApiError::Malformed("The compressed body is damaged.".to_owned()))?;
        Ok((decoded.bytes.into(), decoded.held))
    }

    fn refused(&mut self) -> ApiError {
        let (decoded, name) = match self {
            Self::Gzip(decoder) => (decoder.get_mut(), "gzip"),
            Self::Deflate(decoder) => (decoder.get_mut(), "deflate (zlib)"),
        };
        let damaged = || ApiError::Malformed(format!("The body is not whole {name} data."));
        decoded.refusal.take().unwrap_or_else(damaged)
    }
}
