//! The place of a service: the working directory and the port, preset in the configuration or set by the task
//! within the bounds of the configuration.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tasker_config::ServiceCommand;
use tasker_worker::TaskError;

/// The text in arguments that stands for the port.
const PORT_MARK: &str = "{port}";

/// What a task sets. Its schema is [`schema`], since it depends on the command.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    working_dir: Option<PathBuf>,
    port: Option<u16>,
}

/// The place that a service starts in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The working directory; `None` means the worker's.
    pub(super) dir: Option<PathBuf>,
    pub(super) port: Option<u16>,
}

impl Place {
    /// Returns the arguments with the port in the place of `{port}`.
    pub(super) fn arguments(&self, arguments: &[String]) -> Vec<String> {
        let Some(port) = self.port else {
            return arguments.to_vec();
        };
        let port = port.to_string();
        arguments
            .iter()
            .map(|argument| argument.replace(PORT_MARK, &port))
            .collect()
    }
}

/// Returns the JSON Schema of the parameters of a command's tasks: only what the command lets them set, and
/// required where it has no preset.
pub(super) fn schema(command: &ServiceCommand) -> Schema {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if command.dir_below.is_some() {
        properties.insert(
            "working_dir".to_owned(),
            json!({"type": "string", "minLength": 1}),
        );
        if command.dir.is_none() {
            required.push("working_dir");
        }
    }
    if let Some(ports) = &command.ports {
        let port = json!({"type": "integer", "minimum": ports.start(), "maximum": ports.end()});
        properties.insert("port".to_owned(), port);
        if command.port.is_none() {
            required.push("port");
        }
    }
    json_schema!({
        "type": "object",
        "properties": Value::Object(properties),
        "required": required,
        "additionalProperties": false
    })
}

/// Returns the place of a task's service.
///
/// # Errors
/// If the task sets what it may not set, or leaves out what has no preset.
pub(super) async fn of(name: &str, command: &ServiceCommand, wanted: Wanted) -> Result<Place, TaskError> {
    let port = port(command, wanted.port).map_err(|problem| TaskError::fail(at(name, "port", problem)))?;
    let dir = match wanted.working_dir {
        Some(wanted) => Some(below(command, &wanted).await),
        None if command.dir.is_none() && command.dir_below.is_some() => Some(Err("is required")),
        None => None,
    };
    let dir = dir
        .transpose()
        .map_err(|problem| TaskError::fail(at(name, "working_dir", problem)))?
        .or_else(|| command.dir.clone());
    if let Some(dir) = &dir
        && !tokio::fs::metadata(dir).await.is_ok_and(|found| found.is_dir())
    {
        let text = format!("the folder {} does not exist on this worker", dir.display());
        return Err(TaskError::fail(text));
    }
    Ok(Place { dir, port })
}

fn at(name: &str, field: &str, problem: &str) -> String {
    format!("`{field}` {problem} (type service:{name})")
}

fn port(command: &ServiceCommand, wanted: Option<u16>) -> Result<Option<u16>, &'static str> {
    match (wanted, &command.ports) {
        (Some(port), Some(ports)) if ports.contains(&port) => Ok(Some(port)),
        (Some(_), Some(_)) => Err("is not one of the `ports` of this command in SERVICE_COMMANDS"),
        (Some(_), None) => Err("cannot be set: this command has no `ports` in SERVICE_COMMANDS"),
        (None, Some(_)) if command.port.is_none() => Err("is required"),
        (None, _) => Ok(command.port),
    }
}

/// Returns the folder that a task names, absolute or relative to `dir_below`, without links and dots.
async fn below(command: &ServiceCommand, wanted: &Path) -> Result<PathBuf, &'static str> {
    let Some(root) = &command.dir_below else {
        return Err("cannot be set: this command has no `dir_below` in SERVICE_COMMANDS");
    };
    // resolved first: a link or `..` could lead out of the folder
    let resolved = async {
        let root = tokio::fs::canonicalize(root).await.ok()?;
        let dir = tokio::fs::canonicalize(root.join(wanted)).await.ok()?;
        (dir != root && dir.starts_with(&root)).then_some(dir)
    };
    resolved
        .await
        .ok_or("is not an existing folder below the `dir_below` of this command in SERVICE_COMMANDS")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn wanted(value: Value) -> Wanted {
        serde_json::from_value(value).expect("valid parameters")
    }

    /// A folder with `sites/a`, a link out of `sites`, and a command whose tasks may choose below `sites`.
    fn sites() -> (TempDir, ServiceCommand) {
        let folder = tempfile::tempdir().expect("a folder");
        let sites = folder.path().join("sites");
        fs::create_dir_all(sites.join("a/b")).expect("created");
        fs::create_dir(folder.path().join("sites-of-others")).expect("created");
        symlink(folder.path(), sites.join("out")).expect("linked");
        let command = ServiceCommand {
            dir_below: Some(sites),
            ports: Some(3000..=3999),
            ..ServiceCommand::new("npm")
        };
        (folder, command)
    }

    async fn error(command: &ServiceCommand, parameters: Value) -> String {
        match of("web", command, wanted(parameters)).await {
            Err(TaskError::Fail(error)) => error.to_string(),
            other => panic!("not a permanent error: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_task_sets_a_folder_below_the_allowed_one_and_a_port_within_its_bounds() {
        let (folder, command) = sites();
        let root = fs::canonicalize(folder.path()).expect("a folder").join("sites");
        for dir in [json!("a"), json!(root.join("a")), json!("a/b/.."), json!("./a")] {
            let place = of("web", &command, wanted(json!({"working_dir": dir, "port": 3999}))).await;
            assert_eq!(
                place.expect("allowed"),
                Place {
                    dir: Some(root.join("a")),
                    port: Some(3999)
                }
            );
        }
    }

    #[tokio::test]
    async fn folders_elsewhere_and_links_out_of_the_allowed_one_are_refused() {
        let (folder, command) = sites();
        let other = folder.path().join("sites-of-others");
        for dir in [
            json!("/"),
            json!(".."),
            json!("."),
            json!("a/../.."),
            json!("out"),
            json!("out/sites-of-others"),
            json!(other),
            json!("missing"),
        ] {
            let text = error(&command, json!({"working_dir": dir, "port": 3000})).await;
            assert!(
                text.starts_with("`working_dir` is not an existing folder below"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn a_port_out_of_bounds_and_missing_values_are_named() {
        let (_folder, command) = sites();
        for port in [1024, 2999, 4000] {
            let text = error(&command, json!({"working_dir": "a", "port": port})).await;
            assert!(text.contains("`port` is not one of the `ports`"), "{text}");
        }
        let text = error(&command, json!({"working_dir": "a"})).await;
        assert!(text.contains("`port` is required"), "{text}");
        let text = error(&command, json!({"port": 3000})).await;
        assert!(text.contains("`working_dir` is required"), "{text}");
    }

    #[tokio::test]
    async fn a_preset_place_is_used_and_cannot_be_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let preset = ServiceCommand {
            dir: Some(folder.path().to_owned()),
            port: Some(3000),
            ..ServiceCommand::new("npm")
        };
        let place = of("web", &preset, Wanted::default()).await.expect("preset");
        assert_eq!(
            (place.dir.as_deref(), place.port),
            (Some(folder.path()), Some(3000))
        );
        for parameters in [json!({"port": 3000}), json!({"working_dir": folder.path()})] {
            let text = error(&preset, parameters).await;
            assert!(text.contains("cannot be set"), "{text}");
        }
    }

    #[test]
    fn the_schema_has_only_what_tasks_may_set() {
        let (_folder, command) = sites();
        let open = schema(&command);
        assert_eq!(open.as_value()["required"], json!(["working_dir", "port"]));
        assert_eq!(open.as_value()["properties"]["port"]["maximum"], json!(3999));
        let preset = ServiceCommand {
            port: Some(3000),
            ..ServiceCommand::new("npm")
        };
        let closed = schema(&preset);
        assert_eq!(closed.as_value()["properties"], json!({}));
        assert_eq!(closed.as_value()["additionalProperties"], json!(false));
    }

    #[test]
    fn the_port_stands_in_the_arguments_that_ask_for_it() {
        let arguments = ["dev".to_owned(), "--port={port}".to_owned()];
        let place = |port| Place { dir: None, port };
        assert_eq!(place(Some(3000)).arguments(&arguments), ["dev", "--port=3000"]);
        assert_eq!(place(None).arguments(&arguments), arguments);
    }
}
