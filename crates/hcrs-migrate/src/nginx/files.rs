//! Folders and files of locations.

use super::convert::Converter;
use super::locations::Spot;
use super::pattern::PathText;
use super::routes::{Kind, Route};
use super::sheet::{Entry, Section, origin, origin_with};
use super::syntax::Directive;

impl<'a> Converter<'a> {
    /// Returns the folder of a location's files, and the directives that name it.
    pub(crate) fn folder_of(&self, spot: &Spot<'_, 'a>) -> Option<(String, Vec<&'a Directive>)> {
        if let Some(alias) = spot.scope.here("alias") {
            let path = spot.scope.resolved(alias.arg(0));
            // With an expression the alias has a capture for what follows.
            let path = if spot.expression.is_some() { path.strip_suffix("$1")?.to_owned() } else { path };
            return (!path.contains('$')).then(|| (self.path(&path), vec![alias]));
        }
        let root = spot.scope.last("root")?;
        let path = spot.scope.resolved(root.arg(0));
        if path.contains('$') {
            return None;
        }
        let below = match spot.paths[..] {
            [PathText::Below(ref prefix)] => prefix.as_str(),
            _ => "",
        };
        Some((self.path(&path).trim_end_matches('/').to_owned() + below, vec![root]))
    }

    /// Returns the route of a location's files.
    pub(crate) fn files(&mut self, spot: &Spot<'_, 'a>) -> Route {
        let named = spot.scope.here("alias").or_else(|| spot.scope.last("root"));
        let Some((folder, origins)) = self.folder_of(spot) else {
            let text = match named {
                Some(_) => "a folder has no variables; requests get 404 until you change the route",
                None => "nginx looks in its own html folder; requests get 404",
            };
            let about = named.or_else(|| spot.scope.here("internal"));
            let place = about.map_or_else(String::new, |directive| origin_with([directive], text));
            if about.is_some() {
                self.sheet.note(Section::NoCounterpart, about, text);
            }
            let place = if place.is_empty() { text.to_owned() } else { place };
            let rules = self.rules(&spot.scope, Kind::Answer);
            return spot.route(Kind::Answer, vec![Entry::new("status", "404", place)], rules);
        };
        if let ([PathText::Exact(path)], Some(alias)) = (&spot.paths[..], spot.scope.here("alias")) {
            return self.single_file(spot, path, &folder, alias);
        }
        let folder = if folder.len() > 1 { folder.trim_end_matches('/').to_owned() } else { folder };
        let folder = if folder.is_empty() { "/".to_owned() } else { folder };
        let mut action = vec![Entry::text("files", &folder, origin(origins))];
        if let Some(index) = spot.scope.last("index")
            && index.args != ["index.html"]
            && index.args.iter().all(|name| !name.contains(['$', '/']))
        {
            action.push(Entry::texts("index", index.args.iter().map(String::as_str), origin([index])));
        }
        // An empty list of types leaves the default for all files.
        if let (Some(kind), Some(types)) = (spot.scope.last("default_type"), spot.scope.last("types"))
            && types.children().is_empty()
        {
            action.push(Entry::text("force_type", kind.arg(0), origin([types, kind])));
        }
        if spot.scope.is_on("autoindex") {
            action.push(Entry::new("listing", "true", origin(spot.scope.last("autoindex"))));
        }
        let precompressed: Vec<&Directive> = ["gzip_static", "brotli_static", "zstd_static"]
            .into_iter()
            .filter_map(|name| spot.scope.last(name))
            .filter(|directive| directive.arg(0) != "off")
            .collect();
        if !precompressed.is_empty() {
            action.push(Entry::new("precompressed", "true", origin(precompressed)));
        }
        if let Some(internal) = spot.scope.here("internal") {
            action.push(Entry::new("internal", "true", origin_with([internal], "for X-Accel-Redirect")));
        }
        let rules = self.rules(&spot.scope, Kind::Files);
        spot.route(Kind::Files, action, rules)
    }

    /// Returns the route of one file with a name of its own.
    fn single_file(&mut self, spot: &Spot<'_, 'a>, path: &str, file: &str, alias: &'a Directive) -> Route {
        if let Some(folder) = file.strip_suffix(path) {
            let action =
                vec![Entry::text("files", if folder.is_empty() { "/" } else { folder }, origin([alias]))];
            let rules = self.rules(&spot.scope, Kind::Files);
            return spot.route(Kind::Files, action, rules);
        }
        let mut action =
            vec![Entry::new("status", "200", origin([alias])), Entry::text("file", file, origin([alias]))];
        if let Some(kind) = spot.scope.here("default_type") {
            action.push(Entry::text("content_type", kind.arg(0), origin([kind])));
        }
        let rules = self.rules(&spot.scope, Kind::Answer);
        spot.route(Kind::Answer, action, rules)
    }
}
