//! Flags and values of other servers on the command line, which get advice instead of the usual error.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::ConfigError;
use crate::flags::FlagValues;

/// Flag in tutorials of Hypercorn, which never had it. It is accepted.
const HTTP2_FLAG: &str = "--http2";
/// Warning about [`HTTP2_FLAG`].
pub(crate) const HTTP2: &str = "--http2 has no effect: HTTP/2 is always enabled, by ALPN with TLS and by prior \
                                knowledge without; omit it";

/// Flag that is not one of hcrs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFlag {
    /// Name with its dashes.
    pub name: String,
    /// Word that was joined to it by `=` or follows it, if that is not a flag.
    pub value: Option<String>,
}

/// Source of advice about what belongs to other servers.
#[derive(Debug)]
pub struct Advice {
    /// Returns a line for each of the flags that other servers have; none if they do not have the first.
    pub flags: fn(&[UnknownFlag]) -> Vec<String>,
    /// Returns a line about a flag (the first argument) whose value has a meaning for other servers only.
    pub value: fn(&str, &str) -> Option<String>,
}

impl Advice {
    /// No advice.
    pub(crate) const NONE: Self = Self { flags: |_| Vec::new(), value: |_, _| None };

    /// Returns the advice about an unknown flag, and about all others on the command line.
    pub(crate) fn about_flags(
        &self,
        error: &clap::Error,
        command: &clap::Command,
        arguments: &[OsString],
    ) -> Option<ConfigError> {
        if error.kind() != ErrorKind::UnknownArgument {
            return None;
        }
        let Some(ContextValue::String(first)) = error.get(ContextKind::InvalidArg) else { return None };
        let lines = (self.flags)(&unknown_flags(first, command, arguments));
        (!lines.is_empty()).then_some(ConfigError::Arguments(lines))
    }

    /// Refuses values that have a meaning for other servers only.
    pub(crate) fn about_values(&self, flags: &FlagValues) -> Result<(), ConfigError> {
        let line = |(long, value): (&str, &str)| (self.value)(long, value);
        let lines: Vec<_> = flags.texts().filter_map(line).collect();
        if lines.is_empty() { Ok(()) } else { Err(ConfigError::Arguments(lines)) }
    }
}

/// Returns the unknown flags: the first, by the name that clap reports, and all other long ones.
fn unknown_flags(first: &str, command: &clap::Command, arguments: &[OsString]) -> Vec<UnknownFlag> {
    let words: Vec<&str> = arguments.iter().skip(1).map_while(|word| word.to_str()).collect();
    let words = words.split(|word| *word == "--").next().unwrap_or_default();
    let mut unknown = vec![UnknownFlag { name: first.to_owned(), value: None }];
    for (at, word) in words.iter().enumerate() {
        let (name, joined) = word.split_once('=').map_or((*word, None), |(name, value)| (name, Some(value)));
        let value = joined.or_else(|| words.get(at + 1).copied().filter(|next| !next.starts_with('-')));
        let value = value.map(str::to_owned);
        if let Some(known) = unknown.iter_mut().find(|flag| flag.name == name) {
            known.value = value;
        } else if name.starts_with("--") && !is_known(command, &name[2..]) {
            unknown.push(UnknownFlag { name: name.to_owned(), value });
        }
    }
    unknown
}

/// Returns whether the command has a flag of this name, which may be shortened.
fn is_known(command: &clap::Command, name: &str) -> bool {
    let is_builtin = ["help", "version"].iter().any(|builtin| builtin.starts_with(name));
    is_builtin
        || command.get_arguments().any(|argument| {
            let aliases = argument.get_all_aliases().into_iter().flatten();
            argument.get_long().into_iter().chain(aliases).any(|long| long.starts_with(name))
        })
}

/// Arguments without [`HTTP2_FLAG`].
pub(crate) struct GivenArguments {
    pub(crate) arguments: Vec<OsString>,
    pub(crate) has_http2: bool,
}

/// Removes [`HTTP2_FLAG`], which would make an abbreviation of `--http` if it were a flag.
pub(crate) fn without_http2(arguments: &[OsString]) -> GivenArguments {
    let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let mut kept = arguments[..end].to_vec();
    kept.retain(|word| word != HTTP2_FLAG);
    let has_http2 = kept.len() < end;
    kept.extend_from_slice(&arguments[end..]);
    GivenArguments { arguments: kept, has_http2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, parse_in};

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn unknown_flags_are_found_with_their_values() {
        let mut command = crate::flags::serve();
        let arguments = words("hcrs m:a --host 0.0.0.0 --work=2 -q --port=80 --bind a:1 --factory -- --x");
        let error = command.try_get_matches_from_mut(&arguments).unwrap_err();
        let Some(ContextValue::String(first)) = error.get(ContextKind::InvalidArg) else { panic!("{error}") };
        let found = unknown_flags(first, &command, &arguments);
        let found: Vec<_> = found.iter().map(|flag| (flag.name.as_str(), flag.value.as_deref())).collect();
        assert_eq!(found, [("--host", Some("0.0.0.0")), ("--port", Some("80")), ("--factory", None)]);
    }

    #[test]
    fn http2_is_accepted_with_a_warning() {
        let parsed = parse_in(words("hcrs --http2 --workers 2 m:a"), &[]).unwrap();
        let Command::Serve(config) = parsed else { panic!("{parsed:?}") };
        assert_eq!(config.warnings, [HTTP2]);
        assert_eq!(config.server.apps[0].workers.get(), 2);
        assert!(parse_in(words("hcrs --http h11 m:a"), &[]).is_err(), "it is no abbreviation");
        assert!(parse_in(words("hcrs m:a -- --http2"), &[]).is_err());
    }
}
