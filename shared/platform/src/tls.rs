//! TLS with rustls and the cryptography of ring, which the connections to Postgres use too.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};

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
    let mut config = ServerConfig::builder_with_provider(provider())
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

/// Returns the builder of an HTTP client whose TLS uses ring; without a default provider, building one panics.
pub fn http_client() -> reqwest::ClientBuilder {
    choose_provider();
    #[expect(clippy::disallowed_methods, reason = "the provider was chosen")]
    reqwest::Client::builder()
}

/// Returns the settings of a client for loopback, which accepts any certificate: that of the server may be
/// issued for another name.
pub fn loopback_client() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let verifier = AnyCertificate(provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A verifier that accepts every certificate, but still checks the signatures of the handshake.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
