//! Keys of upstreams.

use super::convert::Converter;
use super::fields::{FieldMeaning, meaning};
use super::locations::Spot;
use super::scope::Scope;
use super::sheet::{Entry, Section, array, origin, origin_with};
use super::sources::{PathChange, path_change};
use super::syntax::Directive;
use super::targets::Target;
use super::values::{seconds, shown_seconds};

impl<'a> Converter<'a> {
    /// Returns the keys of an upstream.
    pub(crate) fn upstream(&self, spot: &Spot<'_, 'a>, target: &Target<'a>) -> Vec<Entry> {
        let (urls, origins) = self.used_servers(target);
        let change = path_change(target, spot);
        let with_base = |url: String| match &change {
            PathChange::Replaced(base) if !url.starts_with("unix:") => url + base,
            _ => url,
        };
        let has_socket = urls.iter().any(|url| url.starts_with("unix:"));
        let urls: Vec<String> = urls.into_iter().map(with_base).collect();
        let mut action =
            vec![Entry::new("upstream", array(urls.iter().map(String::as_str)), origin(origins))];
        let is_replaced = matches!(change, PathChange::Replaced(_));
        if matches!(change, PathChange::Stripped(_)) || is_replaced && spot.prefix != "/" {
            action.push(Entry::new("strip_path", "true", origin_with([target.directive], "its path")));
        }
        if change == PathChange::Other || is_replaced && has_socket {
            let text =
                "the path of the location is removed or left; the change of this one is none of a route";
            self.sheet.note(Section::Check, [target.directive], text);
        }
        if target.scheme.starts_with("grpc") {
            action.push(Entry::text("upstream_protocol", "h2", origin([target.directive])));
        }
        self.upstream_keys(spot, target, &mut action);
        action
    }

    /// Returns the addresses of the servers that take part, and the directives that name them.
    fn used_servers(&self, target: &Target<'a>) -> (Vec<String>, Vec<&'a Directive>) {
        if target.group.is_none() {
            return (target.urls(), vec![target.directive]);
        }
        let servers = target.servers();
        // Those that are down, or only a reserve, do not take part.
        let is_used = |server: &&Directive| !server.args.iter().any(|arg| arg == "down" || arg == "backup");
        let reserve: Vec<&Directive> = servers.iter().copied().filter(|server| !is_used(server)).collect();
        let text = "upstreams have no reserve; this server is left out";
        self.sheet.note_some(Section::NoCounterpart, reserve, text);
        let has_weight = |server: &&Directive| server.args.iter().any(|arg| arg.starts_with("weight="));
        let weighted = servers.iter().copied().filter(has_weight).collect();
        let text = "upstreams have no weights: the least busy one is taken";
        self.sheet.note_some(Section::NoCounterpart, weighted, text);
        let all = target.urls().into_iter().zip(servers.iter().copied());
        let (urls, origins): (Vec<String>, Vec<&'a Directive>) =
            all.filter(|(_, server)| is_used(server)).unzip();
        (urls, std::iter::once(target.directive).chain(origins).collect())
    }

    /// Adds the keys of an `upstream` block.
    fn balance(&self, target: &Target<'a>, action: &mut Vec<Entry>) {
        if let Some(group) = target.group {
            group.see();
            for inner in group.children() {
                match (inner.name.as_str(), inner.arg(0)) {
                    ("ip_hash", _) | ("hash", "$remote_addr" | "$binary_remote_addr") => {
                        action.push(Entry::text("balance", "hash", origin([inner])));
                        action.push(Entry::text("hash_by", "address", origin([inner])));
                    }
                    ("hash", "$request_uri" | "$uri") => {
                        action.push(Entry::text("balance", "hash", origin([inner])));
                        action.push(Entry::text("hash_by", "path", origin([inner])));
                    }
                    ("hash", key) if key.starts_with("$http_") => {
                        action.push(Entry::text("balance", "hash", origin([inner])));
                        let field = key["$http_".len()..].replace('_', "-");
                        action.push(Entry::text("hash_by", &field, origin([inner])));
                    }
                    ("server", _) => inner.see(),
                    ("least_conn" | "zone" | "random" | "least_time", _) => {
                        self.sheet.note(Section::NotNeeded, [inner], "the least busy upstream is taken");
                    }
                    ("keepalive" | "keepalive_timeout" | "keepalive_requests", _) => {
                        self.sheet.note(Section::NotNeeded, [inner], "connections to upstreams are kept");
                    }
                    _ => self.sheet.note(Section::NoCounterpart, [inner], "upstreams have no such setting"),
                }
            }
        }
    }

    /// Adds the keys of the fields that nginx sets.
    fn upstream_fields(&self, scope: &Scope<'a>, action: &mut Vec<Entry>) {
        for directive in scope.all(&["proxy_set_header"]) {
            let (name, value) = (directive.arg(0), scope.resolved(directive.arg(1)));
            if name.eq_ignore_ascii_case("host") {
                match value.as_str() {
                    "$host" | "$http_host" | "$host:$server_port" => {
                        self.sheet.note(
                            Section::NotNeeded,
                            [directive],
                            "upstreams get the host as the client sent it",
                        );
                    }
                    "$proxy_host" => {
                        action.push(Entry::text("upstream_host", "upstream", origin([directive])));
                    }
                    _ if !value.contains('$') => {
                        action.push(Entry::text("upstream_host", &value, origin([directive])));
                    }
                    _ => self.sheet.note(
                        Section::NoCounterpart,
                        [directive],
                        "the host is the client's, the upstream's or a fixed one",
                    ),
                }
                continue;
            }
            match meaning(name, &value) {
                FieldMeaning::Known(_) | FieldMeaning::Forwarded => {
                    let text = "upstreams get the fields of proxies, and WebSockets need none";
                    self.sheet.note(Section::NotNeeded, [directive], text);
                }
                _ if !directive.is_seen() => {
                    let text = "upstreams get the fields of requests as clients send them";
                    self.sheet.note(Section::NoCounterpart, [directive], text);
                }
                _ => {}
            }
        }
    }

    /// Adds the keys of an upstream that come from its `upstream` block and from `proxy_` directives.
    pub(crate) fn upstream_keys(&self, spot: &Spot<'_, 'a>, target: &Target<'a>, action: &mut Vec<Entry>) {
        let scope = &spot.scope;
        self.balance(target, action);
        for (name, key) in [
            ("proxy_connect_timeout", "connect_timeout"),
            ("proxy_read_timeout", "read_timeout"),
            ("proxy_send_timeout", "send_timeout"),
        ] {
            if let Some(directive) = scope.last(name)
                && let Some(seconds) = seconds(directive.arg(0))
            {
                action.push(Entry::new(key, shown_seconds(seconds), origin([directive])));
            }
        }
        self.upstream_fields(scope, action);
        let is_named =
            scope.all(&["proxy_set_header"]).iter().any(|it| it.arg(0).eq_ignore_ascii_case("host"));
        if !is_named && target.scheme == "https" {
            action.push(Entry::text("upstream_host", "upstream", "nginx's default"));
        }
        if target.scheme == "https" {
            let verify = scope.last("proxy_ssl_verify");
            match verify {
                Some(verify) if verify.arg(0) == "on" => verify.see(),
                Some(verify) => action.push(Entry::new("upstream_verify", "false", origin([verify]))),
                None => action.push(Entry::new("upstream_verify", "false", "nginx's default")),
            }
            if let Some(authorities) = scope.last("proxy_ssl_trusted_certificate") {
                let path = self.path(authorities.arg(0));
                action.push(Entry::text("upstream_ca", &path, origin([authorities])));
            }
        }
        if let Some(retries) = scope.last("proxy_next_upstream").filter(|it| it.arg(0) == "off") {
            action.push(Entry::new("retries", "0", origin([retries])));
        } else if let Some(tries) = scope.last("proxy_next_upstream_tries")
            && let Ok(tries) = tries_of(tries)
        {
            action.push(tries);
        }
    }
}

fn tries_of(directive: &Directive) -> Result<Entry, std::num::ParseIntError> {
    // The first attempt is one of nginx's tries.
    let tries: u32 = directive.arg(0).parse()?;
    Ok(Entry::new("retries", tries.saturating_sub(1).to_string(), origin([directive])))
}
