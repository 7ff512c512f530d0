//! Rules of a location's requests: limits, fields, access, compression.

use super::convert::Converter;
use super::routes::Kind;
use super::scope::Scope;
use super::sheet::{Entry, Section, array, inline_table, origin, origin_with};
use super::syntax::Directive;
use super::values::{is_network, rate, seconds, size};

/// nginx's own limit of bodies.
const DEFAULT_BODY: &str = "1M";
/// Value of `expires max`, in seconds: ten years.
const EXPIRES_MAX: f64 = 315_360_000.0;

/// Access to a location, by `allow` and `deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything is allowed.
    Open,
    /// Nothing is.
    Closed(String),
    /// By these rules.
    Listed(Vec<Entry>),
}

impl<'a> Converter<'a> {
    /// Returns the rules of a location's requests.
    pub(crate) fn rules(&self, scope: &Scope<'a>, kind: Kind) -> Vec<Entry> {
        let mut rules = Vec::new();
        if matches!(kind, Kind::App | Kind::Upstream) {
            match scope.last("client_max_body_size") {
                None => rules.push(Entry::text("max_body_size", DEFAULT_BODY, "nginx's default")),
                Some(directive) => {
                    directive.see();
                    if let Some(size) = size(directive.arg(0)) {
                        rules.push(Entry::text("max_body_size", &size, origin([directive])));
                    }
                }
            }
        }
        rules.extend(self.headers(scope, kind));
        rules.extend(self.rates(scope));
        rules.extend(self.auth(scope));
        rules.extend(self.log(scope));
        rules.extend(self.error_pages(scope));
        if kind != Kind::Answer {
            rules.extend(compression(scope));
        }
        rules
    }

    fn headers(&self, scope: &Scope<'a>, kind: Kind) -> Vec<Entry> {
        let mut set: Vec<(&'a Directive, &str, String)> = Vec::new();
        let mut add: Vec<(&'a Directive, &str, String)> = Vec::new();
        let mut entries = Vec::new();
        let mut cache: Vec<(&'a Directive, String)> = Vec::new();
        for directive in scope.all(&["add_header"]) {
            let (name, value) = (directive.arg(0), scope.resolved(directive.arg(1)));
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if value.contains('$') {
                let reason = if value == "$request_id" {
                    "request_id of [hcrs] names a field with the id of each request"
                } else {
                    "fields of responses have fixed values"
                };
                self.sheet.note(Section::NoCounterpart, [directive], reason);
            } else if value.is_empty() || is("content-type") {
                directive.see();
            } else if is("strict-transport-security") {
                entries.push(Entry::text("strict_transport", &value, origin([directive])));
            } else if is("cache-control") {
                cache.push((directive, value));
            } else if is("content-disposition") && kind == Kind::Files && value == "attachment" {
                entries.push(Entry::new("attachment", "true", origin([directive])));
            } else if is("alt-svc") {
                self.sheet.note(Section::NoCounterpart, [directive], "HTTP/3 is not supported");
            } else if is("set-cookie") || is("link") || set.iter().any(|(_, known, _)| is(known)) {
                add.push((directive, name, value));
            } else {
                set.push((directive, name, value));
            }
        }
        if let Some(directive) = scope.last("expires").filter(|directive| directive.arg(0) != "off") {
            match expires(directive.args.last().map_or("", String::as_str)) {
                Some(value) => cache.push((directive, value)),
                None => self.sheet.note(
                    Section::NoCounterpart,
                    [directive],
                    "cache_control and fields of responses have fixed values",
                ),
            }
        }
        if !cache.is_empty() {
            let directives: Vec<_> = cache.iter().map(|(directive, _)| *directive).collect();
            let value = joined(cache.iter().map(|(_, value)| value.as_str()));
            if kind == Kind::Files {
                entries.push(Entry::text("cache_control", &value, origin(directives)));
            } else {
                set.push((directives[0], "Cache-Control", value));
                for directive in directives {
                    directive.see();
                }
            }
        }
        for (key, fields) in [("set_headers", &set), ("add_headers", &add)] {
            if !fields.is_empty() {
                let table = inline_table(fields.iter().map(|(_, name, value)| (*name, value.as_str())));
                entries.push(Entry::new(key, table, origin(fields.iter().map(|(directive, ..)| *directive))));
            }
        }
        if matches!(kind, Kind::App | Kind::Upstream) {
            let hidden = scope.all(&["proxy_hide_header"]);
            if !hidden.is_empty() {
                let names = hidden.iter().map(|directive| directive.arg(0));
                entries.push(Entry::new("remove_headers", array(names), origin(hidden.iter().copied())));
            }
        }
        entries
    }

    fn rates(&self, scope: &Scope<'a>) -> Vec<Entry> {
        let limits = scope.all(&["limit_req"]);
        let Some((first, others)) = limits.split_first() else { return Vec::new() };
        if !others.is_empty() {
            self.sheet.note(
                Section::NoCounterpart,
                others.iter().copied(),
                "a request has one rate; the first is taken",
            );
        }
        let value = |name: &str| first.args.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='));
        let zone = self.zones.iter().copied().find(|zone| {
            let name = zone.args.iter().find_map(|arg| arg.strip_prefix("zone="));
            name.and_then(|name| name.split(':').next()) == value("zone")
        });
        let by_rate = zone.and_then(|zone| {
            let text = zone.args.iter().find_map(|arg| arg.strip_prefix("rate="))?;
            Some((zone, rate(text)?))
        });
        let Some((zone, rate)) = by_rate else {
            self.sheet.note(Section::NoCounterpart, [*first], "its zone has no rate");
            return Vec::new();
        };
        let by = match zone.arg(0) {
            "$binary_remote_addr" | "$remote_addr" | "$http_x_forwarded_for" | "$realip_remote_addr" => None,
            key => {
                let Some(field) = key.strip_prefix("$http_") else {
                    let text = "requests are counted by the client's address or by a request field";
                    self.sheet.note(Section::NoCounterpart, [zone, *first], text);
                    return Vec::new();
                };
                Some(field.replace('_', "-"))
            }
        };
        let mut entries = vec![Entry::text("rate", &rate, origin([*first, zone]))];
        // nginx counts those beyond the first.
        let burst: u32 = value("burst").and_then(|burst| burst.parse().ok()).unwrap_or(0);
        let is_delayed = burst > 0 && !first.args.iter().any(|arg| arg == "nodelay");
        let remark = if is_delayed {
            origin_with([*first], "nginx delays these requests, hcrs does not")
        } else {
            origin([*first])
        };
        entries.push(Entry::new("rate_burst", burst.saturating_add(1).to_string(), remark));
        if let Some(by) = by {
            entries.push(Entry::text("rate_by", &by, origin([zone])));
        }
        entries
    }

    fn auth(&self, scope: &Scope<'a>) -> Vec<Entry> {
        let Some(basic) = scope.last("auth_basic") else { return Vec::new() };
        let file = scope.last("auth_basic_user_file");
        if basic.arg(0) == "off" {
            basic.see();
            return Vec::new();
        }
        let Some(file) = file else {
            self.sheet.note(Section::NoCounterpart, [basic], "auth_basic_user_file is missing");
            return Vec::new();
        };
        let path = self.path(file.arg(0));
        if has_old_hashes(&path) {
            self.sheet.note(
                Section::Check,
                [file],
                "hcrs reads passwords as bcrypt, argon2 and SHA-crypt; renew those of other kinds with htpasswd -B",
            );
        }
        vec![
            Entry::text("auth", &path, origin([file])),
            Entry::text("auth_realm", basic.arg(0), origin([basic])),
        ]
    }

    fn log(&self, scope: &Scope<'a>) -> Vec<Entry> {
        let off = scope.all(&["access_log"]).into_iter().find(|directive| directive.arg(0) == "off");
        match off {
            Some(off) if self.has_access_log => vec![Entry::new("access_log", "false", origin([off]))],
            Some(off) => {
                off.see();
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Returns who may reach a location.
    pub(crate) fn access(&self, scope: &Scope<'a>) -> Access {
        let lists = scope.all(&["allow", "deny"]);
        if lists.is_empty() {
            return Access::Open;
        }
        let (mut allow, mut deny): (Vec<&'a Directive>, Vec<&'a Directive>) = (Vec::new(), Vec::new());
        for directive in &lists {
            let is_allow = directive.name == "allow";
            match directive.arg(0) {
                // The rest is never reached.
                "all" if is_allow => {
                    if !allow.is_empty() && !deny.is_empty() {
                        return self
                            .closed(&lists, "addresses that are allowed inside of networks that are denied");
                    }
                    allow.clear();
                    break;
                }
                "all" => {
                    if allow.is_empty() {
                        return Access::Closed(origin(lists.iter().copied()));
                    }
                    break;
                }
                address if is_network(address) => {
                    // Of a list of both, those that are denied are compared first.
                    if !is_allow && !allow.is_empty() {
                        return self.closed(&lists, "networks that are denied behind ones that are allowed");
                    }
                    if is_allow { allow.push(directive) } else { deny.push(directive) }
                }
                _ => return self.closed(&lists, "addresses other than networks"),
            }
        }
        let is_rest_denied =
            lists.iter().any(|directive| directive.name == "deny" && directive.arg(0) == "all");
        if !is_rest_denied {
            allow.clear();
        }
        for directive in &lists {
            directive.see();
        }
        let entry = |key: &str, list: &[&'a Directive]| {
            let rest =
                lists.iter().copied().filter(|it| it.name == "deny" && it.arg(0) == "all" && key == "allow");
            Entry::new(
                key,
                array(list.iter().map(|directive| directive.arg(0))),
                origin(list.iter().copied().chain(rest)),
            )
        };
        let mut entries = Vec::new();
        if !allow.is_empty() {
            entries.push(entry("allow", &allow));
        }
        if !deny.is_empty() {
            entries.push(entry("deny", &deny));
        }
        if scope.last("satisfy").is_some_and(|directive| directive.arg(0) == "any") {
            let any = scope.last("satisfy");
            self.sheet.note(
                Section::Check,
                any,
                "both the address and the password are required here; split the route by hand",
            );
        }
        Access::Listed(entries)
    }

    fn closed(&self, lists: &[&'a Directive], what: &str) -> Access {
        let text = format!("there is no counterpart of {what}; the route is closed until you change it");
        self.sheet.note(Section::Check, lists.iter().copied(), text);
        Access::Closed(origin(lists.iter().copied()))
    }
}

/// Returns whether a file of passwords, as far as it is on this machine, has hashes that hcrs does not read.
fn has_old_hashes(path: &str) -> bool {
    let Ok(text) = hcrs_config::read_file(std::path::Path::new(path)) else { return false };
    let hash = |line: &str| line.split_once(':').map(|(_, hash)| hash.trim().to_owned());
    let is_known = |hash: &str| {
        ["$2y$", "$2a$", "$2b$", "$argon2", "$5$", "$6$"].iter().any(|kind| hash.starts_with(kind))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(hash).any(|hash| !is_known(&hash))
}

/// Returns the keys of compression.
fn compression(scope: &Scope<'_>) -> Vec<Entry> {
    let switches = ["gzip", "brotli", "zstd"].map(|name| scope.last(name));
    let known: Vec<&Directive> = switches.into_iter().flatten().collect();
    let on: Vec<&Directive> = known.iter().copied().filter(|directive| directive.arg(0) == "on").collect();
    for directive in &known {
        directive.see();
    }
    if on.is_empty() {
        // Without compression everywhere this is the default, and is left out later.
        return known
            .first()
            .map_or_else(Vec::new, |off| vec![Entry::new("compress", "false", origin([*off]))]);
    }
    let mut entries = vec![Entry::new("compress", "true", origin(on))];
    let types = ["gzip_types", "brotli_types", "zstd_types"].into_iter().find_map(|name| scope.last(name));
    if let Some(directive) = types.filter(|directive| directive.arg(0) != "*") {
        let mut types: Vec<&str> = vec!["text/html"];
        for kind in &directive.args {
            if !types.contains(&kind.as_str()) {
                types.push(kind);
            }
        }
        entries.push(Entry::new("compress_types", array(types), origin([directive])));
    }
    let least = ["gzip_min_length", "brotli_min_length", "zstd_min_length"]
        .into_iter()
        .find_map(|name| scope.last(name));
    if let Some((directive, least)) = least.and_then(|directive| Some((directive, size(directive.arg(0))?))) {
        entries.push(Entry::text("compress_min_size", &least, origin([directive])));
    }
    entries
}

/// Returns the `cache-control` of a time of `expires`.
fn expires(text: &str) -> Option<String> {
    match text {
        "max" => Some(format!("max-age={EXPIRES_MAX}")),
        "epoch" => Some("no-cache".into()),
        _ if text.starts_with('-') => Some("no-cache".into()),
        _ => seconds(text.trim_start_matches('+')).map(|seconds| format!("max-age={}", seconds.round())),
    }
}

/// Joins the directives of several `cache-control` fields, each once.
fn joined<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in values.flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty()) {
        let name = |part: &str| part.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if !parts.iter().any(|known| name(known) == name(part)) {
            parts.push(part);
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_cache_control() {
        for (text, expected) in [
            ("30d", Some("max-age=2592000")),
            ("max", Some("max-age=315360000")),
            ("-1", Some("no-cache")),
            ("epoch", Some("no-cache")),
            ("+1h", Some("max-age=3600")),
            ("$expires", None),
        ] {
            assert_eq!(expires(text).as_deref(), expected, "{text}");
        }
        assert_eq!(
            joined(["public, immutable", "max-age=60", "public"].into_iter()),
            "public, immutable, max-age=60"
        );
    }
}
