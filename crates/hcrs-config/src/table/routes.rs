//! Routes: what answers requests in place of the app.

use std::path::PathBuf;

use hcrs_http::Scheme;
use hcrs_server::{
    FilesSettings, FixedResponse, HostPattern, MissingFile, PathPattern, RedirectSettings, RouteAction,
    RouteMatcher, RouteRule, Routes,
};

use crate::draft::Draft;
use crate::kind::{ValueKind, array, quoted};
use crate::setting::Group::Routes as RoutesGroup;
use crate::setting::{Setting, unset};
use crate::similar::nearest;
use crate::value::{Datum, GivenValue, Mistake, Place, Value};

/// The key of the routes.
const ROUTES: &str = "routes";

/// The most routes: each request is compared with them in turn.
const ROUTES_MAX: usize = 1024;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        RoutesGroup,
        "static",
        ValueKind::Texts,
        |_| array([]),
        static_files,
        "Folders whose files are sent, each as PATH=FOLDER: \"/static=./static\" is short for a route with path and files, \
         behind all other routes.",
    )
    .extension()
    .flag("--static", None, "PATH=FOLDER"),
    Setting::new(
    RoutesGroup,
    ROUTES,
    ValueKind::Tables,
    unset,
    routes,
    "Requests that something other than the app answers: tables [[hcrs.routes]] in their order, of which the first that \
     matches takes a request. Without one, requests go to the app.",
)
.extension(),
];

/// A key of a table `[[hcrs.routes]]`.
#[derive(Debug, Clone, Copy)]
pub struct RouteKey {
    /// Name in the table.
    pub key: &'static str,
    /// Kind of value that it takes.
    pub kind: ValueKind,
    /// The key of the action that it goes with; `None` for matchers and actions.
    pub goes_with: Option<&'static str>,
    /// Meaning, in a sentence or two.
    pub doc: &'static str,
}

/// The keys that are actions, of which a route has one.
const ACTIONS: [&str; 4] = ["files", "redirect", "status", "app"];

/// All keys of a route.
pub const KEYS: &[RouteKey] = &[
    RouteKey {
        key: "path",
        kind: ValueKind::Text,
        goes_with: None,
        doc: "Matches the path and all below it, as /static; with * (any characters) or ? (any one) a pattern, of the \
              last segment if it has no slash. The request's path is compared decoded, without dot segments and double \
              slashes.",
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
        kind: ValueKind::Boolean,
        goes_with: None,
        doc: "Action: true sends the request to the app, before a later route takes it.",
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
              stand for those of the request.",
    },
    RouteKey {
        key: "status",
        kind: ValueKind::Whole(200, 599),
        goes_with: None,
        doc: "Action: answers with this status.",
    },
    RouteKey {
        key: "max_body_size",
        kind: ValueKind::Size,
        goes_with: Some("app"),
        doc: "The largest body of these requests, in place of max_body_size for all.",
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
        key: "content_type",
        kind: ValueKind::Text,
        goes_with: Some("status"),
        doc: "The type of text; text/plain; charset=utf-8 by default.",
    },
];

fn routes(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let Datum::Array(tables) = &given.value.datum else { return Err(given.expected("an array of tables")) };
    if tables.len() > ROUTES_MAX {
        return Err(given.expected(format_args!("at most {ROUTES_MAX} routes")));
    }
    let mut rules: Vec<RouteRule> = Vec::new();
    for table in tables {
        match Entries::of(table).and_then(|entries| entries.rule()) {
            Ok(rule) => {
                if let Some(at) = rules.iter().position(|earlier| covers(earlier, &rule.matcher)) {
                    let message = format!(
                        "{ROUTES}: no request reaches this route: route {} takes all of them",
                        at + 1
                    );
                    draft.mistakes.push(Mistake { place: table.place.clone(), message });
                }
                rules.push(rule);
            }
            Err(mistake) => {
                let message = format!("{ROUTES}: {}", mistake.message);
                draft.mistakes.push(Mistake { message, ..mistake });
            }
        }
    }
    draft.server.routes = Routes(rules);
    Ok(())
}

fn static_files(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let rule = |(text, place): (&str, &Place)| {
        let given = at(text, place);
        let expected = || given.expected("a path and a folder, as \"/static=./static\"");
        let (path, folder) =
            text.split_once('=').filter(|(_, folder)| !folder.is_empty()).ok_or_else(expected)?;
        let path = PathPattern::parse(path).map_err(|expected| at(path, place).expected(expected))?;
        Ok(RouteRule {
            matcher: RouteMatcher { path: Some(path), ..RouteMatcher::default() },
            action: RouteAction::Files(FilesSettings::new(folder.into())),
            max_body_size: None,
        })
    };
    draft.static_files = given.texts()?.into_iter().map(rule).collect::<Result<_, _>>()?;
    Ok(())
}

/// The entries of a route's table.
struct Entries<'a> {
    table: &'a Value,
    entries: &'a [(String, Value)],
}

impl<'a> Entries<'a> {
    /// Checks the keys: all are known, one is an action, and the others go with it.
    fn of(table: &'a Value) -> Result<Self, Mistake> {
        let Datum::Table(entries) = &table.datum else { return Err(table.expected("a table")) };
        let mistake = |value: &Value, message: String| Mistake { place: value.place.clone(), message };
        let has = |key: &str| entries.iter().any(|(name, _)| name == key);
        for (name, value) in entries {
            let Some(known) = KEYS.iter().find(|known| known.key == name) else {
                let near = nearest(KEYS.iter().map(|known| known.key), name);
                let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                return Err(mistake(value, format!("unknown key: {name}{hint}")));
            };
            if let Some(action) = known.goes_with.filter(|action| !has(action)) {
                return Err(mistake(
                    value,
                    format!("{name} goes with {action}, which this route does not have"),
                ));
            }
        }
        let actions: Vec<_> = ACTIONS.into_iter().filter(|action| has(action)).collect();
        match actions[..] {
            [_] => Ok(Self { table, entries }),
            [] => Err(mistake(table, format!("a route has one of {}", ACTIONS.join(", ")))),
            _ => Err(mistake(
                table,
                format!("a route has one action, and this one has {}", actions.join(" and ")),
            )),
        }
    }

    fn get(&self, key: &str) -> Option<GivenValue<'a>> {
        let kind = KEYS.iter().find(|known| known.key == key)?.kind;
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| GivenValue { value, kind })
    }

    fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(GivenValue<'a>) -> Result<T, Mistake>,
    ) -> Result<Option<T>, Mistake> {
        let named = |mistake: Mistake| Mistake { message: format!("{key}: {}", mistake.message), ..mistake };
        self.get(key).map(read).transpose().map_err(named)
    }

    fn rule(&self) -> Result<RouteRule, Mistake> {
        let max_body_size = self.read("max_body_size", |given| given.size())?;
        Ok(RouteRule { matcher: self.matcher()?, action: self.action()?, max_body_size })
    }

    fn matcher(&self) -> Result<RouteMatcher, Mistake> {
        Ok(RouteMatcher {
            path: self.read("path", |given| {
                PathPattern::parse(given.text()?).map_err(|expected| given.expected(expected))
            })?,
            hosts: self
                .read("host", |given| {
                    let names = given.text_or_texts()?.into_iter();
                    names
                        .map(|(name, place)| {
                            HostPattern::parse(name).map_err(|expected| at(name, place).expected(expected))
                        })
                        .collect()
                })?
                .unwrap_or_default(),
            methods: self
                .read("method", |given| {
                    let methods = given.text_or_texts()?.into_iter();
                    let is_method = |method: &str| {
                        !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase())
                    };
                    methods
                        .map(|(method, place)| {
                            is_method(method)
                                .then(|| method.to_owned())
                                .ok_or_else(|| at(method, place).expected("a method in capitals, as GET"))
                        })
                        .collect()
                })?
                .unwrap_or_default(),
            scheme: self.read("scheme", |given| match given.text()? {
                "http" => Ok(Scheme::Http),
                "https" => Ok(Scheme::Https),
                _ => Err(given.expected("http or https")),
            })?,
        })
    }

    fn action(&self) -> Result<RouteAction, Mistake> {
        if let Some(is_app) = self.read("app", |given| given.boolean())? {
            return if is_app {
                Ok(RouteAction::App)
            } else {
                Err(self.table.expected("app = true, or another action"))
            };
        }
        if let Some(folder) = self.read("files", |given| given.path())? {
            return self.files(folder).map(RouteAction::Files);
        }
        if let Some(location) = self.read("redirect", location)? {
            let status = self.read("redirect_status", |given| match given.whole()? {
                status @ (301 | 302 | 303 | 307 | 308) => Ok(status),
                _ => Err(given.expected("301, 302, 303, 307 or 308")),
            })?;
            return Ok(RouteAction::Redirect(RedirectSettings { location, status: status.unwrap_or(308) }));
        }
        let text = self.read("text", |given| given.text().map(str::to_owned))?;
        Ok(RouteAction::Fixed(FixedResponse {
            status: self.read("status", |given| given.whole())?.unwrap_or(404),
            text: text.unwrap_or_default(),
            content_type: self
                .read("content_type", field_value)?
                .unwrap_or_else(|| "text/plain; charset=utf-8".to_owned()),
        }))
    }

    fn files(&self, folder: PathBuf) -> Result<FilesSettings, Mistake> {
        let index = self.read("index", |given| {
            let names = given.text_or_texts()?.into_iter();
            names.map(|(name, place)| file_name(name, || at(name, place))).collect()
        })?;
        let missing = self.read("missing", |given| match given.text()? {
            "next" => Ok(MissingFile::NextRoute),
            name => file_name(name, || given.value.clone()).map(MissingFile::File),
        })?;
        let defaults = FilesSettings::new(folder);
        Ok(FilesSettings {
            index: index.unwrap_or(defaults.index),
            missing: missing.unwrap_or(defaults.missing),
            cache_control: self.read("cache_control", field_value)?,
            hidden: self.read("hidden", |given| given.boolean())?.unwrap_or(defaults.hidden),
            follow_links: self
                .read("follow_links", |given| given.boolean())?
                .unwrap_or(defaults.follow_links),
            folder: defaults.folder,
        })
    }
}

/// Returns a text that was given as an element of a list, with its place.
fn at(text: &str, place: &Place) -> Value {
    Value { datum: Datum::Text(text.to_owned()), place: place.clone() }
}

fn file_name(name: &str, value: impl FnOnce() -> Value) -> Result<String, Mistake> {
    let is_relative = !name.is_empty()
        && !name.starts_with('/')
        && name.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    if is_relative {
        Ok(name.to_owned())
    } else {
        Err(value().expected("the name of a file below the folder"))
    }
}

fn field_value(given: GivenValue<'_>) -> Result<String, Mistake> {
    let text = given.text()?;
    let is_value = !text.is_empty() && hcrs_http::is_field_value(text.as_bytes());
    is_value.then(|| text.to_owned()).ok_or_else(|| given.expected("the value of a response field"))
}

fn location(given: GivenValue<'_>) -> Result<String, Mistake> {
    let text = given.text()?;
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut names = text.split('{').skip(1).map(|rest| rest.split_once('}').map(|(name, _)| name));
    let has_known_names = names.all(|name| matches!(name, Some("host" | "path" | "query")));
    if is_visible && has_known_names {
        Ok(text.to_owned())
    } else {
        Err(given.expected(format_args!(
            "a URL or a path, in which braces hold host, path or query, as {}",
            quoted("https://{host}{path}{query}")
        )))
    }
}

/// Whether the earlier route takes every request that this matcher takes.
fn covers(earlier: &RouteRule, matcher: &RouteMatcher) -> bool {
    let RouteMatcher { path, hosts, methods, scheme } = &earlier.matcher;
    let passes_on =
        matches!(&earlier.action, RouteAction::Files(files) if files.missing == MissingFile::NextRoute);
    let has_path = match (path, &matcher.path) {
        (None, _) => true,
        (Some(PathPattern::Prefix(prefix)), Some(PathPattern::Prefix(path))) => {
            path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (Some(earlier), later) => later.as_ref() == Some(earlier),
    };
    let has_host = hosts.is_empty()
        || !matcher.hosts.is_empty() && matcher.hosts.iter().all(|host| hosts.contains(host));
    let has_method = methods.is_empty()
        || !matcher.methods.is_empty() && matcher.methods.iter().all(|method| methods.contains(method));
    let has_scheme = scheme.is_none() || *scheme == matcher.scheme;
    !passes_on && has_path && has_host && has_method && has_scheme
}
