//! The problems of a configuration, collected so that all are reported at once.

use std::fmt;
use std::io::Write as _;

use super::{EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE};
use tasker_platform::healthcheck::Healthcheck;

/// A problem of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable, or the config file.
    pub name: String,
    /// The problem and the valid values; never the value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

/// All problems of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Creates the only problem of a configuration: one that a program finds after it has read its own.
    pub fn one(name: impl Into<String>, message: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.add(name, message);
        problems
    }

    /// Returns the problems in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Returns whether there are no problems.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a problem concerns the variable `name`.
    pub fn concern(&self, name: &str) -> bool {
        self.0.iter().any(|problem| problem.name == name)
    }

    /// Returns the problems of the variable `name`.
    pub(super) fn at(&self, name: &str) -> Self {
        let at_name = self.0.iter().filter(|problem| problem.name == name);
        Self(at_name.cloned().collect())
    }

    pub(super) fn add(&mut self, name: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            name: name.into(),
            message: message.into(),
        });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {noun} in the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// The reason why no configuration was returned.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The command line asks for help or the version, or is invalid.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The configuration has problems.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The command line asks for a health check of the running instance.
    #[error("a health check was asked for")]
    Healthcheck(Result<Healthcheck, Problems>),
}

impl LoadError {
    /// Prints the help, the version or the problems, or runs the health check, and returns the exit code for
    /// `main`.
    pub fn report(&self) -> i32 {
        match self {
            Self::Usage(error) => {
                // an error means that the terminal is closed
                let _ = error.print();
                // help and version go to stdout and are not errors
                if error.use_stderr() { EXIT_USAGE } else { 0 }
            }
            Self::Problems(problems) => {
                let _ = writeln!(std::io::stderr(), "{problems}");
                EXIT_CONFIG
            }
            Self::Healthcheck(check) => match answer(check) {
                Ok(()) => 0,
                Err(why) => {
                    let _ = writeln!(std::io::stderr(), "unhealthy: {why}");
                    EXIT_FAILURE
                }
            },
        }
    }
}

fn answer(check: &Result<Healthcheck, Problems>) -> Result<(), String> {
    let check = check.as_ref().map_err(ToString::to_string)?;
    check.run().map_err(|unhealthy| unhealthy.to_string())
}
