//! The configuration in the making: keys fill it in one by one, and what hangs together is checked at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hcrs_server::{AppSettings, Bind, Listener, PythonLogging, Settings};
use hcrs_tls::VerifyMode;

use crate::proxies::Proxies;
use crate::setting::{Defaults, Setting};
use crate::source::Source;
use crate::value::{HIDDEN, Mistake, Place, SECRET, Value};
use crate::{Config, ConfigError, Resolved, table};

/// What has been read so far. It starts with the defaults.
pub(crate) struct Draft {
    /// What is not below.
    pub(crate) server: Settings,
    /// Its path is empty until there is one.
    pub(crate) app: AppSettings,
    /// Its two files are below.
    pub(crate) tls: hcrs_tls::Settings,
    pub(crate) bind: Vec<Bind>,
    pub(crate) insecure_bind: Option<(Vec<Bind>, Place)>,
    pub(crate) certfile: Option<(PathBuf, Place)>,
    pub(crate) keyfile: Option<(PathBuf, Place)>,
    pub(crate) proxies: Proxies,
    /// Whether the terms of compression count.
    pub(crate) websocket_compression: bool,
    pub(crate) user: Option<(u32, Place)>,
    pub(crate) group: Option<(u32, Place)>,
    /// As JSON.
    pub(crate) logconfig_dict: Option<(String, Place)>,
    /// Hypercorn's way to ask for no worker process.
    pub(crate) no_workers: bool,
    /// What was given last for each key.
    given: BTreeMap<&'static str, Value>,
    /// Whether what is unknown stops the start.
    pub(crate) strict: bool,
    /// What stops the start.
    pub(crate) mistakes: Vec<Mistake>,
    /// What the operator should know.
    pub(crate) warnings: Vec<Mistake>,
    /// The warnings of what no setting is: beside a mistake they may say what was meant.
    unknown: Vec<Mistake>,
}

impl Default for Draft {
    fn default() -> Self {
        let Defaults { server, app, tls } = Defaults::default();
        Self {
            server,
            app,
            tls,
            bind: crate::bind::parse(Self::DEFAULT_BIND).into_iter().collect(),
            insecure_bind: None,
            certfile: None,
            keyfile: None,
            proxies: Proxies::default(),
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
    /// Where the server listens when nothing is said.
    pub(crate) const DEFAULT_BIND: &'static str = "127.0.0.1:8000";

    pub(crate) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(Mistake { place: place.clone(), message: message.into() });
    }

    /// Something that no setting is: a warning, as Hypercorn ignores it, or with `--strict` a mistake.
    pub(crate) fn unknown(&mut self, place: &Place, message: String) {
        let mistake = Mistake { place: place.clone(), message };
        if self.strict {
            self.mistakes.push(mistake);
        } else {
            self.unknown.push(mistake.clone());
            self.warnings.push(mistake);
        }
    }

    /// Takes note of what was given for a setting.
    pub(crate) fn note(&mut self, setting: &'static Setting, value: &Value) {
        self.given.insert(setting.key, value.clone());
    }

    /// Checks what concerns several keys and gives the whole, or every problem there is.
    pub(crate) fn finish(mut self, source: &Source) -> Result<Config, ConfigError> {
        self.server.tls = self.tls();
        self.server.listeners = self.listeners();
        let proxies = std::mem::take(&mut self.proxies);
        self.server.proxies = proxies.finish(&mut self.server.listeners, &mut self.mistakes);
        self.server.socket_owner = self.socket_owner();
        self.logconfig_dict();
        self.check_reloader();
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
        let resolved = self.resolved(source);
        self.server.app = Some(self.app).filter(|app| !app.path.is_empty());
        Ok(Config { server: self.server, warnings, resolved })
    }

    /// Every setting as it is now, and where that comes from.
    fn resolved(&self, source: &Source) -> Vec<Resolved> {
        let defaults = Defaults::default();
        let resolve = |setting: &'static Setting| {
            let (value, origin) = match self.given.get(setting.key) {
                Some(_) if setting.key == SECRET => (HIDDEN.into(), &self.given[setting.key].place),
                Some(value) => (value.literal(), &value.place),
                None => ((setting.default)(&defaults), &Place::Nowhere),
            };
            Resolved { key: setting.key, own: setting.own, value, origin: source.origin(origin) }
        };
        table::all().map(resolve).collect()
    }

    /// As with Hypercorn: who asks for both has something else in mind than what would happen.
    fn check_reloader(&mut self) {
        if self.no_workers
            && self.app.use_reloader
            && let Some(value) = self.given.get("use_reloader")
        {
            let message = "use_reloader: there are no workers to reload, because workers is 0; set workers to 1 or more";
            self.mistakes.push(Mistake { place: value.place.clone(), message: message.into() });
        }
    }

    fn tls(&mut self) -> Option<hcrs_tls::Settings> {
        let (certfile, keyfile) = match (self.certfile.take(), self.keyfile.take()) {
            (Some((certfile, _)), Some((keyfile, _))) => (certfile, keyfile),
            (None, None) => {
                self.tls_without_a_certificate();
                return None;
            }
            (Some((_, place)), None) => return self.half_of_tls(place, "certfile is set but keyfile is not"),
            (None, Some((_, place))) => return self.half_of_tls(place, "keyfile is set but certfile is not"),
        };
        Some(hcrs_tls::Settings { certfile, keyfile, ..self.tls.clone() })
    }

    /// What was to keep clients out must not be ignored silently, nor what was to be served to them.
    fn tls_without_a_certificate(&mut self) {
        let place =
            |draft: &Self, key| draft.given.get(key).map_or(Place::Nowhere, |value| value.place.clone());
        let stops = [
            ("verify_mode", self.tls.verify_mode != VerifyMode::None),
            ("certificates", !self.tls.more_certificates.is_empty()),
        ];
        for (key, _) in stops.into_iter().filter(|(_, is_set)| *is_set) {
            let message = format!(
                "{key} is set but certfile and keyfile are not: TLS needs both; for cleartext leave it out"
            );
            self.mistakes.push(Mistake { place: place(self, key), message });
        }
        let unused = [("ca_certs", self.tls.ca_certs.is_some()), ("crls", !self.tls.crls.is_empty())];
        for (key, _) in unused.into_iter().filter(|(_, is_set)| *is_set) {
            self.warn(
                &place(self, key),
                format!("{key} is ignored: without certfile and keyfile, bind is cleartext"),
            );
        }
    }

    /// With one of the two files the listeners would silently be cleartext, so it is refused.
    fn half_of_tls(&mut self, place: Place, what: &str) -> Option<hcrs_tls::Settings> {
        let message = format!("{what}: TLS needs both; for cleartext leave both out");
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
            && let Some(value) = self.given.get("redirect_http")
        {
            let place = value.place.clone();
            self.warn(&place, "redirect_http is ignored: there is no insecure_bind beside a bind with TLS");
        }
        listeners
    }

    /// As in Hypercorn the file is the one that counts.
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
            (Some((_, place)), None) => self.half_of_owner(&place, "user", "group"),
            (None, Some((_, place))) => self.half_of_owner(&place, "group", "user"),
            (None, None) => None,
        }
    }

    fn half_of_owner(&mut self, place: &Place, set: &str, unset: &str) -> Option<(u32, u32)> {
        self.warn(place, format!("{set} is ignored: without {unset}, unix sockets keep their owner"));
        None
    }
}
