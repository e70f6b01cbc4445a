//! The commands that `service:command` may start (`SERVICE_COMMANDS`): a JSON object, or tables in a config
//! file.
//!
//! A task only selects a command by name, so a submitter cannot run a program that the operator did not
//! configure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::reader::Reader;

const VARIABLE: &str = "SERVICE_COMMANDS";
const NAME_CHARS_MAX: usize = 64;

/// A long-running command.
#[derive(Debug, Clone)]
pub struct ServiceCommand {
    /// The program, by name or path.
    pub program: String,
    /// Its arguments, passed as they are: no shell reads them.
    pub arguments: Vec<String>,
    /// The working directory; `None` means the worker's.
    pub dir: Option<PathBuf>,
    /// Environment variables passed to it besides `PATH`, `HOME`, `LANG` and `TZ`; it receives no others.
    pub env: BTreeMap<String, SecretString>,
}

/// The commands by their names.
pub type ServiceCommands = BTreeMap<String, ServiceCommand>;

/// Reads `SERVICE_COMMANDS` and adds a problem for each invalid command. Messages never repeat values, which
/// may be secrets.
pub(super) fn read(reader: &mut Reader<'_>) -> ServiceCommands {
    let Some(given) = reader.parse(VARIABLE, |text| {
        serde_json::from_str::<Map<String, Value>>(text)
            .map_err(|_| "must be a JSON object like {\"web\": {\"command\": [\"npm\", \"start\"], \"dir\": \"/srv/web\"}}")
    }) else {
        return ServiceCommands::new();
    };
    let mut commands = ServiceCommands::new();
    for (name, value) in given {
        match check_name(&name).and_then(|()| command(value)) {
            Ok(command) => {
                commands.insert(name, command);
            }
            Err(problem) => reader.problem(VARIABLE, format!("`{}`: {problem}", name.escape_debug())),
        }
    }
    commands
}

fn check_name(name: &str) -> Result<(), String> {
    let valid = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if valid && (1..=NAME_CHARS_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(format!(
        "its name must be 1 to {NAME_CHARS_MAX} letters, digits, dots, - or _"
    ))
}

fn command(value: Value) -> Result<ServiceCommand, String> {
    let Value::Object(mut fields) = value else {
        return Err("must have `command`, and may have `dir` and `env`".to_owned());
    };
    let mut words = match fields.remove("command") {
        Some(Value::Array(words)) => words.into_iter().map(text).collect::<Option<Vec<_>>>(),
        _ => None,
    }
    .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
    .ok_or("`command` must be a list of texts, the program first")?;
    let program = words.remove(0);
    let dir = match fields.remove("dir") {
        None => None,
        Some(dir) => Some(
            text(dir)
                .map(PathBuf::from)
                .filter(|dir| dir.is_absolute())
                .ok_or("`dir` must be an absolute path")?,
        ),
    };
    let env = match fields.remove("env") {
        None => BTreeMap::new(),
        Some(Value::Object(variables)) => variables.into_iter().map(variable).collect::<Result<_, _>>()?,
        Some(_) => return Err("`env` must be an object of texts".to_owned()),
    };
    // the known fields were removed above, so what is left is a typo
    if let Some(unknown) = fields.keys().next() {
        return Err(format!("has an unknown field `{}`", unknown.escape_debug()));
    }
    Ok(ServiceCommand {
        program,
        arguments: words,
        dir,
        env,
    })
}

fn variable((name, value): (String, Value)) -> Result<(String, SecretString), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!(
            "`env` has an invalid variable name: `{}`",
            name.escape_debug()
        ));
    }
    match text(value) {
        Some(value) => Ok((name, value.into())),
        None => Err(format!(
            "`env`: the value of `{}` must be a text",
            name.escape_debug()
        )),
    }
}

/// Returns the string, unless it holds a NUL, which cannot be passed to a program.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.contains('\0') => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    #[test]
    fn a_command_has_a_program_and_perhaps_arguments_a_folder_and_variables() {
        let given = json!({"command": ["npm", "run", "dev"], "dir": "/srv/web", "env": {"PORT": "3000"}});
        let web = command(given).expect("valid");
        assert_eq!((web.program.as_str(), web.arguments.len()), ("npm", 2));
        assert_eq!(web.env["PORT"].expose_secret(), "3000");
        assert!(command(json!({"command": ["true"]})).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_command_is_named_without_its_values() {
        for (given, part) in [
            (json!("npm start"), "must have `command`"),
            (json!({}), "`command` must be"),
            (json!({"command": []}), "`command` must be"),
            (json!({"command": ["secret\0"]}), "`command` must be"),
            (json!({"command": "npm start"}), "`command` must be"),
            (json!({"command": ["a"], "dir": "secret"}), "`dir` must be"),
            (json!({"command": ["a"], "env": {"KEY": 7}}), "the value of `KEY`"),
            (
                json!({"command": ["a"], "env": {"A=B": "secret"}}),
                "an invalid variable name",
            ),
            (
                json!({"command": ["a"], "environment": {}}),
                "unknown field `environment`",
            ),
        ] {
            let problem = command(given).expect_err(part);
            assert!(problem.contains(part), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
        assert!(check_name("no spaces").is_err());
    }
}
