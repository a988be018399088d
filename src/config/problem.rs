//! What can be wrong with a configuration, in words that say where and what is allowed.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value was given. What was given nowhere has its built-in default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A line of a TOML file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A flag of the command line, such as `--listen`.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong. None of them prints a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file, as it was named.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// The file is not TOML. The line itself is not printed: it may hold a secret.
    #[error("{}, line {line}, column {column}: not TOML: {reason}", path.display())]
    Syntax {
        /// The file, as it was named.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// `--set` without an equals sign.
    #[error(
        "flag --set: expected key=value, such as --set rooms.history_events=500, but `{start}...` has no `=`"
    )]
    Setting {
        /// What could be the key.
        start: String,
    },
    /// A key that does not exist.
    #[error("`{key}` ({from}) is no key of the configuration; the nearest is `{nearest}`")]
    UnknownKey {
        /// The key as it was given.
        key: String,
        /// Where it was given.
        from: Source,
        /// The known key most like it.
        nearest: String,
    },
    /// A `GREENROOM_` variable that names no key.
    #[error(
        "environment variable {name} names no key of the configuration; the nearest is {variable} (`{nearest}`)"
    )]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The known key most like it.
        nearest: String,
        /// That key's variable.
        variable: String,
    },
    /// A section that was given a value.
    #[error("`{key}` ({from}) is a section, not a value; its keys: {keys}")]
    Section {
        /// The section.
        key: String,
        /// Where it was given.
        from: Source,
        /// Its keys.
        keys: String,
    },
    /// A value that is not allowed.
    #[error("`{key}` = {value}{} must be {allowed}", in_brackets(from.as_ref()))]
    Value {
        /// The key.
        key: String,
        /// The value as TOML, or `***`.
        value: String,
        /// Where it was given.
        from: Option<Source>,
        /// What is allowed.
        allowed: String,
    },
    /// Values that do not go together.
    #[error("`{key}` = {value}{} {rule}", in_brackets(from.as_ref()))]
    Relation {
        /// The key that has to change, or one of them.
        key: String,
        /// Its value.
        value: String,
        /// Where it was given.
        from: Option<Source>,
        /// What has to hold, and against which value of which key.
        rule: String,
    },
    /// A fault of this program, not of the configuration.
    #[error("the configuration cannot be put together: {0}")]
    Internal(String),
}

impl Problem {
    /// The key that is wrong, where it is a known one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Section { key, .. } | Self::Value { key, .. } | Self::Relation { key, .. } => Some(key),
            _ => None,
        }
    }
}

fn in_brackets(source: Option<&Source>) -> String {
    source.map_or_else(String::new, |source| format!(" ({source})"))
}

/// Everything that is wrong, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", self.lines().collect::<Vec<_>>().join("\n"))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok` if there are none.
    pub(super) fn none_or(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Each problem as one line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
