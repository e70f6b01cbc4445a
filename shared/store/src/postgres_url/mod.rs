//! Postgres URLs. Their options are those of libpq; each is applied or rejected by name, none is ignored.

#[cfg(test)]
mod tests;
mod tls;

use std::str::FromStr as _;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use self::tls::Tls;
use tasker_platform::host::{Host, ProcessHost};

const ALLOWED: &str =
    "must be a URL like postgres://user:password@host:5432/database or postgres://user@[::1]/database";
/// The supported options, as listed in messages.
const SUPPORTED: &str = "application_name, connect_timeout, dbname, host, hostaddr, options, password, port, sslcert, \
                         sslkey, sslmode, sslrootcert, statement-cache-capacity, target_session_attrs, user";
/// Options that only `pg_dump` supports.
const OF_BACKUPS: [&str; 1] = ["passfile"];
/// Options that sqlx applies itself.
const OF_SQLX: [&str; 7] = [
    "application_name",
    "dbname",
    "options",
    "password",
    "port",
    "statement-cache-capacity",
    "user",
];
/// Maximum `connect_timeout` in seconds; requests do not wait longer.
const CONNECT_SECONDS_MAX: u64 = 60;
/// Maximum length of an option name that a message repeats: a longer one may be part of a password.
const NAME_CHARS_MAX: usize = 40;

/// The client that connects with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The server or a worker.
    Tasker,
    /// `pg_dump`.
    Backup,
}

/// An error of a URL: the variable of libpq that has it, where it is not the URL, and a message that
/// continues "NAME: ".
#[derive(Debug, PartialEq, Eq)]
pub struct UrlError {
    /// The variable of libpq that has the error, or `None` if the URL has it.
    pub variable: Option<&'static str>,
    /// The message, which continues "NAME: ".
    pub message: String,
}

/// A parsed Postgres URL.
#[derive(Debug, Clone)]
pub struct PostgresUrl {
    /// The connect options for sqlx.
    pub options: PgConnectOptions,
    /// True if the URL sets `application_name`.
    pub names_application: bool,
    /// Maximum time to open a connection; `None` if the URL sets none.
    pub connect_timeout: Option<Duration>,
    /// True if only a Postgres that accepts writes may be connected to.
    pub read_write: bool,
}

impl PostgresUrl {
    /// Parses a URL that was validated before, with the variables and files of this process.
    pub fn of_process(text: &str) -> Result<Self, String> {
        read(text, Client::Tasker, &ProcessHost).map_err(|errors| {
            let errors: Vec<_> = errors.into_iter().map(|error| error.message).collect();
            errors.join("; ")
        })
    }
}

/// Parses a URL; returns all of its errors at once.
pub fn read(text: &str, client: Client, host: &dyn Host) -> Result<PostgresUrl, Vec<UrlError>> {
    let mut reading = Reading {
        client,
        host,
        errors: Vec::new(),
    };
    let found = reading.url(text.trim());
    match found {
        Some(found) if reading.errors.is_empty() => Ok(found),
        _ => Err(reading.errors),
    }
}

struct Reading<'a> {
    client: Client,
    host: &'a dyn Host,
    errors: Vec<UrlError>,
}

/// The options of a URL.
#[derive(Default)]
struct Given {
    tls: Tls,
    connect_timeout: Option<Duration>,
    read_write: bool,
    names_application: bool,
    /// Options that sqlx applies itself.
    of_sqlx: Vec<(String, String)>,
}

impl Reading<'_> {
    fn error(&mut self, message: impl Into<String>) {
        self.error_at(None, message);
    }

    fn error_at(&mut self, variable: Option<&'static str>, message: impl Into<String>) {
        self.errors.push(UrlError {
            variable,
            message: message.into(),
        });
    }

    fn url(&mut self, text: &str) -> Option<PostgresUrl> {
        // before parsing: `Url` rejects a list of hosts with a port each, without saying why
        if names_several_hosts(text) {
            self.error(
                "names several hosts, and Tasker connects to one; name the address (proxy, virtual IP or DNS name) \
                 that leads to the primary",
            );
            return None;
        }
        let Some(mut url) = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        else {
            self.error(ALLOWED);
            return None;
        };
        // an `@` in the query and no user before the host: an unescaped `?` in the password ended the
        // authority
        if url.username().is_empty() && url.query().is_some_and(|query| query.contains('@')) {
            self.error(format!(
                "{ALLOWED}, with `?`, `#`, `/` and `@` of the user and password percent-encoded"
            ));
            return None;
        }
        let given = self.options(&url);
        let mode = self.tls(&given.tls);
        let files = [
            ("sslrootcert", given.tls.root),
            ("sslcert", given.tls.certificate),
            ("sslkey", given.tls.key),
        ];
        // rebuilt from the validated options; `sslmode` is set below, since sqlx never encrypts with `allow`
        url.set_query(None);
        url.query_pairs_mut()
            .extend_pairs(given.of_sqlx)
            .extend_pairs(files.into_iter().filter_map(|(name, path)| Some((name, path?))));
        let options = self.sqlx(&url)?;
        Some(PostgresUrl {
            options: options.ssl_mode(mode.unwrap_or_default()),
            names_application: given.names_application,
            connect_timeout: given.connect_timeout,
            read_write: given.read_write,
        })
    }

    /// Reads the options of a URL. Empty ones count as not set, as in libpq.
    fn options(&mut self, url: &Url) -> Given {
        let mut given = Given::default();
        for (name, value) in url.query_pairs().filter(|(_, value)| !value.is_empty()) {
            let value = value.into_owned();
            match &*name {
                "sslmode" | "ssl-mode" => given.tls.mode = Some(value),
                "sslrootcert" | "ssl-root-cert" | "ssl-ca" => given.tls.root = Some(value),
                "sslcert" | "ssl-cert" => given.tls.certificate = Some(value),
                "sslkey" | "ssl-key" => given.tls.key = Some(value),
                "connect_timeout" => given.connect_timeout = self.connect_timeout(&value),
                "target_session_attrs" => given.read_write = self.session(&value),
                "client_encoding" if is_utf8(&value) => {}
                // sqlx would look the brackets up as part of a name
                "host" | "hostaddr" => {
                    let host = value.trim_matches(['[', ']']).to_owned();
                    given.of_sqlx.push((name.into_owned(), host));
                }
                _ if OF_SQLX.contains(&&*name) || name.starts_with("options[") => {
                    given.names_application |= name == "application_name";
                    given.of_sqlx.push((name.into_owned(), value));
                }
                _ if self.client == Client::Backup && OF_BACKUPS.contains(&&*name) => {}
                _ => self.error(unknown_option(&name, SUPPORTED)),
            }
        }
        given
    }

    fn sqlx(&mut self, url: &Url) -> Option<PgConnectOptions> {
        let Ok(options) = PgConnectOptions::from_str(url.as_str()) else {
            self.error(
                "`hostaddr` must be an IP address, `port` and `statement-cache-capacity` whole numbers, and what is \
                 percent-encoded must be UTF-8",
            );
            return None;
        };
        // sqlx takes the host as the URL spells it: in brackets, or percent-encoded
        let host = percent_decode_str(options.get_host()).decode_utf8_lossy();
        let host = host.trim_matches(['[', ']']).to_owned();
        Some(options.host(&host))
    }

    fn connect_timeout(&mut self, value: &str) -> Option<Duration> {
        let seconds = value
            .parse()
            .ok()
            .filter(|seconds| (1..=CONNECT_SECONDS_MAX).contains(seconds));
        if seconds.is_none() {
            self.error(format!(
                "`connect_timeout` must be a number of seconds from 1 to {CONNECT_SECONDS_MAX}"
            ));
        }
        seconds.map(Duration::from_secs)
    }

    /// Reads `target_session_attrs`: true if only a Postgres that accepts writes is wanted.
    fn session(&mut self, value: &str) -> bool {
        match value {
            "any" => false,
            "read-write" | "primary" => true,
            _ => {
                self.error(
                    "`target_session_attrs` must be read-write, primary or any: Tasker needs a Postgres that accepts writes",
                );
                false
            }
        }
    }
}

/// Returns whether `encoding` is UTF-8, which every connection uses.
fn is_utf8(encoding: &str) -> bool {
    ["utf8", "utf-8", "unicode", "auto"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(encoding))
}

/// Returns whether a URL names several hosts, before its path or in the options `host`, `hostaddr` or `port`.
pub fn names_several_hosts(text: &str) -> bool {
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

/// Returns the message about an unsupported URL option, which continues "NAME: ".
pub fn unknown_option(name: &str, supported: &str) -> String {
    // anything else may be part of a password
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
