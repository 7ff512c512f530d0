//! Routes: their order over all servers, the rules that they share, and their form in the file.

use super::convert::Converter;
use super::pattern::PathText;
use super::servers::{Scheme, Server, shares};
use super::sheet::{Entry, Section, Table};

/// The kind of a route's action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    App,
    Upstream,
    Files,
    /// A redirect or a fixed answer.
    Answer,
}

/// A route that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// Paths; empty for every path.
    pub(crate) paths: Vec<PathText>,
    pub(crate) hosts: Vec<String>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) methods: Vec<String>,
    /// Origin of the paths.
    pub(crate) location: String,
    pub(crate) kind: Kind,
    /// Whether requests may pass on to the routes behind it.
    pub(crate) passes_on: bool,
    pub(crate) action: Vec<Entry>,
    pub(crate) rules: Vec<Entry>,
}

impl Route {
    /// Whether every request of `later` is taken by this route, as far as it is evident.
    fn covers(&self, later: &Self) -> bool {
        let paths = self.paths.is_empty()
            || !later.paths.is_empty()
                && later.paths.iter().all(|path| self.paths.iter().any(|own| own.covers(path)));
        let hosts = self.hosts.is_empty()
            || !later.hosts.is_empty() && later.hosts.iter().all(|host| self.hosts.contains(host));
        let methods = self.methods.is_empty()
            || !later.methods.is_empty() && later.methods.iter().all(|method| self.methods.contains(method));
        let scheme = self.scheme.is_none() || self.scheme == later.scheme;
        !self.passes_on && paths && hosts && methods && scheme
    }

    /// Whether only the paths differ.
    fn is_same_but_paths(&self, other: &Self) -> bool {
        !self.paths.is_empty()
            && !other.paths.is_empty()
            && Self { paths: self.paths.clone(), ..other.clone() } == *self
    }
}

impl<'a> Converter<'a> {
    pub(crate) fn routes(&mut self, servers: &[Server<'a>]) {
        let listening: Vec<Scheme> = Scheme::BOTH
            .into_iter()
            .filter(|scheme| servers.iter().any(|server| server.has(*scheme)))
            .collect();
        let redirected = self.redirect_http(servers);
        let mut routes: Vec<Route> = Vec::new();
        let shares = shares(servers, &listening);
        let refusing: Vec<usize> = self.refuse_unknown_hosts(servers, &shares, redirected);
        let made: Vec<Vec<Route>> = servers
            .iter()
            .enumerate()
            .map(|(index, server)| {
                if refusing.contains(&index) || !shares.iter().any(|share| share.server == index) {
                    return Vec::new();
                }
                self.server_routes(server, redirected)
            })
            .collect();
        // Where all other hosts are refused, the routes of a single server need no host.
        let served: Vec<usize> =
            made.iter().enumerate().filter(|(_, made)| !made.is_empty()).map(|(at, _)| at).collect();
        let is_only = !refusing.is_empty() && served.len() == 1;
        for share in &shares {
            let is_redirected = |scheme: Scheme| redirected && scheme == Scheme::Http;
            let scheme = share.scheme.filter(|scheme| !(redirected && *scheme == Scheme::Https));
            for route in &made[share.server] {
                if share.scheme.is_some_and(is_redirected) && !is_challenge(route) {
                    continue;
                }
                let mut route = route.clone();
                if route.hosts.is_empty() && !is_only {
                    route.hosts.clone_from(&share.hosts);
                }
                route.scheme = route.scheme.or(scheme);
                routes.push(route);
            }
        }
        self.unserved_names(servers);
        let mut kept: Vec<Route> = Vec::new();
        for route in routes {
            if let Some(earlier) = kept.iter().find(|earlier| earlier.covers(&route)) {
                let is_same = earlier.action.len() == route.action.len()
                    && earlier
                        .action
                        .iter()
                        .zip(&route.action)
                        .all(|(one, other)| one.literal == other.literal);
                if !is_same {
                    let text =
                        format!("{}: no request reaches it behind {}", route.location, earlier.location);
                    self.sheet.note(Section::NoCounterpart, [], text);
                }
                continue;
            }
            match kept.last_mut() {
                Some(last) if last.kind != Kind::Files && last.is_same_but_paths(&route) => {
                    last.paths.extend(route.paths);
                }
                _ => kept.push(route),
            }
        }
        self.app_prefix();
        self.write_apps();
        self.hoist(&mut kept);
        self.write(kept);
    }

    /// Makes rules that all routes have settings of all requests.
    fn hoist(&mut self, routes: &mut [Route]) {
        let keys: Vec<String> = {
            let mut keys: Vec<String> = Vec::new();
            for entry in routes.iter().flat_map(|route| &route.rules) {
                if !keys.contains(&entry.key) {
                    keys.push(entry.key.clone());
                }
            }
            keys
        };
        for key in keys {
            let applies = |route: &&mut Route| match key.as_str() {
                "max_body_size" => matches!(route.kind, Kind::App | Kind::Upstream),
                "compress" | "compress_types" | "compress_min_size" | "cache_control" => {
                    route.kind != Kind::Answer
                }
                "remove_headers" => matches!(route.kind, Kind::App | Kind::Upstream),
                _ => true,
            };
            // These belong to their routes: a file of passwords, networks and rates are not for all requests by chance.
            let concerned: Vec<&mut Route> = routes.iter_mut().filter(applies).collect();
            let value = |route: &Route| route.rules.iter().find(|entry| entry.key == key).cloned();
            let values: Vec<Option<Entry>> = concerned.iter().map(|route| value(route)).collect();
            if key == "cache_control" || values.iter().any(Option::is_none) {
                continue;
            }
            let count =
                |literal: &str| values.iter().flatten().filter(|entry| entry.literal == literal).count();
            let most = values.iter().flatten().rev().max_by_key(|entry| count(&entry.literal)).cloned();
            let Some(most) = most else { continue };
            if count(&most.literal) * 2 <= values.len() {
                continue;
            }
            let most =
                values.iter().flatten().find(|entry| entry.literal == most.literal).cloned().unwrap_or(most);
            for route in concerned {
                route.rules.retain(|entry| entry.key != key || entry.literal != most.literal);
            }
            self.sheet.set(most);
        }
        // Off is the default.
        let is_on = self.sheet.entries.iter().any(|entry| entry.key == "compress" && entry.literal == "true");
        self.sheet.entries.retain(|entry| entry.key != "compress" || entry.literal != "false");
        if !is_on {
            for route in routes {
                route.rules.retain(|entry| entry.key != "compress" || entry.literal != "false");
            }
        }
    }

    fn write(&mut self, mut routes: Vec<Route>) {
        // Requests that no route takes go to the app.
        let is_rest = |route: &Route| {
            route.kind == Kind::App
                && route.paths.is_empty()
                && route.hosts.is_empty()
                && route.scheme.is_none()
                && route.methods.is_empty()
                && route.rules.is_empty()
                && route.action.len() == 1
                && route.action[0].literal == "true"
        };
        let mut rest = None;
        while routes.last().is_some_and(is_rest) {
            rest = routes.pop();
        }
        for route in routes {
            let mut entries = Vec::new();
            if !route.hosts.is_empty() {
                entries.push(Entry::texts("host", route.hosts.iter().map(String::as_str), ""));
            }
            if let Some(scheme) = route.scheme {
                entries.push(Entry::text("scheme", scheme.name(), ""));
            }
            let paths: Vec<String> = route.paths.iter().filter_map(PathText::text).collect();
            if !paths.is_empty() {
                entries.push(Entry::texts("path", paths.iter().map(String::as_str), ""));
            }
            if !route.methods.is_empty() {
                entries.push(Entry::texts("method", route.methods.iter().map(String::as_str), ""));
            }
            entries.extend(route.action);
            entries.extend(route.rules);
            self.sheet.tables.push(Table { header: "[[hcrs.routes]]", origin: route.location, entries });
        }
        if let Some(rest) = rest {
            let text = format!("what no route takes goes to the app: {}", rest.location);
            self.sheet.tables.push(Table { header: "", origin: text, entries: Vec::new() });
        }
    }
}

/// Returns whether a route is one of challenges, which `redirect_http` leaves to the routes.
fn is_challenge(route: &Route) -> bool {
    route.paths.iter().any(|path| path.text().is_some_and(|text| text.contains("/.well-known")))
}
