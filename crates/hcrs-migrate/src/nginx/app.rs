//! The app: which of the targets it is, and where it is mounted.

use super::convert::Converter;
use super::scope::Scope;
use super::servers::Server;
use super::sheet::{Entry, Section, Table, origin_with};
use super::syntax::Directive;
use super::targets::{Target, Use, choose};

/// App that the operator has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedApp {
    /// Name of the upstream, or its address; `None` for the one that is chosen.
    pub(crate) upstream: Option<String>,
    /// Name in the form of `application_path`.
    pub(crate) path: String,
}

/// Longest name of an app.
const MAX_NAME: usize = 32;
/// Remark about a prefix.
const REMOVED: &str = "nginx removes it, hcrs tells the app";

/// App beside the main one: a table `[[hcrs.apps]]`.
#[derive(Debug, Clone)]
pub(crate) struct FurtherApp<'a> {
    /// Name of the upstream, or its address.
    pub(crate) key: String,
    /// Name that routes have.
    pub(crate) name: String,
    path: String,
    directive: &'a Directive,
    servers: Vec<&'a Directive>,
    /// Prefix that nginx removes, and the directive that says so.
    pub(crate) prefix: Option<(String, &'a Directive)>,
}

impl<'a> Converter<'a> {
    /// Chooses the targets that are apps.
    pub(crate) fn choose_apps(&mut self, servers: &[Server<'a>], apps: &[NamedApp]) {
        let mut found: Vec<(Target<'a>, Use)> = Vec::new();
        for server in servers {
            let fallback = root_fallback(server);
            self.collect(&server.scope, server.directive, fallback.as_deref(), &mut found);
        }
        // The main app is the one without an upstream, or the first.
        let main = apps.iter().position(|app| app.upstream.is_none()).unwrap_or(0);
        let others = apps.iter().enumerate().filter(|(index, _)| *index != main).map(|(_, app)| app);
        for app in others {
            self.add_further_app(app, &found);
        }
        let is_further = |key: &str| self.further_apps.iter().any(|app| app.key == key);
        let uses = found.iter().map(|(_, used)| used).filter(|used| !is_further(&used.key));
        let uses: Vec<Use> = uses.cloned().collect();
        let app = apps.get(main);
        let named = app.and_then(|app| app.upstream.as_deref());
        let Some(choice) = choose(&uses, named) else {
            if app.is_none() {
                self.sheet.note(Section::Check, [], "no request is proxied, so the file has no app");
            }
            return;
        };
        let path = app.map(|app| app.path.as_str());
        let target = found.iter().find(|(target, _)| target.key == choice.key).map(|(target, _)| target);
        let Some(target) = target else { return self.note_missing(&choice.key) };
        let what = format!("{} is the app: {}", choice.key, choice.reason);
        if let Some(path) = path {
            self.sheet.set(Entry::text("application_path", path, format!("--app; {what}")));
        } else {
            self.sheet.unnamed_app = Some(origin_with([target.directive], "name the app, or use --app"));
            let text = format!(
                "{what}; name it in application_path above, or with --app MODULE:APP; another one is chosen with \
                 --app UPSTREAM=MODULE:APP"
            );
            self.sheet.note(Section::Check, [target.directive], text);
        }
        if let Some(workers) = workers(&target.servers()) {
            self.sheet.set(workers);
        }
        self.app = Some(choice.key);
    }

    fn note_missing(&self, key: &str) {
        self.sheet.note(Section::Check, [], format!("no request is proxied to {key}, which --app names"));
    }

    fn add_further_app(&mut self, app: &NamedApp, found: &[(Target<'a>, Use)]) {
        let Some(key) = &app.upstream else {
            let text = format!("--app {} names no upstream: write --app UPSTREAM=MODULE:APP", app.path);
            return self.sheet.note(Section::Check, [], text);
        };
        let Some((target, _)) = found.iter().find(|(target, _)| target.key == *key) else {
            return self.note_missing(key);
        };
        let mut name = name_of(key);
        while name == "main" || self.further_apps.iter().any(|known| known.name == name) {
            name.truncate(MAX_NAME - 2);
            name.push_str("-2");
        }
        self.further_apps.push(FurtherApp {
            key: key.clone(),
            name,
            path: app.path.clone(),
            directive: target.directive,
            servers: target.servers(),
            prefix: None,
        });
    }

    /// Adds the tables of the further apps.
    pub(crate) fn write_apps(&mut self) {
        for app in std::mem::take(&mut self.further_apps) {
            let what = format!("--app; {}", app.key);
            let mut entries =
                vec![Entry::text("name", &app.name, ""), Entry::text("application_path", &app.path, what)];
            entries.extend(workers(&app.servers));
            if let Some((prefix, directive)) = &app.prefix {
                entries.push(Entry::text("root_path", prefix, origin_with([*directive], REMOVED)));
            }
            let from = origin_with([app.directive], app.directive.written());
            self.sheet.tables.push(Table { header: "[[hcrs.apps]]", origin: from, entries });
        }
    }

    fn collect(
        &self,
        scope: &Scope<'a>,
        block: &'a Directive,
        fallback: Option<&str>,
        found: &mut Vec<(Target<'a>, Use)>,
    ) {
        for inner in block.children() {
            let is_location = matches!(inner.name.as_str(), "location" | "if" | "limit_except");
            if !is_location {
                continue;
            }
            let scope = scope.within(inner);
            let is_root = inner.args == ["/"] || fallback.is_some_and(|name| inner.args == [name]);
            if let Some(Ok(target)) = Target::of(&scope, &self.upstreams)
                && target.may_be_app()
            {
                let key = target.key.clone();
                found.push((target, Use { key, is_root }));
            }
            self.collect(&scope, inner, fallback, found);
        }
    }

    /// Sets `root_path` to the prefix that nginx removes before the app.
    pub(crate) fn app_prefix(&mut self) {
        let Some((prefix, directive)) = self.app_prefixes.first().cloned() else { return };
        let is_same = self.app_prefixes.iter().all(|(other, _)| *other == prefix);
        if is_same && !self.has_app_at_root {
            let directives: Vec<&Directive> =
                self.app_prefixes.iter().map(|(_, directive)| *directive).collect();
            self.sheet.set(Entry::text("root_path", &prefix, origin_with(directives, REMOVED)));
        } else {
            let text = format!("{prefix} is not removed from the paths of the app; mount its routes there");
            self.sheet.note(Section::Check, [directive], text);
        }
    }
}

/// Returns the named location that answers requests of `/` in the end.
fn root_fallback(server: &Server<'_>) -> Option<String> {
    let root = server.directive.each("location").find(|location| location.args == ["/"]);
    let tries = root.unwrap_or(server.directive).each("try_files").next()?;
    tries.args.last().filter(|last| last.starts_with('@')).cloned()
}

/// Returns the number of workers of an app that had several servers.
fn workers(servers: &[&Directive]) -> Option<Entry> {
    let count = servers.len();
    let remark = format!("{count} servers of the app");
    (count > 1)
        .then(|| Entry::new("workers", count.to_string(), origin_with(servers.iter().copied(), remark)))
}

/// Returns a name of an app for a target.
fn name_of(key: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let name: String = key.chars().map(|c| if is_kept(c) { c } else { '-' }).take(MAX_NAME).collect();
    if name.is_empty() { "app".into() } else { name }
}
