//! Routes: what answers requests in place of the app.

mod entries;
mod keys;
mod reach;
mod upstream;

use std::sync::Arc;

use hcrs_server::{ConfiguredRoute, FilesSettings, PathPattern, RouteAction, RouteMatcher};

use self::entries::{Entries, at};
pub use self::keys::{RouteKey, all as keys};
use self::reach::covers;
use crate::draft::{Draft, PlacedRoute};
use crate::kind::{ValueKind, array, quoted};
use crate::setting::Group::Routes as RoutesGroup;
use crate::setting::{Setting, unset};
use crate::value::{Datum, GivenValue, Mistake, Place};

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

fn routes(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let Datum::Array(tables) = &given.value.datum else { return Err(given.expected("an array of tables")) };
    if tables.len() > ROUTES_MAX {
        return Err(given.expected(format_args!("at most {ROUTES_MAX} routes")));
    }
    let mut routes: Vec<PlacedRoute> = Vec::new();
    for table in tables {
        match Entries::of(table).and_then(|entries| Ok((entries.route()?, entries.app()?))) {
            Ok((route, app)) => {
                if let Some(at) = routes.iter().position(|earlier| covers(&earlier.route, &route)) {
                    let message = format!(
                        "{ROUTES}: no request reaches this route: route {} takes all of them",
                        at + 1
                    );
                    draft.mistakes.push(Mistake { place: table.place.clone(), message });
                }
                let (place, lines) = (table.place.clone(), table.literal_lines());
                routes.push(PlacedRoute { route, app, place, lines });
            }
            Err(mistake) => {
                let message = format!("{ROUTES}: {}", mistake.message);
                draft.mistakes.push(Mistake { message, ..mistake });
            }
        }
    }
    draft.routes = routes;
    Ok(())
}

fn static_files(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let route = |(text, place): (&str, &Place)| {
        let given = at(text, place);
        let expected = || given.expected("a path and a folder, as \"/static=./static\"");
        let (path, folder) =
            text.split_once('=').filter(|(_, folder)| !folder.is_empty()).ok_or_else(expected)?;
        let pattern = PathPattern::parse(path).map_err(|expected| at(path, place).expected(expected))?;
        let route = ConfiguredRoute {
            matcher: RouteMatcher { paths: vec![pattern], ..RouteMatcher::default() },
            action: RouteAction::Files(FilesSettings::new(folder.into())),
            rules: Arc::default(),
        };
        let lines = vec![format!("path = {}", quoted(path)), format!("files = {}", quoted(folder))];
        Ok(PlacedRoute { route, app: None, place: place.clone(), lines })
    };
    draft.static_files = given.texts()?.into_iter().map(route).collect::<Result<_, _>>()?;
    Ok(())
}
