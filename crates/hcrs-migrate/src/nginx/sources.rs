//! The source of a location's responses: files, the app, an upstream.

use super::convert::Converter;
use super::error_pages::is_error_page;
use super::locations::Spot;
use super::pattern::PathText;
use super::routes::{Kind, Route};
use super::rules::Access;
use super::server_locations::title;
use super::sheet::{Entry, Section, origin};
use super::syntax::Directive;
use super::targets::Target;

impl<'a> Converter<'a> {
    /// Adds the routes of what a location sends: files, the app, an upstream.
    pub(crate) fn content(&mut self, spot: &Spot<'_, 'a>, routes: &mut Vec<Route>) {
        if let [PathText::Exact(path)] = &spot.paths[..]
            && is_error_page(&spot.scope, path)
        {
            spot.scope.own().iter().for_each(Directive::see);
            return;
        }
        let access = match self.access(&spot.scope) {
            Access::Open => Vec::new(),
            Access::Listed(entries) => entries,
            Access::Closed(origin) => {
                routes.push(spot.route(Kind::Answer, vec![Entry::new("status", "403", origin)], Vec::new()));
                spot.scope.own().iter().for_each(Directive::see_all);
                return;
            }
        };
        let first = routes.len();
        self.sources(spot, routes);
        for route in &mut routes[first..] {
            route.rules.splice(0..0, access.iter().cloned());
        }
    }

    fn sources(&mut self, spot: &Spot<'_, 'a>, routes: &mut Vec<Route>) {
        if let Some(directive) = spot.scope.here("stub_status") {
            let text =
                "set admin_bind in [hcrs]: metrics for Prometheus are at /metrics of the admin interface";
            self.sheet.note(Section::NoCounterpart, [directive], text);
            routes.push(spot.route(
                Kind::Answer,
                vec![Entry::new("status", "404", origin([directive]))],
                Vec::new(),
            ));
            return;
        }
        for name in [
            "fastcgi_pass",
            "memcached_pass",
            "empty_gif",
            "dav_methods",
            "content_by_lua_block",
            "js_content",
        ] {
            if let Some(directive) = spot.scope.here(name) {
                let text =
                    "hcrs has no such source of responses; the route answers with 404 until you change it";
                self.sheet.note(Section::NoCounterpart, [directive], text);
                let action = vec![Entry::new("status", "404", origin([directive]))];
                routes.push(spot.route(Kind::Answer, action, Vec::new()));
                return;
            }
        }
        if let Some(tries) = spot.scope.here("try_files") {
            self.try_files(spot, tries, routes);
            return;
        }
        // A request for a file that is not there is passed on, in the way of old guides.
        let missing = spot.scope.own().iter().find(|directive| {
            directive.name == "if" && directive.args.join(" ").contains("!-f $request_filename")
        });
        if let Some(missing) = missing {
            missing.see_all();
            let inner = spot.scope.within(missing);
            let mut files = self.files(spot);
            without_index(&mut files, origin([missing]));
            routes.extend(passing_on(files, origin([missing])));
            let inner =
                if Target::of(&inner, &self.upstreams).is_some() { inner } else { spot.scope.clone() };
            self.proxied(&Spot { scope: inner, ..spot.clone() }, routes);
            return;
        }
        if self.proxied(spot, routes) {
            return;
        }
        routes.push(self.files(spot));
    }

    /// Adds the route of a proxied location. Returns whether it is one.
    fn proxied(&mut self, spot: &Spot<'_, 'a>, routes: &mut Vec<Route>) -> bool {
        let target = match Target::of(&spot.scope, &self.upstreams) {
            None => return false,
            Some(Ok(target)) => target,
            Some(Err(reason)) => {
                let passes = spot.scope.own().iter().filter(|directive| directive.name.ends_with("_pass"));
                let text = format!("{reason}; the route answers with 502 until you change it");
                self.sheet.note(Section::Check, passes, text);
                routes.push(spot.route(Kind::Answer, vec![Entry::new("status", "502", "")], Vec::new()));
                return true;
            }
        };
        if spot.scope.here("internal").is_some() {
            let text = "a location for requests of nginx itself; hcrs makes none";
            self.sheet.note(Section::NoCounterpart, [target.directive], text);
            let internal = origin(spot.scope.here("internal"));
            routes.push(spot.route(Kind::Answer, vec![Entry::new("status", "404", internal)], Vec::new()));
            return true;
        }
        if let Some(app) = self.further_apps.iter_mut().find(|app| app.key == target.key) {
            if let PathChange::Stripped(prefix) = path_change(&target, spot) {
                app.prefix = Some((prefix, target.directive));
            }
            let action = vec![Entry::text("app", &app.name, origin([target.directive]))];
            self.note_app_fields(&spot.scope, &target);
            let rules = self.rules(&spot.scope, Kind::App);
            routes.push(spot.route(Kind::App, action, rules));
        } else if self.app.as_ref() == Some(&target.key) {
            let action = vec![Entry::new("app", "true", origin([target.directive]))];
            self.note_app_fields(&spot.scope, &target);
            match path_change(&target, spot) {
                PathChange::Kept => self.has_app_at_root = true,
                PathChange::Stripped(prefix) => self.app_prefixes.push((prefix, target.directive)),
                PathChange::Replaced(_) | PathChange::Other => {
                    let text = "the app gets the paths that clients send, without this change";
                    self.sheet.note(Section::Check, [target.directive], text);
                    self.has_app_at_root = true;
                }
            }
            let rules = self.rules(&spot.scope, Kind::App);
            routes.push(spot.route(Kind::App, action, rules));
        } else {
            let action = self.upstream(spot, &target);
            let rules = self.rules(&spot.scope, Kind::Upstream);
            routes.push(spot.route(Kind::Upstream, action, rules));
        }
        true
    }

    /// Adds the routes of `try_files`.
    fn try_files(&mut self, spot: &Spot<'_, 'a>, tries: &'a Directive, routes: &mut Vec<Route>) {
        let Some((fallback, candidates)) = tries.args.split_last() else { return };
        let origin_of = || origin([tries]);
        let tries_uri = candidates.iter().any(|candidate| candidate.starts_with("$uri"));
        let unknown: Vec<&String> = candidates
            .iter()
            .filter(|candidate| !matches!(candidate.as_str(), "$uri" | "$uri/" | "$uri/index.html"))
            .collect();
        for candidate in unknown {
            let is_maintenance = !candidate.contains('$') && candidate.contains("maintenance");
            if is_maintenance {
                let root = spot.scope.last("root").map_or(String::new(), |root| self.path(root.arg(0)));
                self.maintenance(&format!("{root}{candidate}"), tries);
            } else {
                let text = format!("{candidate} is not tried: a route looks for the file of the path");
                self.sheet.note(Section::NoCounterpart, [tries], text);
            }
        }
        let named = fallback.starts_with('@');
        let tries_folder = candidates.iter().any(|candidate| candidate.starts_with("$uri/"));
        let mut file = tries_uri.then(|| self.files(spot));
        if let Some(route) = file.as_mut().filter(|_| !tries_folder) {
            without_index(route, origin_of());
        }
        if named {
            routes.extend(file.and_then(|route| passing_on(route, origin_of())));
            let location =
                spot.server.directive.each("location").find(|location| location.arg(0) == fallback);
            let Some(location) = location else {
                self.sheet.note(Section::Check, [tries], format!("there is no location {fallback}"));
                return;
            };
            let title = format!("{}, {}", spot.title, title(location));
            let inner = Spot { scope: spot.server.scope.within(location), title, ..spot.clone() };
            if !self.rewrites(&inner, false, routes) && !self.proxied(&inner, routes) {
                routes.push(self.files(&inner));
            }
            return;
        }
        if let Some(code) = fallback.strip_prefix('=') {
            match (&mut file, code) {
                (Some(_), "404") => tries.see(),
                (Some(_), _) => {
                    self.sheet.note(
                        Section::NoCounterpart,
                        [tries],
                        "a file that is missing is answered with 404",
                    );
                }
                (None, _) => file = Some(self.files(spot)),
            }
            routes.extend(file);
            return;
        }
        if fallback.contains(['$', '?']) {
            self.sheet.note(
                Section::NoCounterpart,
                [tries],
                format!("{fallback}: the fallback is a file or a location"),
            );
            routes.extend(file);
            return;
        }
        // The fallback is a path, which has its own location: that of a script, or a file beside the others.
        let root = self.folder_of(spot).map(|(folder, _)| folder);
        let relative =
            fallback.strip_prefix(spot.prefix.as_str()).filter(|_| spot.scope.here("alias").is_some());
        let relative = relative.or_else(|| {
            let below = spot.prefix.trim_end_matches('/');
            fallback.strip_prefix(below).filter(|rest| rest.starts_with('/'))
        });
        match (file, relative) {
            (Some(mut route), Some(name)) if !spot.prefix.is_empty() && route.kind == Kind::Files => {
                route.action.push(Entry::text("missing", name.trim_start_matches('/'), origin_of()));
                routes.push(route);
            }
            (file, _) => {
                routes.extend(file.and_then(|route| passing_on(route, origin_of())));
                let base = spot.scope.last("root").map(|root| self.path(root.arg(0))).or(root);
                let Some(base) = base else { return };
                let file = format!("{}{fallback}", base.trim_end_matches('/'));
                let action =
                    vec![Entry::new("status", "200", origin_of()), Entry::text("file", &file, origin_of())];
                let rules = self.rules(&spot.scope, Kind::Answer);
                routes.push(spot.route(Kind::Answer, action, rules));
            }
        }
    }
}

/// Change of the path between a location and its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathChange {
    /// None.
    Kept,
    /// The prefix of the location is removed.
    Stripped(String),
    /// The prefix is removed, and this one takes its place.
    Replaced(String),
    /// Another one, which has no counterpart.
    Other,
}

/// Returns the change of the path, by the path of the target or by a `rewrite` before it.
pub(crate) fn path_change(target: &Target<'_>, spot: &Spot<'_, '_>) -> PathChange {
    let prefix = spot.prefix.as_str();
    let folder = prefix.trim_end_matches('/');
    let stripped =
        || if folder.is_empty() { PathChange::Kept } else { PathChange::Stripped(folder.to_owned()) };
    if let Some(rewrite) = spot.scope.here("rewrite").filter(|rewrite| rewrite.arg(2) == "break") {
        rewrite.see();
        let pattern = rewrite.arg(0).trim_start_matches('^').trim_end_matches('$');
        let Some(rest) = pattern.strip_prefix(folder) else { return PathChange::Other };
        let rest = rest.trim_start_matches("/?").trim_start_matches('/');
        let is_rest = matches!(rest, "(.*)" | "(.+)" | "(/.*)") && matches!(rewrite.arg(1), "/$1" | "$1");
        return if is_rest { stripped() } else { PathChange::Other };
    }
    match target.path.as_deref() {
        None => PathChange::Kept,
        Some(path) if path == prefix => PathChange::Kept,
        Some("/") => stripped(),
        Some(path) if !prefix.is_empty() && path.ends_with('/') == prefix.ends_with('/') => {
            PathChange::Replaced(path.trim_end_matches('/').to_owned())
        }
        Some(_) => PathChange::Other,
    }
}

/// Returns a route of files that leaves requests for others to the routes behind it; `None` if there is no folder.
fn passing_on(mut route: Route, origin: String) -> Option<Route> {
    route.action.push(Entry::text("missing", "next", origin));
    route.passes_on = true;
    (route.kind == Kind::Files).then_some(route)
}

/// Lets a route send files alone, and no index in place of a folder.
fn without_index(route: &mut Route, origin: String) {
    if route.kind == Kind::Files {
        route.action.retain(|entry| entry.key != "index");
        route.action.push(Entry::new("index", "[]", origin));
    }
}
