//! The decoding of compressed bodies, piece by piece, each counted against the memory budget.
//!
//! The formats of gzip and zlib need 32,768 bytes beside the body. `zstd` and `brotli` are not supported:
//! with them the sender chooses windows of many megabytes, which no budget counts.

use std::io::{self, Write};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use crate::error::ApiError;
use crate::http::budget::{MemoryBudget, Reservation};

/// The encodings that are decoded, as a header `Accept-Encoding` lists them.
const ENCODINGS: &str = "gzip, deflate";
/// The number of compressed bytes that are decoded at once; they may expand a thousandfold.
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
            let text = value.to_str().map_err(|_| unsupported())?;
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let named = match name.to_ascii_lowercase().as_str() {
                    "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => return Err(unsupported()),
                };
                // two encodings would be nested
                if encoding.replace(named).is_some() {
                    return Err(unsupported());
                }
            }
        }
        Ok(encoding)
    }
}

fn unsupported() -> ApiError {
    ApiError::UnsupportedEncoding(ENCODINGS)
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
    budget: &'a MemoryBudget,
    /// The error that ended the decoding.
    rejection: Option<ApiError>,
}

impl Write for Decoded<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let taken = if self.bytes.len() + piece.len() > self.limit {
            Err(ApiError::BodyTooLarge(self.limit))
        } else {
            self.held.grow(self.budget, piece.len())
        };
        if let Err(rejection) = taken {
            // the decoder only passes an I/O error on; `rejected` replaces it with this one
            self.rejection = Some(rejection);
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
    pub(super) fn new(encoding: Encoding, limit: usize, held: Reservation, budget: &'a MemoryBudget) -> Self {
        let decoded = Decoded {
            bytes: Vec::new(),
            limit,
            held,
            budget,
            rejection: None,
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
        result.map_err(|_| self.rejected())
    }

    /// Finishes the body and returns it with its reservation.
    pub(super) fn finish(mut self) -> Result<(Bytes, Reservation), ApiError> {
        // first `try_finish`, since `finish` consumes the decoder and with it the error kept for `rejected`
        let result = match &mut self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
        };
        result.map_err(|_| self.rejected())?;
        let decoded = match self {
            Self::Gzip(decoder) => decoder.finish(),
            Self::Deflate(decoder) => decoder.finish(),
        };
        let decoded =
            decoded.map_err(|_| ApiError::Malformed("The compressed body is corrupt.".to_owned()))?;
        Ok((decoded.bytes.into(), decoded.held))
    }

    fn rejected(&mut self) -> ApiError {
        let (decoded, name) = match self {
            Self::Gzip(decoder) => (decoder.get_mut(), "gzip"),
            Self::Deflate(decoder) => (decoder.get_mut(), "deflate (zlib)"),
        };
        let damaged = || ApiError::Malformed(format!("The body is not complete {name} data."));
        decoded.rejection.take().unwrap_or_else(damaged)
    }
}
