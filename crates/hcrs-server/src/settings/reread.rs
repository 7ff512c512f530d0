//! Settings that are read again while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{AppIndex, AppSettings, ConnectionSettings, Routes, Settings};

/// A function that reads the settings of the running server again.
#[derive(Clone)]
pub struct SettingsSource(Arc<Mutex<Read>>);

type Read = dyn FnMut() -> Result<NewSettings, String> + Send;

/// Settings that were read again.
#[derive(Debug)]
pub struct NewSettings {
    /// The settings as a server that starts now would have them.
    pub settings: Settings,
    /// The keys whose values have changed since the last time and that [`Settings::changed_to`] applies.
    pub applied: Vec<String>,
    /// The keys whose values differ from those that the server has started with and that only a start applies.
    pub unapplied: Vec<String>,
    /// Warnings that the configuration did not have the last time, one line each.
    pub warnings: Vec<String>,
}

impl SettingsSource {
    /// Returns the source that is read by this function. The error is for the operator.
    pub fn new(read: impl FnMut() -> Result<NewSettings, String> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(read)))
    }

    /// Reads the settings and passes the outcome on, before another thread reads them: the outcome that is passed
    /// on last is of the last state.
    pub(crate) fn read(&self, pass_on: impl FnOnce(Result<NewSettings, String>)) {
        // A panic has left no state that the next read depends on.
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pass_on(read());
    }
}

impl fmt::Debug for SettingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingsSource")
    }
}

impl Settings {
    /// Returns these settings of a running server, changed to `new` as far as it can apply them.
    #[must_use]
    pub fn changed_to(&self, new: Settings) -> Settings {
        let Settings {
            apps,
            health,
            acme,
            routes,
            connection,
            proxies,
            graceful_timeout,
            // The sockets, and what is bound to them.
            listeners: _,
            quic_binds: _,
            admin_bind: _,
            backlog: _,
            umask: _,
            socket_owner: _,
            io_threads: _,
            // Their files are read again by themselves.
            tls: _,
            // The process.
            chdir: _,
            proc_name: _,
            pid_path: _,
            process_user: _,
            process_group: _,
            embedder: _,
            on_running: _,
            source: _,
            release_memory: _,
            // The outlets are opened at the start.
            log: _,
            statsd: _,
            labels: _,
            otlp: _,
        } = new;
        let (apps, routes) = self.apps_changed_to(apps, routes);
        // Without TLS there are no listeners for the certificates; with nothing but them, one has to stay.
        let has_others = self.tls.as_ref().is_some_and(|tls| !tls.certfile.as_os_str().is_empty());
        let acme = match acme {
            _ if self.tls.is_none() => None,
            None if !has_others => self.acme.clone(),
            acme => acme,
        };
        Settings {
            apps,
            health,
            acme,
            routes,
            connection: self.connection.changed_to(connection),
            proxies,
            graceful_timeout,
            ..self.clone()
        }
    }

    /// Returns the keys of further apps whose values in `new` differ from these, and which only a start applies.
    pub(crate) fn unapplied_of_apps(&self, new: &Settings) -> Vec<String> {
        let further = new.apps.iter().filter(|app| !app.name.is_main());
        let changed = further.filter_map(|new| Some((self.app_named(&new.name)?, new)));
        changed.flat_map(|(old, new)| old.unapplied(new)).collect()
    }

    /// Returns the apps, and the routes, which name them by their places.
    fn apps_changed_to(&self, new: Vec<AppSettings>, mut routes: Routes) -> (Vec<AppSettings>, Routes) {
        let names: Vec<_> = new.iter().map(|app| app.name.clone()).collect();
        let mut apps = Vec::with_capacity(new.len() + 1);
        // The main app is there from the start, or not at all.
        let main = self.apps.iter().find(|app| app.name.is_main());
        apps.extend(main.filter(|main| !names.contains(&main.name)).cloned());
        for app in new {
            match self.app_named(&app.name) {
                Some(old) => apps.push(old.changed_to(app)),
                None if app.name.is_main() => {}
                None => apps.push(app),
            }
        }
        routes.renumber_apps(|AppIndex(at)| {
            let place = names.get(at).and_then(|name| apps.iter().position(|app| app.name == *name));
            place.map_or(AppIndex::NONE, AppIndex)
        });
        (apps, routes)
    }
}

impl AppSettings {
    fn changed_to(&self, new: AppSettings) -> AppSettings {
        AppSettings {
            chdir: self.chdir.clone(),
            path: self.path.clone(),
            // The interpreter is looked for once.
            python: self.python.clone(),
            // Only the parent that is there from the start adopts the workers.
            preload: self.preload,
            use_reloader: self.use_reloader,
            reload: self.reload.clone(),
            ..new
        }
    }

    /// Returns the keys that [`AppSettings::changed_to`] does not change.
    fn unapplied(&self, new: &AppSettings) -> Vec<String> {
        let keys = [
            ("application_path", self.path != new.path),
            ("chdir", self.chdir != new.chdir),
            ("python", self.python != new.python),
            ("preload", self.preload != new.preload),
            ("use_reloader", self.use_reloader != new.use_reloader),
            ("reload_dirs", self.reload.dirs != new.reload.dirs),
            ("reload_include", self.reload.include != new.reload.include),
            ("reload_exclude", self.reload.exclude != new.reload.exclude),
        ];
        let changed = keys.into_iter().filter(|(_, has_changed)| *has_changed);
        changed.map(|(key, _)| format!("{key} of app {}", self.name)).collect()
    }
}

impl ConnectionSettings {
    fn changed_to(&self, new: ConnectionSettings) -> ConnectionSettings {
        let mut changed = ConnectionSettings {
            // Their semaphore is shared by all connections.
            max_handshakes: self.max_handshakes,
            redirect_http: self.redirect_http,
            ..new
        };
        // The rooms and the pool of compressors are shared by all connections of a thread.
        changed.h2.thread_room = self.h2.thread_room;
        changed.websocket.thread_room = self.websocket.thread_room;
        changed.websocket.max_message_size = self.websocket.max_message_size;
        changed.websocket.compression.clone_from(&self.websocket.compression);
        changed
    }
}
