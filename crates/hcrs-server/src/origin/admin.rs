//! The admin interface: reports the server's state and passes commands to the supervisor. It has a thread and
//! a listener of its own (`admin_bind`), which only the operator can reach.

use std::rc::Rc;
use std::time::Duration;

use hcrs_acme::Domain;
use hcrs_http::{RequestHead, RequestView};
use hcrs_metrics::Format;
use tokio::sync::{mpsc, oneshot};

use super::health::whole;
use crate::exchange::{Exchange, WholeResponse};
use crate::settings::AppName;

/// How long the supervisor may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page that shows the state in a browser.
const PAGE: &str = include_str!("admin/page.html");

const TEXT: &str = "text/plain; charset=utf-8";

/// A command for the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Report the state as JSON.
    Status,
    /// Report the state as an event of an event stream, for the page.
    Event,
    /// Report the metrics.
    Metrics(Format),
    /// Do the same as SIGHUP, or replace the workers of one app.
    Reload(Option<AppName>),
    /// Do the same as SIGTERM.
    Stop,
    /// Serve an app, the main or only one if none is named, with this number of workers.
    Scale {
        /// The number of workers.
        workers: usize,
        /// The app.
        app: Option<AppName>,
    },
    /// Do the same as SIGUSR1.
    Reopen,
    /// Be not ready for probes, or ready again.
    Drain(bool),
    /// Report the stacks of all workers.
    Dump,
    /// Ask the authority for the certificate of this name, or for all.
    Renew(Option<Domain>),
}

/// The supervisor's answer to a command.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    /// Returns a line of text as the answer.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: TEXT, body: format!("{text}\n") }
    }
}

/// A command, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Call {
    /// The command.
    pub command: Command,
    /// Takes the answer.
    pub reply: oneshot::Sender<Reply>,
}

impl Call {
    /// Replies that the command is not obeyed now.
    pub(crate) fn refuse(self, why: &str) {
        let _gone = self.reply.send(Reply::text(409, why));
    }
}

/// The way to the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Port(pub mpsc::Sender<Call>);

/// The meaning of a request.
#[derive(Debug)]
enum Meaning {
    /// It has this answer.
    Answer(WholeResponse),
    /// The supervisor answers it.
    Ask(Command),
}

/// The answer to a request, at once or when the supervisor has replied.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    port: &'a Port,
    meaning: Meaning,
}

impl Answer<'_> {
    /// Answers the request's exchange.
    pub(crate) fn give(self, exchange: &Rc<Exchange>) {
        match self.meaning {
            Meaning::Answer(response) => exchange.answer(response),
            Meaning::Ask(command) => {
                let (port, exchange) = (self.port.clone(), Rc::clone(exchange));
                tokio::task::spawn_local(async move {
                    let reply = port.ask(command).await;
                    exchange.answer(whole(reply.status, reply.content_type, reply.body.into_bytes()));
                });
            }
        }
    }
}

impl Port {
    /// Returns the answer to a request.
    pub(crate) fn answer(&self, head: &RequestHead) -> Answer<'_> {
        Answer { port: self, meaning: meaning(&head.view()) }
    }

    async fn ask(&self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        if self.0.try_send(Call { command, reply }).is_err() {
            return Reply::text(503, "the supervisor is busy, or has ended; try again");
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Reply::text(503, "the supervisor has ended"),
            Err(_) => Reply::text(504, "the supervisor has not answered in time"),
        }
    }
}

fn meaning(view: &RequestView<'_>) -> Meaning {
    let answer = |status, text: &str| Meaning::Answer(whole(status, TEXT, format!("{text}\n").into_bytes()));
    if let Some(why) = foreign(view) {
        return answer(403, why);
    }
    let is_read = matches!(view.method, b"GET" | b"HEAD");
    let command = match (view.path, is_read) {
        (b"/", true) => {
            return Meaning::Answer(whole(200, "text/html; charset=utf-8", PAGE.as_bytes().to_vec()));
        }
        (b"/status", true) => Command::Status,
        (b"/events", true) => Command::Event,
        (b"/metrics", true) => Command::Metrics(Format::negotiate(view.fields().first(b"accept"))),
        (b"/stop", false) => Command::Stop,
        (b"/reopen", false) => Command::Reopen,
        (b"/dump", false) => Command::Dump,
        (b"/renew", false) if view.query.is_empty() => Command::Renew(None),
        (b"/renew", false) => match named_domain(view.query) {
            Some(domain) => Command::Renew(Some(domain)),
            None => return answer(400, "name nothing, or a name, as in /renew?name=example.com"),
        },
        (b"/drain", false) if view.query.is_empty() => Command::Drain(true),
        (b"/drain", false) if view.query == b"off" => Command::Drain(false),
        (b"/reload", false) => match Arguments::parse(view.query) {
            Some(Arguments { workers: None, app }) => Command::Reload(app),
            _ => return answer(400, "name nothing, or an app, as in /reload?app=main"),
        },
        (b"/scale", false) => match Arguments::parse(view.query) {
            Some(Arguments { workers: Some(workers), app }) => Command::Scale { workers, app },
            _ => {
                return answer(
                    400,
                    "name the number of workers, as in /scale?workers=4 or /scale?workers=4&app=main",
                );
            }
        },
        (
            b"/" | b"/status" | b"/events" | b"/metrics" | b"/reload" | b"/stop" | b"/reopen" | b"/dump"
            | b"/drain" | b"/scale" | b"/renew",
            _,
        ) => return answer(405, "reports are for GET, commands for POST"),
        _ => return answer(404, "there is no such report or command"),
    };
    if !is_read && view.method != b"POST" {
        return answer(405, "commands are for POST");
    }
    Meaning::Ask(command)
}

fn named_domain(query: &[u8]) -> Option<Domain> {
    Domain::parse(std::str::from_utf8(query).ok()?.strip_prefix("name=")?).ok()
}

/// The arguments of a command, in the query.
#[derive(Debug, Default)]
struct Arguments {
    workers: Option<usize>,
    app: Option<AppName>,
}

impl Arguments {
    /// Parses a query; `None` if there is anything else in it.
    fn parse(query: &[u8]) -> Option<Self> {
        let mut arguments = Self::default();
        for argument in std::str::from_utf8(query).ok()?.split('&').filter(|argument| !argument.is_empty()) {
            match argument.split_once('=')? {
                ("workers", number) => arguments.workers = Some(number.parse().ok()?),
                ("app", name) => arguments.app = Some(AppName::parse(name)?),
                _ => return None,
            }
        }
        Some(arguments)
    }
}

/// Returns why a request is refused that a page of another site has caused in the operator's browser: it names
/// its own origin, or a name of its own for this address (DNS rebinding).
fn foreign(view: &RequestView<'_>) -> Option<&'static str> {
    let host = view.fields().first(b"host").unwrap_or_default();
    if !is_local(host) {
        return Some("the admin interface is reached by localhost or a loopback address only");
    }
    let origin = view.fields().first(b"origin");
    let is_own = |origin: &[u8]| origin.strip_prefix(b"http://") == Some(host);
    (!origin.is_none_or(is_own)).then_some("the request comes from a page of another site")
}

fn is_local(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else { return false };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

    use super::*;

    fn asked(method: &[u8], target: (&[u8], &[u8]), fields: &[(&[u8], &[u8])]) -> Result<Command, u16> {
        let (path, query) = target;
        let line = RequestLine { version: Version::Http11, scheme: Scheme::Http, method, path, query };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        for (name, value) in fields {
            head.push_field(name, value);
        }
        match meaning(&head.view()) {
            Meaning::Ask(command) => Ok(command),
            Meaning::Answer(response) => Err(response.head.status()),
        }
    }

    const HOST: (&[u8], &[u8]) = (b"host", b"localhost");

    #[test]
    fn reports_are_read_and_commands_are_posted() {
        let get = |path: &[u8]| asked(b"GET", (path, b""), &[HOST]);
        let post = |path: &[u8], query: &[u8]| asked(b"POST", (path, query), &[HOST]);
        assert_eq!(get(b"/"), Err(200));
        assert_eq!(get(b"/status"), Ok(Command::Status));
        assert_eq!(get(b"/metrics"), Ok(Command::Metrics(Format::Text)));
        assert_eq!((get(b"/stop"), get(b"/nothing")), (Err(405), Err(404)));
        assert_eq!(post(b"/stop", b""), Ok(Command::Stop));
        assert_eq!(post(b"/scale", b"workers=4"), Ok(Command::Scale { workers: 4, app: None }));
        let app = AppName::parse("shop");
        assert_eq!(post(b"/reload", b""), Ok(Command::Reload(None)));
        assert_eq!(post(b"/reload", b"app=shop"), Ok(Command::Reload(app.clone())));
        assert_eq!(post(b"/scale", b"app=shop&workers=0"), Ok(Command::Scale { workers: 0, app }));
        for query in [&b"workers=1"[..], b"app=", b"app=a/b", b"app", b"all"] {
            assert_eq!(post(b"/reload", query), Err(400));
        }
        for query in [&b""[..], b"workers=-1", b"workers=x", b"4", b"workers=99999999999999999999"] {
            assert_eq!(post(b"/scale", query), Err(400));
        }
        assert_eq!(post(b"/drain", b"off"), Ok(Command::Drain(false)));
        assert_eq!(post(b"/status", b""), Err(405));
        assert_eq!(asked(b"PUT", (b"/stop", b""), &[HOST]), Err(405));
    }

    #[test]
    fn pages_of_other_sites_reach_nothing() {
        let host = |host: &[u8]| asked(b"POST", (b"/stop", b""), &[(b"host", host)]);
        for own in [&b"localhost:9000"[..], b"127.0.0.1", b"127.9.9.9:1", b"[::1]:9000", b"LOCALHOST"] {
            assert_eq!(host(own), Ok(Command::Stop), "{}", String::from_utf8_lossy(own));
        }
        for other in [&b"evil.example"[..], b"127.0.0.1.evil.example", b"10.0.0.1", b"", b"localhost.evil"] {
            assert_eq!(host(other), Err(403), "{}", String::from_utf8_lossy(other));
        }
        let origin = |origin: &[u8]| {
            asked(b"POST", (b"/stop", b""), &[(b"host", b"localhost:9000"), (b"origin", origin)])
        };
        assert_eq!(origin(b"http://localhost:9000"), Ok(Command::Stop));
        assert_eq!(origin(b"http://localhost:8000"), Err(403));
        assert_eq!(origin(b"null"), Err(403));
    }
}
