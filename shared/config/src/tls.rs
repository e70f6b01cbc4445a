//! Configuration of TLS: the server's certificate, and the CA certificates that verify Redis.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;

use super::reader::Reader;
use tasker_platform::tls::{self, TlsError};

const CERTIFICATE: &str = "TLS_CERT_FILE";
const KEY: &str = "TLS_KEY_FILE";

/// The TLS settings that the server serves HTTPS with.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// Reads `TLS_CERT_FILE` and `TLS_KEY_FILE`; `None` if neither is set.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let certificates = reader.contents(CERTIFICATE);
        let key = reader.contents(KEY);
        // compared as they were set, not as read: an unreadable file has a problem of its own
        match (reader.given(CERTIFICATE), reader.given(KEY)) {
            (Some(_), None) => reader.problem(KEY, format!("is not set while {CERTIFICATE} is")),
            (None, Some(_)) => reader.problem(CERTIFICATE, format!("is not set while {KEY} is")),
            _ => {}
        }
        let (certificates, key) = (certificates?, key?);
        match tls::server(&certificates, &key) {
            Ok(config) => Some(Self(config)),
            Err(error @ TlsError::Certificate) => {
                reader.problem(CERTIFICATE, error.to_string());
                None
            }
            Err(error) => {
                reader.problem(KEY, error.to_string());
                None
            }
        }
    }

    /// Returns the settings for rustls.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// Reads the CA certificates in the file that the variable `name` points to.
pub(super) fn read_authority(reader: &mut Reader<'_>, name: &'static str) -> Option<String> {
    let pem = reader.contents(name)?;
    if tls::certificates(&pem).is_none() {
        reader.problem(name, TlsError::Certificate.to_string());
    }
    Some(pem)
}
