//! The requests that a route takes.

use std::cell::OnceCell;
use std::fmt;

use hcrs_http::{NormalPath, RequestView, Scheme};

use super::pattern::{HostPattern, PathPattern};
use crate::server_names::host_of;

/// The properties of the requests that a route takes: all that are given have to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteMatcher {
    /// The paths, of which one has to apply; empty for any.
    pub paths: Vec<PathPattern>,
    /// The hosts, of which one has to apply; empty for any.
    pub hosts: Vec<HostPattern>,
    /// The methods, of which one has to apply; empty for any.
    pub methods: Vec<String>,
    /// The scheme, as the client used it to a trusted proxy or to this server.
    pub scheme: Option<Scheme>,
}

/// The properties of a request that routes compare. The host is looked for if a route asks for it, and then once.
pub(super) struct Compared<'v, 'a> {
    pub(super) view: &'v RequestView<'a>,
    pub(super) path: NormalPath<'a>,
    pub(super) host: OnceCell<Option<&'a [u8]>>,
}

impl<'v, 'a> Compared<'v, 'a> {
    pub(super) fn of(view: &'v RequestView<'a>) -> Self {
        Self { view, path: NormalPath::new(view.path), host: OnceCell::new() }
    }

    fn host(&self) -> Option<&'a [u8]> {
        *self.host.get_or_init(|| self.view.fields().first(b"host").and_then(host_of))
    }
}

/// The reason why a route does not take a request: the first property that it does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// The scheme.
    Scheme,
    /// The method.
    Method,
    /// The host.
    Host,
    /// The path.
    Path,
    /// Only the app names files of the route.
    Internal,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "its scheme is another",
            Self::Method => "its method is another",
            Self::Host => "its host is another",
            Self::Path => "its path is another",
            Self::Internal => "it is internal",
        })
    }
}

impl RouteMatcher {
    pub(super) fn mismatch(&self, of: &Compared<'_, '_>) -> Option<Mismatch> {
        // The path first, which most routes have and few requests match.
        if !self.paths.is_empty() && self.paths.iter().all(|pattern| pattern.rest(&of.path).is_none()) {
            return Some(Mismatch::Path);
        }
        if self.scheme.is_some_and(|scheme| scheme != of.view.scheme) {
            return Some(Mismatch::Scheme);
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method.as_bytes() == of.view.method)
        {
            return Some(Mismatch::Method);
        }
        let is_host = |name: &HostPattern| of.host().is_some_and(|host| name.matches(host));
        if !self.hosts.is_empty() && !self.hosts.iter().any(is_host) {
            return Some(Mismatch::Host);
        }
        None
    }

    /// Returns the part of a path that follows the route's prefix, of several the first that matches.
    pub(crate) fn rest<'a>(&self, path: &'a NormalPath<'_>) -> &'a [u8] {
        self.paths.iter().find_map(|pattern| pattern.rest(path)).unwrap_or(path.as_bytes())
    }

    /// Returns the part of a path that the route's pattern leaves open, of several the first that matches.
    pub(crate) fn tail<'a>(&self, path: &'a NormalPath<'_>) -> &'a [u8] {
        self.paths.iter().find_map(|pattern| pattern.tail(path)).unwrap_or(path.as_bytes())
    }
}
