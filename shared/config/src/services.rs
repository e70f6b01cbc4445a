//! The commands that `service:command` and the types `service:NAME` may start (`SERVICE_COMMANDS`): a JSON
//! object, or tables in a config file.
//!
//! A task only selects a command by name, so a submitter cannot run a program that the operator did not
//! configure. It may choose the working directory and the port if the command allows it, within its bounds.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::reader::Reader;

const VARIABLE: &str = "SERVICE_COMMANDS";
const NAME_CHARS_MAX: usize = 64;
/// The name that the task type `service:command` takes.
const RESERVED: &str = "command";
/// The variable through which a program learns its port.
const PORT: &str = "PORT";
/// The ports that need no privileges.
const PORTS: RangeInclusive<u16> = 1024..=u16::MAX;

/// A long-running command.
#[derive(Debug, Clone, Default)]
pub struct ServiceCommand {
    /// The program, by name or path.
    pub program: String,
    /// Its arguments, passed as they are: no shell reads them.
    pub arguments: Vec<String>,
    /// The working directory; `None` means the task's, or else the worker's.
    pub dir: Option<PathBuf>,
    /// The folder below which a task may set the working directory; `None` if it may not.
    pub dir_below: Option<PathBuf>,
    /// The port: its variable `PORT`, and `{port}` in its arguments.
    pub port: Option<u16>,
    /// The ports of which a task may set one; `None` if it may not.
    pub ports: Option<RangeInclusive<u16>>,
    /// Environment variables passed to it besides `PATH`, `HOME`, `LANG` and `TZ`; it receives no others.
    pub env: BTreeMap<String, SecretString>,
}

impl ServiceCommand {
    /// Creates the command that runs this program, without arguments and settings.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            ..Self::default()
        }
    }
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
    if name == RESERVED {
        return Err("the task type `service:command` has this name; choose another one".to_owned());
    }
    if valid && (1..=NAME_CHARS_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(format!(
        "its name must be 1 to {NAME_CHARS_MAX} letters, digits, dots, - or _"
    ))
}

fn command(value: Value) -> Result<ServiceCommand, String> {
    let Value::Object(mut fields) = value else {
        return Err(
            "must have `command`, and may have `dir`, `dir_below`, `port`, `ports` and `env`".to_owned(),
        );
    };
    let mut words = match fields.remove("command") {
        Some(Value::Array(words)) => words.into_iter().map(text).collect::<Option<Vec<_>>>(),
        _ => None,
    }
    .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
    .ok_or("`command` must be a list of texts, the program first")?;
    let program = words.remove(0);
    let dir = folder(&mut fields, "dir")?;
    let dir_below = folder(&mut fields, "dir_below")?;
    let given = fields.remove("port");
    let port = given.map(|value| port(&value).ok_or("`port` must be a number from 1024 to 65535"));
    let port = port.transpose()?;
    let ports = fields.remove("ports").map(|value| ports(&value)).transpose()?;
    let env = match fields.remove("env") {
        None => BTreeMap::new(),
        Some(Value::Object(variables)) => variables.into_iter().map(variable).collect::<Result<_, _>>()?,
        Some(_) => return Err("`env` must be an object of texts".to_owned()),
    };
    if (port.is_some() || ports.is_some()) && env.contains_key(PORT) {
        return Err(format!("sets its port twice: leave {PORT} out of `env`"));
    }
    // the known fields were removed above, so what is left is a typo
    if let Some(unknown) = fields.keys().next() {
        return Err(format!("has an unknown field `{}`", unknown.escape_debug()));
    }
    Ok(ServiceCommand {
        program,
        arguments: words,
        dir,
        dir_below,
        port,
        ports,
        env,
    })
}

fn folder(fields: &mut Map<String, Value>, name: &str) -> Result<Option<PathBuf>, String> {
    let Some(given) = fields.remove(name) else {
        return Ok(None);
    };
    text(given)
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .map(Some)
        .ok_or_else(|| format!("`{name}` must be an absolute path"))
}

fn port(value: &Value) -> Option<u16> {
    let port = u16::try_from(value.as_u64()?).ok()?;
    PORTS.contains(&port).then_some(port)
}

fn ports(value: &Value) -> Result<RangeInclusive<u16>, String> {
    let bounds = value
        .as_array()
        .map(|bounds| bounds.iter().map(port).collect::<Vec<_>>());
    match bounds.as_deref() {
        Some([Some(first), Some(last)]) if first <= last => Ok(*first..=*last),
        _ => Err(
            "`ports` must be the first and the last port, like [3000, 3999], from 1024 to 65535".to_owned(),
        ),
    }
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
    fn a_command_may_preset_its_place_and_say_what_tasks_may_set() {
        let given = json!({"command": ["npm"], "dir": "/srv/a", "dir_below": "/srv", "port": 3000, "ports": [3000, 3999]});
        let web = command(given).expect("valid");
        assert_eq!(
            (web.dir, web.dir_below),
            (Some("/srv/a".into()), Some("/srv".into()))
        );
        assert_eq!((web.port, web.ports), (Some(3000), Some(3000..=3999)));
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
            (
                json!({"command": ["a"], "dir_below": "secret"}),
                "`dir_below` must be",
            ),
            (json!({"command": ["a"], "port": 80}), "`port` must be"),
            (json!({"command": ["a"], "port": "secret"}), "`port` must be"),
            (json!({"command": ["a"], "port": 65_536}), "`port` must be"),
            (json!({"command": ["a"], "ports": 3000}), "`ports` must be"),
            (
                json!({"command": ["a"], "ports": [3999, 3000]}),
                "`ports` must be",
            ),
            (json!({"command": ["a"], "ports": [80, 3000]}), "`ports` must be"),
            (json!({"command": ["a"], "ports": [1024]}), "`ports` must be"),
            (
                json!({"command": ["a"], "port": 3000, "env": {"PORT": "secret"}}),
                "sets its port twice",
            ),
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
        assert!(check_name("command").is_err_and(|problem| problem.contains("service:command")));
    }
}
