//! The command line, derived from the table of variables.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::table::VARIABLES;
use super::variable::{Binary, Variable};

/// The flag that requests a health check instead of a start.
const HEALTHCHECK: &str = "healthcheck";

/// Returns the command line of `binary`, without subcommands.
pub(super) fn command(binary: Binary) -> Command {
    let (name, about) = match binary {
        Binary::Server => ("tasker-server", "Tasker's HTTP API and maintenance duties"),
        Binary::Worker => ("tasker-worker", "Runs Tasker's tasks"),
    };
    Command::new(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(
            "Flags beat variables beat config files. NAME_FILE reads the value of NAME from a file; \
             use it, or the variable, for secrets: command lines are visible to others.",
        )
        .arg(
            Arg::new(HEALTHCHECK)
                .long(HEALTHCHECK)
                .action(ArgAction::SetTrue)
                .help(
                    "Check the readiness of the instance with this configuration: exit code 0 if ready, else 1",
                ),
        )
        .args(variables_of(binary).map(argument))
}

/// Returns whether a health check is requested.
pub(super) fn healthcheck(matches: &ArgMatches) -> bool {
    matches.get_flag(HEALTHCHECK)
}

/// Returns the flags that were set, by the name of their variable.
pub(super) fn given(matches: &ArgMatches, binary: Binary) -> HashMap<&'static str, String> {
    variables_of(binary)
        .filter_map(|variable| {
            let value = matches.get_one::<String>(variable.name)?;
            Some((variable.name, value.clone()))
        })
        .collect()
}

/// Parses `args`, the first of which is the name of the program.
pub(super) fn parse(
    command: Command,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<ArgMatches, clap::Error> {
    command.try_get_matches_from(args)
}

fn variables_of(binary: Binary) -> impl Iterator<Item = &'static Variable> {
    VARIABLES
        .iter()
        .filter(move |variable| variable.used_by.includes(binary))
}

fn argument(variable: &'static Variable) -> Arg {
    // only shown: a default that clap applied would beat variables and files
    let default = variable
        .default
        .map(|text| format!(" [default: {text}]"))
        .unwrap_or_default();
    Arg::new(variable.name)
        .long(variable.flag())
        .value_name("VALUE")
        // accepted before and after a subcommand
        .global(true)
        .hide_default_value(true)
        .help(format!("{} [env: {}]{default}", variable.help, variable.name))
}
