//! Routes: which app, or what else, answers which requests.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Index;
use std::path::PathBuf;
use std::sync::Arc;

use hcrs_http::{NormalPath, RequestView, Scheme};

use super::path_start::{PathStart, first_eight};
use super::rules::FileContents;
use super::{AppIndex, LoadedFile, Rules, UpstreamSettings};
use crate::server_names::host_of;
use crate::{StartError, glob};

/// The routes in their order. A request takes the first that matches it; without one it goes to
/// the default app ([`Settings::default_app`](super::Settings::default_app)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    list: Vec<ConfiguredRoute>,
    /// The starts of the paths of each route, in the same order.
    starts: Vec<PathStart>,
    rules: Arc<Rules>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredRoute {
    /// The requests that it takes.
    pub matcher: RouteMatcher,
    /// The origin of their answers.
    pub action: RouteAction,
    /// The rules of its requests.
    pub rules: Arc<Rules>,
}

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

/// The origin of the answers to a route's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// An app.
    App(AppIndex),
    /// Files of a folder.
    Files(FilesSettings),
    /// A redirect.
    Redirect(RedirectSettings),
    /// Always the same response.
    Fixed(FixedResponse),
    /// Other HTTP servers.
    Upstream(Arc<UpstreamSettings>),
    /// The page of a server without an app.
    Welcome,
}

impl fmt::Display for RouteAction {
    /// Describes the answer, for the operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(_) => f.write_str("the app"),
            Self::Files(files) => write!(f, "files of {}", files.folder.display()),
            Self::Redirect(redirect) => write!(f, "status {}, to {}", redirect.status, redirect.location),
            Self::Fixed(fixed) => write!(f, "status {}", fixed.status),
            Self::Upstream(settings) => {
                f.write_str("upstream")?;
                settings.servers.iter().try_for_each(|server| write!(f, " {server}"))
            }
            Self::Welcome => f.write_str("the welcome page"),
        }
    }
}

/// Files of a folder. The path behind the route's prefix names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSettings {
    /// The folder.
    pub folder: PathBuf,
    /// The names of the files that answer for a folder; the first that is there.
    pub index: Vec<String>,
    /// The answer to a request for a file that is not there.
    pub missing: MissingFile,
    /// The `cache-control` of responses with a file.
    pub cache_control: Option<String>,
    /// Whether names that begin with a dot are served.
    pub hidden: bool,
    /// Whether symbolic links may lead out of the folder.
    pub follow_links: bool,
    /// Whether a file beside it with the end `.br`, `.zst` or `.gz` is sent in its place to clients that take it.
    pub precompressed: bool,
    /// Whether files whose names have a hash of their content may be kept by caches forever.
    pub hashed_immutable: bool,
    /// Whether browsers are to store files and not to show them.
    pub attachment: bool,
    /// The content type of all files; `None` for that of their extensions.
    pub force_type: Option<String>,
    /// Whether a folder without an index file is listed.
    pub listing: bool,
    /// Whether only responses of the app name files, by `x-accel-redirect` or `x-sendfile`. No client's request takes
    /// the route.
    pub internal: bool,
}

impl FilesSettings {
    /// Returns the default settings for the files of a folder.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            index: vec!["index.html".to_owned()],
            missing: MissingFile::NotFound,
            cache_control: None,
            hidden: false,
            follow_links: false,
            precompressed: false,
            hashed_immutable: false,
            attachment: false,
            force_type: None,
            listing: false,
            internal: false,
        }
    }
}

/// The answer to a request for a file that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingFile {
    /// 404.
    NotFound,
    /// The routes behind this one decide.
    NextRoute,
    /// This file, relative to the folder, is sent.
    File(String),
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectSettings {
    /// The location, with `{host}`, `{path}` and `{query}` of the request, and `{rest}` for the part of the path that
    /// the route leaves open.
    pub location: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A response that is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body.
    pub body: FixedBody,
    /// The type of the body; `None` for that of the file's extension, and plain text.
    pub content_type: Option<String>,
}

/// The body of a response that is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FixedBody {
    /// This text.
    Text(String),
    /// The contents of this file.
    File(LoadedFile),
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
    fn tail<'a>(&self, path: &'a NormalPath<'_>) -> Option<&'a [u8]> {
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

    fn matches(&self, host: &[u8]) -> bool {
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

/// A route that takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    index: usize,
}

impl Taken {
    /// Returns the first of the routes behind it.
    pub(crate) fn next(self) -> usize {
        self.index + 1
    }
}

impl Index<Taken> for Routes {
    type Output = ConfiguredRoute;

    fn index(&self, taken: Taken) -> &ConfiguredRoute {
        &self.list[taken.index]
    }
}

impl Routes {
    /// Returns these routes; the rules of a route stand before those of all requests.
    pub fn new(mut routes: Vec<ConfiguredRoute>, rules: Rules) -> Self {
        for (index, route) in routes.iter_mut().enumerate() {
            route.rules = Arc::new(route.rules.of_route(index + 1).before(&rules));
        }
        let starts = routes.iter().map(|route| PathStart::of(&route.matcher)).collect();
        Self { list: routes, starts, rules: Arc::new(rules) }
    }

    /// Returns the routes in their order.
    pub fn list(&self) -> &[ConfiguredRoute] {
        &self.list
    }

    /// Returns the rules of requests that no route takes.
    pub fn rules_of_all(&self) -> &Rules {
        &self.rules
    }

    /// Returns the rules of requests that this route takes, or none.
    pub(crate) fn rules(&self, taken: Option<Taken>) -> &Arc<Rules> {
        taken.map_or(&self.rules, |taken| &self[taken].rules)
    }

    /// Replaces the places of apps in the routes.
    pub(super) fn renumber_apps(&mut self, place: impl Fn(AppIndex) -> AppIndex) {
        for route in &mut self.list {
            if let RouteAction::App(app) = &mut route.action {
                *app = place(*app);
            }
        }
    }

    /// Checks that the folders of all routes are there, and reads the files that are a part of the configuration.
    pub fn load(&mut self) -> Result<(), StartError> {
        let mut files = FileContents::default();
        let rules = self.list.iter_mut().map(|route| &mut route.rules).chain([&mut self.rules]);
        for rules in rules {
            Arc::make_mut(rules).load(&mut files)?;
        }
        for route in &mut self.list {
            match &mut route.action {
                RouteAction::Files(FilesSettings { folder, .. }) => {
                    std::fs::read_dir(&*folder)
                        .map_err(|error| StartError::Folder(folder.display().to_string(), error))?;
                }
                RouteAction::Fixed(FixedResponse { body: FixedBody::File(file), .. }) => file.load()?,
                RouteAction::Upstream(settings) => drop(settings.tls()?),
                RouteAction::App(_)
                | RouteAction::Redirect(_)
                | RouteAction::Fixed(_)
                | RouteAction::Welcome => {}
            }
        }
        Ok(())
    }

    /// Returns the settings of the routes to upstreams.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<UpstreamSettings>> {
        self.list.iter().filter_map(|route| match &route.action {
            RouteAction::Upstream(settings) => Some(settings),
            _ => None,
        })
    }

    /// Returns the first route, from the one at `first` on, that takes the request.
    pub(crate) fn find(&self, view: &RequestView<'_>, first: usize) -> Option<Taken> {
        if self.list.len() <= first {
            return None;
        }
        let compared = Compared::of(view);
        let path_start = first_eight(compared.path.as_bytes());
        let index = (first..self.list.len()).find(|&index| {
            self.starts[index].may_take(path_start) && self.list[index].mismatch(&compared).is_none()
        })?;
        Some(Taken { index })
    }

    /// Returns the first internal route that takes the request as if it were for this path.
    pub(crate) fn find_internal<'a>(&self, view: &RequestView<'a>, path: &NormalPath<'a>) -> Option<Taken> {
        let compared = Compared { path: path.clone(), ..Compared::of(view) };
        let takes = |route: &ConfiguredRoute| route.mismatch(&compared) == Some(Mismatch::Internal);
        self.list.iter().position(takes).map(|index| Taken { index })
    }
}

impl RouteAction {
    /// Whether only responses of the app name files of the route.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Files(files) if files.internal)
    }
}

/// The properties of a request that routes compare. The host is looked for if a route asks for it, and then once.
struct Compared<'v, 'a> {
    view: &'v RequestView<'a>,
    path: NormalPath<'a>,
    host: OnceCell<Option<&'a [u8]>>,
}

impl<'v, 'a> Compared<'v, 'a> {
    fn of(view: &'v RequestView<'a>) -> Self {
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

impl ConfiguredRoute {
    /// Returns why the route does not take the request, if it does not.
    pub(crate) fn mismatch_of(&self, view: &RequestView<'_>) -> Option<Mismatch> {
        self.mismatch(&Compared::of(view))
    }

    fn mismatch(&self, of: &Compared<'_, '_>) -> Option<Mismatch> {
        let mismatch = self.matcher.mismatch(of);
        if mismatch.is_none() && self.action.is_internal() { Some(Mismatch::Internal) } else { mismatch }
    }
}

impl RouteMatcher {
    fn mismatch(&self, of: &Compared<'_, '_>) -> Option<Mismatch> {
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

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestHead, RequestLine, Version};

    use super::*;

    fn routes(matchers: Vec<RouteMatcher>) -> Routes {
        let route = |matcher| ConfiguredRoute {
            matcher,
            action: RouteAction::App(AppIndex(0)),
            rules: Arc::default(),
        };
        Routes::new(matchers.into_iter().map(route).collect(), Rules::default())
    }

    fn find(routes: &Routes, method: &str, url: &str) -> Option<usize> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let (path, method) = (path.as_bytes(), method.as_bytes());
        let line = RequestLine { version: Version::Http2, scheme, method, path, query: b"" };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        head.push_field(b"host", host.as_bytes());
        routes.find(&head.view(), 0).map(|taken| taken.index)
    }

    fn path(text: &str) -> RouteMatcher {
        RouteMatcher { paths: vec![PathPattern::parse(text).unwrap()], ..RouteMatcher::default() }
    }

    #[test]
    fn the_first_route_that_matches_takes_a_request_however_it_spells_its_path() {
        let routes =
            routes(["/static", "*.php", "/api/*/files", "/static/never", "=/favicon.ico"].map(path).into());
        for (url, expected) in [
            ("http://h/static", Some(0)),
            ("http://h/static/never", Some(0)),
            ("http://h/%73tatic/x", Some(0)),
            ("http://h//static/x", Some(0)),
            ("http://h/x/../static/x", Some(0)),
            ("http://h/statics", None),
            ("http://h/a/b.php", Some(1)),
            ("http://h/a.php/b", None),
            ("http://h/api/1/2/files", Some(2)),
            ("http://h/favicon.ico", Some(4)),
            ("http://h/favicon.ico/", None),
            ("http://h/favicon.ico/x", None),
            ("http://h/", None),
        ] {
            assert_eq!(find(&routes, "GET", url), expected, "{url}");
        }
    }

    #[test]
    fn hosts_methods_and_schemes_all_have_to_apply() {
        let hosts = |names: &[&str]| names.iter().map(|name| HostPattern::parse(name).unwrap()).collect();
        let routes = routes(vec![RouteMatcher {
            hosts: hosts(&["a.test", "*.b.test", "[::1]"]),
            methods: vec!["GET".into(), "HEAD".into()],
            scheme: Some(Scheme::Https),
            ..RouteMatcher::default()
        }]);
        for (method, url, is_taken) in [
            ("GET", "https://a.test/", true),
            ("HEAD", "https://A.Test:8443/", true),
            ("GET", "https://x.y.b.test/", true),
            ("GET", "https://[::1]:80/", true),
            ("GET", "https://b.test/", false),
            ("GET", "https://xb.test/", false),
            ("POST", "https://a.test/", false),
            ("GET", "http://a.test/", false),
        ] {
            assert_eq!(find(&routes, method, url).is_some(), is_taken, "{method} {url}");
        }
    }

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
