//! The settings of the edge. Front ends fill them in; each default is defined here or in the crate that obeys
//! it.

mod app;
mod loaded_file;
mod password_source;
mod path_start;
mod reread;
mod routes;
mod rules;
mod upstream;

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hcrs_acme::AcmeSettings;
use hcrs_forwarded::{Forwarding, Trust};
use hcrs_http::PathPrefix;
use hcrs_otlp::OtlpSettings;
use http::HeaderValue;

pub use self::app::{
    AppIndex, AppName, AppSettings, DispatchSettings, Lifespan, ReloadSettings, WorkerClass, WorkerHooks,
};
pub use self::loaded_file::LoadedFile;
pub use self::password_source::PasswordSource;
pub(crate) use self::password_source::Users;
pub use self::reread::{NewSettings, SettingsSource};
pub(crate) use self::routes::Taken;
pub use self::routes::{
    ConfiguredRoute, FilesSettings, FixedBody, FixedResponse, HostPattern, Mismatch, MissingFile,
    PathPattern, RedirectSettings, RouteAction, RouteMatcher, Routes,
};
pub use self::rules::{RateBy, Rules, StrictTransport};
pub(crate) use self::upstream::UpstreamTls;
pub use self::upstream::{
    Balance, HashKey, HealthCheck, UpstreamAddress, UpstreamHost, UpstreamProtocol, UpstreamSettings,
    UpstreamUrl,
};
use crate::labels::LabelSettings;
use crate::{AccountName, Embedder, ServerNames};
pub use hcrs_log::{
    AccessFormat, AccessFormatError, LogLevel, LogSettings, LogTarget, PythonLogging, StatsdSettings,
    SyslogAddress, SyslogFacility, SyslogForm, SyslogTarget,
};

/// All settings of the edge.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The apps and their workers, each with another name, the main one first; without any the edge answers with
    /// its welcome page.
    pub apps: Vec<AppSettings>,
    /// The process that serves the app itself; there are no workers then.
    pub embedder: Option<Arc<Embedder>>,
    /// The addresses to listen on.
    pub listeners: Vec<Listener>,
    /// The addresses to serve HTTP/3 on, over UDP.
    pub quic_binds: Vec<Bind>,
    /// The address of the admin interface: a unix socket, or a port of a loopback address.
    pub admin_bind: Option<Bind>,
    /// The probes of load balancers and orchestrators.
    pub health: HealthSettings,
    /// Certificate, key and ALPN for the listeners that speak TLS.
    pub tls: Option<hcrs_tls::Settings>,
    /// Certificates that come by themselves. Their files are among the managed ones of [`Settings::tls`].
    pub acme: Option<AcmeSettings>,
    /// The length of each listener's queue of connections that wait to be accepted.
    pub backlog: u32,
    /// Permissions that are masked out of unix sockets' files.
    pub umask: Option<u32>,
    /// The numbers of the user and the group that own unix sockets.
    pub socket_owner: Option<(u32, u32)>,
    /// The user that the server becomes once it has opened what needs root.
    pub process_user: Option<AccountName>,
    /// The group that it has then; `None` for that of the user.
    pub process_group: Option<AccountName>,
    /// The directory that the server changes to before it opens anything.
    pub chdir: Option<PathBuf>,
    /// The name with which the titles of the processes begin.
    pub proc_name: String,
    /// The file that the edge writes its process id to.
    pub pid_path: Option<PathBuf>,
    /// The number of threads that own connections; `None` means one for four workers.
    pub io_threads: Option<NonZeroUsize>,
    /// The routes of requests that something other than the default app answers.
    pub routes: Routes,
    /// Limits and deadlines of client connections.
    pub connection: ConnectionSettings,
    /// The trust in proxies and their fields.
    pub proxies: ProxySettings,
    /// The labels that requests get.
    pub labels: LabelSettings,
    /// The export of spans.
    pub otlp: OtlpSettings,
    /// How long requests in flight may take to finish after a signal to stop.
    pub graceful_timeout: Duration,
    /// The targets of the logs.
    pub log: LogSettings,
    /// The target of metrics.
    pub statsd: StatsdSettings,
    /// The source of these settings, which SIGHUP reads again; `None` if they cannot be read again.
    pub source: Option<SettingsSource>,
    /// Called once with the addresses, which are URLs, when connections are accepted.
    pub on_running: Option<OnRunning>,
    /// Asks the allocator to release memory that it keeps for the calling thread. Called on every edge thread
    /// a few seconds after it has worked.
    pub release_memory: Option<fn()>,
}

impl Default for Settings {
    /// Returns settings that listen on no address and serve no app.
    fn default() -> Self {
        Self {
            apps: Vec::new(),
            embedder: None,
            listeners: Vec::new(),
            quic_binds: Vec::new(),
            admin_bind: None,
            health: HealthSettings::default(),
            tls: None,
            acme: None,
            backlog: 100,
            umask: None,
            socket_owner: None,
            process_user: None,
            process_group: None,
            chdir: None,
            proc_name: "hcrs".to_owned(),
            pid_path: None,
            io_threads: None,
            routes: Routes::default(),
            connection: ConnectionSettings::default(),
            proxies: ProxySettings::default(),
            labels: LabelSettings::default(),
            otlp: OtlpSettings::default(),
            graceful_timeout: Duration::from_secs(3),
            log: LogSettings::default(),
            statsd: StatsdSettings::default(),
            source: None,
            on_running: None,
            release_memory: None,
        }
    }
}

impl Settings {
    /// Returns the app of the requests that no route takes: the main one, or the only one.
    pub fn default_app(&self) -> Option<AppIndex> {
        match &self.apps[..] {
            [_] => Some(AppIndex(0)),
            [first, ..] if first.name.is_main() => Some(AppIndex(0)),
            _ => None,
        }
    }

    /// Returns the settings of the app with this name, if there is one.
    pub fn app_named(&self, name: &AppName) -> Option<&AppSettings> {
        self.apps.iter().find(|app| app.name == *name)
    }
}

/// A function that is called with the addresses of a server when it runs.
#[derive(Clone)]
pub struct OnRunning(Arc<TakesAddresses>);

type TakesAddresses = dyn Fn(&[String]) + Send + Sync;

impl OnRunning {
    /// Returns the function in the form that settings have.
    pub fn new(call: impl Fn(&[String]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(crate) fn call(&self, addresses: &[String]) {
        (self.0)(addresses);
    }
}

impl fmt::Debug for OnRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRunning")
    }
}

/// The probes of load balancers and orchestrators, which the edge answers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// The path that is answered with 200 as long as the edge runs.
    pub live_path: String,
    /// The path that is answered with 200 while requests should be sent, and with 503 otherwise.
    pub ready_path: String,
    /// Whether the paths are answered on every listener, and not on that of the admin interface alone.
    pub public: bool,
    /// The number of workers that have to be ready.
    pub ready_workers: usize,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            live_path: "/-/live".to_owned(),
            ready_path: "/-/ready".to_owned(),
            public: false,
            ready_workers: 1,
        }
    }
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub bind: Bind,
    /// Whether clients speak TLS here.
    pub tls: bool,
    /// Whether each connection begins with a header of the PROXY protocol, version 1 or 2, before TLS.
    /// Connections without one, or from a peer that [`ProxySettings::trusted`] does not name, are closed.
    pub proxy_protocol: bool,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A host name or address (without brackets; empty means every IPv4 interface) and a port.
    Tcp {
        /// The host name or address.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// A unix socket's path.
    Unix(PathBuf),
    /// An inherited descriptor of a bound stream socket.
    Fd(i32),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

/// Limits and deadlines of a client's connection.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Limits of HTTP/1.1.
    pub h1: hcrs_h1::Settings,
    /// Limits of HTTP/2.
    pub h2: hcrs_h2::Settings,
    /// Limits, pings and compression of WebSockets.
    pub websocket: hcrs_ws::Settings,
    /// How long a client may take to answer a Close frame.
    pub websocket_close_timeout: Duration,
    /// How long a connection may stay without a request.
    pub keep_alive_timeout: Duration,
    /// The number of requests after which a connection is closed gracefully; `None` for no limit. No resource
    /// of a connection grows with it, and clients that treat GOAWAY as the end lose requests in flight.
    pub keep_alive_max_requests: Option<NonZeroU64>,
    /// How long a request's head, TLS's `ClientHello`, or HTTP/2's preface and first SETTINGS, may take to
    /// arrive.
    pub head_timeout: Duration,
    /// The longest gap within a request's body that the app waits for, and within a message of a WebSocket.
    pub body_timeout: Duration,
    /// How long a client may leave a response unread before its connection is closed.
    pub write_timeout: Duration,
    /// The most connections of one edge thread; more are closed at once.
    pub max_connections: usize,
    /// The number of TLS handshakes that an edge thread answers before other ready tasks run; more wait for
    /// the next turn. Clients that have not sent their whole `ClientHello`, or do not continue after the
    /// answer, do not count.
    pub max_handshakes: usize,
    /// Whether responses get a `date` field.
    pub include_date_header: bool,
    /// Whether responses get a `server` field.
    pub include_server_header: bool,
    /// The values of `alt-svc` in responses, each in a field of its own.
    pub alt_svc: Vec<HeaderValue>,
    /// Whether requests of cleartext listeners are redirected to HTTPS, where a listener speaks it over TCP.
    pub redirect_http: bool,
    /// Whether apps may name files as bodies of responses (`http.response.pathsend`). Frameworks that see the
    /// offer send messages that many middlewares do not know.
    pub pathsend: bool,
    /// The hosts that are served; requests for others get 404.
    pub server_names: ServerNames,
}

impl ConnectionSettings {
    /// Whether a connection is closed after this number of requests.
    pub(crate) fn has_reached_max_requests(&self, requests: u64) -> bool {
        self.keep_alive_max_requests.is_some_and(|max| requests >= max.get())
    }
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            h1: hcrs_h1::Settings::default(),
            h2: hcrs_h2::Settings::default(),
            websocket: hcrs_ws::Settings::default(),
            websocket_close_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(5),
            keep_alive_max_requests: None,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            max_connections: 16_384,
            max_handshakes: 16,
            include_date_header: true,
            include_server_header: true,
            alt_svc: Vec::new(),
            redirect_http: false,
            pathsend: false,
            server_names: ServerNames::default(),
        }
    }
}

/// The trust in proxies that describe their clients. By default no proxy is trusted and no fields are read.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// The peers that may describe other clients, in fields and in the PROXY protocol.
    pub trusted: Trust,
    /// The fields that are read from a trusted peer's requests; `None` reads none. Their values become the
    /// request's client, scheme, host and server; the access log keeps the peer.
    pub forwarded: Option<Forwarding>,
    /// Whether `Forwarded` and `X-Forwarded-*` of peers that are not trusted are hidden from the app. They
    /// are never used.
    pub drop_untrusted: bool,
    /// The prefix that a proxy strips from each request's path. It is restored before the app sees the path,
    /// unless the proxy names another one in a trusted field.
    pub stripped_prefix: Option<PathPrefix>,
    /// How long the header of the PROXY protocol may take to arrive.
    pub protocol_timeout: Duration,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            trusted: Trust::default(),
            forwarded: None,
            drop_untrusted: false,
            stripped_prefix: None,
            protocol_timeout: Duration::from_secs(5),
        }
    }
}
