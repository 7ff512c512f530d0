//! What the edge runs on. Front-ends fill it in; the defaults stand here and in the crates that obey them.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hcrs_forwarded::{Forwarding, Trust};
use hcrs_http::PathPrefix;
use http::HeaderValue;

use crate::{Caller, ServerNames};
pub use hcrs_log::{
    AccessFormat, AccessFormatError, LogLevel, LogSettings, LogTarget, PythonLogging, StatsdSettings,
    SyslogAddress, SyslogFacility, SyslogForm, SyslogTarget,
};

/// Everything that the edge needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The app and its workers; without it the edge answers with its welcome page.
    pub app: Option<AppSettings>,
    /// The process that serves the app itself; there are no workers then.
    pub caller: Option<Arc<Caller>>,
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// Certificate, key and ALPN for the listeners that speak TLS.
    pub tls: Option<hcrs_tls::Settings>,
    /// Length of each listener's queue of connections that wait to be accepted.
    pub backlog: u32,
    /// Permissions that are masked out of unix sockets' files.
    pub umask: Option<u32>,
    /// The numbers of the user and the group that unix sockets are given to.
    pub socket_owner: Option<(u32, u32)>,
    /// Where the edge writes its process id.
    pub pid_path: Option<PathBuf>,
    /// Operating-system threads that own connections; `None` means one for four workers.
    pub io_threads: Option<NonZeroUsize>,
    /// Limits and deadlines of client connections.
    pub connection: ConnectionSettings,
    /// What is believed of proxies that speak for clients.
    pub proxies: ProxySettings,
    /// How requests wait for a worker.
    pub dispatch: DispatchSettings,
    /// How long what is under way may go on after a signal to stop.
    pub graceful_timeout: Duration,
    /// Where the logs go.
    pub log: LogSettings,
    /// Where metrics go.
    pub statsd: StatsdSettings,
    /// Asks the allocator to give memory that it keeps for the calling thread back to the system. Called on every edge
    /// thread a few seconds after it has worked.
    pub give_back_memory: Option<fn()>,
}

impl Default for Settings {
    /// Listens nowhere and serves no app.
    fn default() -> Self {
        Self {
            app: None,
            caller: None,
            listeners: Vec::new(),
            tls: None,
            backlog: 100,
            umask: None,
            socket_owner: None,
            pid_path: None,
            io_threads: None,
            connection: ConnectionSettings::default(),
            proxies: ProxySettings::default(),
            dispatch: DispatchSettings::default(),
            graceful_timeout: Duration::from_secs(3),
            log: LogSettings::default(),
            statsd: StatsdSettings::default(),
            give_back_memory: None,
        }
    }
}

/// The app and the processes that run it.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// `module:attribute`, as Hypercorn takes it.
    pub path: String,
    /// Number of worker processes.
    pub workers: NonZeroUsize,
    /// A worker that has been given more requests than this is replaced.
    pub max_requests: Option<NonZeroU64>,
    /// Each worker may be given up to so many requests more, drawn when it starts.
    pub max_requests_jitter: u64,
    /// Whether the workers are replaced when files of the app change.
    pub use_reloader: bool,
    /// Which files those are.
    pub reload: ReloadSettings,
    /// The event loop of the workers.
    pub worker_class: WorkerClass,
    /// Whether the event loop of the workers is in its debug mode.
    pub debug: bool,
    /// ASGI's `root_path`, WSGI's `SCRIPT_NAME`.
    pub root_path: String,
    /// The interpreter that runs the workers; `None` looks at `$VIRTUAL_ENV`, beside the command, and on `PATH`.
    pub python: Option<PathBuf>,
    /// Threads of a worker that runs a WSGI app; `None` leaves it to the worker.
    pub wsgi_threads: Option<NonZeroUsize>,
    /// The largest request body that a WSGI app is given, in bytes.
    pub wsgi_max_body_size: usize,
    /// Whether the app is asked for its lifespan.
    pub lifespan: Lifespan,
    /// How long the app's lifespan startup may take.
    pub startup_timeout: Duration,
    /// How long the app's lifespan shutdown may take.
    pub shutdown_timeout: Duration,
    /// How long what is under way in a worker that is replaced may go on.
    pub retire_timeout: Duration,
    /// How long a ready worker may give no sign of life before it is killed and replaced; zero for ever.
    pub worker_timeout: Duration,
    /// Variables of the environment that may hold secrets of the server, and that workers do not get: an app shows its own on
    /// debug pages, and hands it on to what it starts.
    pub withheld_variables: Vec<String>,
}

impl AppSettings {
    /// The defaults for the app at `path`.
    pub fn new(path: String) -> Self {
        Self {
            path,
            workers: NonZeroUsize::MIN,
            max_requests: None,
            max_requests_jitter: 0,
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
            withheld_variables: Vec::new(),
        }
    }
}

/// Which files are watched beside those that the workers have loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadSettings {
    /// The folders whose Python files are; empty for the app's own.
    pub dirs: Vec<PathBuf>,
    /// Other files in these folders: patterns of names, or with a slash of paths within the folder.
    pub include: Vec<String>,
    /// Files that are not watched, whoever has loaded them.
    pub exclude: Vec<String>,
}

/// Whether an ASGI app is asked for its lifespan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifespan {
    /// Yes; one that raises before it has received `lifespan.startup` has none.
    Auto,
    /// Yes; one that has none cannot be served.
    On,
    /// No.
    Off,
}

impl Lifespan {
    /// The name that the configuration uses.
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
    /// The standard library's.
    Asyncio,
    /// uvloop, which has to be installed beside the app.
    Uvloop,
    /// trio, which has to be installed beside the app.
    Trio,
}

impl WorkerClass {
    /// The name that the configuration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asyncio => "asyncio",
            Self::Uvloop => "uvloop",
            Self::Trio => "trio",
        }
    }
}

/// One place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub bind: Bind,
    /// Whether clients speak TLS here.
    pub tls: bool,
    /// Whether each connection begins with a header of the PROXY protocol, version 1 or 2, before TLS. Connections
    /// without one, or from a peer that [`ProxySettings::trusted`] does not name, are closed.
    pub proxy_protocol: bool,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A host name or address (without brackets; empty means every IPv4 interface) and a port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port; 0 lets the system choose.
        port: u16,
    },
    /// A unix socket's path.
    Unix(PathBuf),
    /// An inherited descriptor of a bound stream socket.
    Fd(i32),
}

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    /// Requests after which a connection is closed, gracefully; `None` for any number. Nothing that a connection holds
    /// grows with it, and clients that take GOAWAY for the end lose what is under way.
    pub keep_alive_max_requests: Option<NonZeroU64>,
    /// How long a request's head, TLS's `ClientHello`, or HTTP/2's preface and first SETTINGS, may take to arrive.
    pub head_timeout: Duration,
    /// The longest gap while a request's body arrives and the app waits for it, and while a message of a WebSocket does.
    pub body_timeout: Duration,
    /// How long a client may leave a response unread before it is given up.
    pub write_timeout: Duration,
    /// Connections of one edge thread; more are closed at once.
    pub max_connections: usize,
    /// TLS handshakes that an edge thread answers before whoever else is ready has a turn; more wait for the next.
    /// Clients that have not sent their whole `ClientHello`, or do not go on after the answer, do not count.
    pub max_handshakes: usize,
    /// Whether responses get a `date`.
    pub include_date_header: bool,
    /// Whether responses get a `server`.
    pub include_server_header: bool,
    /// What responses get as `alt-svc`, each value as a field of its own.
    pub alt_svc: Vec<HeaderValue>,
    /// Whether requests of cleartext listeners are redirected to HTTPS, where a listener speaks it over TCP.
    pub redirect_http: bool,
    /// Whether apps are offered to name files as bodies of responses (`http.response.pathsend`). Frameworks that see the
    /// offer send messages that many middlewares do not know.
    pub pathsend: bool,
    /// The hosts that are served; requests for others get 404.
    pub server_names: ServerNames,
}

impl ConnectionSettings {
    /// Whether a connection is closed that has had so many requests.
    pub(crate) fn has_had_enough(&self, requests: u64) -> bool {
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

/// What is believed of proxies that speak for clients. By default nobody is believed and nothing is looked at.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Who may speak for others, in fields and in the PROXY protocol.
    pub trusted: Trust,
    /// Which fields a trusted peer's requests are read for; `None` reads none. What they say then stands in the
    /// request's client, scheme, host and server; the access log keeps the peer.
    pub forwarded: Option<Forwarding>,
    /// Whether `Forwarded` and `X-Forwarded-*` of peers that are not trusted are kept from the app. They are never
    /// believed.
    pub drop_untrusted: bool,
    /// What a proxy takes off each request's path. It is put back before the app sees it, unless the proxy names another one
    /// in a field that is believed.
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

/// How requests wait for a worker.
#[derive(Debug, Clone)]
pub struct DispatchSettings {
    /// Requests that may be sent to a worker over one link and not yet begun; at most [`hcrs_link::SLOTS`].
    pub start_credits: usize,
    /// Requests of one edge thread that may wait while no worker has a start credit; more get 503.
    pub queue_size: usize,
    /// Bytes that the requests of one edge thread may hold that no worker has begun: heads, and what has arrived of bodies;
    /// what is more gets 503.
    pub queue_bytes: usize,
    /// How long a request may wait until a worker begins it before it gets 503.
    pub queue_timeout: Duration,
    /// How long a worker may leave a request unbegun, and do nothing else, before others are preferred to it and given what
    /// it has not begun.
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
