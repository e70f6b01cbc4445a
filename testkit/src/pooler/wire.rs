//! Messages of Postgres' protocol (version 3.0, chapter "Frontend/Backend Protocol" of its manual).

use std::io;
use std::ops::Range;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// The version of the protocol, as a startup message has it.
pub(super) const PROTOCOL: u32 = 3 << 16;
/// What a client sends in its place to ask for TLS, for encryption by GSSAPI, or to cancel a statement.
pub(super) const TLS_REQUEST: u32 = 80_877_103;
pub(super) const GSS_REQUEST: u32 = 80_877_104;
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;
/// The byte of the type and the four of the length, with which messages begin.
pub(super) const HEADER: usize = 5;

/// The messages that come over a connection, each with its header.
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

    /// The next message. May be cancelled.
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

/// The length of a message, itself included.
pub(super) fn length(body: usize) -> [u8; 4] {
    u32::try_from(body + 4).expect("a short message").to_be_bytes()
}

/// Where a message of a client names a prepared statement, if it does.
pub(super) fn statement_named_in(message: &[u8]) -> Option<Range<usize>> {
    let end = |start: usize| Some(start + message.get(start..)?.iter().position(|byte| *byte == 0)?);
    let start = match message[0] {
        b'P' => HEADER,
        // after the name of the portal
        b'B' => end(HEADER)? + 1,
        b'D' | b'C' if message.get(HEADER) == Some(&b'S') => HEADER + 1,
        _ => return None,
    };
    Some(start..end(start)?).filter(|name| !name.is_empty())
}

/// The message with another name in that place.
pub(super) fn renamed(message: &[u8], at: Range<usize>, name: &str) -> Vec<u8> {
    let body = [&message[HEADER..at.start], name.as_bytes(), &message[at.end..]].concat();
    [&message[..1], &length(body.len()), &body].concat()
}
