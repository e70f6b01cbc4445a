//! A configuration variable and the binaries that read it.

/// The binaries that read a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedBy {
    /// The server and the worker.
    Both,
    /// `tasker-server`.
    Server,
    /// `tasker-worker`, and every worker built on the library.
    Worker,
}

/// The binary whose configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `tasker-server`.
    Server,
    /// `tasker-worker`, and every worker built on the library.
    Worker,
}

impl UsedBy {
    /// Returns whether `binary` reads the variable.
    pub fn includes(self, binary: Binary) -> bool {
        matches!(
            (self, binary),
            (Self::Both, _) | (Self::Server, Binary::Server) | (Self::Worker, Binary::Worker)
        )
    }
}

/// One configuration variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The environment variable; in lower case the key of config files, with `-` the flag.
    pub name: &'static str,
    /// The default, spelled as in a configuration.
    pub default: Option<&'static str>,
    /// One sentence for `--help`.
    pub help: &'static str,
    /// The binaries that read it.
    pub used_by: UsedBy,
    /// True where the value must never appear in a message.
    pub secret: bool,
}

impl Variable {
    /// Marks the value as secret.
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Returns the long command-line flag without its dashes: `heartbeat-interval`.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// Returns the key in config files: `heartbeat_interval`.
    pub fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}
