//! The draft of a configuration: settings fill it in one by one, and checks that involve several of them come
//! last.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hcrs_server::{
    AcmeSettings, AppSettings, Bind, ConfiguredRoute, Listener, PythonLogging, Routes, Rules, Settings,
    TraceContext,
};
use hcrs_tls::VerifyMode;

use crate::bind::DEFAULT_BIND;
use crate::config::{WrittenApp, WrittenRoute};
use crate::defaults::Defaults;
use crate::error::ConfigError;
use crate::passed::Passed;
use crate::proxies::Proxies;
use crate::setting::ACME_PREFIX;
use crate::source::Source;
use crate::table;
use crate::table::acme::{AcmeDraft, DOMAINS, SYSTEM_STORAGE};
use crate::table::apps::{self, AskedApp};
use crate::unused_rules;
use crate::value::{Mistake, Place, Value};

/// Configuration that is being read. It starts with the defaults.
pub(crate) struct Draft {
    /// Settings of the server without those that have fields here.
    pub(crate) server: Settings,
    /// Settings of the app; the path is empty until one is given.
    pub(crate) app: AppSettings,
    /// Settings of TLS without certificate and key, which have fields here.
    pub(crate) tls: hcrs_tls::Settings,
    pub(crate) bind: Vec<Bind>,
    pub(crate) insecure_bind: Option<(Vec<Bind>, Place)>,
    pub(crate) quic_bind: Option<(Vec<Bind>, Place)>,
    pub(crate) certfile: Option<(PathBuf, Place)>,
    pub(crate) keyfile: Option<(PathBuf, Place)>,
    pub(crate) proxies: Proxies,
    pub(crate) acme: AcmeDraft,
    /// The folder of certificates if none is given.
    pub(crate) default_storage: Option<PathBuf>,
    pub(crate) routes: Vec<PlacedRoute>,
    /// The tables of further apps.
    pub(crate) app_tables: Vec<Value>,
    /// The routes of `static`, which are behind the others.
    pub(crate) static_files: Vec<PlacedRoute>,
    /// The rules of all requests.
    pub(crate) rules: Rules,
    /// Sockets that a service manager has passed.
    pub(crate) passed: Passed,
    /// Whether WebSockets may be compressed; otherwise the parameters of compression are dropped.
    pub(crate) websocket_compression: bool,
    pub(crate) user: Option<(u32, Place)>,
    pub(crate) group: Option<(u32, Place)>,
    /// Configuration of Python's logging, as JSON.
    pub(crate) logconfig_dict: Option<(String, Place)>,
    /// Whether `workers` is 0, by which Hypercorn serves within the main process.
    pub(crate) no_workers: bool,
    /// Last value given for each key.
    given: BTreeMap<&'static str, Value>,
    /// Whether unknown settings are mistakes (`--strict`).
    pub(crate) strict: bool,
    /// Problems that prevent the start.
    pub(crate) mistakes: Vec<Mistake>,
    /// Warnings for the operator.
    pub(crate) warnings: Vec<Mistake>,
    /// Warnings about unknown settings, repeated beside mistakes because a misspelt key may be their cause.
    unknown: Vec<Mistake>,
}

/// Returns a port of every address.
fn every_address(port: u16) -> Vec<Bind> {
    let has_v6 = std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|addresses| !addresses.is_empty());
    let hosts = ["0.0.0.0", "::"].into_iter().take(if has_v6 { 2 } else { 1 });
    hosts.map(|host| Bind::Tcp { host: host.to_owned(), port }).collect()
}

/// A route and its table.
pub(crate) struct PlacedRoute {
    pub(crate) route: ConfiguredRoute,
    /// The app that it asks for, if its action is one.
    pub(crate) app: Option<AskedApp>,
    pub(crate) place: Place,
    /// The lines of the table, in the form of the file.
    pub(crate) lines: Vec<String>,
}

/// Result of a draft without mistakes.
pub(crate) struct Finished {
    pub(crate) server: Settings,
    pub(crate) warnings: Vec<String>,
    /// Last value given for each key.
    pub(crate) given: BTreeMap<&'static str, Value>,
    pub(crate) routes: Vec<WrittenRoute>,
    pub(crate) apps: Vec<WrittenApp>,
}

impl Default for Draft {
    fn default() -> Self {
        let Defaults { server, app, tls } = Defaults::default();
        Self {
            server,
            app,
            tls,
            bind: crate::bind::parse(DEFAULT_BIND).into_iter().collect(),
            insecure_bind: None,
            quic_bind: None,
            certfile: None,
            keyfile: None,
            proxies: Proxies::default(),
            acme: AcmeDraft::default(),
            default_storage: Some(SYSTEM_STORAGE.into()),
            routes: Vec::new(),
            app_tables: Vec::new(),
            static_files: Vec::new(),
            rules: Rules::default(),
            passed: Passed::default(),
            websocket_compression: true,
            user: None,
            group: None,
            logconfig_dict: None,
            no_workers: false,
            given: BTreeMap::new(),
            strict: false,
            mistakes: Vec::new(),
            warnings: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

impl Draft {
    /// Adds a warning.
    pub(crate) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(Mistake { place: place.clone(), message: message.into() });
    }

    /// Adds an unknown setting: a warning, as Hypercorn ignores it, or with `--strict` a mistake.
    pub(crate) fn add_unknown(&mut self, place: &Place, message: String) {
        let mistake = Mistake { place: place.clone(), message };
        if self.strict {
            self.mistakes.push(mistake);
        } else {
            self.unknown.push(mistake.clone());
            self.warnings.push(mistake);
        }
    }

    /// Returns whether a value was given for a key.
    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// Records the value given for a key.
    pub(crate) fn record(&mut self, key: &'static str, value: &Value) {
        self.given.insert(key, value.clone());
    }

    /// Runs the checks that involve several settings and returns the result, or every mistake.
    pub(crate) fn finish(mut self, source: &Source) -> Result<Finished, ConfigError> {
        self.acme();
        self.server.tls = self.tls();
        self.server.listeners = self.listeners();
        self.server.quic_binds = self.quic_binds();
        let proxies = std::mem::take(&mut self.proxies);
        self.server.proxies = proxies.finish(&mut self.server.listeners, &mut self.mistakes);
        self.take_passed_sockets();
        self.server.socket_owner = self.socket_owner();
        self.routes.append(&mut self.static_files);
        let mut routes = std::mem::take(&mut self.routes);
        let written_app =
            |table: &Value| WrittenApp { origin: source.origin(&table.place), lines: apps::lines(table) };
        let written_apps = self.app_tables.iter().map(written_app).collect();
        apps::finish(&mut self, &mut routes);
        let written = routes.iter().map(|PlacedRoute { place, lines, .. }| WrittenRoute {
            origin: source.origin(place),
            lines: lines.clone(),
        });
        let written = written.collect();
        self.check_rules(&routes);
        let routes = routes.into_iter().map(|placed| placed.route).collect();
        self.server.routes = Routes::new(routes, std::mem::take(&mut self.rules));
        self.logconfig_dict();
        self.check_reloader();
        self.check_captured_output();
        self.check_process_group();
        self.check_export();
        if !self.websocket_compression {
            self.server.connection.websocket.compression = None;
        }
        let line = |warning: &Mistake| source.line(&warning.place, &warning.message);
        if !self.mistakes.is_empty() {
            let mistakes =
                self.mistakes.iter().map(|mistake| source.excerpt(&mistake.place, &mistake.message));
            let unknown = self.unknown.iter().map(|unknown| format!("warning: {}", line(unknown)));
            return Err(ConfigError::Invalid(mistakes.chain(unknown).collect()));
        }
        let warnings = self.warnings.iter().map(line).collect();
        Ok(Finished { server: self.server, warnings, given: self.given, routes: written, apps: written_apps })
    }

    fn place_of(&self, key: &str) -> Place {
        self.given.get(key).map_or(Place::Nowhere, |value| value.place.clone())
    }

    /// Refuses a reloader without workers, as Hypercorn does: the two contradict each other.
    fn check_reloader(&mut self) {
        if self.no_workers && self.app.use_reloader && self.given.contains_key("use_reloader") {
            let message = "use_reloader: there are no workers to reload, because workers is 0; \
                           set workers to 1 or more";
            self.mistakes.push(Mistake { place: self.place_of("use_reloader"), message: message.into() });
        }
    }

    /// Refuses a group without a user: the server would keep all rights of its own user.
    fn check_process_group(&mut self) {
        if self.server.process_group.is_some() && self.server.process_user.is_none() {
            let message = "process_group: needs process_user, without which the server keeps its user".into();
            self.mistakes.push(Mistake { place: self.place_of("process_group"), message });
        }
    }

    /// Reports rules that have no effect, because another is missing or does not allow them.
    fn check_rules(&mut self, routes: &[PlacedRoute]) {
        let rules = std::mem::take(&mut self.rules);
        let of_routes: Vec<_> = routes.iter().map(|placed| &*placed.route.rules).collect();
        for (key, why) in unused_rules::of_all(&rules, &of_routes) {
            self.warn(&self.place_of(key), format!("{key} is ignored: {why}"));
        }
        // Beside a rate that is read after it, it was not checked yet.
        if let (Some(rate), Some(burst)) = (rules.rate, rules.rate_burst)
            && let Err(error) = rate.with_burst(burst)
        {
            let (place, message) = (self.place_of("rate_burst"), format!("rate_burst: {error}"));
            self.mistakes.push(Mistake { place, message });
        }
        for PlacedRoute { route, place, .. } in routes {
            for (key, why) in unused_rules::of_route(&route.rules, &rules) {
                self.warn(place, format!("routes: {key} is ignored: {why}"));
            }
        }
        self.rules = rules;
    }

    /// Reports that there is no log for the output of workers.
    fn check_captured_output(&mut self) {
        if self.server.log.capture_output && self.server.log.error.is_none() {
            self.server.log.capture_output = false;
            let message = "capture_output is ignored: there is no errorlog";
            self.warn(&self.place_of("capture_output"), message);
        }
    }

    /// Refuses an export of spans without traces.
    fn check_export(&mut self) {
        if self.server.otlp.endpoint.is_some() && self.server.labels.trace_context == TraceContext::Off {
            let message =
                "otlp_endpoint needs trace_context, which is \"off\"; set it to \"all\" or \"trusted\"";
            self.mistakes.push(Mistake { place: self.place_of("otlp_endpoint"), message: message.into() });
        }
    }

    /// Finishes the settings of certificates that come by themselves. With them the server has the ports of HTTPS and
    /// HTTP, unless others are given.
    fn acme(&mut self) {
        let acme = std::mem::take(&mut self.acme);
        self.server.acme = acme.finish(self.default_storage.take(), &mut self.mistakes);
        if self.server.acme.is_none() {
            self.warn_about_unused_acme();
            return;
        }
        if self.is_given("bind") {
            return;
        }
        self.bind = every_address(443);
        if self.insecure_bind.is_none() {
            self.insecure_bind = Some((every_address(80), Place::Nowhere));
            self.server.connection.redirect_http |= !self.is_given("redirect_http");
        }
    }

    /// Reports settings that have no effect without names; those with a default may be in any file.
    fn warn_about_unused_acme(&mut self) {
        let defaults = Defaults::default();
        let has_default =
            |key: &str| table::find(key).is_some_and(|setting| !(setting.default)(&defaults).is_empty());
        let of_acme = self.given.keys().filter(|key| key.starts_with(ACME_PREFIX) && !has_default(key));
        for key in of_acme.copied().collect::<Vec<_>>() {
            self.warn(&self.place_of(key), format!("{key} is ignored: {DOMAINS} has no names"));
        }
    }

    fn tls(&mut self) -> Option<hcrs_tls::Settings> {
        let managed = self.server.acme.as_ref().map(AcmeSettings::certificates).unwrap_or_default();
        self.tls.managed = managed;
        let (certfile, keyfile) = match (self.certfile.take(), self.keyfile.take()) {
            (Some((certfile, _)), Some((keyfile, _))) => (certfile, keyfile),
            (None, None) if !self.tls.managed.is_empty() => return Some(self.tls.clone()),
            (None, None) => {
                self.check_tls_without_certificate();
                return None;
            }
            (Some((_, place)), None) => {
                return self.refuse_incomplete_tls(place, "certfile is set but keyfile is not");
            }
            (None, Some((_, place))) => {
                return self.refuse_incomplete_tls(place, "keyfile is set but certfile is not");
            }
        };
        Some(hcrs_tls::Settings { certfile, keyfile, ..self.tls.clone() })
    }

    /// Reports settings of TLS that have no effect on a cleartext server.
    ///
    /// Those that would keep clients out, or that name certificates, are mistakes rather than warnings.
    fn check_tls_without_certificate(&mut self) {
        let stops = [
            ("verify_mode", self.tls.verify_mode != VerifyMode::None),
            ("certificates", !self.tls.more_certificates.is_empty()),
        ];
        for (key, _) in stops.into_iter().filter(|(_, is_set)| *is_set) {
            let message = format!(
                "{key} is set but certfile and keyfile are not: TLS needs both; for cleartext leave it out"
            );
            self.mistakes.push(Mistake { place: self.place_of(key), message });
        }
        let unused = [("ca_certs", self.tls.ca_certs.is_some()), ("crls", !self.tls.crls.is_empty())];
        for (key, _) in unused.into_iter().filter(|(_, is_set)| *is_set) {
            self.warn(
                &self.place_of(key),
                format!("{key} is ignored: without certfile and keyfile, bind is cleartext"),
            );
        }
    }

    /// Refuses one of the two files without the other: the listeners would silently be cleartext.
    fn refuse_incomplete_tls(&mut self, place: Place, problem: &str) -> Option<hcrs_tls::Settings> {
        let message = format!("{problem}: TLS needs both; for cleartext leave both out");
        self.mistakes.push(Mistake { place, message });
        None
    }

    fn listeners(&mut self) -> Vec<Listener> {
        let tls = self.server.tls.is_some();
        let mut listeners: Vec<Listener> =
            self.bind.drain(..).map(|bind| Listener { bind, tls, proxy_protocol: false }).collect();
        match self.insecure_bind.take() {
            Some((binds, _)) if tls => {
                listeners.extend(binds.into_iter().map(|bind| Listener {
                    bind,
                    tls: false,
                    proxy_protocol: false,
                }));
            }
            Some((binds, place)) if !binds.is_empty() => {
                self.warn(
                    &place,
                    "insecure_bind is ignored: without certfile and keyfile, bind is cleartext already",
                );
            }
            _ => {}
        }
        if self.server.connection.redirect_http
            && !listeners.iter().any(|listener| tls && !listener.tls)
            && self.given.contains_key("redirect_http")
        {
            let message = "redirect_http is ignored: there is no insecure_bind beside a bind with TLS";
            self.warn(&self.place_of("redirect_http"), message);
        }
        listeners
    }

    /// Returns the addresses for HTTP/3, which are refused without TLS: they would silently not be served.
    fn quic_binds(&mut self) -> Vec<Bind> {
        let Some((binds, place)) = self.quic_bind.take() else { return Vec::new() };
        let mistake = match binds.iter().find(|bind| matches!(bind, Bind::Unix(_))) {
            _ if binds.is_empty() => return binds,
            Some(unix) => format!("quic_bind has {unix}, but HTTP/3 is served over UDP alone"),
            None if self.server.tls.is_none() => {
                "quic_bind needs certfile and keyfile: HTTP/3 is always encrypted".to_owned()
            }
            None => return binds,
        };
        self.mistakes.push(Mistake { place, message: mistake });
        Vec::new()
    }

    /// Lets passed sockets take the places of the addresses in `bind`, `insecure_bind` and `quic_bind`.
    fn take_passed_sockets(&mut self) {
        let are_given = ["bind", "insecure_bind", "quic_bind"].iter().any(|key| self.given.contains_key(key));
        let has_tls = self.server.tls.is_some();
        let Settings { listeners, quic_binds, .. } = &mut self.server;
        match self.passed.take_places(listeners, quic_binds, has_tls, are_given) {
            Ok(warnings) => {
                for warning in warnings {
                    self.warn(&Place::Nowhere, warning);
                }
            }
            Err(mistake) => self.mistakes.push(mistake),
        }
    }

    /// Uses `logconfig_dict` unless there is a `logconfig`, which takes precedence as in Hypercorn.
    fn logconfig_dict(&mut self) {
        match self.logconfig_dict.take() {
            Some((json, _)) if self.server.log.python.is_none() => {
                self.server.log.python = Some(PythonLogging::Dict(json));
            }
            Some((_, place)) => self.warn(&place, "logconfig_dict is ignored: logconfig names a file"),
            None => {}
        }
    }

    fn socket_owner(&mut self) -> Option<(u32, u32)> {
        match (self.user.take(), self.group.take()) {
            (Some((user, _)), Some((group, _))) => Some((user, group)),
            (Some((_, place)), None) => self.ignore_incomplete_owner(&place, "user", "group"),
            (None, Some((_, place))) => self.ignore_incomplete_owner(&place, "group", "user"),
            (None, None) => None,
        }
    }

    fn ignore_incomplete_owner(&mut self, place: &Place, set: &str, unset: &str) -> Option<(u32, u32)> {
        self.warn(place, format!("{set} is ignored: without {unset}, unix sockets keep their owner"));
        None
    }
}
