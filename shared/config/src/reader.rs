//! Reads variables from all their sources and collects the problems.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::files::{self, FileValues};
use super::problem::Problems;
use super::table;
use tasker_core::duration;
use tasker_platform::host::Host;
use tasker_store::postgres_url::{self, Client};

/// A reader of one configuration.
///
/// It replaces an invalid value by a placeholder, so that it can go on and find the next problem.
/// [`Reader::finish`] then rejects the whole configuration, so a placeholder is never used.
pub(super) struct Reader<'a> {
    host: &'a dyn Host,
    flags: HashMap<&'static str, String>,
    files: FileValues,
    problems: Problems,
}

impl<'a> Reader<'a> {
    /// Creates a reader of `flags` and the variables of `host`, without config files.
    pub(super) fn new(host: &'a dyn Host, flags: HashMap<&'static str, String>) -> Self {
        Self {
            host,
            flags,
            files: FileValues::new(),
            problems: Problems::default(),
        }
    }

    /// Adds the config files for `environment`, whose values all later reads see.
    pub(super) fn load_files(&mut self, environment: &str) {
        let folder = self.given("TASKER_CONFIG_DIR");
        self.files = files::load(self.host, folder.as_deref(), environment, &mut self.problems);
    }

    /// Returns `config`, or the problems that were found.
    pub(super) fn finish<T>(self, config: T) -> Result<T, Problems> {
        if self.problems.is_empty() {
            Ok(config)
        } else {
            Err(self.problems)
        }
    }

    /// Returns the problems of the variable `name` alone.
    pub(super) fn problems_at(&self, name: &str) -> Problems {
        self.problems.at(name)
    }

    /// Validates a Postgres URL and adds its errors, at `name` or at the libpq variable that caused them.
    /// `message` replaces the errors of a URL that was built from parts, which the user never wrote.
    pub(super) fn check_postgres_url(
        &mut self,
        (name, url): (&str, &str),
        client: Client,
        message: Option<&str>,
    ) {
        for error in postgres_url::read(url, client, self.host)
            .err()
            .into_iter()
            .flatten()
        {
            match error.variable {
                Some(variable) => self.add_once(variable, &error.message),
                None => self.problem(name, message.unwrap_or(&error.message)),
            }
        }
    }

    /// Adds a problem of the variable `name`.
    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.add(name, message);
    }

    /// Returns whether all of `names` are free of problems, so that a relation between them can be checked.
    pub(super) fn valid(&self, names: &[&str]) -> bool {
        !names.iter().any(|name| self.problems.concern(name))
    }

    /// Returns the value that was set, without the default.
    pub(super) fn given(&mut self, name: &'static str) -> Option<String> {
        if let Some(value) = self.flags.get(name).filter(|value| !value.is_empty()) {
            return Some(value.clone());
        }
        let value = self.variable(name);
        // read even where the variable is set: both at once is a problem to report
        let from_file = self.named_file(name, value.is_some());
        value
            .or(from_file)
            .or_else(|| self.files.get(name).filter(|text| !text.is_empty()).cloned())
    }

    /// Returns the text of the file that the variable `name` points to.
    pub(super) fn contents(&mut self, name: &'static str) -> Option<String> {
        let path = self.given(name)?;
        match self.host.read(Path::new(path.trim())) {
            Ok(text) => Some(text),
            Err(error) => {
                self.add_once(name, &format!("`{path}` cannot be read: {error}"));
                None
            }
        }
    }

    /// Returns the names and texts of the files in the folder that the variable `name` points to.
    ///
    /// It skips files that begin with a dot or have none of `extensions`. Unreadable files, and more files or
    /// bytes in total than the maximums, are added as problems; over a maximum it reads no further files.
    pub(super) fn files_in(
        &mut self,
        name: &'static str,
        extensions: &[&str],
        (files_max, bytes_max): (usize, usize),
    ) -> Vec<(String, String)> {
        let Some(folder) = self.given(name) else {
            return Vec::new();
        };
        let mut paths = match self.host.list(Path::new(folder.trim())) {
            Ok(paths) => paths,
            Err(error) => {
                self.add_once(name, &format!("`{folder}` is not a readable folder: {error}"));
                return Vec::new();
            }
        };
        let file_name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        paths.retain(|path| {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            !file_name(path).starts_with('.') && extensions.contains(&&*extension)
        });
        if paths.len() > files_max {
            self.problem(
                name,
                format!("holds {} files, more than {files_max}", paths.len()),
            );
            return Vec::new();
        }
        let mut files = Vec::with_capacity(paths.len());
        let mut bytes = 0;
        for path in paths {
            let file = file_name(&path);
            match self.host.read(&path) {
                Ok(text) => {
                    bytes += text.len();
                    files.push((file, text));
                }
                Err(error) => self.problem(name, format!("`{file}` cannot be read: {error}")),
            }
            if bytes > bytes_max {
                self.problem(name, format!("holds files of more than {bytes_max} bytes in all"));
                return Vec::new();
            }
        }
        files
    }

    /// Returns the value that was set, or the default.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.given(name)
            .or_else(|| table::variable(name).default.map(str::to_owned))
    }

    /// Returns the value of a secret.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    /// Returns the value as parsed by `parse`, whose error continues "NAME: ".
    pub(super) fn parse<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.reject(name, &text, &error.to_string());
                None
            }
        }
    }

    /// Returns a whole number within `range`.
    pub(super) fn number<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let allowed = format!("must be a whole number from {} to {}", range.start(), range.end());
        let read = |text: &str| text.parse().ok().filter(|n| range.contains(n)).ok_or(allowed);
        self.parse(name, read).unwrap_or(*range.start())
    }

    /// Returns a duration within `range`.
    pub(super) fn duration(&mut self, name: &'static str, range: RangeInclusive<Duration>) -> Duration {
        let read = |text: &str| {
            let value = duration::parse(text).map_err(|error| error.to_string())?;
            if range.contains(&value) {
                return Ok(value);
            }
            let (low, high) = (duration::format(*range.start()), duration::format(*range.end()));
            Err(format!("must be from {low} to {high}"))
        };
        self.parse(name, read).unwrap_or(*range.start())
    }

    /// Returns a boolean.
    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false"),
        };
        self.parse(name, read).unwrap_or(false)
    }

    /// Returns one of `choices`, compared case-insensitively.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.parse(name, |text| {
            let chosen = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
            let words = || {
                choices
                    .iter()
                    .map(|(word, _)| *word)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            chosen
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("must be one of {}", words()))
        })
    }

    /// Adds the problem that `text` is not a valid value of `name`, repeating it only where it is not a
    /// secret.
    fn reject(&mut self, name: &'static str, text: &str, message: &str) {
        // a URL may hold a password
        let shown = if table::variable(name).secret || text.contains('@') {
            String::new()
        } else {
            format!(" (is `{}`)", text.escape_debug())
        };
        self.problems.add(name, format!("{message}{shown}"));
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        let value = self.host.variable(name)?;
        if let Ok(text) = value.into_string() {
            return Some(text).filter(|text| !text.is_empty());
        }
        self.add_once(name, "is not valid UTF-8");
        None
    }

    fn named_file(&mut self, name: &'static str, also_set: bool) -> Option<String> {
        let file_variable = format!("{name}_FILE");
        let path = self.variable(&file_variable)?;
        if also_set {
            self.add_once(
                name,
                &format!("is set, and so is {file_variable}; set one of them"),
            );
            return None;
        }
        let text = match self.host.read(Path::new(&path)) {
            Ok(text) => text,
            Err(error) => {
                self.add_once(&file_variable, &format!("`{path}` cannot be read: {error}"));
                return None;
            }
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            self.add_once(&file_variable, &format!("`{path}` is empty"));
            return None;
        }
        // an editor's byte order mark or a second line would silently become part of the secret
        if table::variable(name).secret && text.contains(|c: char| c.is_control() || c == '\u{feff}') {
            let message = format!("`{path}` holds control characters or a byte order mark");
            self.add_once(&file_variable, &message);
            return None;
        }
        Some(text.to_owned())
    }

    /// Adds a problem of a source, unless it has one: a source may be read several times.
    fn add_once(&mut self, name: &str, message: &str) {
        if !self.problems.concern(name) {
            self.problems.add(name, message);
        }
    }
}
