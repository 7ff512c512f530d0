//! The keys of a table `[[hcrs.routes]]`.

use super::upstream;
use crate::kind::ValueKind;
use crate::setting::Effect;
use crate::table;

/// A key of a table `[[hcrs.routes]]`.
#[derive(Debug, Clone, Copy)]
pub struct RouteKey {
    /// Name in the table.
    pub key: &'static str,
    /// Kind of value that it takes.
    pub kind: ValueKind,
    /// The key of the action that it goes with; `None` for matchers, actions and rules.
    pub goes_with: Option<&'static str>,
    /// Meaning, in a sentence or two.
    pub doc: &'static str,
}

/// The keys that are actions, of which a route has one.
pub(super) const ACTIONS: [&str; 6] = ["files", "redirect", "status", "app", upstream::ACTION, "welcome"];

/// The keys of a route that are not rules.
const OWN: &[RouteKey] = &[
    RouteKey {
        key: "path",
        kind: ValueKind::TextOrTexts,
        goes_with: None,
        doc: "Matches the path and all below it, as /static; after an equals sign this path alone, as =/; with * (any \
              characters) or ? (any one) a pattern, of the last segment if it has no slash. The request's path is \
              compared decoded, without dot segments and double slashes.",
    },
    RouteKey {
        key: "host",
        kind: ValueKind::TextOrTexts,
        goes_with: None,
        doc: "Matches the request's host, without its port: names, or *.example.com for all below a name.",
    },
    RouteKey {
        key: "method",
        kind: ValueKind::TextOrTexts,
        goes_with: None,
        doc: "Matches the request's method.",
    },
    RouteKey {
        key: "scheme",
        kind: ValueKind::OneOf(&["http", "https"]),
        goes_with: None,
        doc: "Matches the scheme that the client has used.",
    },
    RouteKey {
        key: "app",
        kind: ValueKind::TrueOrText,
        goes_with: None,
        doc: "Action: sends the request to the app of this name, or with true to the main or only one, before a later \
              route takes it.",
    },
    RouteKey {
        key: "files",
        kind: ValueKind::Path,
        goes_with: None,
        doc: "Action: sends the files of this folder. The path behind the route's path names one.",
    },
    RouteKey {
        key: "redirect",
        kind: ValueKind::Text,
        goes_with: None,
        doc: "Action: redirects to this location, in which {host}, {path} and {query}, the query with its question mark, \
              stand for those of the request, and {rest} for the part of the path behind the route's path, or from \
              the first wildcard of a pattern on.",
    },
    RouteKey {
        key: "status",
        kind: ValueKind::Whole(200, 599),
        goes_with: None,
        doc: "Action: answers with this status.",
    },
    RouteKey {
        key: "welcome",
        kind: ValueKind::Boolean,
        goes_with: None,
        doc: "Action: true answers with the page of a server without an app.",
    },
    RouteKey {
        key: "access_log",
        kind: ValueKind::Boolean,
        goes_with: None,
        doc: "Whether the requests are in the access log, if there is one; true by default.",
    },
    RouteKey {
        key: "index",
        kind: ValueKind::TextOrTexts,
        goes_with: Some("files"),
        doc: "Names of files that answer for a folder, the first that is there; index.html by default.",
    },
    RouteKey {
        key: "missing",
        kind: ValueKind::Text,
        goes_with: Some("files"),
        doc: "What happens if there is no such file: next lets the routes behind this one decide; a name is that of the \
              file that is sent, as index.html for an app in one page. By default 404.",
    },
    RouteKey {
        key: "cache_control",
        kind: ValueKind::Text,
        goes_with: Some("files"),
        doc: "The cache-control of responses with a file, as public, max-age=31536000, immutable.",
    },
    RouteKey {
        key: "hidden",
        kind: ValueKind::Boolean,
        goes_with: Some("files"),
        doc: "Whether names that begin with a dot are sent; false by default.",
    },
    RouteKey {
        key: "follow_links",
        kind: ValueKind::Boolean,
        goes_with: Some("files"),
        doc: "Whether symbolic links may lead out of the folder; false by default.",
    },
    RouteKey {
        key: "precompressed",
        kind: ValueKind::Boolean,
        goes_with: Some("files"),
        doc: "Whether a file of the same name with .br, .zst or .gz behind it is sent in place of the original \
              to clients that accept its coding; false by default.",
    },
    RouteKey {
        key: "hashed_immutable",
        kind: ValueKind::Boolean,
        goes_with: Some("files"),
        doc: "Whether a file whose name has a hash of its content, as app.3f2a9c1b04de.css, gets cache- \
              control: public, max-age=31536000, immutable; false by default.",
    },
    RouteKey {
        key: "attachment",
        kind: ValueKind::Boolean,
        goes_with: Some("files"),
        doc: "Whether browsers are to store files and not to show them, as content-disposition: attachment \
              says; false by default.",
    },
    RouteKey {
        key: "force_type",
        kind: ValueKind::Text,
        goes_with: Some("files"),
        doc: "The content type of all files, in place of that of their extensions.",
    },
    RouteKey {
        key: "listing",
        kind: ValueKind::Boolean,
        goes_with: Some("files"),
        doc: "Whether a folder without an index file is answered with a list of what is in it; false by \
              default.",
    },
    RouteKey {
        key: "internal",
        kind: ValueKind::Boolean,
        goes_with: Some("files"),
        doc: "Whether no request of a client takes this route, and only responses of the app name its files: \
              x-accel-redirect by a path that the route takes, x-sendfile by an absolute path in the folder; \
              false by default.",
    },
    RouteKey {
        key: "redirect_status",
        kind: ValueKind::Whole(301, 308),
        goes_with: Some("redirect"),
        doc: "The status of the redirect: 301, 302, 303, 307 or, by default, 308.",
    },
    RouteKey {
        key: "text",
        kind: ValueKind::Text,
        goes_with: Some("status"),
        doc: "The body of the response.",
    },
    RouteKey {
        key: "file",
        kind: ValueKind::Path,
        goes_with: Some("status"),
        doc: "A file that holds the body of the response, at most 1 MiB, in place of text. It is read with the \
              configuration.",
    },
    RouteKey {
        key: "content_type",
        kind: ValueKind::Text,
        goes_with: Some("status"),
        doc: "The type of the body; by default that of the file's extension, and text/plain; charset=utf-8 for text.",
    },
];

/// Returns all keys of a route. The rules come last.
pub fn all() -> impl Iterator<Item = RouteKey> {
    let rules = table::all().filter(|setting| matches!(setting.effect, Effect::OfRequests(_)));
    let rules = rules.map(|rule| RouteKey { key: rule.key, kind: rule.kind, goes_with: None, doc: rule.doc });
    OWN.iter().chain(upstream::KEYS).copied().chain(rules)
}
