//! Config files: `base.toml` overlaid by `<TASKER_ENV>.toml`, flat keys in lower case.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::problem::Problems;
use super::table::VARIABLES;
use super::variable::Variable;
use tasker_platform::host::Host;

/// Variables that select the files, so a file cannot set them.
const NOT_IN_FILES: [&str; 3] = ["TASKER_ENV", "DEBUG_MODE", "TASKER_CONFIG_DIR"];

/// Variables whose values are JSON objects, which a file writes as tables.
const OBJECTS: [&str; 1] = ["SERVICE_COMMANDS"];

/// The values of the config files by variable name.
pub(super) type FileValues = HashMap<&'static str, String>;

/// Reads the files of `folder` (`./config` when not given, where both files may be missing). `environment` is
/// the name of the second file.
pub(super) fn load(
    host: &dyn Host,
    folder: Option<&str>,
    environment: &str,
    problems: &mut Problems,
) -> FileValues {
    let root = PathBuf::from(folder.unwrap_or("config"));
    let mut values = FileValues::new();
    let mut found = false;
    for name in ["base.toml", &format!("{environment}.toml")] {
        // base first: `extend` below lets the file of the environment override it
        let path = root.join(name);
        match host.read(&path) {
            Ok(text) => {
                found = true;
                values.extend(values_of(&path, &text, problems));
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => problems.add(path.display().to_string(), format!("cannot be read: {error}")),
        }
    }
    // the default folder may be missing; one that was configured and has no file is a typo
    if let (Some(folder), false) = (folder, found) {
        let message = format!("has neither base.toml nor {environment}.toml that can be read (`{folder}`)");
        problems.add("TASKER_CONFIG_DIR", message);
    }
    values
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn values_of(path: &Path, text: &str, problems: &mut Problems) -> FileValues {
    let file = path.display().to_string();
    let table = match toml::from_str::<toml::Table>(text) {
        Ok(table) => table,
        Err(error) => {
            // the library's full text quotes the line, which may hold a secret
            problems.add(
                file,
                format!("is not valid TOML: {}{}", error.message(), line(text, &error)),
            );
            return FileValues::new();
        }
    };
    let mut values = FileValues::new();
    for (key, value) in table {
        let variable = known(&key);
        match (variable, variable.and_then(|variable| value_of(variable, &value))) {
            (None, _) => problems.add(&*file, format!("has an unknown key `{key}`")),
            (Some(variable), _) if NOT_IN_FILES.contains(&variable.name) => {
                problems.add(&*file, format!("cannot set `{key}`, which selects the files"));
            }
            (Some(_), None) => {
                problems.add(
                    &*file,
                    format!("`{key}` must be a string, number, boolean or list"),
                );
            }
            (Some(variable), Some(text)) => {
                values.insert(variable.name, text);
            }
        }
    }
    values
}

fn line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| {
        format!(" (line {})", before.matches('\n').count() + 1)
    })
}

fn known(key: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.key() == key)
}

/// Returns the value as the variable would hold it: a table as JSON where the variable is an object.
fn value_of(variable: &Variable, value: &toml::Value) -> Option<String> {
    if value.is_table() && OBJECTS.contains(&variable.name) {
        return serde_json::to_string(value).ok();
    }
    as_text(value)
}

/// Returns a plain value as text, a list as a comma list.
fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(as_text).collect();
            items.map(|items| items.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
