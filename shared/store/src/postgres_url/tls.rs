//! The TLS options of a Postgres URL, and the files that they name.

use std::path::Path;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use sqlx::postgres::PgSslMode;

use super::Reading;
use tasker_platform::tls;

/// The TLS options of a URL. Those it leaves out are read from the variables of libpq.
#[derive(Default)]
pub(super) struct Tls {
    pub(super) mode: Option<String>,
    pub(super) root: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

impl Reading<'_> {
    /// Validates the TLS options and the files that they name. Returns the mode to use; `None` if it is
    /// invalid.
    pub(super) fn tls(&mut self, tls: &Tls) -> Option<PgSslMode> {
        let own_root = tls.root.is_some();
        let (mode, mode_at) = self.or_variable(tls.mode.clone(), "PGSSLMODE");
        let (root, root_at) = self.or_variable(tls.root.clone(), "PGSSLROOTCERT");
        let (certificate, certificate_at) = self.or_variable(tls.certificate.clone(), "PGSSLCERT");
        let (key, key_at) = self.or_variable(tls.key.clone(), "PGSSLKEY");
        let valid_mode = self.mode(mode.as_deref(), mode_at);
        if let Some(root) = &root {
            self.root(root, root_at);
        }
        match (&certificate, &key) {
            (Some(_), None) => self.error_at(certificate_at, "`sslcert` is set, but `sslkey` is not"),
            (None, Some(_)) => self.error_at(key_at, "`sslkey` is set, but `sslcert` is not"),
            _ => {}
        }
        if let Some(certificate) = &certificate {
            self.file(
                "sslcert",
                certificate,
                certificate_at,
                "certificate",
                is_certificate,
            );
        }
        if let Some(key) = &key {
            self.file("sslkey", key, key_at, "unencrypted private key", is_key);
        }
        let mode = valid_mode?;
        match mode {
            // as in libpq: with a root certificate, `require` verifies against it
            PgSslMode::Require if root.is_some() => Some(PgSslMode::VerifyCa),
            PgSslMode::Disable | PgSslMode::Prefer if own_root => {
                self.error(
                    "`sslrootcert` is set, but this `sslmode` checks no certificate; use `sslmode=verify-full` or \
                     `sslmode=verify-ca`",
                );
                None
            }
            mode => Some(mode),
        }
    }

    fn mode(&mut self, text: Option<&str>, variable: Option<&'static str>) -> Option<PgSslMode> {
        let Some(text) = text else {
            return Some(PgSslMode::Prefer);
        };
        Some(match text {
            "disable" => PgSslMode::Disable,
            // sqlx never encrypts with `allow`; `prefer` connects to every server that `allow` does
            "allow" | "prefer" => PgSslMode::Prefer,
            "require" => PgSslMode::Require,
            "verify-ca" => PgSslMode::VerifyCa,
            "verify-full" => PgSslMode::VerifyFull,
            _ => {
                self.error_at(
                    variable,
                    "`sslmode` must be one of disable, allow, prefer, require, verify-ca, verify-full",
                );
                return None;
            }
        })
    }

    fn root(&mut self, root: &str, variable: Option<&'static str>) {
        if root == "system" {
            return self.error_at(
                variable,
                "`sslrootcert=system` is not supported; without `sslrootcert`, `sslmode=verify-full` trusts the public \
                 authorities",
            );
        }
        self.file("sslrootcert", root, variable, "certificate", is_certificate);
    }

    /// Validates the file that an option names, or the PEM in the value itself.
    fn file(
        &mut self,
        option: &str,
        value: &str,
        variable: Option<&'static str>,
        kind: &str,
        holds: fn(&str) -> bool,
    ) {
        // a libpq variable may hold the PEM itself, which sqlx accepts; a URL may only name a file
        if value.trim_start().starts_with("-----BEGIN") {
            match variable {
                None => self.error(format!("`{option}` must be the path of a file")),
                Some(_) if !holds(value) => {
                    self.error_at(variable, format!("holds no {kind} in PEM"));
                }
                Some(_) => {}
            }
            return;
        }
        match self.host.read(Path::new(value)) {
            Ok(pem) if holds(&pem) => {}
            Ok(_) => self.error_at(variable, format!("`{option}`: `{value}` holds no {kind} in PEM")),
            Err(error) => self.error_at(variable, format!("`{option}`: `{value}` cannot be read: {error}")),
        }
    }

    /// Returns the value from the URL, else that of a variable with its name.
    fn or_variable(
        &self,
        value: Option<String>,
        name: &'static str,
    ) -> (Option<String>, Option<&'static str>) {
        if value.is_some() {
            return (value, None);
        }
        let value = self
            .host
            .variable(name)
            .and_then(|value| value.into_string().ok());
        let value = value.filter(|value| !value.is_empty());
        (value, Some(name))
    }
}

fn is_certificate(pem: &str) -> bool {
    tls::certificates(pem).is_some()
}

fn is_key(pem: &str) -> bool {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok()
}
