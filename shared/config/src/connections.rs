//! Configuration of the connections to Postgres and Redis.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use redis::IntoConnectionInfo as _;
use secrecy::{ExposeSecret, SecretString};
use tasker_queue::{DispatchMode, RedisConfig};
use tasker_store::DatabaseConfig;
use tasker_store::postgres_url::{Client, names_several_hosts, unknown_option};
use url::Url;

use super::environment::Environment;
use super::reader::Reader;
use super::secrets::is_sample;
use super::tls::read_authority;

/// Maximum of `DB_POOL_SIZE`, far more connections than one process needs.
const POOL_SIZE_MAX: u32 = 1_000;
/// Range of `DB_POOL_IDLE` and `DB_POOL_LIFETIME`: less would open connections all the time, and no
/// connection needs more.
const POOL_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// Maximum length of `QUEUE_KEY_PREFIX`, which keeps Redis keys short.
const KEY_PREFIX_CHARS_MAX: usize = 128;

/// Reads the connection to Postgres.
pub(super) fn read_database(reader: &mut Reader<'_>, environment: Environment) -> DatabaseConfig {
    let url = ["DATABASE_URL", "POSTGRES_URL"].into_iter().find_map(|name| {
        let url = reader.secret(name)?;
        reject_sample(reader, environment, name, password_in(&url).as_ref());
        reader.check_postgres_url((name, url.expose_secret()), Client::Tasker, None);
        if password_in(&url).is_some() {
            return Some(url.expose_secret().trim().into());
        }
        let password = postgres_password(reader, environment);
        Some(postgres_url(url.expose_secret().trim(), password.as_ref()))
    });
    let url = url
        .or_else(|| url_from_parts(reader, environment))
        .unwrap_or_else(|| {
            reader.problem(
                "DATABASE_URL",
                "is not set; set it, or POSTGRES_URL, or POSTGRES_HOST with POSTGRES_PORT, \
             POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB",
            );
            SecretString::default()
        });
    DatabaseConfig {
        url,
        pool_size: reader.number("DB_POOL_SIZE", 1..=POOL_SIZE_MAX),
        pool_idle: reader.duration("DB_POOL_IDLE", POOL_TIMES),
        pool_lifetime: reader.duration("DB_POOL_LIFETIME", POOL_TIMES),
    }
}

fn postgres_password(reader: &mut Reader<'_>, environment: Environment) -> Option<SecretString> {
    let password = reader.secret("POSTGRES_PASSWORD");
    reject_sample(reader, environment, "POSTGRES_PASSWORD", password.as_ref());
    password
}

/// Returns the URL, which has no password, with `password` added.
fn postgres_url(text: &str, password: Option<&SecretString>) -> SecretString {
    let (Some(password), Ok(mut url)) = (password, Url::parse(text)) else {
        return text.into();
    };
    let encoded = percent_encoded(password.expose_secret());
    // a URL whose host is a socket in its options has no authority that a password could stand in
    if url.set_password(Some(&encoded)).is_err() {
        let options = url
            .query()
            .map_or_else(String::new, |options| format!("{options}&"));
        url.set_query(Some(&format!("{options}password={encoded}")));
    }
    url.to_string().into()
}

fn url_from_parts(reader: &mut Reader<'_>, environment: Environment) -> Option<SecretString> {
    let host = reader.given("POSTGRES_HOST")?;
    let port: u16 = reader.number("POSTGRES_PORT", 1..=u16::MAX);
    let user = reader.text("POSTGRES_USER").unwrap_or_default();
    let password = postgres_password(reader, environment);
    let database = reader.text("POSTGRES_DB").unwrap_or_else(|| user.clone());
    let mut url = format!("postgres://{}", percent_encoded(&user));
    if let Some(password) = password {
        url.push(':');
        url.push_str(&percent_encoded(password.expose_secret()));
    }
    // an IPv6 address keeps its colons within brackets; a socket folder is percent-encoded as a whole
    let host = match host.trim_matches(['[', ']']) {
        address if address.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{address}]"),
        name => percent_encoded(name),
    };
    let _ = write!(url, "@{host}:{port}/{}", percent_encoded(&database));
    // an encoded comma, which the check below would only report as an invalid name
    if host.contains("%2C") {
        reader.problem("POSTGRES_HOST", "names several hosts, and Tasker connects to one");
    } else {
        let allowed = "must be the name or address of a machine, or the folder of a socket";
        reader.check_postgres_url(("POSTGRES_HOST", &url), Client::Tasker, Some(allowed));
    }
    Some(url.into())
}

/// Reads the connection to Redis.
pub(super) fn read_redis(
    reader: &mut Reader<'_>,
    environment: Environment,
    mode: DispatchMode,
) -> RedisConfig {
    let text = reader.secret("REDIS_URL").unwrap_or_default();
    let password = reader.secret("REDIS_PASSWORD");
    // with PollingOnly the password is not used, so any value is accepted
    if mode.uses_redis() {
        reject_sample(reader, environment, "REDIS_URL", password_in(&text).as_ref());
        reject_sample(reader, environment, "REDIS_PASSWORD", password.as_ref());
    }
    let url = match redis_url(text.expose_secret().trim(), password.as_ref()) {
        Ok(url) => url,
        Err(message) => {
            reader.problem("REDIS_URL", message);
            SecretString::default()
        }
    };
    let key_prefix = reader.parse("QUEUE_KEY_PREFIX", |text| {
        let valid = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        if valid && text.chars().count() <= KEY_PREFIX_CHARS_MAX {
            return Ok(text.to_owned());
        }
        Err(format!(
            "must be at most {KEY_PREFIX_CHARS_MAX} characters without white space"
        ))
    });
    let authority = read_authority(reader, "REDIS_CA_FILE");
    let plain = url.expose_secret().starts_with("redis:");
    if authority.is_some() && plain {
        reader.problem("REDIS_CA_FILE", "is set, but REDIS_URL is not rediss://");
    }
    RedisConfig {
        url,
        authority,
        key_prefix: key_prefix.unwrap_or_default(),
    }
}

/// Returns the validated URL, with `password` added if it has none.
fn redis_url(text: &str, password: Option<&SecretString>) -> Result<SecretString, String> {
    const ALLOWED: &str = "must be a URL like redis://host:6379 or rediss://host:6379/0";
    if names_several_hosts(text) {
        return Err(
            "names several hosts, and Tasker connects to one; Redis Cluster and Sentinel are not supported"
                .to_owned(),
        );
    }
    let mut url = Url::parse(text).map_err(|_| ALLOWED)?;
    let database = url.path().trim_start_matches('/');
    let database_is_valid = database.is_empty() || database.parse::<u16>().is_ok();
    if !matches!(url.scheme(), "redis" | "rediss") || url.host().is_none() || !database_is_valid {
        return Err(ALLOWED.to_owned());
    }
    if url.fragment().is_some() {
        return Err(
            "has a `#` part, which is not supported; a private authority goes into REDIS_CA_FILE".to_owned(),
        );
    }
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("protocol", "2" | "3" | "resp2" | "resp3") => {}
            ("protocol", _) => return Err("`protocol` must be 2 or 3".to_owned()),
            _ => return Err(unknown_option(&name, "protocol")),
        }
    }
    if let (Some(password), None) = (password, url.password()) {
        let encoded = percent_encoded(password.expose_secret());
        url.set_password(Some(&encoded)).map_err(|()| ALLOWED)?;
    }
    // the client has the last word: it rejects some URLs that are well-formed
    let url = String::from(url);
    url.as_str().into_connection_info().map_err(|_| ALLOWED)?;
    Ok(url.into())
}

/// Returns the password of a URL: before its host, or among the options of a Postgres URL.
fn password_in(url: &SecretString) -> Option<SecretString> {
    let url = Url::parse(url.expose_secret().trim()).ok()?;
    let option = url.query_pairs().find(|(name, _)| name == "password");
    let password = option.map(|(_, value)| value.into_owned()).or_else(|| {
        let encoded = percent_decode_str(url.password()?);
        Some(encoded.decode_utf8_lossy().into_owned())
    })?;
    Some(password.into())
}

/// Rejects a sample value as a password in production. No password is allowed: Postgres may authenticate by
/// socket or certificate.
fn reject_sample(
    reader: &mut Reader<'_>,
    environment: Environment,
    name: &str,
    password: Option<&SecretString>,
) {
    let password = password.map(ExposeSecret::expose_secret).unwrap_or_default();
    if environment == Environment::Production && !password.is_empty() && is_sample(password) {
        reader.problem(
            name,
            "the password is a sample value or only digits, which TASKER_ENV=production rejects",
        );
    }
}

/// Encodes every byte but the unreserved ones of RFC 3986 as `%XX`, which is valid in any part of a URL.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                let _ = write!(encoded, "%{byte:02X}");
            }
            encoded
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tasker_platform::host::fake::FakeHost;
    use tasker_store::postgres_url;

    fn joined(url: &str, password: &str) -> String {
        let password = SecretString::from(password);
        redis_url(url, Some(&password))
            .expect("a valid URL")
            .expose_secret()
            .to_owned()
    }

    #[test]
    fn a_password_joins_a_url_that_has_none() {
        assert_eq!(
            joined("redis://cache:6379", "p@ss/w%41:d"),
            "redis://:p%40ss%2Fw%2541%3Ad@cache:6379"
        );
        assert_eq!(joined("rediss://user@cache/2", "x"), "rediss://user:x@cache/2");
    }

    #[test]
    fn a_password_joins_any_url_of_postgres() {
        let password = SecretString::from("p@ss w/%41:d+");
        for (url, with_password) in [
            ("postgres://db", "postgres://:p%40ss%20w%2F%2541%3Ad%2B@db"),
            (
                "postgresql://t@[::1]:6432/t?sslmode=require",
                "postgresql://t:p%40ss%20w%2F%2541%3Ad%2B@[::1]:6432/t?sslmode=require",
            ),
            (
                "postgres:///t?host=/run/postgresql&user=t",
                "postgres:///t?host=/run/postgresql&user=t&password=p%40ss%20w%2F%2541%3Ad%2B",
            ),
            (
                "postgres:///t",
                "postgres:///t?password=p%40ss%20w%2F%2541%3Ad%2B",
            ),
        ] {
            let joined = postgres_url(url, Some(&password));
            assert_eq!(joined.expose_secret(), with_password);
            assert_eq!(
                password_in(&joined).expect("a password").expose_secret(),
                password.expose_secret()
            );
            let host = FakeHost::default();
            assert!(postgres_url::read(joined.expose_secret(), Client::Tasker, &host).is_ok());
            assert_eq!(postgres_url(url, None).expose_secret(), url);
        }
    }

    #[test]
    fn a_password_in_the_url_stays() {
        assert_eq!(
            joined("redis://:own@cache:6379", "other"),
            "redis://:own@cache:6379"
        );
    }

    #[test]
    fn only_redis_urls_are_taken() {
        for url in [
            "",
            "cache:6379",
            "http://cache",
            "redis:///1",
            "redis://cache/x",
            "redis+unix:///s",
            "redis://0.0.0.0:6379",
        ] {
            assert!(redis_url(url, None).is_err(), "{url}");
        }
    }

    #[test]
    fn options_hosts_and_parts_that_redis_urls_lack_are_named() {
        for (url, expected) in [
            ("redis://cache?db=2", "the option `db`"),
            ("rediss://cache?ssl_cert_reqs=none", "the option `ssl_cert_reqs`"),
            ("redis://cache?protocol=4", "`protocol` must be"),
            ("rediss://cache/#insecure", "REDIS_CA_FILE"),
            ("redis://one:6379,two:6379", "several hosts"),
            ("redis://one,two", "several hosts"),
        ] {
            let error = redis_url(url, None).expect_err(url);
            assert!(error.contains(expected), "{url}: {error}");
        }
        for url in [
            "redis://[::1]:6379",
            "rediss://[::1]/1",
            "redis://cache?protocol=resp3",
        ] {
            assert!(redis_url(url, None).is_ok(), "{url}");
        }
    }
}
