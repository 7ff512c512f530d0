//! Routes: which app, or what else, answers which requests.

mod action;
mod matcher;
mod pattern;

use std::ops::Index;
use std::sync::Arc;

use hcrs_http::{NormalPath, RequestView};

use super::path_start::{PathStart, first_eight};
use super::rules::FileContents;
use super::{AppIndex, Rules, UpstreamSettings};
use crate::StartError;

pub use action::{FilesSettings, FixedBody, FixedResponse, MissingFile, RedirectSettings, RouteAction};
use matcher::Compared;
pub use matcher::{Mismatch, RouteMatcher};
pub use pattern::{HostPattern, PathPattern};

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

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestHead, RequestLine, Scheme, Version};

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
}
