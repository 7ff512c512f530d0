//! Routes of a server: its own rewrites, and its locations in an order in which the first match wins.

use super::conditions::Conditional;
use super::convert::Converter;
use super::order::{Located, Matcher, order};
use super::pattern::{PathText, Patterns, patterns};
use super::redirects::{BY_SCHEME, Meaning, returned, rewritten};
use super::routes::{Kind, Route};
use super::scope::Scope;
use super::server_locations::{ServerLocation, expression, locations, title};
use super::servers::Server;
use super::sheet::{Entry, Section, origin};
use super::syntax::Directive;
use super::targets::Target;

/// Checks of a request that hcrs does not have. Locations with one are closed.
const CHECKS: [&str; 6] = [
    "auth_request",
    "auth_jwt",
    "secure_link",
    "secure_link_secret",
    "access_by_lua_block",
    "access_by_lua_file",
];

/// A location for which routes are made.
#[derive(Debug, Clone)]
pub(crate) struct Spot<'s, 'a> {
    pub(crate) server: &'s Server<'a>,
    pub(crate) scope: Scope<'a>,
    pub(crate) paths: Vec<PathText>,
    /// Prefix or exact path, for files; empty for expressions.
    pub(crate) prefix: String,
    /// Regular expression of the location.
    pub(crate) expression: Option<&'a str>,
    pub(crate) title: String,
}

impl<'a> Spot<'_, 'a> {
    /// Returns the meaning of the variables of redirects here.
    pub(crate) fn meaning(&self) -> Meaning<'_, 'a> {
        Meaning { server: self.server, scope: &self.scope, expression: self.expression, scheme: None }
    }

    pub(crate) fn route(&self, kind: Kind, action: Vec<Entry>, rules: Vec<Entry>) -> Route {
        Route {
            paths: self.paths.clone(),
            hosts: Vec::new(),
            scheme: None,
            methods: Vec::new(),
            location: self.title.clone(),
            kind,
            passes_on: false,
            action,
            rules,
        }
    }
}

impl<'a> Converter<'a> {
    /// Returns the routes of a server, without its hosts.
    pub(crate) fn server_routes(&mut self, server: &Server<'a>, redirected: bool) -> Vec<Route> {
        let mut routes = Vec::new();
        let spot = Spot {
            server,
            scope: server.scope.clone(),
            paths: Vec::new(),
            prefix: "/".into(),
            expression: None,
            title: title(server.directive),
        };
        if self.rewrites(&spot, redirected, &mut routes) {
            return routes;
        }
        let found = locations(server);
        let located: Vec<Located> = found.iter().map(|location| location.located.clone()).collect();
        for step in order(&located) {
            let location = &found[step.location];
            for paths in self.paths(location, step.within.as_deref()) {
                let spot = Spot {
                    server,
                    scope: location.scope.clone(),
                    paths: paths.texts,
                    prefix: paths.prefix,
                    expression: paths.expression,
                    title: title(location.directive),
                };
                self.location_routes(&spot, location.directive, &mut routes);
            }
        }
        let is_root =
            |located: &Located| matches!(&located.matcher, Matcher::Prefix { text, .. } if text == "/");
        if !located.iter().any(is_root) {
            self.content(&spot, &mut routes);
        }
        routes
    }

    /// Returns the paths of a location; more than one group if their routes differ.
    fn paths(&self, location: &ServerLocation<'a>, within: Option<&str>) -> Vec<Paths<'a>> {
        let directive = location.directive;
        match &location.located.matcher {
            Matcher::Exact(path) | Matcher::Prefix { text: path, .. } if !is_path(path) => {
                let text = "no request has such a path, as a route compares it";
                self.sheet.note(Section::NoCounterpart, [directive], text);
                directive.see_all();
                Vec::new()
            }
            Matcher::Exact(path) => {
                vec![Paths {
                    texts: vec![PathText::Exact(path.clone())],
                    prefix: path.clone(),
                    expression: None,
                }]
            }
            Matcher::Prefix { text, .. } => {
                let path = prefix_path(text, &location.scope);
                let texts = if path.text().is_some() { vec![path] } else { Vec::new() };
                vec![Paths { texts, prefix: text.clone(), expression: None }]
            }
            Matcher::Expression => {
                let (text, ignores_case) = expression(directive);
                let Patterns { globs, are_wider } = match patterns(text) {
                    Ok(patterns) => patterns,
                    Err(reason) => {
                        let hidden = "; files whose names begin with a dot are not sent anyway";
                        let hint = if text.contains(r"\.(?!") || text.contains(r"/\.") { hidden } else { "" };
                        let text = format!("the expression has no pattern of paths: {reason}{hint}");
                        let section =
                            if restricts(&location.scope) { Section::Check } else { Section::NoCounterpart };
                        self.sheet.note(section, [directive], text);
                        directive.see_all();
                        return Vec::new();
                    }
                };
                if are_wider {
                    let text = "the patterns match more paths than the expression";
                    self.sheet.note(Section::NoCounterpart, [directive], text);
                }
                let refuses =
                    directive.each("deny").next().is_some() || directive.each("return").next().is_some();
                let mut texts: Vec<PathText> = Vec::new();
                for glob in &globs {
                    let glob = match within {
                        Some(prefix) => glob.within(prefix),
                        None => Some(glob.clone()),
                    };
                    // A path that is refused in one case is refused in the other as well.
                    let cases = glob.into_iter().flat_map(|glob| {
                        if ignores_case && refuses { glob.in_both_cases() } else { vec![glob] }
                    });
                    for text in cases.map(|glob| glob.path()) {
                        if !texts.iter().any(|known| known.covers(&text)) {
                            texts.push(text);
                        }
                    }
                }
                if texts.is_empty() {
                    return Vec::new();
                }
                if texts.iter().any(|text| text.text().is_none()) {
                    texts.clear();
                }
                // Files of a prefix are named by what follows it, those of a pattern by the whole path.
                let (below, others): (Vec<_>, Vec<_>) =
                    texts.into_iter().partition(|text| matches!(text, PathText::Below(_)));
                let one = |path: PathText| {
                    let prefix = path.text().unwrap_or_default() + "/";
                    Paths { texts: vec![path], prefix, expression: Some(text) }
                };
                let mut groups: Vec<Paths<'a>> = below.into_iter().map(one).collect();
                if !others.is_empty() || groups.is_empty() {
                    groups.push(Paths { texts: others, prefix: String::new(), expression: Some(text) });
                }
                groups
            }
        }
    }

    /// Adds the routes of the rewrites in a block: `return`, `rewrite` and `if`. Returns whether no request passes them.
    pub(crate) fn rewrites(
        &mut self,
        spot: &Spot<'_, 'a>,
        redirected: bool,
        routes: &mut Vec<Route>,
    ) -> bool {
        for directive in spot.scope.own() {
            match directive.name.as_str() {
                "return" => {
                    self.answer(spot, directive, routes);
                    return true;
                }
                "rewrite" if self.rewrite(spot, directive, routes) => return true,
                "if" if redirected && directive.is_seen() => {}
                "if" => self.conditional(&Conditional { spot, directive }, routes),
                _ => {}
            }
        }
        false
    }

    /// Adds the route of a `return`, or one for each scheme.
    fn answer(&mut self, spot: &Spot<'_, 'a>, directive: &'a Directive, routes: &mut Vec<Route>) {
        let meaning = spot.meaning();
        let by_scheme = || -> Result<Vec<_>, String> {
            let schemes = spot.server.schemes().into_iter();
            schemes
                .map(|scheme| {
                    Ok((Some(scheme), returned(directive, Meaning { scheme: Some(scheme), ..meaning })?))
                })
                .collect()
        };
        let actions = match returned(directive, meaning) {
            Err(reason) if reason == BY_SCHEME => by_scheme(),
            returned => returned.map(|action| vec![(None, action)]),
        };
        let actions = actions.unwrap_or_else(|reason| {
            self.sheet.note(
                Section::Check,
                [directive],
                format!("{reason}; the route answers with 404 until you change it"),
            );
            vec![(None, vec![Entry::new("status", "404", origin([directive]))])]
        });
        for (scheme, action) in actions {
            let rules = self.rules(&spot.scope, Kind::Answer);
            let mut route = spot.route(Kind::Answer, action, rules);
            route.scheme = scheme;
            routes.push(route);
        }
    }

    /// Adds the route of a `rewrite`. Returns whether no request of the block passes it.
    fn rewrite(&mut self, spot: &Spot<'_, 'a>, directive: &'a Directive, routes: &mut Vec<Route>) -> bool {
        let note = |converter: &Self, reason: &str| {
            converter.sheet.note(Section::NoCounterpart, [directive], reason);
            false
        };
        if directive.arg(2) == "break" && Target::of(&spot.scope, &self.upstreams).is_some() {
            return false; // a part of what the location proxies
        }
        let action = match rewritten(directive, spot.meaning()) {
            Ok(action) => action,
            Err(reason) => return note(self, &reason),
        };
        let found = match patterns(directive.arg(0)) {
            Ok(found) => found,
            Err(reason) => return note(self, &format!("the expression has no pattern of paths: {reason}")),
        };
        if found.are_wider {
            note(self, "the patterns match more paths than the expression");
        }
        let paths: Vec<PathText> = found.globs.iter().map(super::pattern::Glob::path).collect();
        let is_all = paths.iter().any(|path| path.text().is_none());
        let mut spot = spot.clone();
        if !is_all {
            spot.paths = paths;
        }
        spot.title = title(directive);
        let rules = self.rules(&spot.scope, Kind::Answer);
        routes.push(spot.route(Kind::Answer, action, rules));
        is_all
    }

    fn location_routes(&mut self, spot: &Spot<'_, 'a>, directive: &'a Directive, routes: &mut Vec<Route>) {
        let checks: Vec<&'a Directive> = CHECKS
            .into_iter()
            .filter_map(|name| spot.scope.last(name))
            .filter(|check| check.arg(0) != "off")
            .collect();
        if !checks.is_empty() {
            let text = "hcrs has no such check; the route is closed until you change it";
            self.sheet.note(Section::Check, checks.iter().copied(), text);
            let closed = Entry::new("status", "403", origin(checks));
            routes.push(spot.route(Kind::Answer, vec![closed], Vec::new()));
            directive.see_all();
            return;
        }
        if let Some(methods) = spot.scope.here("limit_except") {
            self.limit_except(spot, methods, routes);
        }
        if self.rewrites(spot, false, routes) {
            return;
        }
        // A path that is rewritten goes to another location, and here to the routes behind this one.
        let moves = directive.each("rewrite").any(|rewrite| matches!(rewrite.arg(2), "last" | ""));
        let has_source = directive.children().iter().any(|inner| {
            matches!(inner.name.as_str(), "root" | "alias" | "try_files") || inner.name.ends_with("_pass")
        });
        if moves && !has_source {
            return;
        }
        self.content(spot, routes);
    }

    fn limit_except(&self, spot: &Spot<'_, 'a>, methods: &'a Directive, routes: &mut Vec<Route>) {
        let is_denied = methods.children().iter().any(|inner| inner.name == "deny" && inner.arg(0) == "all")
            && methods.each("allow").next().is_none();
        if !is_denied {
            self.sheet.note(
                Section::Check,
                [methods],
                "the methods of a route are allowed or refused for all clients",
            );
            methods.see_all();
            return;
        }
        methods.see_all();
        let mut allowed: Vec<&str> = methods.args.iter().map(String::as_str).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        let mut route =
            spot.route(Kind::Answer, vec![Entry::new("status", "403", origin([methods]))], Vec::new());
        route.methods = super::conditions::other_methods(&allowed);
        routes.push(route);
    }
}

/// Paths of routes, with what names files below them.
struct Paths<'a> {
    texts: Vec<PathText>,
    prefix: String,
    expression: Option<&'a str>,
}

/// Returns the path of a prefix. nginx compares characters, a route segments: where a location restricts access, the
/// pattern has to be nginx's.
fn prefix_path(text: &str, scope: &Scope<'_>) -> PathText {
    let is_exact = restricts(scope);
    match text.strip_suffix('/') {
        Some(folder) => PathText::Below(folder.to_owned()),
        None if is_exact => PathText::Glob(format!("{text}*")),
        None => PathText::Below(text.to_owned()),
    }
}

/// Returns whether a block restricts the access to it.
fn restricts(scope: &Scope<'_>) -> bool {
    const RESTRICTIONS: [&str; 6] = ["allow", "deny", "auth_basic", "internal", "return", "limit_req"];
    scope.own().iter().any(|directive| {
        RESTRICTIONS.contains(&directive.name.as_str()) || CHECKS.contains(&directive.name.as_str())
    })
}

/// Returns whether a path has the form in which those of requests are compared.
fn is_path(path: &str) -> bool {
    let is_segment = |segment: &str| !matches!(segment, "." | "..");
    path.starts_with('/')
        && !path.contains("//")
        && !path.contains(['%', '*', '?'])
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && path.split('/').all(is_segment)
}
