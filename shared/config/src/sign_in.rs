//! Configuration of sign-in: the admin user, the token key and the rate limit.
//!
//! Without a user and a password sign-in is off and every client is an admin. That is allowed only outside
//! production, and only on loopback unless `SIGN_IN=off` says that it is intended.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use secrecy::{ExposeSecret, SecretString};

use super::environment::Environment;
use super::queues::list;
use super::reader::Reader;
use super::secrets::{weak_password, weak_secret};
use tasker_platform::network::Network;

const SWITCH: &str = "SIGN_IN";
const USER: &str = "EXECUTION_BACKEND_API_USER";
const PASSWORD: &str = "EXECUTION_BACKEND_API_PASSWORD";
const SECRET: &str = "TOKEN_SECRET";

/// Maximum length of a user name, which every log line about the user repeats.
const USER_CHARS_MAX: usize = 128;
/// Maximum rate limit, in requests per second: no server answers more.
const RATE_MAX: u32 = 1_000_000;
/// The default rate limit in production, in requests per second.
const RATE_IN_PRODUCTION: u32 = 1_000;

/// The one user with a password, who has the role admin.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The name.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

/// The configuration of sign-in and of limits per client.
#[derive(Debug, Clone)]
pub struct SignInConfig {
    /// The admin user; `None` means no sign-in, and every client is an admin.
    pub admin: Option<Admin>,
    /// The key that signs tokens; `None` means that each server generates its own.
    pub token_secret: Option<SecretString>,
    /// True if `/metrics` requires sign-in.
    pub metrics_auth: bool,
    /// Maximum requests per second of one key; `None` means no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// The proxies whose `X-Forwarded-For` header is trusted.
    pub trusted_proxies: Vec<Network>,
}

impl SignInConfig {
    /// Reads the sign-in configuration. `serves` is true if the process serves HTTP on `addrs`; one that only
    /// migrates needs no secrets.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        environment: Environment,
        serves: bool,
        addrs: &[SocketAddr],
    ) -> Self {
        let switched_off = read_switched_off(reader);
        let admin = read_admin(reader);
        let token_secret = reader.secret(SECRET);
        let production = environment == Environment::Production;
        if serves && switched_off {
            check_switched_off(reader, production);
        } else if serves && production {
            require_secrets(reader, admin.as_ref(), token_secret.as_ref());
        } else if serves && admin.is_none() && reader.valid(&[USER, PASSWORD, "LISTEN_ADDRS"]) {
            reject_beyond_loopback(reader, addrs);
        }
        Self {
            admin,
            token_secret,
            metrics_auth: reader.switch("METRICS_AUTH"),
            rate_limit: read_rate(reader, production),
            trusted_proxies: reader.parse("TRUSTED_PROXIES", networks).unwrap_or_default(),
        }
    }
}

/// Returns whether `SIGN_IN` switches sign-in off. `true` and `false` are accepted too, since YAML and TOML
/// read an unquoted `off` as a boolean.
fn read_switched_off(reader: &mut Reader<'_>) -> bool {
    let choices = [("on", false), ("off", true), ("true", false), ("false", true)];
    reader.choice(SWITCH, &choices).unwrap_or_default()
}

/// Rejects `SIGN_IN=off` in production, and beside credentials, which it would silently disable.
fn check_switched_off(reader: &mut Reader<'_>, production: bool) {
    if production {
        reader.problem(
            SWITCH,
            format!(
                "is off, and TASKER_ENV=production does not start without sign-in; remove it, and set {USER}, \
                 {PASSWORD} and {SECRET}"
            ),
        );
    }
    for name in [USER, PASSWORD] {
        if reader.given(name).is_some() {
            let contradiction =
                format!("is set while {SWITCH}=off; remove {SWITCH} to require sign-in, or remove {name}");
            reader.problem(name, contradiction);
        }
    }
}

fn read_admin(reader: &mut Reader<'_>) -> Option<Admin> {
    let user = reader.text(USER);
    let password = reader.secret(PASSWORD);
    match (&user, &password) {
        (Some(_), None) => reader.problem(PASSWORD, format!("is not set while {USER} is")),
        (None, Some(_)) => reader.problem(USER, format!("is not set while {PASSWORD} is")),
        _ => {}
    }
    if user.as_deref().is_some_and(|user| !is_user_name(user)) {
        let allowed =
            format!("must be 1 to {USER_CHARS_MAX} characters, none of them a colon or white space");
        reader.problem(USER, allowed);
    }
    Some(Admin {
        user: user?,
        password: password?,
    })
}

/// Returns whether `text` is a valid user name. Basic authentication ends the name at the first colon, and
/// log lines contain the name.
fn is_user_name(text: &str) -> bool {
    let valid = |c: char| c != ':' && !c.is_control() && !c.is_whitespace();
    text.chars().all(valid) && text.chars().count() <= USER_CHARS_MAX
}

/// Rejects production with missing or guessable secrets.
fn require_secrets(reader: &mut Reader<'_>, admin: Option<&Admin>, token_secret: Option<&SecretString>) {
    // a user without a password, or the reverse, was already reported
    if admin.is_none() && reader.valid(&[USER, PASSWORD]) {
        for name in [USER, PASSWORD] {
            reader.problem(
                name,
                "is not set, and TASKER_ENV=production does not start without it",
            );
        }
    }
    if let Some(admin) = admin {
        let password = admin.password.expose_secret();
        if let Some(weakness) = weak_password(password, &admin.user) {
            reader.problem(PASSWORD, weakness);
        }
    }
    let Some(secret) = token_secret.map(ExposeSecret::expose_secret) else {
        let missing = "is not set, and TASKER_ENV=production does not start without it; `openssl rand -base64 32` makes one";
        return reader.problem(SECRET, missing);
    };
    if let Some(weakness) = weak_secret(secret) {
        reader.problem(SECRET, weakness);
    } else if admin.is_some_and(|admin| admin.password.expose_secret() == secret) {
        reader.problem(SECRET, format!("is the same as {PASSWORD}"));
    }
}

fn reject_beyond_loopback(reader: &mut Reader<'_>, addrs: &[SocketAddr]) {
    // canonical, since `::ffff:127.0.0.1` is a loopback address too
    if let Some(addr) = addrs.iter().find(|addr| !addr.ip().to_canonical().is_loopback()) {
        let message = format!(
            "{addr} can be reached from other machines, which is rejected without sign-in; set {USER} and {PASSWORD}, \
             use a loopback address like 127.0.0.1:{}, or, where every client may do everything, set {SWITCH}=off",
            addr.port()
        );
        reader.problem("LISTEN_ADDRS", message);
    }
}

/// Reads a comma list of addresses and networks.
pub fn networks(text: &str) -> Result<Vec<Network>, String> {
    let parse = |item| {
        Network::parse(item).ok_or_else(|| format!("`{item}` is not an address or network like 10.0.0.0/8"))
    };
    list(text).map(parse).collect()
}

fn read_rate(reader: &mut Reader<'_>, production: bool) -> Option<NonZeroU32> {
    // the table has no default, since it depends on the environment
    if reader.given("RATE_LIMIT_PER_KEY").is_none() {
        return NonZeroU32::new(RATE_IN_PRODUCTION).filter(|_| production);
    }
    reader.parse("RATE_LIMIT_PER_KEY", rate).flatten()
}

fn rate(text: &str) -> Result<Option<NonZeroU32>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    match number.parse::<u32>() {
        Ok(rate) if rate <= RATE_MAX => Ok(NonZeroU32::new(rate)),
        _ => Err(format!(
            "must be requests per second, like 1000/s, up to {RATE_MAX}; 0 or off means no limit"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_with_or_without_its_unit() {
        assert_eq!(rate("1000/s"), Ok(NonZeroU32::new(1000)));
        assert_eq!(rate("5"), Ok(NonZeroU32::new(5)));
        assert_eq!((rate("off"), rate("0")), (Ok(None), Ok(None)));
        for text in ["-1", "1000/m", "fast", "1.5", "99999999"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_name_fits_into_basic_and_a_log_line() {
        assert!(is_user_name("ops@example.org"));
        for text in ["a:b", "a b", "a\n", &"x".repeat(129)] {
            assert!(!is_user_name(text), "{text:?}");
        }
    }
}
