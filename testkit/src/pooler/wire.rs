//! Messages of the Postgres protocol (version 3.0, chapter "Frontend/Backend Protocol" of the manual).

use std::io;
use std::ops::Range;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// The protocol version in a startup message.
pub(super) const PROTOCOL: u32 = 3 << 16;
/// Request codes in place of the version: TLS, GSSAPI encryption, cancel.
pub(super) const TLS_REQUEST: u32 = 80_877_103;
pub(super) const GSS_REQUEST: u32 = 80_877_104;
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;
/// Length of a message header: one byte of type, four of length.
pub(super) const HEADER: usize = 5;

/// A stream of messages, each with its header.
#[derive(Debug)]
pub(super) struct Messages {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Messages {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads the next message. Cancellation-safe.
    pub(super) async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.buffer.get(1..HEADER) {
                let length = 1 + length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                if self.buffer.len() >= length {
                    return Ok(self.buffer.drain(..length).collect());
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Encodes the length of a message, which includes the length field.
pub(super) fn length(body: usize) -> [u8; 4] {
    u32::try_from(body + 4).expect("a short message").to_be_bytes()
}

/// Returns the position of a prepared statement's name in a client's message; `None` without one.
pub(super) fn statement_named_in(message: &[u8]) -> Option<Range<usize>> {
    let end = |start: usize| Some(start + message.get(start..)?.iter().position(|byte| *byte == 0)?);
    let start = match message[0] {
        b'P' => HEADER,
        // the name of the portal comes first
        b'B' => end(HEADER)? + 1,
        b'D' | b'C' if message.get(HEADER) == Some(&b'S') => HEADER + 1,
        _ => return None,
    };
    Some(start..end(start)?).filter(|name| !name.is_empty())
}

/// Returns the message with the name at `at` replaced.
pub(super) fn renamed(message: &[u8], at: Range<usize>, name: &str) -> Vec<u8> {
    let body = [&message[HEADER..at.start], name.as_bytes(), &message[at.end..]].concat();
    [&message[..1], &length(body.len()), &body].concat()
}
