//! Fields and settings of proxied requests: what the app gets by itself, and the keys of upstreams.

use super::convert::Converter;
use super::scope::Scope;
use super::sheet::{Entry, Section, origin, origin_with};
use super::syntax::Directive;
use super::targets::Target;

/// Meaning of a field that nginx sets, for the app.
pub(crate) enum FieldMeaning {
    /// hcrs tells the app by itself.
    Known(&'static str),
    /// hcrs tells the app by itself; clients must not set the field.
    Forwarded,
    /// A field with an id.
    RequestId,
    /// The path at which the app is mounted.
    Prefix,
    /// None.
    Other,
}

/// Remark about fields that hcrs removes when clients send them.
const FORWARDED: &str =
    "the app gets the client, the scheme and the host of each request; fields of clients are removed";

pub(crate) fn meaning(name: &str, value: &str) -> FieldMeaning {
    match name.to_ascii_lowercase().as_str() {
        "host" if matches!(value, "$host" | "$http_host" | "$host:$server_port" | "$server_name") => {
            FieldMeaning::Known("the app gets the host as the client sent it")
        }
        "x-forwarded-for"
        | "x-forwarded-proto"
        | "x-forwarded-host"
        | "x-forwarded-port"
        | "forwarded"
        | "x-forwarded-protocol"
        | "x-forwarded-ssl" => FieldMeaning::Forwarded,
        "x-real-ip" => FieldMeaning::Known(
            "the app gets the client's address in its scope (REMOTE_ADDR in WSGI); an app that reads this field instead \
             believes what clients send",
        ),
        "x-scheme" | "x-url-scheme" | "x-forwarded-scheme" => {
            FieldMeaning::Known("the app gets the scheme in its scope (wsgi.url_scheme in WSGI)")
        }
        "upgrade" | "connection" | "sec-websocket-extensions" => {
            FieldMeaning::Known("WebSockets and kept connections need no fields")
        }
        "proxy" | "accept-encoding" => FieldMeaning::Known("no field has to be removed before the app"),
        "x-request-id" | "x-request-start" if value.contains("$request_id") => FieldMeaning::RequestId,
        "x-script-name" | "x-forwarded-prefix" | "script_name" if value.starts_with('/') => {
            FieldMeaning::Prefix
        }
        _ => FieldMeaning::Other,
    }
}

impl<'a> Converter<'a> {
    /// Converts the fields that nginx sets for the app.
    pub(crate) fn note_app_fields(&mut self, scope: &Scope<'a>, target: &Target<'a>) {
        for directive in scope.all(&["proxy_set_header", "uwsgi_param"]) {
            if directive.name == "uwsgi_param" {
                self.sheet.note(Section::NotNeeded, [directive], "the app gets the variables of WSGI");
                continue;
            }
            match meaning(directive.arg(0), directive.arg(1)) {
                FieldMeaning::Known(text) => self.sheet.note(Section::NotNeeded, [directive], text),
                FieldMeaning::Forwarded => {
                    let key = "drop_untrusted_forwarded";
                    let place = directive.place.to_string();
                    directive.see();
                    match self.sheet.entries.iter_mut().find(|entry| entry.key == key) {
                        Some(entry) if entry.origin.contains(&place) => {}
                        Some(entry) => {
                            let (places, remark) =
                                entry.origin.split_once(": ").unwrap_or((&entry.origin, ""));
                            entry.origin = format!("{places}, {}: {remark}", directive.place.line);
                        }
                        None => self.sheet.set(Entry::new(key, "true", origin_with([directive], FORWARDED))),
                    }
                }
                FieldMeaning::RequestId => {
                    let name = directive.arg(0).to_ascii_lowercase();
                    self.sheet.set(Entry::text("request_id", &name, origin([directive])));
                }
                FieldMeaning::Prefix => {
                    self.sheet.set(Entry::text("root_path", directive.arg(1), origin([directive])));
                }
                FieldMeaning::Other => {
                    let text = "the app gets the fields of requests as clients send them";
                    self.sheet.note(Section::NoCounterpart, [directive], text);
                }
            }
        }
        let timeouts: Vec<&'a Directive> =
            ["proxy_connect_timeout", "proxy_send_timeout", "proxy_read_timeout", "uwsgi_read_timeout"]
                .into_iter()
                .filter_map(|name| scope.last(name))
                .collect();
        let text = "the app is waited for as long as it works; request_timeout of [hcrs] or a route limits whole requests";
        self.sheet.note_some(Section::NoCounterpart, timeouts, text);
        let redirects = scope.last("proxy_redirect").filter(|it| !matches!(it.arg(0), "off" | "default"));
        self.sheet.note_some(
            Section::NoCounterpart,
            redirects.into_iter().collect(),
            "locations of the app's redirects are left as they are",
        );
        if let Some(group) = target.group {
            group.see();
            for inner in group.children() {
                let text = match inner.name.as_str() {
                    "server" => "workers are started by hcrs, which sends each request to the least busy one",
                    "ip_hash" | "hash" | "sticky" => {
                        let text = "requests of a client go to any worker; an app that keeps them in its memory, as \
                                    Socket.IO does without WebSocket, needs workers = 1 or a store that all share";
                        self.sheet.note(Section::Check, [inner], text);
                        continue;
                    }
                    _ => "hcrs has no connections to the app; it sends each request to the least busy worker",
                };
                if !inner.is_seen() {
                    self.sheet.note(Section::NotNeeded, [inner], text);
                }
            }
        }
    }
}
