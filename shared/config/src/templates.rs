//! The workflow templates of a worker: the files of `TASKER_TEMPLATE_PATH`.

use std::collections::HashMap;

use super::reader::Reader;
use tasker_workflow::{Checked, Definition, ReadOptions, from_text};

const VARIABLE: &str = "TASKER_TEMPLATE_PATH";
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// Maximum number of templates of one worker.
const TEMPLATES_MAX: usize = 1_000;
/// Maximum size of all templates together in bytes, as read and as JSON: one statement publishes all of them.
const BYTES_MAX: usize = 16 << 20;

/// Reads the templates and adds the problems of each file. `None` if no folder is configured.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Vec<Definition>> {
    reader.given(VARIABLE)?;
    let files = reader.files_in(VARIABLE, &EXTENSIONS, (TEMPLATES_MAX, BYTES_MAX));
    let mut templates = Vec::with_capacity(files.len());
    let mut places = HashMap::new();
    for (file, text) in files {
        match from_text(&text, ReadOptions::default()) {
            Ok(Checked { definition, .. }) => {
                let (namespace, name, version) = definition.id();
                let id = format!("{namespace}/{name} {version}");
                if let Some(first) = places.insert(id.clone(), file.clone()) {
                    reader.problem(VARIABLE, format!("`{file}` holds {id}, as `{first}` does"));
                }
                templates.push(definition);
            }
            Err(invalid) => {
                for issue in invalid.issues {
                    reader.problem(VARIABLE, format!("`{file}` at {issue}"));
                }
            }
        }
    }
    // YAML aliases can expand a small file into large JSON, so the size is checked again
    let bytes: usize = templates.iter().map(|template| template.to_json().len()).sum();
    if bytes > BYTES_MAX {
        let message =
            format!("holds templates that have {bytes} bytes as JSON, more than {BYTES_MAX} in all");
        reader.problem(VARIABLE, message);
    }
    Some(templates)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::super::{LoadError, WorkerConfig};
    use tasker_platform::host::fake::FakeHost;
    use tasker_platform::host::{Host, ProcessHost};

    const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://t:vR7.qz2Lm@db/t");
    const VALID: &str = "name: one\nsteps: [{name: a, handler: {callable: echo}}]";

    fn worker(files: &[(&str, &str)]) -> Result<WorkerConfig, LoadError> {
        let host = FakeHost::with(&[DATABASE, ("TASKER_TEMPLATE_PATH", "/t")]);
        let host = files
            .iter()
            .fold(host, |host, (file, text)| host.file(&format!("/t/{file}"), text));
        WorkerConfig::load_from(["tasker-worker"], &host)
    }

    fn text(files: &[(&str, &str)]) -> String {
        worker(files).expect_err("problems").to_string()
    }

    #[test]
    fn the_templates_of_a_folder_are_read_and_other_files_are_ignored() {
        let json = r#"{"name": "two", "version": "2.0.0", "steps": [{"name": "a", "handler": {"callable": "echo"}}]}"#;
        let config = worker(&[
            ("one.yaml", VALID),
            ("two.json", json),
            ("README.md", "# not a template"),
            (".one.yaml", "not: [one"),
        ])
        .expect("valid");
        let templates = config.templates.expect("a folder");
        let names: Vec<&str> = templates.iter().map(|template| &*template.name).collect();
        assert_eq!(names, ["one", "two"]);
        let none = WorkerConfig::load_from(["tasker-worker"], &FakeHost::with(&[DATABASE])).expect("valid");
        assert_eq!(none.templates, None);
    }

    #[test]
    fn a_folder_that_is_missing_and_everything_wrong_with_each_file_is_named() {
        assert!(text(&[]).contains("TASKER_TEMPLATE_PATH: `/t` is not a readable folder"));
        let circle =
            "name: c\nsteps: [{name: a, handler: {callable: ''}}, {name: /, handler: {callable: echo}}]";
        let problems = text(&[("broken.yml", "name: ["), ("circle.yaml", circle)]);
        for part in [
            "TASKER_TEMPLATE_PATH: `broken.yml` at line 1, ",
            "`circle.yaml` at line 2, /steps/0/handler/callable: must be",
            "`circle.yaml` at line 2, /steps/1/name: `/` must be",
        ] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
    }

    #[test]
    fn a_folder_of_more_than_a_worker_may_bring_is_rejected() {
        let long = format!("{VALID}\n#{}", " ".repeat(900_000));
        let names: Vec<String> = (0..20).map(|n| format!("{n}.yaml")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
        assert!(
            text(&files).contains("more than 16777216 bytes in all"),
            "{}",
            text(&files)
        );
        let names: Vec<String> = (0..1_001).map(|n| format!("{n}.yaml")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), VALID)).collect();
        assert!(
            text(&files).contains("holds 1001 files, more than 1000"),
            "{}",
            text(&files)
        );
        let unfolded = format!(
            "name: NAME\nmetadata: {{a: &a {}, b: [{}]}}\nsteps: [{{name: a, handler: {{callable: echo}}}}]",
            "x".repeat(10_000),
            ["*a"; 90].join(",")
        );
        let texts: Vec<String> = (0..20)
            .map(|n| unfolded.replace("NAME", &format!("n{n}")))
            .collect();
        let files: Vec<(&str, &str)> = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        assert!(text(&files).contains("bytes as JSON"), "{}", text(&files));
    }

    #[test]
    fn the_examples_are_valid() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/order-fulfillment/templates"
        );
        let arguments = ["tasker-worker", "--tasker-template-path", folder];
        let config = WorkerConfig::load_from(arguments, &Here).expect("valid");
        let templates = config.templates.expect("a folder");
        let steps: Vec<usize> = templates.iter().map(|template| template.steps.len()).collect();
        assert_eq!(steps, [6]);
    }

    /// The files of this machine, without its variables.
    struct Here;

    impl Host for Here {
        fn variable(&self, name: &str) -> Option<OsString> {
            FakeHost::with(&[DATABASE]).variable(name)
        }

        fn read(&self, path: &Path) -> io::Result<String> {
            ProcessHost.read(path)
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            ProcessHost.list(folder)
        }
    }

    #[test]
    fn two_files_with_the_same_template_are_named() {
        let problems = text(&[("a.yaml", VALID), ("b.yaml", VALID)]);
        assert!(
            problems.contains("`b.yaml` holds default/one 1.0.0, as `a.yaml` does"),
            "{problems}"
        );
    }
}
