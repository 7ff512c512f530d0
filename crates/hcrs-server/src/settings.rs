//! The settings of the edge. Front ends fill them in; each default is defined here or in the crate that obeys
//! it.

mod loaded_file;
mod reread;
mod routes;
mod rules;
mod upstream;

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hcrs_forwarded::{Forwarding, Trust};
use hcrs_http::PathPrefix;
use hcrs_otlp::OtlpSettings;
use http::HeaderValue;

pub use self::loaded_file::LoadedFile;
pub use self::reread::{NewSettings, SettingsSource};
pub(crate) use self::routes::Taken;
pub use self::routes::{
    ConfiguredRoute, FilesSettings, FixedBody, FixedResponse, HostPattern, Mismatch, MissingFile,
    PathPattern, RedirectSettings, RouteAction, RouteMatcher, Routes,
};
pub use self::rules::Rules;
pub(crate) use self::upstream::UpstreamTls;
pub use self::upstream::{
    Balance, HashKey, HealthCheck, UpstreamAddress, UpstreamHost, UpstreamProtocol, UpstreamSettings,
    UpstreamUrl,
};
use crate::labels::LabelSettings;
use crate::{AccountName, Embedder, ServerNames, UsableCores};
pub use hcrs_log::{
    AccessFormat, AccessFormatError, LogLevel, LogSettings, LogTarget, PythonLogging, StatsdSettings,
    SyslogAddress, SyslogFacility, SyslogForm, SyslogTarget,
};

/// All settings of the edge.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The app and its workers; without it the edge answers with its welcome page.
    pub app: Option<AppSettings>,
    /// The process that serves the app itself; there are no workers then.
    pub embedder: Option<Arc<Embedder>>,
    /// The addresses to listen on.
    pub listeners: Vec<Listener>,
    /// The address of the admin interface: a unix socket, or a port of a loopback address.
    pub admin_bind: Option<Bind>,
    /// The probes of load balancers and orchestrators.
    pub health: HealthSettings,
    /// Certificate, key and ALPN for the listeners that speak TLS.
    pub tls: Option<hcrs_tls::Settings>,
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
    /// The routes of requests that something other than the app answers.
    pub routes: Routes,
    /// Limits and deadlines of client connections.
    pub connection: ConnectionSettings,
    /// The trust in proxies and their fields.
    pub proxies: ProxySettings,
    /// The labels that requests get.
    pub labels: LabelSettings,
    /// The export of spans.
    pub otlp: OtlpSettings,
    /// The limits and deadlines of requests that wait for a worker.
    pub dispatch: DispatchSettings,
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
            app: None,
            embedder: None,
            listeners: Vec::new(),
            admin_bind: None,
            health: HealthSettings::default(),
            tls: None,
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
            dispatch: DispatchSettings::default(),
            graceful_timeout: Duration::from_secs(3),
            log: LogSettings::default(),
            statsd: StatsdSettings::default(),
            source: None,
            on_running: None,
            release_memory: None,
        }
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

/// The app and the processes that run it.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// The app, as `module:attribute` or in another form that Hypercorn accepts.
    pub path: String,
    /// The number of worker processes.
    pub workers: NonZeroUsize,
    /// The cores from which `workers` was derived, if the operator has left it to the server.
    pub usable_cores: Option<UsableCores>,
    /// The number of requests after which a worker is replaced.
    pub max_requests: Option<NonZeroU64>,
    /// The most requests that are added to each worker's `max_requests`, drawn when it starts.
    pub max_requests_jitter: u64,
    /// The age at which a worker is replaced, or up to a tenth earlier.
    pub max_worker_age: Option<Duration>,
    /// The resident memory in bytes at which a worker is replaced, or up to a tenth less.
    pub max_worker_rss: Option<u64>,
    /// Whether the workers are replaced when files of the app change.
    pub use_reloader: bool,
    /// The files that are watched.
    pub reload: ReloadSettings,
    /// The event loop of the workers.
    pub worker_class: WorkerClass,
    /// Whether the event loop of the workers is in its debug mode.
    pub debug: bool,
    /// ASGI's `root_path`, WSGI's `SCRIPT_NAME`.
    pub root_path: String,
    /// The interpreter that runs the workers; `None` looks at `$VIRTUAL_ENV`, beside the command, and on
    /// `PATH`.
    pub python: Option<PathBuf>,
    /// The number of threads of a worker that runs a WSGI app; `None` leaves it to the worker.
    pub wsgi_threads: Option<NonZeroUsize>,
    /// The largest request body that a WSGI app gets, in bytes.
    pub wsgi_max_body_size: usize,
    /// Whether lifespan events are sent to the app.
    pub lifespan: Lifespan,
    /// How long the app's lifespan startup may take.
    pub startup_timeout: Duration,
    /// How long the app's lifespan shutdown may take.
    pub shutdown_timeout: Duration,
    /// How long requests in flight in a worker that is replaced may take to finish.
    pub retire_timeout: Duration,
    /// How long a ready worker may leave pings unanswered before it is killed and replaced; zero means
    /// indefinitely.
    pub worker_timeout: Duration,
    /// Whether workers are forked from a process that has loaded the app.
    pub preload: bool,
    /// The functions that workers call.
    pub hooks: WorkerHooks,
    /// Variables of the environment that may hold secrets of the server and that workers do not get: an app
    /// shows its variables on debug pages, and passes them to its children.
    pub withheld_variables: Vec<String>,
    /// Variables of the environment that workers have in addition, with their values.
    pub variables: Vec<(String, String)>,
}

impl AppSettings {
    /// Returns the default settings for the app at `path`.
    pub fn new(path: String) -> Self {
        Self {
            path,
            workers: NonZeroUsize::MIN,
            usable_cores: None,
            max_requests: None,
            max_requests_jitter: 0,
            max_worker_age: None,
            max_worker_rss: None,
            use_reloader: false,
            reload: ReloadSettings::default(),
            worker_class: WorkerClass::Asyncio,
            debug: false,
            root_path: String::new(),
            python: None,
            wsgi_threads: None,
            wsgi_max_body_size: 16 << 20,
            lifespan: Lifespan::Auto,
            startup_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(60),
            retire_timeout: Duration::from_secs(60),
            worker_timeout: Duration::from_secs(60),
            preload: false,
            hooks: WorkerHooks::default(),
            withheld_variables: Vec::new(),
            variables: Vec::new(),
        }
    }
}

/// Functions that a worker calls, each as `module:function`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerHooks {
    /// Called after the fork, with `preload`.
    pub post_fork: Option<String>,
    /// Called when the app is loaded, before its startup.
    pub worker_start: Option<String>,
    /// Called after the app's shutdown.
    pub worker_exit: Option<String>,
}

/// The files that are watched in addition to those that the workers have loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadSettings {
    /// The folders whose Python files are watched; empty for the app's own.
    pub dirs: Vec<PathBuf>,
    /// Patterns of other files in these folders that are watched: of names, or with a slash of paths within
    /// the folder.
    pub include: Vec<String>,
    /// Patterns of files that are not watched, even if a worker has loaded them.
    pub exclude: Vec<String>,
}

/// Whether lifespan events are sent to an ASGI app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifespan {
    /// They are sent; an app that raises before it has received `lifespan.startup` does not support them.
    Auto,
    /// They are sent; an app that does not support them cannot be served.
    On,
    /// They are not sent.
    Off,
}

impl Lifespan {
    /// Returns the name that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The event loop of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerClass {
    /// The event loop of the standard library.
    Asyncio,
    /// uvloop, which has to be installed beside the app.
    Uvloop,
    /// trio, which has to be installed beside the app.
    Trio,
}

impl WorkerClass {
    /// Returns the name that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asyncio => "asyncio",
            Self::Uvloop => "uvloop",
            Self::Trio => "trio",
        }
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

/// The limits and deadlines of requests that wait for a worker.
#[derive(Debug, Clone, Copy)]
pub struct DispatchSettings {
    /// The number of requests that may be sent to a worker over one link and not yet begun; at most
    /// [`hcrs_link::SLOTS`].
    pub start_credits: usize,
    /// The number of requests of one edge thread that may wait while no worker has a start credit; more get
    /// 503.
    pub queue_size: usize,
    /// The number of bytes that unbegun requests of one edge thread may hold, heads and arrived parts of
    /// bodies; more get 503.
    pub queue_bytes: usize,
    /// How long a request may wait for a worker to begin it before it gets 503.
    pub queue_timeout: Duration,
    /// How long a worker may leave a request unbegun, and do nothing else, before other workers are preferred
    /// and get the requests that it has not begun.
    pub stall_timeout: Duration,
}

impl Default for DispatchSettings {
    fn default() -> Self {
        Self {
            start_credits: 32,
            queue_size: 4096,
            queue_bytes: 64 << 20,
            queue_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_millis(20),
        }
    }
}
