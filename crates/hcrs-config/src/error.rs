//! Why a command line or a configuration was refused.

use std::fmt;

/// Error of reading a command line or a configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The arguments cannot be parsed, or they ask for help or the version: printed by clap, which also knows
    /// the exit code.
    Usage(clap::Error),
    /// The arguments are wrong: a line for each mistake, ready to print.
    Arguments(Vec<String>),
    /// The file or the values are wrong: every problem found, ready to print.
    Invalid(Vec<String>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Arguments(lines) => f.write_str(&lines.join("\n")),
            Self::Invalid(problems) => f.write_str(&problems.join("\n\n")),
        }
    }
}

impl std::error::Error for ConfigError {}
