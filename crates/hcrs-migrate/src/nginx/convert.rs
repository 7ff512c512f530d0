//! Converts a configuration: what all of its parts share, and their order.

use std::path::{Path, PathBuf};

use super::app::{FurtherApp, NamedApp};
use super::include::Configuration;
use super::scope::Scope;
use super::servers::Server;
use super::sheet::{NginxSheet, Section};
use super::syntax::Directive;

/// Conversion in progress.
pub(crate) struct Converter<'a> {
    pub(crate) http: Scope<'a>,
    pub(crate) upstreams: Vec<&'a Directive>,
    /// The zones of `limit_req`.
    pub(crate) zones: Vec<&'a Directive>,
    pub(crate) sheet: NginxSheet,
    /// The target that is the app.
    pub(crate) app: Option<String>,
    /// Apps beside this one.
    pub(crate) further_apps: Vec<FurtherApp<'a>>,
    /// Prefixes that nginx removes before the app.
    pub(crate) app_prefixes: Vec<(String, &'a Directive)>,
    /// Uses of the app whose prefix nginx leaves.
    pub(crate) has_app_at_root: bool,
    pub(crate) has_access_log: bool,
    /// Directives that are conversions of the process as a whole.
    pub(crate) folder: PathBuf,
}

/// Returns the converted file.
pub(crate) fn convert(
    configuration: &Configuration,
    apps: &[NamedApp],
    head: &str,
) -> Result<String, String> {
    let main = Scope::new(&configuration.directives);
    let block = configuration.directives.iter().find(|directive| directive.name == "http");
    let http = block.map_or_else(|| main.clone(), |block| main.within(block));
    let servers: Vec<Server<'_>> = http
        .own()
        .iter()
        .filter(|directive| directive.name == "server" && directive.block.is_some())
        .map(|directive| Server::new(directive, &http))
        .collect();
    if servers.is_empty() {
        return Err("there is no server block; name nginx.conf or the file of a site".into());
    }
    let blocks =
        |name: &str| http.own().iter().filter(|directive| directive.name == name).collect::<Vec<_>>();
    let has_access_log = servers.iter().any(|server| {
        std::iter::once(&server.scope).any(|scope| {
            let logs = scope.all(&["access_log"]);
            logs.is_empty() || logs.iter().any(|log| log.arg(0) != "off")
        })
    });
    let mut converter = Converter {
        upstreams: blocks("upstream"),
        zones: blocks("limit_req_zone"),
        http: http.clone(),
        sheet: NginxSheet::default(),
        app: None,
        further_apps: Vec::new(),
        app_prefixes: Vec::new(),
        has_app_at_root: false,
        has_access_log,
        folder: std::path::absolute(&configuration.folder).unwrap_or_else(|_| configuration.folder.clone()),
    };
    converter.choose_apps(&servers, apps);
    converter.process(&main, &servers);
    converter.listeners(&servers);
    converter.routes(&servers);
    for missing in &configuration.missing {
        converter.sheet.note(
            Section::NotNeeded,
            [missing],
            "the file is not on this machine; its directives are known, and hcrs needs none of them",
        );
    }
    converter.rest(&configuration.directives);
    Ok(converter.sheet.to_toml(head))
}

impl Converter<'_> {
    /// Returns a path in the form of the file: relative ones belong to the folder of the configuration.
    pub(crate) fn path(&self, text: &str) -> String {
        if text.starts_with('/') {
            text.to_owned()
        } else {
            self.folder.join(Path::new(text)).display().to_string()
        }
    }
}
