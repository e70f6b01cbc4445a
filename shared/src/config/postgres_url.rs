//! URLs of Postgres. Their options are those of libpq; each is applied or refused by name, none is dropped.

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::host::{Host, ProcessHost};
use crate::tls;

const ALLOWED: &str =
    "must be a URL like postgres://user:password@host:5432/database or postgres://user@[::1]/database";
/// The options that are applied, as a message lists them.
const SUPPORTED: &str = "application_name, connect_timeout, dbname, host, hostaddr, options, password, port, sslcert, \
                         sslkey, sslmode, sslrootcert, statement-cache-capacity, target_session_attrs, user";
/// Options that `pg_dump` takes beside those.
const OF_BACKUPS: [&str; 1] = ["passfile"];
/// Options that sqlx reads by itself.
const OF_SQLX: [&str; 9] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "statement-cache-capacity",
    "user",
];
/// Longer than this, a request would wait in vain.
const CONNECT_SECONDS_MAX: u64 = 60;
/// The longest name of an option that a message repeats: a longer one may be a piece of a password.
const NAME_CHARS_MAX: usize = 40;

/// Who connects by a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// The server or a worker.
    Tasker,
    /// `pg_dump`.
    Backup,
}

/// A fault of a URL: the variable of libpq that has it, where it is not the URL, and a message that continues "NAME: ".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) variable: Option<&'static str>,
    pub(super) message: String,
}

/// A URL of Postgres, read.
#[derive(Debug, Clone)]
pub(crate) struct PostgresUrl {
    /// How sqlx connects.
    pub(crate) options: PgConnectOptions,
    /// Whether the URL says what sessions are called.
    pub(crate) names_application: bool,
    /// The time within which a connection must be had.
    pub(crate) connect_timeout: Option<Duration>,
    /// Whether only a Postgres that takes writes may be connected to.
    pub(crate) read_write: bool,
}

impl PostgresUrl {
    /// Reads a URL that was checked before, in the surroundings of this process.
    pub(crate) fn of_process(text: &str) -> Result<Self, String> {
        read(text, Client::Tasker, &ProcessHost).map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|fault| fault.message).collect();
            faults.join("; ")
        })
    }
}

/// Reads a URL; all of its faults at once.
pub(super) fn read(text: &str, client: Client, host: &dyn Host) -> Result<PostgresUrl, Vec<Fault>> {
    let mut reading = Reading {
        client,
        host,
        faults: Vec::new(),
    };
    let found = reading.url(text.trim());
    match found {
        Some(found) if reading.faults.is_empty() => Ok(found),
        _ => Err(reading.faults),
    }
}

struct Reading<'a> {
    client: Client,
    host: &'a dyn Host,
    faults: Vec<Fault>,
}

/// The options about TLS, with the variables of libpq that stand in for those that a URL leaves out.
#[derive(Default)]
struct Tls {
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Reading<'_> {
    fn fault(&mut self, message: impl Into<String>) {
        self.fault_at(None, message);
    }

    fn fault_at(&mut self, variable: Option<&'static str>, message: impl Into<String>) {
        self.faults.push(Fault {
            variable,
            message: message.into(),
        });
    }

    fn url(&mut self, text: &str) -> Option<PostgresUrl> {
        if names_several_hosts(text) {
            self.fault(
                "names several hosts, and Tasker connects to one; name the address (proxy, virtual IP or DNS name) \
                 that leads to the primary",
            );
            return None;
        }
        let Some(mut url) = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        else {
            self.fault(ALLOWED);
            return None;
        };
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        if url.username().is_empty() && url.query().is_some_and(|query| query.contains('@')) {
            self.fault(format!(
                "{ALLOWED}, with `?`, `#`, `/` and `@` of the user and password percent-encoded"
            ));
            return None;
        }
        let (mut tls, mut kept) = (Tls::default(), Vec::new());
        let (mut connect_timeout, mut read_write, mut names_application) = (None, false, false);
        for (name, value) in pairs {
            match name.as_str() {
                "sslmode" | "ssl-mode" => tls.mode = Some(value),
                "sslrootcert" | "ssl-root-cert" | "ssl-ca" => tls.root = Some(value),
                "sslcert" | "ssl-cert" => tls.certificate = Some(value),
                "sslkey" | "ssl-key" => tls.key = Some(value),
                "connect_timeout" => connect_timeout = self.connect_timeout(&value),
                "target_session_attrs" => read_write = self.session(&value),
                "client_encoding" if is_utf8(&value) => {}
                _ if OF_SQLX.contains(&name.as_str()) || name.starts_with("options[") => {
                    names_application |= name == "application_name";
                    // sqlx would look the brackets up as part of a name
                    let value = match name.as_str() {
                        "host" | "hostaddr" => value.trim_matches(['[', ']']).to_owned(),
                        _ => value,
                    };
                    kept.push((name, value));
                }
                _ if self.client == Client::Backup && OF_BACKUPS.contains(&name.as_str()) => {}
                _ => self.fault(unknown_option(&name, SUPPORTED)),
            }
        }
        let mode = self.tls(&tls);
        for (name, value) in [
            ("sslrootcert", tls.root),
            ("sslcert", tls.certificate),
            ("sslkey", tls.key),
        ] {
            kept.extend(value.map(|value| (name.to_owned(), value)));
        }
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(&kept);
        }
        let options = self.sqlx(&url)?;
        Some(PostgresUrl {
            options: match mode {
                Some(mode) => options.ssl_mode(mode),
                None => options,
            },
            names_application,
            connect_timeout,
            read_write,
        })
    }

    fn sqlx(&mut self, url: &Url) -> Option<PgConnectOptions> {
        match PgConnectOptions::from_str(url.as_str()) {
            Ok(options) => {
                // sqlx takes the host as the URL spells it: in brackets, or percent-encoded
                let host = percent_decode_str(options.get_host()).decode_utf8_lossy();
                let host = host.trim_matches(['[', ']']).to_owned();
                Some(options.host(&host))
            }
            Err(_) => {
                self.fault(
                    "`hostaddr` must be an IP address, `port` and `statement-cache-capacity` whole numbers, and what \
                     is percent-encoded must be UTF-8",
                );
                None
            }
        }
    }

    fn connect_timeout(&mut self, value: &str) -> Option<Duration> {
        let seconds = value
            .parse()
            .ok()
            .filter(|seconds| (1..=CONNECT_SECONDS_MAX).contains(seconds));
        if seconds.is_none() {
            self.fault(format!(
                "`connect_timeout` must be a number of seconds from 1 to {CONNECT_SECONDS_MAX}"
            ));
        }
        seconds.map(Duration::from_secs)
    }

    /// Whether only a Postgres that takes writes is asked for; the others are of no use.
    fn session(&mut self, value: &str) -> bool {
        match value {
            "any" => false,
            "read-write" | "primary" => true,
            _ => {
                self.fault(
                    "`target_session_attrs` must be read-write, primary or any: Tasker needs a Postgres that takes writes",
                );
                false
            }
        }
    }

    /// Checks the options about TLS, and the files that they name. The mode to use, where one is given.
    fn tls(&mut self, tls: &Tls) -> Option<PgSslMode> {
        let own_root = tls.root.is_some();
        let (mode, mode_at) = self.or_variable(tls.mode.clone(), "PGSSLMODE");
        let (root, root_at) = self.or_variable(tls.root.clone(), "PGSSLROOTCERT");
        let (certificate, certificate_at) = self.or_variable(tls.certificate.clone(), "PGSSLCERT");
        let (key, key_at) = self.or_variable(tls.key.clone(), "PGSSLKEY");
        let sound_mode = self.mode(mode.as_deref(), mode_at);
        if let Some(root) = &root {
            self.root(root, root_at);
        }
        match (&certificate, &key) {
            (Some(_), None) => self.fault_at(certificate_at, "`sslcert` is set, but `sslkey` is not"),
            (None, Some(_)) => self.fault_at(key_at, "`sslkey` is set, but `sslcert` is not"),
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
        let mode = sound_mode?;
        match mode {
            // as in libpq, an authority that is given is used
            PgSslMode::Require if root.is_some() => Some(PgSslMode::VerifyCa),
            PgSslMode::Disable | PgSslMode::Prefer if own_root => {
                self.fault(
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
            // sqlx would never encrypt with `allow`; `prefer` reaches whatever `allow` does
            "allow" | "prefer" => PgSslMode::Prefer,
            "require" => PgSslMode::Require,
            "verify-ca" => PgSslMode::VerifyCa,
            "verify-full" => PgSslMode::VerifyFull,
            _ => {
                self.fault_at(
                    variable,
                    "`sslmode` must be one of disable, allow, prefer, require, verify-ca, verify-full",
                );
                return None;
            }
        })
    }

    fn root(&mut self, root: &str, variable: Option<&'static str>) {
        if root == "system" {
            return self.fault_at(
                variable,
                "`sslrootcert=system` is not supported; without `sslrootcert`, `sslmode=verify-full` trusts the public \
                 authorities",
            );
        }
        self.file("sslrootcert", root, variable, "certificate", is_certificate);
    }

    /// Checks the file that an option names, or the PEM that it holds itself.
    fn file(
        &mut self,
        option: &str,
        value: &str,
        variable: Option<&'static str>,
        kind: &str,
        holds: fn(&str) -> bool,
    ) {
        if value.trim_start().starts_with("-----BEGIN") {
            match variable {
                None => self.fault(format!("`{option}` must be the path of a file")),
                Some(_) if !holds(value) => {
                    self.fault_at(variable, format!("holds no {kind} in PEM"));
                }
                Some(_) => {}
            }
            return;
        }
        match self.host.read(Path::new(value)) {
            Ok(pem) if holds(&pem) => {}
            Ok(_) => self.fault_at(variable, format!("`{option}`: `{value}` holds no {kind} in PEM")),
            Err(error) => self.fault_at(variable, format!("`{option}`: `{value}` cannot be read: {error}")),
        }
    }

    /// The value of a URL, or else that of a variable, with its name.
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

/// Whether this is the encoding that every connection has.
fn is_utf8(encoding: &str) -> bool {
    ["utf8", "utf-8", "unicode", "auto"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(encoding))
}

/// Whether the hosts of a URL, or its options `host`, `hostaddr` or `port`, are several.
pub(super) fn names_several_hosts(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let in_options = url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| matches!(&*name, "host" | "hostaddr" | "port") && value.contains(','));
    in_options || percent_decode_str(hosts).decode_utf8_lossy().contains(',')
}

/// The message about an option of a URL that is not supported, continuing "NAME: ".
pub(super) fn unknown_option(name: &str, supported: &str) -> String {
    // anything else may be a piece of a password
    let is_name = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let option = if is_name && name.len() <= NAME_CHARS_MAX {
        format!("has the option `{name}`, which is not supported")
    } else {
        "has an option that is not supported".to_owned()
    };
    format!("{option}; supported options: {supported}")
}

#[cfg(test)]
mod tests {
    use super::super::host::fake::FakeHost;
    use super::*;

    const BASE: &str = "postgres://me:vR7.qz2Lm@db/t";

    fn faults(url: &str, host: &FakeHost) -> Vec<String> {
        let faults = read(url, Client::Tasker, host).expect_err("faults");
        faults
            .into_iter()
            .map(|fault| match fault.variable {
                Some(variable) => format!("{variable}: {}", fault.message),
                None => fault.message,
            })
            .collect()
    }

    fn mode(url: &str, host: &FakeHost) -> String {
        let url = read(url, Client::Tasker, host).expect("a sound URL");
        format!("{:?}", url.options.get_ssl_mode())
    }

    fn with_authority() -> FakeHost {
        // any text between the marks is a certificate until it is used
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        FakeHost::default().file("/ca.pem", pem).file("/empty.pem", "")
    }

    #[test]
    fn every_mode_of_tls_is_taken_and_an_authority_that_is_given_is_used() {
        let host = with_authority();
        for (options, expected) in [
            ("", "Prefer"),
            ("?sslmode=disable", "Disable"),
            ("?sslmode=allow", "Prefer"),
            ("?sslmode=prefer", "Prefer"),
            ("?sslmode=require", "Require"),
            ("?sslmode=verify-ca", "VerifyCa"),
            ("?sslmode=verify-full", "VerifyFull"),
            ("?sslmode=&sslrootcert=", "Prefer"),
            ("?sslmode=require&sslrootcert=/ca.pem", "VerifyCa"),
            ("?sslmode=verify-ca&sslrootcert=/ca.pem", "VerifyCa"),
            ("?sslrootcert=/ca.pem&sslmode=verify-full", "VerifyFull"),
        ] {
            assert_eq!(mode(&format!("{BASE}{options}"), &host), expected, "{options}");
        }
        for options in [
            "?sslrootcert=/ca.pem",
            "?sslmode=disable&sslrootcert=/ca.pem",
            "?sslmode=allow&sslrootcert=/ca.pem",
            "?sslmode=prefer&sslrootcert=/ca.pem",
        ] {
            let faults = faults(&format!("{BASE}{options}"), &host);
            assert!(faults[0].starts_with("`sslrootcert` is set, but"), "{faults:?}");
        }
    }

    #[test]
    fn faults_of_tls_name_the_option_and_the_file() {
        let host = with_authority();
        for (options, expected) in [
            ("sslmode=bogus", "`sslmode` must be one of disable, allow"),
            ("sslmode=VERIFY-CA", "`sslmode` must be one of"),
            (
                "sslmode=verify-ca&sslrootcert=/gone.pem",
                "`sslrootcert`: `/gone.pem` cannot be read",
            ),
            (
                "sslmode=verify-ca&sslrootcert=/empty.pem",
                "`sslrootcert`: `/empty.pem` holds no certificate",
            ),
            (
                "sslmode=verify-full&sslrootcert=system",
                "`sslrootcert=system` is not supported",
            ),
            ("sslcert=/ca.pem", "`sslcert` is set, but `sslkey` is not"),
            (
                "sslkey=-----BEGIN%20PRIVATE",
                "`sslkey` must be the path of a file",
            ),
        ] {
            let faults = faults(&format!("{BASE}?{options}"), &host);
            assert!(
                faults.iter().any(|fault| fault.contains(expected)),
                "{options}: {faults:?}"
            );
        }
        let both = faults(
            &format!("{BASE}?sslmode=bogus&sslrootcert=/gone.pem&pool=5"),
            &host,
        );
        assert_eq!(both.len(), 3, "{both:?}");
    }

    #[test]
    fn the_variables_of_libpq_count_where_the_url_says_nothing() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let host =
            FakeHost::with(&[("PGSSLMODE", "require"), ("PGSSLROOTCERT", "/ca.pem")]).file("/ca.pem", pem);
        assert_eq!(mode(BASE, &host), "VerifyCa");
        assert_eq!(mode(&format!("{BASE}?sslmode=disable"), &host), "Disable");
        let host = FakeHost::with(&[("PGSSLMODE", "bogus"), ("PGSSLROOTCERT", "/gone.pem")]);
        let faults = faults(BASE, &host);
        assert!(
            faults[0].starts_with("PGSSLMODE: `sslmode` must be"),
            "{faults:?}"
        );
        assert!(
            faults[1].starts_with("PGSSLROOTCERT: `sslrootcert`: `/gone.pem` cannot"),
            "{faults:?}"
        );
    }

    #[test]
    fn options_that_are_not_supported_are_named_with_those_that_are() {
        let host = FakeHost::default();
        for option in [
            "keepalives=1",
            "channel_binding=require",
            "sslcrl=x",
            "gssencmode=disable",
            "pgbouncer=true",
            "schema=other",
            "pool_timeout=3",
            "sslMode=require",
            "client_encoding=latin1",
            "passfile=/x",
            "load_balance_hosts=random",
        ] {
            let name = option.split('=').next().expect("a name");
            let faults = faults(&format!("{BASE}?{option}"), &host);
            assert!(
                faults[0].contains(&format!("the option `{name}`"))
                    && faults[0].contains("target_session_attrs"),
                "{faults:?}"
            );
        }
        assert!(read(&format!("{BASE}?passfile=/x"), Client::Backup, &host).is_ok());
    }

    #[test]
    fn a_password_that_is_not_encoded_is_not_repeated() {
        let host = FakeHost::default();
        for url in [
            "postgres://me:1?hunter2=x@db/t",
            "postgres://me:hunter2#x@db/t",
            "postgres://me:hun/ter2@db/t",
            "postgres://db/t?hunter2!=1",
        ] {
            let faults = faults(url, &host);
            assert!(!faults.iter().any(|fault| fault.contains("ter2")), "{faults:?}");
        }
    }

    #[test]
    fn options_that_sqlx_lacks_are_applied_or_must_be_of_use() {
        let host = FakeHost::default();
        let url = format!(
            "{BASE}?connect_timeout=10&target_session_attrs=read-write&application_name=mine&client_encoding=UTF8"
        );
        let url = read(&url, Client::Tasker, &host).expect("sound");
        assert_eq!(url.connect_timeout, Some(Duration::from_secs(10)));
        assert!(url.read_write && url.names_application);
        assert_eq!(url.options.get_application_name(), Some("mine"));
        let plain = read(BASE, Client::Tasker, &host).expect("sound");
        assert!(!plain.read_write && !plain.names_application && plain.connect_timeout.is_none());
        for (option, expected) in [
            ("connect_timeout=0", "`connect_timeout` must be"),
            ("connect_timeout=-1", "`connect_timeout` must be"),
            ("connect_timeout=5s", "`connect_timeout` must be"),
            ("target_session_attrs=standby", "`target_session_attrs` must be"),
            ("port=many", "`port` and"),
            ("hostaddr=db", "`hostaddr` must be"),
        ] {
            let faults = faults(&format!("{BASE}?{option}"), &host);
            assert!(faults[0].contains(expected), "{option}: {faults:?}");
        }
    }

    #[test]
    fn an_address_of_ipv6_loses_its_brackets_and_a_socket_stays() {
        let host = FakeHost::default();
        for url in [
            "postgres://u@[::1]:5432/db",
            "postgres:///db?host=::1",
            "postgres:///db?host=[::1]",
            "postgres:///db?hostaddr=::1",
        ] {
            let url = read(url, Client::Tasker, &host).expect("sound");
            assert_eq!(url.options.get_host(), "::1");
        }
        for url in [
            "postgres:///db?host=/run/postgresql",
            "postgres://u@%2Frun%2Fpostgresql/db",
        ] {
            let url = read(url, Client::Tasker, &host).expect("sound");
            let socket = url.options.get_socket().expect("a socket");
            assert!(socket.starts_with("/run/postgresql"), "{}", socket.display());
        }
    }

    #[test]
    fn several_hosts_are_refused() {
        let host = FakeHost::default();
        for url in [
            "postgres://me:x@one,two/t",
            "postgres://one:5432,two:5433/t",
            "postgres://me:x@[::1],[::2]/t",
            "postgres:///t?host=one,two",
            "postgres:///t?host=one&port=1,2",
            "postgres://me@one%2Ctwo/t",
        ] {
            let faults = faults(url, &host);
            assert!(faults[0].contains("names several hosts"), "{url}: {faults:?}");
        }
        assert!(read("postgres://me:a,b@one/t", Client::Tasker, &host).is_ok());
    }
}
