//! Files with definitions of workflows, and what is wrong with them.

use std::convert::Infallible;
use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use serde::Serialize;
use tasker_client::ClientError;
use tasker_wire::TemplateWarning;
use tasker_workflow::{Definition, Issue, ReadOptions, SchemaError, from_text};

use super::values::read_stdin;
use crate::output::{printable, progress};

/// A file with a definition in YAML or JSON, or standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DefinitionFile {
    Path(String),
    Stdin,
}

impl FromStr for DefinitionFile {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "-" => Self::Stdin,
            path => Self::Path(path.to_owned()),
        })
    }
}

impl DefinitionFile {
    /// Returns the name in messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Path(path) => path,
            Self::Stdin => "<stdin>",
        }
    }

    /// Reads the whole text.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        match self {
            Self::Path(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}")),
            Self::Stdin => read_stdin(),
        }
    }
}

/// An error or a warning, and its place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) file: String,
    pub(super) line: Option<u32>,
    pub(super) pointer: String,
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Error,
    Warning,
}

impl Finding {
    fn of(file: &str, severity: Severity, issue: Issue) -> Self {
        Self {
            file: file.to_owned(),
            line: issue.line,
            pointer: issue.pointer,
            severity,
            code: issue.code.as_str(),
            message: issue.message,
        }
    }

    /// Returns the error of a file that cannot be read.
    pub(super) fn unreadable(file: &str, error: &anyhow::Error) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            pointer: String::new(),
            severity: Severity::Error,
            code: "unreadable",
            message: format!("{error:#}"),
        }
    }

    /// Returns a warning of the server about a published template.
    pub(super) fn published(file: &str, warning: TemplateWarning) -> Self {
        Self {
            file: file.to_owned(),
            line: warning.line,
            pointer: warning.pointer,
            severity: Severity::Warning,
            code: "published",
            message: warning.detail,
        }
    }

    /// Returns true for an error, false for a warning.
    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `file:line: pointer: message`, as editors and CI read it.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", printable(&self.file))?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.pointer.is_empty() {
            write!(f, " {}:", printable(&self.pointer))?;
        }
        let warning = if self.is_error() { "" } else { "warning: " };
        write!(f, " {warning}{}", printable(&self.message))
    }
}

/// Returns the errors of the input schema of a definition.
fn schema_errors(text: &str) -> Vec<SchemaError> {
    let compiled = serde_json::from_str(text)
        .map_err(|error| error.to_string())
        .and_then(|schema| jsonschema::validator_for(&schema).map_err(|error| error.to_string()));
    let errors = compiled.err().into_iter();
    errors
        .map(|error| SchemaError {
            pointer: String::new(),
            message: format!("is not a JSON Schema: {error}"),
        })
        .collect()
}

/// Validates the text of `file`, which may hold `other_fields` beside those of a definition. Returns the
/// definition, unless there are errors, and all errors and warnings.
pub(super) fn check(
    file: &str,
    text: &str,
    other_fields: &'static [&'static str],
) -> (Option<Definition>, Vec<Finding>) {
    let options = ReadOptions {
        other_fields,
        check_schema: Some(&schema_errors),
    };
    let (definition, severity, issues) = match from_text(text, options) {
        Ok(checked) => (Some(checked.definition), Severity::Warning, checked.warnings),
        Err(invalid) => (None, Severity::Error, invalid.issues),
    };
    let findings = issues.into_iter();
    let findings = findings.map(|issue| Finding::of(file, severity, issue));
    (definition, findings.collect())
}

/// Prints findings to stderr, for commands that have other output.
pub(super) fn report(findings: &[Finding]) {
    for finding in findings {
        progress(&finding.to_string());
    }
}

/// Reports a rejected definition with its lines, where this program finds errors in it too. Otherwise returns
/// the server's error: it checks more, and may be of another release.
pub(super) fn rejected(
    error: ClientError,
    file: &DefinitionFile,
    text: &str,
    other_fields: &'static [&'static str],
) -> anyhow::Result<ExitCode> {
    if !matches!(&error, ClientError::Rejected(problem) if problem.status == 422) {
        return Err(error.into());
    }
    let (definition, findings) = check(file.name(), text, other_fields);
    if definition.is_some() {
        return Err(error.into());
    }
    report(&findings);
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_file_line_and_place() {
        let text = "name: x\nsteps:\n  - {name: a, run: echo}\n  - {name: b, run: echo, needs: [c]}\n";
        let (definition, findings) = check("x.yaml", text, &[]);
        assert!(definition.is_none());
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("x.yaml:4: /steps/1/needs/0: "), "{lines:?}");
    }

    #[test]
    fn a_warning_says_that_it_is_one() {
        let text = "name: x\ntask_handler: y\nsteps: [{name: a, run: echo}]\n";
        let (definition, findings) = check("x.yaml", text, &[]);
        assert!(definition.is_some());
        assert!(
            findings[0]
                .to_string()
                .starts_with("x.yaml:2: /task_handler: warning: "),
            "{findings:?}"
        );
    }

    #[test]
    fn the_input_schema_is_checked() {
        let text = "name: x\ninput_schema: {type: objekt}\nsteps: [{name: a, run: echo}]\n";
        let (definition, findings) = check("x.yaml", text, &[]);
        assert!(definition.is_none());
        let line = findings[0].to_string();
        assert!(
            line.starts_with("x.yaml:2: /input_schema: is not a JSON Schema: "),
            "{line}"
        );
    }

    #[test]
    fn a_place_that_is_not_known_is_left_out() {
        let finding = Finding::unreadable("x.yaml", &anyhow::anyhow!("cannot read x.yaml"));
        assert_eq!(finding.to_string(), "x.yaml: cannot read x.yaml");
    }
}
