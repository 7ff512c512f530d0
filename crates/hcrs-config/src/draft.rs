//! The configuration in the making: keys fill it in one by one, and what hangs together is checked at the end.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use hcrs_server::{
    AppSettings, Bind, ConnectionSettings, DispatchSettings, Listener, LogSettings, Settings, StatsdSettings,
};

use crate::proxies::Proxies;
use crate::source::Source;
use crate::value::{Mistake, Place};
use crate::{Config, ConfigError};

/// What has been read so far. It starts with the defaults.
pub(crate) struct Draft {
    /// Its path is empty until there is one.
    pub(crate) app: AppSettings,
    pub(crate) bind: Vec<Bind>,
    pub(crate) insecure_bind: Option<(Vec<Bind>, Place)>,
    pub(crate) certfile: Option<(PathBuf, Place)>,
    pub(crate) keyfile: Option<(PathBuf, Place)>,
    pub(crate) alpn_protocols: Option<Vec<String>>,
    pub(crate) ssl_handshake_timeout: Option<Duration>,
    pub(crate) backlog: u32,
    pub(crate) umask: Option<u32>,
    pub(crate) pid_path: Option<PathBuf>,
    pub(crate) io_threads: Option<NonZeroUsize>,
    pub(crate) connection: ConnectionSettings,
    pub(crate) proxies: Proxies,
    pub(crate) dispatch: DispatchSettings,
    pub(crate) graceful_timeout: Duration,
    pub(crate) log: LogSettings,
    pub(crate) statsd: StatsdSettings,
    /// What stops the start.
    pub(crate) mistakes: Vec<Mistake>,
    /// What the operator should know.
    pub(crate) warnings: Vec<Mistake>,
}

impl Default for Draft {
    fn default() -> Self {
        let server = Settings::default();
        Self {
            app: AppSettings::new(String::new()),
            bind: vec![Bind::Tcp { host: "127.0.0.1".into(), port: 8000 }],
            insecure_bind: None,
            certfile: None,
            keyfile: None,
            alpn_protocols: None,
            ssl_handshake_timeout: None,
            backlog: server.backlog,
            umask: server.umask,
            pid_path: server.pid_path,
            io_threads: server.io_threads,
            connection: server.connection,
            proxies: Proxies::default(),
            dispatch: server.dispatch,
            graceful_timeout: server.graceful_timeout,
            log: server.log,
            statsd: server.statsd,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl Draft {
    pub(crate) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(Mistake { place: place.clone(), message: message.into() });
    }

    /// Checks what concerns several keys and gives the whole, or every problem there is.
    pub(crate) fn finish(mut self, source: &Source) -> Result<Config, ConfigError> {
        let tls = self.tls();
        let mut listeners = self.listeners(tls.is_some());
        let proxies = self.proxies.finish(&mut listeners, &mut self.mistakes);
        if !self.mistakes.is_empty() {
            let problems =
                self.mistakes.iter().map(|mistake| source.excerpt(&mistake.place, &mistake.message));
            return Err(ConfigError::Invalid(problems.collect()));
        }
        let warnings =
            self.warnings.iter().map(|warning| source.line(&warning.place, &warning.message)).collect();
        let server = Settings {
            app: Some(self.app).filter(|app| !app.path.is_empty()),
            listeners,
            tls,
            backlog: self.backlog,
            umask: self.umask,
            pid_path: self.pid_path,
            io_threads: self.io_threads,
            connection: self.connection,
            proxies,
            dispatch: self.dispatch,
            graceful_timeout: self.graceful_timeout,
            log: self.log,
            statsd: self.statsd,
            ..Settings::default()
        };
        Ok(Config { server, warnings })
    }

    fn tls(&mut self) -> Option<hcrs_tls::Settings> {
        let (certfile, keyfile) = match (self.certfile.take(), self.keyfile.take()) {
            (Some((certfile, _)), Some((keyfile, _))) => (certfile, keyfile),
            (None, None) => return None,
            (Some((_, place)), None) => return self.half_of_tls(place, "certfile is set but keyfile is not"),
            (None, Some((_, place))) => return self.half_of_tls(place, "keyfile is set but certfile is not"),
        };
        let mut tls = hcrs_tls::Settings::new(certfile, keyfile);
        if let Some(protocols) = self.alpn_protocols.take() {
            tls.alpn_protocols = protocols;
        }
        if let Some(timeout) = self.ssl_handshake_timeout {
            tls.handshake_timeout = timeout;
        }
        Some(tls)
    }

    /// With one of the two files the listeners would silently be cleartext, so it is refused.
    fn half_of_tls(&mut self, place: Place, what: &str) -> Option<hcrs_tls::Settings> {
        let message = format!("{what}: TLS needs both; for cleartext leave both out");
        self.mistakes.push(Mistake { place, message });
        None
    }

    fn listeners(&mut self, tls: bool) -> Vec<Listener> {
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
        listeners
    }
}
