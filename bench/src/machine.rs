//! Machine, versions and settings of a measurement, for the report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use sqlx::PgPool;

use crate::arguments::Arguments;
use crate::scenarios::{POOL_SIZE, POOL_SIZE_SMALL};

/// Settings of Postgres that affect its speed.
const POSTGRES_SETTINGS: [&str; 6] = [
    "autovacuum",
    "fsync",
    "full_page_writes",
    "max_wal_size",
    "shared_buffers",
    "synchronous_commit",
];
const UNKNOWN: &str = "unknown";

/// Names and values for display.
type Table = BTreeMap<&'static str, String>;

/// The conditions of a measurement, without which figures cannot be compared.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Facts {
    machine: Table,
    versions: Table,
    settings: Table,
}

impl Facts {
    /// Queries the system, the services and the binaries; a value that cannot be read is `unknown`.
    pub(crate) async fn gather(arguments: &Arguments, binaries: &Path, db: &PgPool, redis: &str) -> Self {
        Self {
            machine: machine(),
            versions: Table::from([
                ("postgres", setting(db, "server_version").await),
                ("redis", redis.to_owned()),
                ("rustc", output("rustc".as_ref())),
                ("tasker", output(&binaries.join("tasker-server"))),
            ]),
            settings: settings(arguments, db).await,
        }
    }

    /// Adds the CPU steal time in percent, which distinguishes a slow program from a busy host.
    pub(crate) fn note_stolen(&mut self, percent: f64) {
        let value = format!("{percent:.1} % of the time");
        self.machine.insert("taken by the host", value);
    }

    /// Formats the facts as one line for each table.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (title, table) in [
            ("machine", &self.machine),
            ("versions", &self.versions),
            ("settings", &self.settings),
        ] {
            let facts: Vec<_> = table
                .iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            let _ = writeln!(text, "{title:<9} {}", facts.join("; "));
        }
        text
    }
}

async fn settings(arguments: &Arguments, db: &PgPool) -> Table {
    let mut settings = Table::from([
        ("rounds", arguments.repeat.to_string()),
        ("tasks in a backlog", arguments.tasks.to_string()),
        ("bytes of parameters", arguments.parameter_bytes.to_string()),
        (
            "slots of a worker",
            format!("{POOL_SIZE}, drain-10 {POOL_SIZE_SMALL}"),
        ),
    ]);
    for name in POSTGRES_SETTINGS {
        settings.insert(name, setting(db, name).await);
    }
    settings
}

async fn setting(db: &PgPool, name: &str) -> String {
    let value = sqlx::query_scalar("SELECT current_setting($1)")
        .bind(name)
        .fetch_one(db)
        .await;
    value.unwrap_or_else(|_| UNKNOWN.to_owned())
}

fn machine() -> Table {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Table::from([
        ("cpu", field(&read("/proc/cpuinfo"), "model name")),
        ("cores", cores.to_string()),
        ("memory", field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
    ])
}

/// Returns the value of the first `name : value` line in a file of /proc.
fn field(text: &str, name: &str) -> String {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let found = fields.into_iter().find(|(found, _)| found.trim() == name);
    found.map_or_else(|| UNKNOWN.to_owned(), |(_, value)| value.trim().to_owned())
}

/// Returns the output of `program --version`.
fn output(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_proc_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: A: fast one\nmodel name\t: B\n";
        assert_eq!(field(text, "model name"), "A: fast one");
        assert_eq!(field(text, "model"), UNKNOWN);
    }

    #[test]
    fn a_table_of_facts_is_one_line() {
        let facts = Facts {
            versions: Table::from([("redis", "7".to_owned()), ("postgres", "15".to_owned())]),
            ..Facts::default()
        };
        assert_eq!(
            facts.text(),
            "machine   \nversions  postgres 15; redis 7\nsettings  \n"
        );
    }
}
