//! The connection of `pg_dump`, as environment variables of libpq: arguments are visible to every user of the
//! machine.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;
use url::Url;

const PASSWORD: &str = "PGPASSWORD";
const DATABASE: &str = "PGDATABASE";
const USER: &str = "PGUSER";
const HOST: &str = "PGHOST";
const PORT: &str = "PGPORT";

/// The libpq variable of each option of a URL. Other options are for sqlx alone.
const OPTIONS: [(&str, &str); 16] = [
    ("host", HOST),
    ("hostaddr", "PGHOSTADDR"),
    ("port", PORT),
    ("user", USER),
    ("password", PASSWORD),
    ("dbname", DATABASE),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("sslmode", "PGSSLMODE"),
    ("ssl-mode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("ssl-root-cert", "PGSSLROOTCERT"),
    ("ssl-ca", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("ssl-cert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

/// The connection settings of the database.
pub(super) struct Connection {
    /// The settings of the URL.
    variables: BTreeMap<&'static str, SecretString>,
    /// The libpq variables of this process. They apply where the URL has no setting, as they do for the
    /// worker itself.
    own: BTreeMap<OsString, OsString>,
}

impl Connection {
    /// Reads a `postgres://` URL, which was validated before; `own` are the variables of this process.
    pub(super) fn of(url: &SecretString, own: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let own = own.into_iter();
        let own = own
            .filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
            .collect();
        let mut variables = BTreeMap::new();
        let Ok(url) = Url::parse(url.expose_secret().trim()) else {
            return Self { variables, own };
        };
        let mut set = |name, value: &str| {
            let value = percent_decode_str(value).decode_utf8_lossy();
            if !value.is_empty() {
                variables.insert(name, SecretString::from(value.as_ref()));
            }
        };
        set(HOST, url.host_str().unwrap_or_default().trim_matches(['[', ']']));
        if let Some(port) = url.port() {
            set(PORT, &port.to_string());
        }
        set(USER, url.username());
        set(PASSWORD, url.password().unwrap_or_default());
        set(DATABASE, url.path().trim_start_matches('/'));
        for (name, value) in url.query_pairs() {
            let known = OPTIONS.iter().chain([&("ssl-key", "PGSSLKEY")]);
            if let Some((_, variable)) = known.into_iter().find(|(option, _)| *option == name) {
                variables.insert(variable, SecretString::from(value.as_ref()));
            }
        }
        Self { variables, own }
    }

    /// Returns the name of the database, by default the name of the user.
    pub(super) fn database(&self) -> &str {
        self.variable(DATABASE)
            .or_else(|| self.user())
            .unwrap_or("postgres")
    }

    /// Returns the host, or the folder of the Unix socket.
    pub(super) fn host(&self) -> Option<&str> {
        self.variable(HOST)
    }

    /// Returns the port, if it is set.
    pub(super) fn port(&self) -> Option<&str> {
        self.variable(PORT)
    }

    /// Returns the user, if it is set.
    pub(super) fn user(&self) -> Option<&str> {
        self.variable(USER)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let said = self.variables.get(name).map(ExposeSecret::expose_secret);
        said.or_else(|| self.own.get(OsStr::new(name))?.to_str())
    }

    /// Sets the variables in the environment of a program.
    pub(super) fn enter(&self, command: &mut Command) {
        command
            .envs(&self.own)
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PGAPPNAME", "tasker-backup");
        for (name, value) in &self.variables {
            command.env(name, value.expose_secret());
        }
    }

    /// Returns a text of the program with the password replaced by `***`.
    pub(super) fn without_password(&self, text: &str) -> String {
        match self.variable(PASSWORD) {
            // replacing an empty one would insert `***` between all characters
            None | Some("") => text.to_owned(),
            Some(password) => text.replace(password, "***"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(url: &str) -> Vec<(&'static str, String)> {
        let connection = Connection::of(&SecretString::from(url), []);
        let variables = connection.variables.iter();
        variables
            .map(|(name, value)| (*name, value.expose_secret().to_owned()))
            .collect()
    }

    fn own(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_url_becomes_the_variables_of_libpq() {
        assert_eq!(
            variables("postgres://us%40er:p%2Fw%25@db:6432/tasks?sslmode=require&statement-cache-capacity=0"),
            own(&[
                ("PGDATABASE", "tasks"),
                ("PGHOST", "db"),
                ("PGPASSWORD", "p/w%"),
                ("PGPORT", "6432"),
                ("PGSSLMODE", "require"),
                ("PGUSER", "us@er"),
            ])
        );
        assert_eq!(
            variables("postgres:///tasks?host=/run/postgresql&user=me&password=secret"),
            own(&[
                ("PGDATABASE", "tasks"),
                ("PGHOST", "/run/postgresql"),
                ("PGPASSWORD", "secret"),
                ("PGUSER", "me"),
            ])
        );
        assert_eq!(variables("postgres://[::1]/x")[1], ("PGHOST", "::1".to_owned()));
    }

    #[test]
    fn no_text_keeps_the_password() {
        let connection = Connection::of(&SecretString::from("postgres://me:hunter2@db/x"), []);
        assert_eq!(
            connection.without_password("failed with hunter2"),
            "failed with ***"
        );
        let empty = Connection::of(&SecretString::from("postgres://me@db/x?password="), []);
        assert_eq!(empty.without_password("no password"), "no password");
    }
}
