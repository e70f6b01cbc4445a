//! TLS with rustls and the cryptography of ring, which the connections to Postgres use too.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The reason why a certificate and its key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate is not valid PEM.
    #[error("holds no certificate in PEM")]
    Certificate,
    /// The key is not valid PEM.
    #[error("holds no private key in PEM")]
    Key,
    /// The key is of a kind that ring cannot use, or belongs to another certificate.
    #[error("is not the key of the certificate")]
    Mismatch,
}

/// Returns the settings to serve HTTPS with a certificate chain, the server's own first, and its key, both in
/// PEM.
pub fn server(certificates: &str, key: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = self::certificates(certificates).ok_or(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| match error {
            rustls::Error::InvalidCertificate(_) => TlsError::Certificate,
            _ => TlsError::Mismatch,
        })?;
    // the server speaks HTTP/1.1 only
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the certificates in a PEM text; `None` if there are none or one is invalid.
pub fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}

/// Makes ring the default provider of the process, unless one is set. Libraries that bring no provider of
/// their own use the default one.
pub fn choose_provider() {
    // fails if a provider is set already, which then stays
    let _ = ring::default_provider().install_default();
}

/// Returns the builder of an HTTP client whose TLS uses ring; without a default provider, building one
/// panics.
pub fn http_client() -> reqwest::ClientBuilder {
    choose_provider();
    #[expect(clippy::disallowed_methods, reason = "the provider was chosen")]
    reqwest::Client::builder()
}
