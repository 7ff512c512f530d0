//! Further apps: tables `[[hcrs.apps]]`.

use hcrs_server::{AppIndex, AppName, AppSettings, RouteAction};

use crate::draft::{Draft, PlacedRoute};
use crate::kind::ValueKind;
use crate::setting::Group::App;
use crate::setting::{Effect, Setting, unset};
use crate::similar::nearest;
use crate::table;
use crate::value::{Datum, GivenValue, Mistake, Place, Value};

/// The key of the apps.
pub const APPS: &str = "apps";

/// The most apps: each has workers of its own, and room for requests that wait in each edge thread.
const APPS_MAX: usize = 64;

pub(super) const SETTINGS: &[Setting] = &[Setting::new(
    App,
    APPS,
    ValueKind::Tables,
    unset,
    |v, d| match &v.value.datum {
        Datum::Array(tables) if tables.len() <= APPS_MAX => {
            d.app_tables.clone_from(tables);
            Ok(())
        }
        _ => Err(v.expected(format_args!("an array of at most {APPS_MAX} tables"))),
    },
    "Further apps: tables [[hcrs.apps]], each with a name, which routes send requests to. Each app has workers, a queue \
     and limits of its own. Apps are added and removed at a reload; of those that are there, application_path, chdir, \
     python, preload and the keys of the reloader change at a start.",
)
.extension()];

/// A key of a table `[[hcrs.apps]]`.
#[derive(Debug, Clone, Copy)]
pub struct AppKey {
    /// Name in the table.
    pub key: &'static str,
    /// Kind of value that it takes.
    pub kind: ValueKind,
    /// Whether an app without it has the value of the setting of this name.
    pub is_inherited: bool,
    /// Meaning, in a sentence or two; `None` for that of the setting of this name.
    pub doc: Option<&'static str>,
}

/// The keys that are no settings of the main app.
const OWN: [AppKey; 2] = [
    AppKey {
        key: "name",
        kind: ValueKind::Text,
        is_inherited: false,
        doc: Some(
            "The name, at most 32 letters, digits, _, - and ., which routes, commands, logs and metrics have. The app of \
             application_path above all tables is named main.",
        ),
    },
    AppKey {
        key: "chdir",
        kind: ValueKind::Path,
        is_inherited: false,
        doc: Some(
            "Directory that the workers start in, from which the app is imported. Itself, and the relative paths of the \
             other keys, are relative to the directory of the server. Unset, that directory.",
        ),
    },
];

/// The keys that an app does not have from the settings above: they are of an app's own code, and would make no sense
/// in another.
const NOT_INHERITED: [&str; 6] =
    ["application_path", "root_path", "post_fork", "worker_start", "worker_exit", "reload_dirs"];

/// Returns all keys of an app.
pub fn keys() -> impl Iterator<Item = AppKey> {
    let of_setting = |setting: &'static Setting| AppKey {
        key: setting.key,
        kind: setting.kind,
        is_inherited: !NOT_INHERITED.contains(&setting.key),
        doc: None,
    };
    OWN.into_iter().chain(table::all().filter(|setting| setting.is_of_app).map(of_setting))
}

/// Returns the lines of a table in the form of the file, without the values of variables.
pub(crate) fn lines(table: &Value) -> Vec<String> {
    let Datum::Table(entries) = &table.datum else { return Vec::new() };
    let line = |(key, value): &(String, Value)| match key.as_str() {
        "env" => format!("{key} = {}", value.literal_names()),
        _ => format!("{key} = {}", value.literal()),
    };
    entries.iter().map(line).collect()
}

/// An app, and the place of its table.
struct PlacedApp {
    app: AppSettings,
    place: Place,
}

/// The app that a route asks for.
#[derive(Clone)]
pub(crate) struct AskedApp {
    /// The name; `None` for the main app, or the only one.
    pub(crate) name: Option<String>,
    pub(crate) place: Place,
}

/// Adds the apps to the settings, and lets the routes know them by their places. What is wrong becomes mistakes.
pub(crate) fn finish(draft: &mut Draft, routes: &mut [PlacedRoute]) {
    let mut apps: Vec<PlacedApp> = Vec::new();
    if !draft.app.path.is_empty() {
        apps.push(PlacedApp { app: draft.app.clone(), place: Place::Nowhere });
    }
    for table in std::mem::take(&mut draft.app_tables) {
        let read =
            app_of(&table, draft).and_then(|app| match apps.iter().any(|other| other.app.name == app.name) {
                true if app.name.is_main() && !draft.app.path.is_empty() => Err(mistake(
                &table,
                "the app of application_path, above all tables, is named main; give this one another name".into(),
            )),
            true => Err(mistake(&table, format!("there are two apps named {}", app.name))),
                false => Ok(app),
            });
        match read {
            Ok(app) => {
                let app = PlacedApp { app, place: table.place.clone() };
                // The main one comes first.
                let at = if app.app.name.is_main() { 0 } else { apps.len() };
                apps.insert(at, app);
            }
            Err(mistake) => {
                let message = format!("{APPS}: {}", mistake.message);
                draft.mistakes.push(Mistake { message, ..mistake });
            }
        }
    }
    // A route may name an app that is missing because of a mistake in its table, which is reported already.
    let is_complete = draft.mistakes.is_empty();
    let places: Vec<_> = apps.iter().map(|app| app.place.clone()).collect();
    draft.server.apps = apps.into_iter().map(|app| app.app).collect();
    if is_complete {
        find_apps(draft, routes);
        report_unreached(draft, routes, &places);
    }
}

/// Replaces the names of apps in routes by their places.
fn find_apps(draft: &mut Draft, routes: &mut [PlacedRoute]) {
    let names: Vec<_> = draft.server.apps.iter().map(|app| app.name.as_str().to_owned()).collect();
    let default = draft.server.default_app().or(names.is_empty().then_some(AppIndex(0)));
    for route in routes {
        let Some(AskedApp { name, place }) = &route.app else { continue };
        let found = match name {
            Some(name) => names.iter().position(|known| known == name).map(AppIndex),
            None => default,
        };
        if let Some(app) = found {
            route.route.action = RouteAction::App(app);
            continue;
        }
        let message = match name {
            Some(name) => {
                let near = nearest(names.iter().map(String::as_str), name);
                let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                format!("routes: app: there is no app {name:?}{hint}")
            }
            None => format!(
                "routes: app: true means the main app, and there is none; name one of {}",
                names.join(", ")
            ),
        };
        draft.mistakes.push(Mistake { place: place.clone(), message });
    }
}

/// Reports the apps that no request reaches.
fn report_unreached(draft: &mut Draft, routes: &[PlacedRoute], places: &[Place]) {
    let default = draft.server.default_app();
    for (at, app) in draft.server.apps.iter().enumerate() {
        let is_routed = routes.iter().any(|placed| placed.route.action == RouteAction::App(AppIndex(at)));
        if default != Some(AppIndex(at)) && !is_routed {
            let name = &app.name;
            let message = format!("{APPS}: no request reaches this app: no route has app = \"{name}\"");
            draft.mistakes.push(Mistake { place: places[at].clone(), message });
        }
    }
}

fn mistake(value: &Value, message: String) -> Mistake {
    Mistake { place: value.place.clone(), message }
}

/// Reads a table. Keys that it does not have are those of the settings above, if an app has them from there.
fn app_of(table: &Value, draft: &mut Draft) -> Result<AppSettings, Mistake> {
    let Datum::Table(entries) = &table.datum else { return Err(table.expected("a table")) };
    for (key, value) in entries {
        if !keys().any(|known| known.key == key) {
            let near = nearest(keys().map(|known| known.key), key);
            let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            return Err(mistake(value, format!("unknown key: {key}{hint}")));
        }
    }
    let get = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let given = |key: &str| {
        let kind = keys().find(|known| known.key == key).map_or(ValueKind::Text, |known| known.kind);
        get(key).map(|value| GivenValue { value, kind })
    };
    let defaults = AppSettings::new(String::new());
    let mut own = Draft::default();
    own.app = AppSettings {
        path: String::new(),
        root_path: defaults.root_path,
        hooks: defaults.hooks,
        chdir: None,
        ..draft.app.clone()
    };
    own.app.reload.dirs.clear();
    let inherited = draft.app.variables.clone();
    for setting in table::all().filter(|setting| setting.is_of_app) {
        let (Some(given), Effect::Obeyed(apply)) = (given(setting.key), setting.effect) else { continue };
        apply(&given, &mut own).map_err(|mistake| {
            let message = format!("{}: {}", setting.key, mistake.message);
            Mistake { message, ..mistake }
        })?;
    }
    draft.warnings.append(&mut own.warnings);
    let mut app = own.app;
    if get("env").is_some() {
        // Of two values of a variable the later one counts.
        app.variables.splice(..0, inherited);
    }
    let named = |key: &'static str| {
        move |mistake: Mistake| Mistake { message: format!("{key}: {}", mistake.message), ..mistake }
    };
    app.chdir = given("chdir").map(|given| given.path()).transpose().map_err(named("chdir"))?;
    let name =
        given("name").ok_or_else(|| mistake(table, "an app has a name, and this one has none".into()))?;
    let is_name = || name.expected("1 to 32 letters, digits, _, - and .");
    app.name =
        name.text().and_then(|text| AppName::parse(text).ok_or_else(is_name)).map_err(named("name"))?;
    if app.path.is_empty() {
        return Err(mistake(table, format!("the app {} has no application_path", app.name)));
    }
    Ok(app)
}
