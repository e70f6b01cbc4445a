//! The built-in task types that `tasker-worker` registers (`BUILTIN_TASKS`).

use std::collections::BTreeSet;

use tasker_core::similar_names::nearest_first;

use super::queues::list;
use super::reader::Reader;
use super::services::ServiceCommands;

const VARIABLE: &str = "BUILTIN_TASKS";
/// The types that exist in every configuration.
const ALWAYS: [&str; 6] = [
    "echo",
    "example_data_processing",
    "example_failing",
    "example_long_running",
    "http_request",
    "noop",
];
const BACKUP: &str = "task:backup";
const SERVICE: &str = "service:";
const SERVICE_COMMAND: &str = "service:command";

/// A choice of built-in task types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BuiltinTasks {
    /// All types that the configuration has.
    #[default]
    All,
    /// The types with these names; none if it is empty.
    Only(BTreeSet<String>),
}

impl BuiltinTasks {
    /// Returns whether the type with this name is registered.
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// Reads the choice and adds a problem for each name that is not a type of this configuration.
    pub(super) fn read(reader: &mut Reader<'_>, backup: bool, services: &ServiceCommands) -> Self {
        let choice = reader.parse(VARIABLE, parse).unwrap_or_default();
        let Self::Only(names) = &choice else {
            return choice;
        };
        // the names of services whose configuration has a problem are not known
        let services = reader.valid(&["SERVICE_COMMANDS"]).then_some(services);
        let backup = backup || !reader.valid(&["BACKUP_DIR"]);
        for name in names {
            if let Some(message) = problem(name, backup, services) {
                reader.problem(VARIABLE, message);
            }
        }
        choice
    }
}

fn parse(text: &str) -> Result<BuiltinTasks, String> {
    let names: BTreeSet<String> = list(text).map(str::to_owned).collect();
    match text {
        "all" => Ok(BuiltinTasks::All),
        "none" => Ok(BuiltinTasks::Only(BTreeSet::new())),
        _ if names.is_empty() => Err("must be all, none or a comma list of built-in task types".to_owned()),
        _ if names.contains("all") || names.contains("none") => {
            Err("must be `all` or `none` alone, or a comma list of built-in task types".to_owned())
        }
        _ => Ok(BuiltinTasks::Only(names)),
    }
}

/// Returns what is wrong with a name. `services` is `None` if the services are not known.
fn problem(name: &str, backup: bool, services: Option<&ServiceCommands>) -> Option<String> {
    if ALWAYS.contains(&name) || (name == BACKUP && backup) {
        return None;
    }
    if name == BACKUP {
        return Some(format!("`{BACKUP}` exists only if BACKUP_DIR is set"));
    }
    let Some(services) = services else {
        return (!name.starts_with(SERVICE)).then(|| unknown(name, &[]));
    };
    if name == SERVICE_COMMAND {
        let needed = services.is_empty();
        return needed.then(|| format!("`{name}` exists only if SERVICE_COMMANDS is set"));
    }
    let services: Vec<String> = services.keys().map(|command| type_name(command)).collect();
    if services.iter().any(|service| service == name) {
        return None;
    }
    Some(unknown(name, &services))
}

fn unknown(name: &str, services: &[String]) -> String {
    let known = ALWAYS.into_iter().chain([BACKUP, SERVICE_COMMAND]);
    let known: Vec<&str> = known.chain(services.iter().map(String::as_str)).collect();
    format!(
        "`{}` is not a built-in task type; built-in task types, the nearest first: {}",
        name.escape_debug(),
        nearest_first(name, &known).join(", ")
    )
}

/// Returns the name of the task type of a service.
fn type_name(service: &str) -> String {
    format!("{SERVICE}{service}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::ServiceCommand;

    fn services(names: &[&str]) -> ServiceCommands {
        let command = ServiceCommand::new("true");
        names
            .iter()
            .map(|name| ((*name).to_owned(), command.clone()))
            .collect()
    }

    #[test]
    fn all_none_and_lists_choose_types() {
        assert_eq!(parse("all"), Ok(BuiltinTasks::All));
        let none = parse("none").expect("valid");
        assert!(!none.includes("noop"));
        let two = parse(" noop , task:backup,").expect("valid");
        assert!(two.includes("noop") && two.includes("task:backup") && !two.includes("echo"));
        for text in [",", "none,noop", "all,echo"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_comes_with_the_known_ones_the_nearest_first() {
        let message = problem("htp_request", true, Some(&services(&["web"]))).expect("a problem");
        assert!(
            message.contains("`htp_request` is not a built-in task type"),
            "{message}"
        );
        assert!(message.contains("first: http_request, "), "{message}");
        for known in ["noop", "task:backup", "service:command", "service:web"] {
            assert!(message.contains(known), "{known}: {message}");
        }
        let message = problem("service:wbe", true, Some(&services(&["web"]))).expect("a problem");
        assert!(message.contains("first: service:web, "), "{message}");
    }

    #[test]
    fn a_type_that_is_not_configured_is_named_with_the_variable_that_it_needs() {
        let none = services(&[]);
        let message = |name| problem(name, false, Some(&none)).unwrap_or_default();
        assert!(message("task:backup").contains("BACKUP_DIR"));
        assert!(message("service:command").contains("SERVICE_COMMANDS"));
        let web = services(&["web"]);
        for name in ["noop", "task:backup", "service:command", "service:web"] {
            assert_eq!(problem(name, true, Some(&web)), None, "{name}");
        }
        assert_eq!(
            problem("service:any", true, None),
            None,
            "the services are not known"
        );
    }
}
