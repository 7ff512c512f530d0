//! Directives that no conversion has named.

use super::convert::Converter;
use super::directives::{Fate, fate};
use super::sheet::Section;
use super::syntax::Directive;

/// Directives whose counterparts are settings of the whole server.
const WHOLE_SERVER: [&str; 7] = [
    "client_header_timeout",
    "client_body_timeout",
    "send_timeout",
    "keepalive_timeout",
    "keepalive_requests",
    "error_log",
    "large_client_header_buffers",
];

impl Converter<'_> {
    /// Reports every directive that nothing has named yet.
    pub(crate) fn rest(&self, directives: &[Directive]) {
        for directive in directives {
            if !directive.is_seen() {
                match fate(&directive.name) {
                    Fate::Structure => directive.see(),
                    Fate::NotNeeded(reason) => {
                        self.sheet.note(Section::NotNeeded, [directive], reason);
                        directive.see_all();
                    }
                    Fate::NoCounterpart(reason) => {
                        self.sheet.note(Section::NoCounterpart, [directive], reason);
                        directive.see_all();
                    }
                    Fate::Converted(keys) => {
                        self.unused(directive, keys);
                        if matches!(directive.name.as_str(), "map" | "types") {
                            directive.see_all();
                        }
                    }
                    Fate::Unknown => {
                        self.sheet.note(
                            Section::NoCounterpart,
                            [directive],
                            "not a directive that is known here",
                        );
                        directive.see_all();
                    }
                }
            }
            self.rest(directive.children());
        }
    }

    /// Reports a directive that has a counterpart, but where it is no setting depends on it.
    fn unused(&self, directive: &Directive, keys: &str) {
        let (section, text) = match directive.name.as_str() {
            "server_name" => {
                (Section::NotNeeded, "its server answers for every host that no other one has".to_owned())
            }
            "types" => (Section::NotNeeded, "content types are those of the files' extensions".to_owned()),
            "proxy_redirect" => {
                (Section::NotNeeded, "locations of the app's redirects are left as they are".to_owned())
            }
            "map" if directive.arg(0) == "$http_upgrade" => {
                (Section::NotNeeded, "WebSockets need no variable".to_owned())
            }
            "map" => (Section::NoCounterpart, "there are no variables".to_owned()),
            "index" if directive.args == ["index.html"] => {
                (Section::NotNeeded, "it is the default".to_owned())
            }
            name if WHOLE_SERVER.contains(&name) => (
                Section::NoCounterpart,
                format!("{keys} is a setting of the whole server, not of a location"),
            ),
            _ => (Section::NotNeeded, "nothing that was converted depends on it".to_owned()),
        };
        self.sheet.note(section, [directive], text);
    }
}
