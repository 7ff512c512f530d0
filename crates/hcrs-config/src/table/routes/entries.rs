//! A table `[[hcrs.routes]]` becomes a route.

use std::path::PathBuf;
use std::sync::Arc;

use hcrs_http::Scheme;
use hcrs_server::{
    AppIndex, ConfiguredRoute, FilesSettings, FixedBody, FixedResponse, HostPattern, LoadedFile, MissingFile,
    PathPattern, RedirectSettings, RouteAction, RouteMatcher, Rules,
};

use super::keys::{self, ACTIONS};
use crate::kind::quoted;
use crate::setting::Effect;
use crate::similar::nearest;
use crate::table;
use crate::table::apps::AskedApp;
use crate::value::{Datum, GivenValue, Mistake, Place, Value};

/// The entries of a route's table.
pub(super) struct Entries<'a> {
    table: &'a Value,
    entries: &'a [(String, Value)],
}

impl<'a> Entries<'a> {
    /// Checks the keys: all are known, one is an action, and the others go with it.
    pub(super) fn of(table: &'a Value) -> Result<Self, Mistake> {
        let Datum::Table(entries) = &table.datum else { return Err(table.expected("a table")) };
        let mistake = |value: &Value, message: String| Mistake { place: value.place.clone(), message };
        let has = |key: &str| entries.iter().any(|(name, _)| name == key);
        for (name, value) in entries {
            let Some(known) = keys::all().find(|known| known.key == name) else {
                let near = nearest(keys::all().map(|known| known.key), name);
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
        let kind = keys::all().find(|known| known.key == key)?.kind;
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| GivenValue { value, kind })
    }

    pub(super) fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(GivenValue<'a>) -> Result<T, Mistake>,
    ) -> Result<Option<T>, Mistake> {
        let named = |mistake: Mistake| Mistake { message: format!("{key}: {}", mistake.message), ..mistake };
        self.get(key).map(read).transpose().map_err(named)
    }

    /// Returns the route.
    pub(super) fn route(&self) -> Result<ConfiguredRoute, Mistake> {
        let (matcher, action) = (self.matcher()?, self.action()?);
        Ok(ConfiguredRoute { matcher, action, rules: Arc::new(self.rules()?) })
    }

    fn rules(&self) -> Result<Rules, Mistake> {
        // Of all requests, accesslog decides.
        let access_log = self.read("access_log", |given| given.boolean())?;
        let mut rules = Rules { access_log, ..Rules::default() };
        for setting in table::all() {
            if let Effect::OfRequests(apply) = setting.effect {
                self.read(setting.key, |given| apply(&given, &mut rules))?;
            }
        }
        Ok(rules)
    }

    fn matcher(&self) -> Result<RouteMatcher, Mistake> {
        Ok(RouteMatcher {
            paths: self
                .read("path", |given| {
                    let paths = given.text_or_texts()?.into_iter();
                    let path = |(path, place)| {
                        PathPattern::parse(path).map_err(|expected| at(path, place).expected(expected))
                    };
                    paths.map(path).collect()
                })?
                .unwrap_or_default(),
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
        if self.app()?.is_some() {
            // Its place among the apps is not known before all of them are.
            return Ok(RouteAction::App(AppIndex(0)));
        }
        if let Some(is_welcome) = self.read("welcome", |given| given.boolean())? {
            return if is_welcome {
                Ok(RouteAction::Welcome)
            } else {
                Err(self.table.expected("welcome = true, or another action"))
            };
        }
        if let Some(upstream) = self.upstream()? {
            return Ok(RouteAction::Upstream(Arc::new(upstream)));
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
        self.fixed().map(RouteAction::Fixed)
    }

    /// Returns the app that the action asks for, if it is one.
    pub(super) fn app(&self) -> Result<Option<AskedApp>, Mistake> {
        self.read("app", |given| {
            let place = given.value.place.clone();
            match &given.value.datum {
                Datum::Boolean(true) => Ok(AskedApp { name: None, place }),
                Datum::Text(name) => Ok(AskedApp { name: Some(name.clone()), place }),
                _ => Err(given.expected("true or the name of an app, or another action")),
            }
        })
    }

    fn fixed(&self) -> Result<FixedResponse, Mistake> {
        let text = self.read("text", |given| given.text().map(str::to_owned))?;
        let file = self.read("file", |given| match text {
            Some(_) => Err(given.expected("text or file, and not both")),
            None => given.path().map(LoadedFile::new),
        })?;
        Ok(FixedResponse {
            status: self.read("status", |given| given.whole())?.unwrap_or(404),
            body: file.map_or(FixedBody::Text(text.unwrap_or_default()), FixedBody::File),
            content_type: self.read("content_type", field_value)?,
        })
    }

    fn files(&self, folder: PathBuf) -> Result<FilesSettings, Mistake> {
        let index = self.read("index", |given| {
            let names = given.text_or_texts()?.into_iter();
            names.map(|(name, place)| file_name(name, || at(name, place))).collect()
        })?;
        let flag = |key, default| Ok(self.read(key, |given| given.boolean())?.unwrap_or(default));
        let internal = flag("internal", false)?;
        let missing = self.read("missing", |given| match given.text()? {
            "next" if internal => {
                Err(given.expected("a name, because no request goes on from an internal route"))
            }
            "next" => Ok(MissingFile::NextRoute),
            name => file_name(name, || given.value.clone()).map(MissingFile::File),
        })?;
        let defaults = FilesSettings::new(folder);
        Ok(FilesSettings {
            index: index.unwrap_or(defaults.index),
            missing: missing.unwrap_or(defaults.missing),
            cache_control: self.read("cache_control", field_value)?,
            hidden: flag("hidden", defaults.hidden)?,
            follow_links: flag("follow_links", defaults.follow_links)?,
            precompressed: flag("precompressed", defaults.precompressed)?,
            hashed_immutable: flag("hashed_immutable", defaults.hashed_immutable)?,
            attachment: flag("attachment", defaults.attachment)?,
            force_type: self.read("force_type", field_value)?,
            listing: flag("listing", defaults.listing)?,
            internal,
            folder: defaults.folder,
        })
    }
}

/// Returns a text that was given as an element of a list, with its place.
pub(super) fn at(text: &str, place: &Place) -> Value {
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
    let has_known_names = names.all(|name| matches!(name, Some("host" | "path" | "rest" | "query")));
    if is_visible && has_known_names {
        Ok(text.to_owned())
    } else {
        Err(given.expected(format_args!(
            "a URL or a path, in which braces hold host, path, rest or query, as {}",
            quoted("https://{host}{path}{query}")
        )))
    }
}
