//! Settings that are read again while the server runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{AppSettings, ConnectionSettings, Settings};

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
            app,
            health,
            routes,
            connection,
            proxies,
            dispatch,
            graceful_timeout,
            // The sockets, and what is bound to them.
            listeners: _,
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
        Settings {
            app: match (&self.app, app) {
                (Some(old), Some(new)) => Some(old.changed_to(new)),
                // Workers are there from the start, or not at all.
                (old, _) => old.clone(),
            },
            health,
            routes,
            connection: self.connection.changed_to(connection),
            proxies,
            dispatch,
            graceful_timeout,
            ..self.clone()
        }
    }
}

impl AppSettings {
    fn changed_to(&self, new: AppSettings) -> AppSettings {
        AppSettings {
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
