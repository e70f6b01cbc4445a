//! The parameters of `task:backup`: the settings that a submitter expects.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tasker_config::BackupConfig;

use super::connection::Connection;

const DAY: Duration = Duration::from_hours(24);
const DEFAULT_PORT: &str = "5432";
const FROM_URL: &str = "BACKUP_DATABASE_URL, or else of DATABASE_URL";

/// The expected settings. All are optional and change nothing, since the operator's configuration decides;
/// but a task whose expectation differs from the configuration fails.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expected {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    database: Option<String>,
    backup_dir: Option<PathBuf>,
    retention_days: Option<u32>,
    /// Not used and not stored: the password is that of the configuration. The server removes it from the
    /// parameters.
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    password: Option<IgnoredAny>,
}

impl Expected {
    /// Returns whether a password came with the stored parameters: a server of a release before write-only
    /// parameters accepted the task.
    pub(super) fn has_stored_password(&self) -> bool {
        self.password.is_some()
    }

    /// Returns a message for each field that differs from the configuration, with the variable that decides
    /// it. The values of the configuration are left out, since not every submitter may see them.
    pub(super) fn contradictions(&self, config: &BackupConfig, connection: &Connection) -> Vec<String> {
        let port = self.port.map(|port| port.to_string());
        let max_age = self.retention_days.map(|days| (days > 0).then(|| DAY * days));
        let other = |expected: &Option<String>, actual: Option<&str>| {
            expected
                .as_deref()
                .is_some_and(|expected| Some(expected) != actual)
        };
        [
            ("host", FROM_URL, other(&self.host, connection.host())),
            (
                "port",
                FROM_URL,
                other(&port, connection.port().or(Some(DEFAULT_PORT))),
            ),
            ("user", FROM_URL, other(&self.user, connection.user())),
            (
                "database",
                FROM_URL,
                other(&self.database, Some(connection.database())),
            ),
            (
                "backup_dir",
                "BACKUP_DIR",
                self.backup_dir.as_ref().is_some_and(|dir| *dir != config.dir),
            ),
            (
                "retention_days",
                "BACKUP_RETENTION_DAYS",
                max_age.is_some_and(|age| age != config.max_age),
            ),
        ]
        .into_iter()
        .filter(|(_, _, contradicts)| *contradicts)
        .map(|(field, variable, _)| format!("`{field}` is not the value of {variable}"))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use serde_json::{Value, json};

    use super::*;

    fn contradictions(expected: Value) -> Vec<String> {
        contradictions_beside(&[], expected)
    }

    /// Returns the contradictions if the process has these variables.
    fn contradictions_beside(own: &[(&str, &str)], expected: Value) -> Vec<String> {
        let own = own.iter().map(|(name, value)| (name.into(), value.into()));
        let config = BackupConfig {
            dir: PathBuf::from("/backups"),
            keep: None,
            max_age: Some(7 * DAY),
            database_url: SecretString::from("postgres://me:secret@db/shop"),
            program: "pg_dump".to_owned(),
        };
        let expected: Expected = serde_json::from_value(expected).expect("valid parameters");
        expected.contradictions(&config, &Connection::of(&config.database_url, own))
    }

    #[test]
    fn empty_or_correct_expectations_contradict_nothing() {
        assert!(contradictions(json!({})).is_empty());
        let right = json!({
            "host": "db", "port": 5432, "user": "me", "database": "shop", "backup_dir": "/backups", "retention_days": 7,
        });
        assert_eq!(contradictions(right), Vec::<String>::new());
    }

    #[test]
    fn every_other_expectation_is_named_with_the_variable_that_decides_and_without_its_value() {
        let wrong = json!({
            "host": "elsewhere", "port": 6432, "user": "you", "database": "other", "backup_dir": "/tmp", "retention_days": 0,
        });
        let messages = contradictions(wrong);
        assert_eq!(messages.len(), 6, "{messages:?}");
        assert!(
            messages[4].contains("`backup_dir` is not the value of BACKUP_DIR"),
            "{messages:?}"
        );
        assert!(!messages.concat().contains("shop"), "{messages:?}");
    }

    #[test]
    fn a_variable_of_the_process_counts_where_the_url_says_nothing() {
        let own = [("PGPORT", "6432"), ("PGUSER", "alice")];
        let messages = |expected| contradictions_beside(&own, expected);
        assert!(messages(json!({"port": 6432, "user": "me"})).is_empty());
        assert_eq!(messages(json!({"port": 5432, "user": "alice"})).len(), 2);
    }

    #[test]
    fn a_password_is_a_write_only_parameter_and_is_not_read() {
        let schema = schemars::schema_for!(Expected);
        assert_eq!(
            schema.as_value()["properties"]["password"]["writeOnly"],
            json!(true),
            "{schema:?}"
        );
        let expected: Expected = serde_json::from_value(json!({"password": "hunter2"})).expect("accepted");
        assert!(expected.has_stored_password());
        assert!(!format!("{expected:?}").contains("hunter2"));
        let none: Expected = serde_json::from_value(json!({"password": null})).expect("accepted");
        assert!(!none.has_stored_password());
        assert!(contradictions(json!({"password": "hunter2"})).is_empty());
    }
}
