//! `tasker new`: writes a worker project, a copy of `examples/custom-worker` under another name.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use crate::output::{Output, print_line};

/// The maximum length of a project's name.
const NAME_CHARS_MAX: usize = 64;
/// The path of the checkout that this binary was built in.
const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The example's name, and the path by which it refers to the checkout.
const EXAMPLE: &str = "custom-worker";
const CHECKOUT: &str = "../..";

/// The files of the example.
const FILES: [(&str, &str); 6] = [
    (
        "Cargo.toml",
        include_str!("../../../examples/custom-worker/Cargo.toml"),
    ),
    (
        "src/main.rs",
        include_str!("../../../examples/custom-worker/src/main.rs"),
    ),
    (
        "README.md",
        include_str!("../../../examples/custom-worker/README.md"),
    ),
    (
        "Dockerfile",
        include_str!("../../../examples/custom-worker/Dockerfile"),
    ),
    (
        ".gitignore",
        include_str!("../../../examples/custom-worker/.gitignore"),
    ),
    (
        ".dockerignore",
        include_str!("../../../examples/custom-worker/.dockerignore"),
    ),
];

/// The end of the manifest: settings that the example inherits from the workspace of Tasker.
const MANIFEST_END: &str = r#"
# A separate workspace, so that the project also builds inside the folder of another one.
[workspace]

# Smaller and faster builds; backtraces keep their lines.
[profile.dev]
debug = "line-tables-only"

[profile.dev.package."*"]
debug = false
"#;

/// Names that cargo rejects for a package or a binary.
const RESERVED: [&str; 12] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "proc-macro",
    "proc_macro",
    "self",
    "std",
    "super",
    "test",
];

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The folder to write, new or empty; its last part is the name of the project.
    folder: PathBuf,
    /// The checkout of Tasker that the project depends on; by default the one that this command was built in.
    #[arg(long, value_name = "PATH")]
    tasker: Option<PathBuf>,
}

/// A project to write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Project {
    name: String,
    checkout: String,
}

pub(crate) fn run(args: &NewArgs, output: Output) -> anyhow::Result<ExitCode> {
    let name = args
        .folder
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    check_name(name)?;
    let checkout = find_checkout(args.tasker.as_deref())?;
    let project = Project {
        name: name.to_owned(),
        checkout: checkout.clone(),
    };
    check_folder(&args.folder)?;
    for (file, text) in FILES {
        write(&args.folder.join(file), &project.render(file, text))?;
    }
    // the dependency versions that Tasker is tested with; cargo removes those that the project does not use
    if let Ok(versions) = fs::read_to_string(Path::new(&checkout).join("Cargo.lock")) {
        write(&args.folder.join("Cargo.lock"), &versions)?;
    }
    let folder = args.folder.display();
    if output.is_json() {
        let answer = json!({"name": project.name, "folder": folder.to_string(), "tasker": project.checkout});
        print_line(&answer.to_string())?;
    } else {
        print_line(&format!(
            "wrote {folder}, which depends on the checkout {checkout}\n\n  cd {folder}\n  cargo test\n\nSee its README.md for \
             how to run it."
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Project {
    /// Returns a file of the example with the names and paths of this project.
    fn render(&self, file: &str, text: &str) -> String {
        let checkout = match file {
            "Cargo.toml" => in_toml(&self.checkout),
            _ => in_shell(&self.checkout),
        };
        let mut text = text.replace(CHECKOUT, &checkout).replace(EXAMPLE, &self.name);
        if file == "Cargo.toml" {
            text.push_str(MANIFEST_END);
        }
        text
    }
}

/// Returns a path escaped for a TOML string.
fn in_toml(path: &str) -> String {
    path.replace('\\', r"\\").replace('"', r#"\""#)
}

/// Returns a path quoted as one shell word.
fn in_shell(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Rejects a name that cargo would reject.
fn check_name(name: &str) -> anyhow::Result<()> {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !first || !rest || name.len() > NAME_CHARS_MAX {
        bail!(
            "`{name}` is not a project name: 1 to {NAME_CHARS_MAX} letters, digits, `-` and `_`, the first a letter, such as \
             my-worker"
        );
    }
    if RESERVED.contains(&name) {
        bail!("`{name}` is reserved by cargo; choose another name, such as my-worker");
    }
    Ok(())
}

/// Rejects a folder that is not empty.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", folder.display())),
    };
    if entries.is_some() {
        bail!(
            "{} exists and is not empty; choose another folder",
            folder.display()
        );
    }
    Ok(())
}

/// Returns the absolute path of the given checkout, or else of the one that this binary was built in.
fn find_checkout(given: Option<&Path>) -> anyhow::Result<String> {
    let folder = given.unwrap_or(Path::new(BUILT_IN));
    let found = fs::canonicalize(folder)
        .ok()
        .filter(|folder| folder.join("worker/Cargo.toml").is_file());
    let Some(found) = found else {
        match given {
            Some(folder) => bail!(
                "--tasker: {} is not a checkout of Tasker: it has no worker/Cargo.toml",
                folder.display()
            ),
            None => bail!(
                "the checkout of Tasker that this command was built in is gone; give its path with --tasker PATH"
            ),
        }
    };
    let path = found.to_str().filter(|path| !path.contains(char::is_control));
    let path =
        path.with_context(|| format!("the path {} cannot be written into Cargo.toml", found.display()))?;
    Ok(path.to_owned())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::File::create_new(path)?.write_all(text.as_bytes())
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(checkout: &str) -> Project {
        Project {
            name: "mailer".to_owned(),
            checkout: checkout.to_owned(),
        }
    }

    #[test]
    fn nothing_in_a_project_refers_to_the_example_or_to_a_folder_above_it() {
        for (file, text) in FILES {
            let rendered = project("/opt/tasker").render(file, text);
            for left in ["custom-worker", "custom_worker", ".."] {
                let code = rendered.replace("2..=", "");
                assert!(!code.contains(left), "{left} is in {file}");
            }
        }
    }

    #[test]
    fn the_manifest_inherits_nothing_and_names_the_checkout_and_the_published_form() {
        let manifest = project("/opt/tasker").render(FILES[0].0, FILES[0].1);
        assert!(manifest.contains(r#"name = "mailer""#), "{manifest}");
        assert!(
            manifest.contains(r#"tasker-worker = { path = "/opt/tasker/worker" }"#),
            "{manifest}"
        );
        assert!(
            manifest.contains(r#"# From the checkout of Tasker. The published form: tasker-worker = "0.1""#)
        );
        assert!(!manifest.contains("workspace = true"), "{manifest}");
        assert!(manifest.contains("\n[workspace]\n"), "{manifest}");
    }

    #[test]
    fn paths_are_quoted_where_they_must_be() {
        assert_eq!(in_shell("/opt/tasker-1.0"), "/opt/tasker-1.0");
        assert_eq!(in_shell("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(in_toml(r#"/a"b\c"#), r#"/a\"b\\c"#);
    }

    #[test]
    fn a_name_that_cargo_does_not_take_is_rejected() {
        for name in ["", "1a", "-a", "a b", "a.b", "ä", "test", "core", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "my-worker", "My_Worker2"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
