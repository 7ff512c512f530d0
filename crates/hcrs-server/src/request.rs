//! Takes requests in from any protocol: a head becomes an exchange, and its route decides what answers it.

mod deferred;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hcrs_coding::ConnectionEncoders;
use hcrs_forwarded::without_forwarded;
use hcrs_http::{Fault, NormalPath, RequestHead, Version};
use hcrs_metrics::Protocol;
use hcrs_ws::MessageRoom;

use crate::client::{Client, ForwardedFields};
use crate::exchange::compression::Compression;
use crate::exchange::fault_response::instead_of;
use crate::exchange::file_permits::FilePermits;
use crate::exchange::websocket::WebSocket;
use crate::exchange::{Exchange, InternalFiles, Parts, PiecedResponse, WholeResponse};
use crate::labels::Labelled;
use crate::origin::app::apps::App;
use crate::origin::files::FileRequest;
use crate::origin::welcome::{self, Facts, TlsFacts};
use crate::origin::{app_failure, challenge, files, fixed, health, redirect, upstream};
use crate::route::{Circumstances, Route, Routed, app_of_promised, route};
use crate::rules::{Judged, judge};
use crate::settings::{ConfiguredRoute, RouteAction, Rules, UpstreamSettings};
use crate::state::{Phase, ThreadState};
use deferred::Waiting;

/// A request as its protocol has read it.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The key under which the connection knows its exchange.
    pub key: usize,
    /// The number of its stream, if the protocol has streams.
    pub stream: Option<u64>,
    /// The head.
    pub head: RequestHead,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The rules that its exchange has to know, once its route is known.
    pub rules: Option<Arc<Rules>>,
}

/// A request, with the rules of its route.
struct Ruled<'a> {
    arrived: Arrived,
    rules: &'a Arc<Rules>,
}

/// The state that the requests of one connection share.
#[derive(Debug)]
pub(crate) struct Intake {
    file_permits: Rc<FilePermits>,
    /// The encoders of the connection's compressed responses.
    encoders: OnceCell<Rc<ConnectionEncoders>>,
    /// Room for the messages of all the connection's WebSockets together.
    message_room: OnceCell<Rc<MessageRoom>>,
    /// Counts the requests that workers have not ended, by its references.
    running: Rc<()>,
    max_running: usize,
}

impl Intake {
    /// Returns the intake of a connection that may have `max_running` requests in workers, including those
    /// that its client has reset.
    pub(crate) fn new(client: &Client, max_running: usize) -> Self {
        Self {
            file_permits: FilePermits::of_connection(&client.admitted.shared.files.open),
            encoders: OnceCell::new(),
            message_room: OnceCell::new(),
            running: Rc::new(()),
            max_running,
        }
    }

    /// Whether the connection has as many requests in workers as it may.
    pub(crate) fn has_too_many_running(&self) -> bool {
        Rc::strong_count(&self.running) > self.max_running
    }

    /// Returns the exchange of a request, which its origin has begun to answer.
    pub(crate) fn take(&self, client: &Client, mut arrived: Arrived, now: Instant) -> Rc<Exchange> {
        arrived.head = resolve_client(client, arrived.head);
        let shared = &client.admitted.shared;
        let settings = shared.settings();
        let apps = shared.apps.served();
        let mut is_counted = false;
        let mut circumstances = Circumstances {
            settings: &settings,
            first_route: 0,
            is_admin: shared.admin.is_some(),
            may_answer_challenge: settings.acme.is_some(),
            https_port: shared.https_port.get().filter(|_| client.tls.is_none()),
            apps: &apps,
            has_too_many_running: self.has_too_many_running(),
        };
        loop {
            let Routed { route, taken } = route(&arrived.head, circumstances);
            let rules = settings.routes.rules(taken);
            arrived.rules = rules.for_exchange();
            if rules.may_refuse() && route.has_rules() {
                match judge(rules, &arrived.head, &shared.rules, &mut is_counted, now) {
                    Judged::Admitted => {}
                    Judged::Refused(fault) => return refused(client, arrived, fault, now),
                    Judged::Answered(response) => {
                        return self.answered(client, Ruled { arrived, rules }, response, now);
                    }
                    Judged::Verifying(verification) => {
                        let first_route = circumstances.first_route;
                        let waiting = Waiting { verification, route, first_route };
                        return self.defer(client, Ruled { arrived, rules }, waiting, now);
                    }
                }
            }
            return match route {
                Route::Configured(taken) => {
                    match configured(shared, &arrived.head, &settings.routes[taken], now) {
                        Configured::NextRoute => {
                            circumstances.first_route = taken.next();
                            continue;
                        }
                        Configured::Pieced(response) => {
                            self.answered(client, Ruled { arrived, rules }, response, now)
                        }
                        Configured::Upstream(upstream) => {
                            self.pass_on(client, Ruled { arrived, rules }, upstream, now)
                        }
                        Configured::Refused(fault) => refused(client, arrived, fault, now),
                    }
                }
                Route::App(app) => self.submit(client, Ruled { arrived, rules }, &apps[app.0], now),
                Route::Welcome => {
                    let response = welcome(client, &arrived);
                    answered(client, arrived, response, now)
                }
                Route::AppFailure(app) => {
                    let response = app_failure::answer(&arrived.head, apps[app.0].failure().as_deref());
                    answered(client, arrived, response, now)
                }
                Route::Redirect(port) => match redirect::answer(&arrived.head, port) {
                    Some(response) => answered(client, arrived, response, now),
                    None => refused(client, arrived, Fault::UnknownHost, now),
                },
                Route::Challenge => {
                    let Some(response) = challenge::answer(&arrived.head, &settings) else {
                        circumstances.may_answer_challenge = false;
                        continue;
                    };
                    answered(client, arrived, response, now)
                }
                Route::Health(probe) => {
                    let is_draining = shared.phase() != Phase::Serving;
                    let response = health::answer(probe, &shared.readiness, is_draining);
                    answered(client, arrived, response, now)
                }
                Route::Admin => administered(client, arrived, now),
                Route::Refused(fault) => refused(client, arrived, fault, now),
            };
        }
    }

    /// Returns the exchange of a request that an app has promised to the client.
    pub(crate) fn take_promised(&self, client: &Client, arrived: Arrived, now: Instant) -> Rc<Exchange> {
        if self.has_too_many_running() {
            return refused(client, arrived, Fault::QueueFull, now);
        }
        let shared = &client.admitted.shared;
        let settings = shared.settings();
        let app = app_of_promised(&arrived.head, &settings);
        match app.and_then(|app| shared.apps.get(app)) {
            Some(app) => {
                let rules = settings.routes.rules(None);
                self.submit(client, Ruled { arrived, rules }, &app, now)
            }
            None => refused(client, arrived, Fault::NoRoute, now),
        }
    }

    fn submit(&self, client: &Client, ruled: Ruled<'_>, app: &App, now: Instant) -> Rc<Exchange> {
        let exchange = match self.open_for_app(client, ruled, now) {
            Ok(exchange) => exchange,
            Err(answered) => return answered,
        };
        app.dispatch.submit(&exchange, now);
        exchange
    }

    /// Returns the exchange of a request that the edge has answered, with files perhaps.
    fn answered(
        &self,
        client: &Client,
        Ruled { arrived, rules }: Ruled<'_>,
        response: PiecedResponse,
        now: Instant,
    ) -> Rc<Exchange> {
        let (stream, mut parts) = (arrived.stream, plain(client, arrived, now));
        self.compress(client, rules, &mut parts);
        let exchange = open(client, stream, parts);
        exchange.answer_in_pieces(response);
        exchange
    }

    /// Returns the exchange of a request that a worker may get; as an error one that was answered instead, because
    /// it asks for a WebSocket that cannot be.
    fn open_for_app(
        &self,
        client: &Client,
        Ruled { mut arrived, rules }: Ruled<'_>,
        now: Instant,
    ) -> Result<Rc<Exchange>, Rc<Exchange>> {
        let shared = &client.admitted.shared;
        let websockets = shared.websockets();
        let room = || Rc::clone(self.message_room.get_or_init(|| websockets.room_of_connection()));
        let websocket = match WebSocket::asked_for(&arrived.head, &websockets, room) {
            Ok(websocket) => websocket,
            Err(refusal) => {
                let response = WholeResponse { head: refusal, body: Vec::new() };
                return Err(answered(client, arrived, response, now));
            }
        };
        if websocket.is_some() {
            arrived.head.set_websocket();
        }
        if shared.settings().connection.pathsend {
            arrived.head.set_offers_files();
        }
        let stream = arrived.stream;
        let mut parts = Parts {
            running: Some(Rc::clone(&self.running)),
            file_permit: self.file_permits.take(),
            internal_files: shared.named_by_app().map(|files| files as Rc<dyn InternalFiles>),
            websocket,
            max_body_size: rules.max_body_size,
            ..plain(client, arrived, now)
        };
        self.compress(client, rules, &mut parts);
        Ok(open(client, stream, parts))
    }

    /// Has the response to a request compressed, if the rules say so.
    fn compress(&self, client: &Client, rules: &Arc<Rules>, parts: &mut Parts) {
        if rules.compression.is_on() {
            let thread = &client.admitted.shared.encoders;
            let encoders = self.encoders.get_or_init(|| Rc::new(ConnectionEncoders::new(Rc::clone(thread))));
            parts.compression = Some(Compression { rules: Arc::clone(rules), encoders: Rc::clone(encoders) });
        }
    }
}

impl Intake {
    /// Returns the exchange of a request that an upstream answers.
    fn pass_on(&self, client: &Client, ruled: Ruled<'_>, proxied: Proxied, now: Instant) -> Rc<Exchange> {
        let (exchange, PassedOn { group, arrival }) = self.open_for_upstream(client, ruled, proxied, now);
        upstream::submit(&exchange, group, arrival, &client.admitted.shared.metrics);
        exchange
    }

    /// Returns the exchange of a request that an upstream may get.
    fn open_for_upstream(
        &self,
        client: &Client,
        Ruled { mut arrived, rules }: Ruled<'_>,
        Proxied { group, stripped }: Proxied,
        now: Instant,
    ) -> (Rc<Exchange>, PassedOn) {
        let is_extended_connect = arrived.head.is_websocket();
        let view = arrived.head.view();
        let is_upgrade = view.version == Version::Http11
            && !view.has_body
            && hcrs_ws::asks_for_websocket(view.method, view.fields());
        let is_tunnel = is_extended_connect || is_upgrade;
        if is_tunnel {
            arrived.head.set_websocket();
        }
        let stream = arrived.stream;
        let mut parts = plain(client, arrived, now);
        parts.running = Some(Rc::clone(&self.running));
        parts.max_body_size = rules.max_body_size;
        parts.is_tunnel = is_tunnel;
        parts.takes_trailers = true;
        if !is_tunnel {
            self.compress(client, rules, &mut parts);
            let named = client.admitted.shared.named_by_app();
            parts.internal_files = named.map(|files| files as Rc<dyn InternalFiles>);
        }
        let exchange = open(client, stream, parts);
        let endpoints = Rc::clone(&client.endpoints);
        let believed = client.believed();
        let arrival = upstream::Arrival { endpoints, believed, stripped, is_tunnel, is_extended_connect };
        (exchange, PassedOn { group, arrival })
    }
}

/// A request as an upstream gets it.
struct PassedOn {
    group: Rc<upstream::Group>,
    arrival: upstream::Arrival,
}

/// A request that an upstream answers.
struct Proxied {
    group: Rc<upstream::Group>,
    /// The part of the path that is removed.
    stripped: Vec<u8>,
}

/// Returns the exchange of a request that is answered with the fault's response.
pub(crate) fn refused(client: &Client, arrived: Arrived, fault: Fault, now: Instant) -> Rc<Exchange> {
    let exchange = open(client, arrived.stream, plain(client, arrived, now));
    exchange.fail(fault);
    exchange
}

/// Returns the exchange of a request that the edge has answered.
fn answered(client: &Client, arrived: Arrived, response: WholeResponse, now: Instant) -> Rc<Exchange> {
    let exchange = open(client, arrived.stream, plain(client, arrived, now));
    exchange.answer(response);
    exchange
}

/// Returns the exchange with these parts, listed among the requests in flight.
fn open(client: &Client, stream: Option<u64>, parts: Parts) -> Rc<Exchange> {
    let protocol = Protocol::of(parts.head.version(), parts.head.is_websocket());
    let exchange = Exchange::new(parts);
    client.admitted.shared.requests.add(client.serial, stream, protocol, &exchange);
    exchange
}

/// Returns the exchange of a request that the admin interface answers.
fn administered(client: &Client, arrived: Arrived, now: Instant) -> Rc<Exchange> {
    let answer = client.admitted.shared.admin.as_ref().map(|port| port.answer(&arrived.head));
    let exchange = Exchange::new(plain(client, arrived, now));
    match answer {
        Some(answer) => answer.give(&exchange),
        None => exchange.fail(Fault::UnknownHost),
    }
    exchange
}

/// The outcome of a configured route.
enum Configured {
    Pieced(PiecedResponse),
    Upstream(Proxied),
    Refused(Fault),
    /// The routes behind it decide.
    NextRoute,
}

/// Returns how an upstream gets a request of its route.
fn proxied(
    shared: &ThreadState,
    head: &RequestHead,
    route: &ConfiguredRoute,
    settings: &Arc<UpstreamSettings>,
) -> Proxied {
    let stripped = if settings.strip_path {
        let path = NormalPath::new(head.view().path);
        let rest = route.matcher.rest(&path).len();
        path.as_bytes()[..path.as_bytes().len() - rest].to_vec()
    } else {
        Vec::new()
    };
    Proxied { group: shared.upstreams.group(settings), stripped }
}

fn configured(shared: &ThreadState, head: &RequestHead, route: &ConfiguredRoute, now: Instant) -> Configured {
    let rules = &route.rules;
    let with_page = |response: PiecedResponse| {
        let page = rules.error_pages.as_ref().and_then(|_| instead_of(rules, &response.head));
        Configured::Pieced(page.map_or(response, Into::into))
    };
    match &route.action {
        // `route` has destinations of its own for them.
        RouteAction::App(_) | RouteAction::Welcome => Configured::NextRoute,
        RouteAction::Fixed(fixed) => {
            let response = PiecedResponse::from(fixed::answer(fixed));
            // A text of its own precedes the page.
            if response.body.is_empty() { with_page(response) } else { Configured::Pieced(response) }
        }
        RouteAction::Redirect(redirect) => redirect::by_route(head, redirect, &route.matcher)
            .map_or(Configured::Refused(Fault::UnknownHost), |response| Configured::Pieced(response.into())),
        RouteAction::Upstream(settings) => Configured::Upstream(proxied(shared, head, route, settings)),
        RouteAction::Files(settings) => {
            let view = head.view();
            let path = &NormalPath::new(view.path);
            let asked = FileRequest { view: &view, path, rest: route.matcher.rest(path) };
            match shared.files.answer(asked, settings, now) {
                files::Outcome::Answered(response) => with_page(response),
                files::Outcome::NextRoute => Configured::NextRoute,
                files::Outcome::TooManyFiles => Configured::Refused(Fault::QueueFull),
            }
        }
    }
}

/// Returns the parts of a request whose client and labels are known.
fn plain(client: &Client, arrived: Arrived, now: Instant) -> Parts {
    let Arrived { key, stream: _, head, expects_continue, rules } = arrived;
    let is_buffered = rules.as_ref().is_some_and(|rules| rules.buffer_response.is_some());
    let Labelled { head, parent } = match &client.admitted.shared.labels {
        Some(labels) => labels.label(head, client.is_trusted),
        None => Labelled { head, parent: None },
    };
    let tls = client.tls.as_ref().map(|agreed| Rc::clone(&agreed.info));
    Parts {
        tls,
        expects_continue,
        parent_span: parent,
        rules,
        response_room: is_buffered.then(|| Rc::clone(&client.admitted.shared.response_room)),
        ..Parts::new(key, Rc::clone(&client.admitted.mailbox), head, now)
    }
}

/// Returns the head as the client would have sent it without proxies, as far as they are trusted.
fn resolve_client(client: &Client, head: RequestHead) -> RequestHead {
    let resolved = match client.forwarded {
        ForwardedFields::AsTheyAre => return head,
        ForwardedFields::Dropped => without_forwarded(&head),
        ForwardedFields::Trusted => {
            let settings = &client.admitted.shared.settings().proxies;
            settings.forwarded.and_then(|forwarded| forwarded.resolve_client(&head, &settings.trusted))
        }
    };
    resolved.unwrap_or(head)
}

fn welcome(client: &Client, arrived: &Arrived) -> WholeResponse {
    let cipher = client.tls.as_ref().and_then(|tls| tls.info.info.cipher_suite_name());
    let tls = client.tls.as_ref().map(|tls| TlsFacts {
        version: tls.info.info.version_name(),
        cipher: cipher.as_deref().unwrap_or("unknown"),
        alpn: tls.alpn.as_deref(),
    });
    let facts = Facts { tls, connection: client.serial, stream: arrived.stream };
    welcome::answer(&arrived.head, &facts)
}
