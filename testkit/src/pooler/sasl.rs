//! Password authentication with SCRAM-SHA-256 (RFC 5802 and 7677), the default of Postgres.

use std::io;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

/// Authentication requests: Ok, SASL, SASLContinue, SASLFinal.
const OK: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// The state of one SCRAM exchange.
pub(super) struct Login {
    scram: ScramSha256,
}

impl Login {
    pub(super) fn new(password: &str) -> Self {
        let scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        Self { scram }
    }

    /// Returns the response to an authentication request without its header; `None` if it needs no response.
    pub(super) fn answer(&mut self, request: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let (kind, data) = request.split_at_checked(4).unwrap_or((&[], &[]));
        match kind.iter().fold(0_u32, |kind, byte| kind << 8 | u32::from(*byte)) {
            OK => Ok(None),
            SASL => {
                let first = self.scram.message();
                let mut answer = b"SCRAM-SHA-256\0".to_vec();
                answer.extend(
                    u32::try_from(first.len())
                        .map_err(io::Error::other)?
                        .to_be_bytes(),
                );
                answer.extend(first);
                message(&answer).map(Some)
            }
            SASL_CONTINUE => {
                self.scram.update(data)?;
                message(self.scram.message()).map(Some)
            }
            SASL_FINAL => self.scram.finish(data).map(|()| None),
            other => Err(io::Error::other(format!(
                "the pooler cannot authenticate by method {other}"
            ))),
        }
    }
}

fn message(data: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(data.len() + 4).map_err(io::Error::other)?;
    Ok([&b"p"[..], &length.to_be_bytes(), data].concat())
}
