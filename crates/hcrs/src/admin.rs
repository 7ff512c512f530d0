//! The commands for a running server: each asks the admin interface, and prints what it replies.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use hcrs_config::{AdminAction, has_colors};
use hcrs_fetch::{Bounds, Request, Target, fetch};
use hcrs_server::{Bind, Domain, Settings};
use hcrs_status::{Look, Status, View};

/// How long the server may take to answer: longer than the supervisor may.
const PATIENCE: Duration = Duration::from_secs(15);

/// The time between two views of the state.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest reply, in bytes: the stacks of a thousand workers fit.
const REPLY_MAX: usize = 64 << 20;

/// The host that the interface is asked for, wherever it is.
const HOST: &str = "localhost";

/// The size of a view that is not shown in a terminal.
const COLUMNS: usize = 80;

/// The reason why a command has failed.
#[derive(Debug)]
pub(crate) enum AdminError {
    /// The settings name no admin interface.
    NoAddress,
    /// The interface cannot be reached.
    Unreachable(String, io::Error),
    /// The server does not do what it was asked for.
    Refused(String),
    /// The reply is not one of hcrs.
    Malformed,
    /// The storage of certificates cannot be read.
    Storage(String, io::Error),
    /// The settings name no certificates that come by themselves.
    NoDomains,
}

impl Display for AdminError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAddress => f.write_str(
                "there is no admin_bind: set it in the configuration of the server and name that by --config, \
                 or give its address by --admin-bind",
            ),
            Self::Unreachable(address, error) => {
                write!(f, "no server can be reached at {address}: {error}; is it running, with this admin_bind?")
            }
            Self::Refused(why) => write!(f, "the server refuses: {why}"),
            Self::Storage(folder, error) => write!(
                f,
                "cannot read {folder}: {error}; run this as the user of the server, or set admin_bind and name its \
                 address"
            ),
            Self::NoDomains => f.write_str(
                "no certificate comes by itself: set domains of [hcrs.acme] in the configuration and name that by \
                 --config, or give --domain",
            ),
            Self::Malformed => f.write_str("the reply is not one of hcrs's admin interface"),
        }
    }
}

/// Asks the server that the settings describe.
pub(crate) fn run(settings: &Settings, action: AdminAction) -> Result<(), AdminError> {
    let bind = settings.admin_bind.as_ref().ok_or(AdminError::NoAddress)?;
    let command = match action {
        AdminAction::Status { json: false, once } => return watch(bind, once),
        AdminAction::Status { json: true, .. } => ask(bind, "GET", "/status")?,
        AdminAction::Reload { app: None } => ask(bind, "POST", "/reload")?,
        AdminAction::Reload { app: Some(app) } => ask(bind, "POST", &format!("/reload?app={app}"))?,
        AdminAction::Stop => ask(bind, "POST", "/stop")?,
        AdminAction::Scale { workers, app } => {
            let app = app.map(|app| format!("&app={app}")).unwrap_or_default();
            ask(bind, "POST", &format!("/scale?workers={workers}{app}"))?
        }
        AdminAction::Reopen => ask(bind, "POST", "/reopen")?,
        AdminAction::Drain { off: false } => ask(bind, "POST", "/drain")?,
        AdminAction::Drain { off: true } => ask(bind, "POST", "/drain?off")?,
        AdminAction::Dump => ask(bind, "POST", "/dump")?,
    };
    let _closed_output = io::stdout().write_all(&command);
    Ok(())
}

/// Shows the state, again and again in a terminal unless `once`.
fn watch(bind: &Bind, once: bool) -> Result<(), AdminError> {
    let is_live = io::stdout().is_terminal() && !once;
    let mut view = View::default();
    let mut last = Instant::now();
    loop {
        let status = Status::from_json(&ask(bind, "GET", "/status")?).map_err(|_| AdminError::Malformed)?;
        let elapsed = std::mem::replace(&mut last, Instant::now()).elapsed().as_secs_f64();
        let lines = view.draw(&status, elapsed, look(is_live));
        let mut text = lines.join("\n");
        text.push('\n');
        if is_live {
            // Home; each line erases what is right of it, and the last what is below.
            text = format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
        }
        if io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).is_err() || !is_live {
            return Ok(());
        }
        std::thread::sleep(INTERVAL);
    }
}

fn look(is_live: bool) -> Look {
    let is_terminal = io::stdout().is_terminal();
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok().filter(|size| size.ws_col > 0);
    let environment: Vec<_> = std::env::vars_os().collect();
    Look {
        width: size.map_or(COLUMNS, |size| size.ws_col.into()),
        height: size.filter(|_| is_live).map(|size| usize::from(size.ws_row).saturating_sub(1)),
        has_colors: has_colors(&environment, is_terminal),
    }
}

/// Returns the state of the server that the settings describe.
pub(crate) fn status(settings: &Settings) -> Result<Status, AdminError> {
    let bind = settings.admin_bind.as_ref().ok_or(AdminError::NoAddress)?;
    Status::from_json(&ask(bind, "GET", "/status")?).map_err(|_| AdminError::Malformed)
}

/// Has certificates of the server that the settings describe renewed. Returns its reply.
pub(crate) fn renew(settings: &Settings, domain: Option<&Domain>) -> Result<Vec<u8>, AdminError> {
    let bind = settings.admin_bind.as_ref().ok_or(AdminError::NoAddress)?;
    let query = domain.map(|domain| format!("?name={domain}")).unwrap_or_default();
    ask(bind, "POST", &format!("/renew{query}"))
}

/// Sends a request to the admin interface. Returns the body of its reply.
fn ask(bind: &Bind, method: &str, path: &str) -> Result<Vec<u8>, AdminError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => AdminError::Malformed,
        _ => AdminError::Unreachable(bind.to_string(), error),
    };
    let target = target(bind, path).map_err(failed)?;
    let bounds = Bounds { until: Instant::now() + PATIENCE, max_body_bytes: Some(REPLY_MAX) };
    let reply = fetch(Request { method, target: &target, body: None }, None, bounds).map_err(failed)?;
    if reply.status == 200 {
        return Ok(reply.body);
    }
    Err(AdminError::Refused(String::from_utf8_lossy(&reply.body).trim_end().to_owned()))
}

fn target(bind: &Bind, path: &str) -> io::Result<Target> {
    match bind {
        Bind::Unix(socket) => Ok(Target::unix(HOST, socket, path.to_owned())),
        Bind::Tcp { host, port } => Ok(Target::cleartext(HOST, host, *port, path.to_owned())),
        Bind::Fd(_) => {
            let why = "a descriptor is no address; give that of the socket by --admin-bind";
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}
