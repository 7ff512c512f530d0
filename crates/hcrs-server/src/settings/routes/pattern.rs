//! Patterns of paths and hosts.

use hcrs_http::NormalPath;

use crate::glob;

/// The paths of a route. They are compared with the normal form of a request's path ([`NormalPath`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// This path, without a slash at its end, and all below it.
    Prefix(String),
    /// This path alone.
    Exact(String),
    /// Paths that match: `*` for any characters, `?` for any one. Without a slash only the last segment is compared.
    Glob(String),
}

/// The hosts of a route, without a port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This name or address.
    Exact(String),
    /// The names that end in this, which begins with a dot.
    Below(String),
}

impl PathPattern {
    /// Parses a pattern: after `=` a single path, with `*` or `?` a glob, else a prefix. The error describes what is
    /// expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let exact = text.strip_prefix('=');
        if exact.is_none() && text.contains(['*', '?']) {
            return Ok(Self::Glob(text.to_owned()));
        }
        let path = exact.unwrap_or(text);
        let is_normal = NormalPath::new(path.as_bytes()).as_bytes() == path.as_bytes();
        if !path.starts_with('/') || !is_normal {
            return Err(
                "a path that begins with / and has no dot segments and no percent-encoding, a single path after =, \
                 or a pattern with * or ?",
            );
        }
        Ok(match exact {
            Some(path) => Self::Exact(path.to_owned()),
            None => Self::Prefix(path.strip_suffix('/').unwrap_or(path).to_owned()),
        })
    }

    /// Returns the part of a path that follows the prefix; the whole path for the other patterns. `None` if the pattern
    /// does not match.
    pub(crate) fn rest<'a>(&self, path: &'a NormalPath<'_>) -> Option<&'a [u8]> {
        let bytes = path.as_bytes();
        match self {
            Self::Prefix(prefix) => path.below(prefix.as_bytes()),
            Self::Exact(exact) => (exact.as_bytes() == bytes).then_some(bytes),
            Self::Glob(pattern) => {
                glob::is_match(pattern.as_bytes(), compared(pattern, bytes)).then_some(bytes)
            }
        }
    }

    /// Returns the part of a path that the pattern leaves open: behind a prefix, or from the first wildcard on. `None`
    /// if the pattern does not match.
    pub(super) fn tail<'a>(&self, path: &'a NormalPath<'_>) -> Option<&'a [u8]> {
        let rest = self.rest(path)?;
        Some(match self {
            Self::Prefix(_) => rest,
            Self::Exact(_) => &[],
            Self::Glob(pattern) => {
                let fixed = pattern.find(['*', '?']).unwrap_or(pattern.len());
                &compared(pattern, rest)[fixed..]
            }
        })
    }
}

/// Returns the part of a path with which a glob is compared.
fn compared<'a>(pattern: &str, path: &'a [u8]) -> &'a [u8] {
    let last = || path.iter().rposition(|&byte| byte == b'/').map_or(path, |slash| &path[slash + 1..]);
    if pattern.contains('/') { path } else { last() }
}

impl HostPattern {
    /// Parses a name, an address, or `*.` and a name. The error describes what is expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "a host name or address without a port, or *. and a name";
        let below = text.strip_prefix("*.");
        let name = below.unwrap_or(text);
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/@,?#*".contains(&byte))
            && (!name.contains(':') || name.starts_with('[') && name.ends_with(']'));
        match (is_name, below) {
            (false, _) => Err(EXPECTED),
            (true, None) => Ok(Self::Exact(name.to_ascii_lowercase())),
            (true, Some(name)) => Ok(Self::Below(format!(".{}", name.to_ascii_lowercase()))),
        }
    }

    pub(super) fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => name.as_bytes().eq_ignore_ascii_case(host),
            Self::Below(end) => {
                host.len() > end.len() && {
                    host[host.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_nothing_could_match_are_refused() {
        for bad in ["static", "", "/a/../b", "/a%20b", "/a//b", "=", "=a", "=/a//b"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "*", "*.", "a:80", "a/b", "::1", "a*"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(PathPattern::parse("/"), Ok(PathPattern::Prefix(String::new())));
        assert_eq!(PathPattern::parse("=/"), Ok(PathPattern::Exact("/".to_owned())));
    }
}
