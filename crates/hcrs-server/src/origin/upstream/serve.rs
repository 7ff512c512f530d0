//! One request: it is sent to an upstream, perhaps several times, and the response is passed to the exchange.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hcrs_http::{Endpoints, Fault, RequestView, request_content_length};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response, StatusCode};
use tokio::time::sleep_until;

use super::body::Body;
use super::connect::Purpose;
use super::deadline::poll_deadline;
use super::forwarded::Sender;
use super::group::Group;
use super::health::Failure;
use super::request_head::{Context, request_head};
use super::response_head::{response_head, switch_head, trailers};
use super::retry::{Attempted, Ended, Next, is_idempotent, next};
use super::server::{Busy, Demand, Lease, NoLease, Server};
use super::stream::Stream;
use super::tunnel;
use crate::clock;
use crate::exchange::Exchange;

/// How long a request without a response goes on after its client has closed its side: it may have left.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(1);
/// The most interim heads that wait.
const HINTS_MAX: usize = 8;
/// The size below which pieces of a body are copied, in bytes: a small piece would keep the buffer that it was read
/// into.
const COPIED: usize = 4 << 10;

/// A request and all that its task needs.
pub(super) struct Job {
    pub exchange: Rc<Exchange>,
    pub stream: Rc<Stream>,
    pub group: Rc<Group>,
    /// The addresses of the client's connection.
    pub endpoints: Rc<Endpoints>,
    /// Whether it is a trusted proxy.
    pub is_trusted: bool,
    /// The part of the path that is removed.
    pub stripped: Vec<u8>,
    /// Whether the request asks for a WebSocket.
    pub is_tunnel: bool,
    /// Whether it does so by an extended CONNECT.
    pub is_extended_connect: bool,
}

/// An upstream that has begun to answer.
struct Answered {
    response: Response<Incoming>,
    lease: Lease,
    server: Rc<Server>,
    _busy: Busy,
}

/// The end of an attempt without a response.
struct Failed {
    ended: Ended,
    fault: Fault,
}

impl Job {
    /// Serves the request to its end.
    pub(super) async fn run(self) {
        let served = match self.answer().await {
            Ok(answered) => self.pass_on(answered).await,
            Err(fault) => Err(fault),
        };
        self.stream.body.abort();
        match served {
            Ok(()) => self.exchange.finished(),
            Err(fault) => self.exchange.fail(fault),
        }
    }

    /// Sends the request until an upstream answers or none is left to try.
    async fn answer(&self) -> Result<Answered, Fault> {
        let is_repeatable = self.with_head(|head| is_idempotent(head.method) && !head.has_body)?;
        let mut failed = vec![false; self.group.servers.len()];
        let mut left = self.group.settings.retries;
        let mut is_new = false;
        let mut fault = Fault::UpstreamFailed;
        loop {
            let now = clock::now();
            let Some(at) = self.with_head(|head| self.group.choose(head, &failed, now))? else {
                return Err(fault);
            };
            let server = &self.group.servers[at];
            let busy = server.begin(now);
            let ended = match self
                .attempt(
                    server,
                    Demand {
                        purpose: if self.is_tunnel { Purpose::Upgrade } else { Purpose::Requests },
                        is_fresh: !is_repeatable,
                        is_new,
                    },
                )
                .await
            {
                Ok((response, lease)) => {
                    server.succeed();
                    return Ok(Answered { response, lease, server: Rc::clone(server), _busy: busy });
                }
                Err(Failed { ended, fault: last }) => {
                    fault = last;
                    ended
                }
            };
            let has_sent_body = self.stream.body.taken() > 0;
            match next(ended, Attempted { is_repeatable, has_sent_body, left }) {
                Next::OtherServer => failed[at] = true,
                Next::NewConnection => is_new = true,
                Next::Fail => return Err(fault),
            }
            left -= 1;
        }
    }

    async fn attempt(
        &self,
        server: &Rc<Server>,
        demand: Demand,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let settings = &self.group.settings;
        let mut lease = server.lease(settings, self.group.tls.as_ref(), demand).await.map_err(|error| {
            let fault = match &error {
                NoLease::Busy => Fault::UpstreamBusy,
                NoLease::Late => Fault::UpstreamTimeout,
                NoLease::Connect(_) => Fault::UpstreamFailed,
            };
            if fault != Fault::UpstreamBusy {
                server.fail(Failure::Unreachable, &error);
            }
            Failed { ended: Ended::Unconnected, fault }
        })?;
        let hints = Hints::default();
        let request = self.request(server, &lease, &hints)?;
        let outcome = self.await_head(&mut lease, request, &hints).await;
        match outcome {
            Ok(response) => Ok((response, lease)),
            Err(NoHead::Late) => {
                server.fail(Failure::Broken, &"it does not answer in time");
                lease.discard();
                Err(Failed { ended: Ended::Lost, fault: Fault::UpstreamTimeout })
            }
            Err(NoHead::ClientGone) => Err(Failed { ended: Ended::Lost, fault: Fault::ClientGone }),
            Err(NoHead::Lost { is_unsent, error }) => {
                let is_reused = lease.is_reused;
                lease.discard();
                let ended = match (is_unsent, is_reused) {
                    (true, _) => Ended::Unsent,
                    (false, true) => Ended::LostWithReused,
                    (false, false) => Ended::Lost,
                };
                if ended == Ended::Lost {
                    server.fail(Failure::Broken, &describe(&error));
                }
                Err(Failed { ended, fault: Fault::UpstreamFailed })
            }
        }
    }

    /// Returns the request in the form for a connection.
    fn request(&self, server: &Server, lease: &Lease, hints: &Hints) -> Result<Request<Body>, Failed> {
        let gone = Failed { ended: Ended::Lost, fault: Fault::ClientGone };
        let made = self.with_head(|head| {
            let sender = Sender {
                peer: self.endpoints.client().map(|peer| peer.host),
                is_trusted: self.is_trusted,
                stripped: &self.stripped,
            };
            let parts = request_head(
                head,
                Context {
                    url: &server.url,
                    host: &self.group.settings.host,
                    sender,
                    is_h2: lease.is_h2(),
                    is_tunnel: self.is_tunnel,
                },
            )?;
            let body = if head.has_body {
                let length = head.fields().first(b"content-length").and_then(request_content_length);
                Body::new(&self.stream.body, &self.exchange, length)
            } else {
                Body::none()
            };
            Some(Request::from_parts(parts, body))
        });
        let Ok(made) = made else { return Err(gone) };
        // Its host or target has bytes that no request to the upstream can have.
        let bad = Failed { ended: Ended::Lost, fault: Fault::BadRequest("request that cannot be passed on") };
        let mut request = made.ok_or(bad)?;
        if !lease.is_h2() {
            hints.attach(&mut request);
        }
        Ok(request)
    }

    async fn await_head(
        &self,
        lease: &mut Lease,
        request: Request<Body>,
        hints: &Hints,
    ) -> Result<Response<Incoming>, NoHead> {
        let settings = &self.group.settings;
        let sent_at = clock::now();
        let mut timer =
            pin!(sleep_until((sent_at + settings.read_timeout.min(settings.send_timeout)).into()));
        let mut leaves_at = None;
        let mut response = pin!(lease.send(request));
        poll_fn(|cx| {
            self.stream.listen(cx.waker());
            hints.listen(cx.waker());
            let polled = response.as_mut().poll(cx);
            for (status, fields) in hints.take() {
                let head = response_head(status, &fields);
                let len = head.fields().map(|(name, value)| name.len() + value.len()).sum();
                // One that does not fit is left out.
                let _is_sent = status == 103 && self.exchange.push_interim(head, len);
            }
            if let Poll::Ready(sent) = polled {
                return Poll::Ready(
                    sent.map_err(|lost| NoHead::Lost { is_unsent: lost.is_unsent, error: lost.error }),
                );
            }
            if self.stream.is_half_closed() && leaves_at.is_none() {
                let at = clock::now() + HALF_CLOSED_MAX;
                leaves_at = Some(at);
                timer.as_mut().reset(at.into());
            }
            let body = &self.stream.body;
            let due = || match body.stuck_since() {
                Some(since) => Some(since + settings.send_timeout),
                // A client that is slow has a deadline of its own.
                None if !body.is_done() && !self.is_tunnel => None,
                None => Some(body.taken_at().map_or(sent_at, |at| at.max(sent_at)) + settings.read_timeout),
            };
            let due = || due().into_iter().chain(leaves_at).min();
            let is_left = |at| at <= clock::now();
            let late = |()| if leaves_at.is_some_and(is_left) { NoHead::ClientGone } else { NoHead::Late };
            poll_deadline(timer.as_mut(), cx, due).map(late).map(Err)
        })
        .await
    }

    /// Passes the response to the exchange.
    async fn pass_on(&self, answered: Answered) -> Result<(), Fault> {
        let Answered { response, lease, server, _busy } = answered;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            if !self.is_tunnel {
                server.fail(Failure::Broken, &"it switches to a protocol that it was not asked for");
                return Err(Fault::UpstreamFailed);
            }
            let head = switch_head(response.headers(), self.is_extended_connect);
            if !self.exchange.open_tunnel(head) {
                return Err(Fault::UpstreamFailed);
            }
            return Box::pin(tunnel::run(self, response)).await;
        }
        if !is_understood(response.headers()) {
            server.fail(Failure::Broken, &"its response has a transfer coding that was not asked for");
            return Err(Fault::UpstreamFailed);
        }
        if self.is_extended_connect && status.is_success() {
            // It would mean that the WebSocket is open (RFC 8441 §5).
            return Err(Fault::UpstreamFailed);
        }
        let (parts, mut body) = response.into_parts();
        let is_whole = body.is_end_stream();
        if !self.exchange.push_head(response_head(status.as_u16(), &parts.headers), is_whole) {
            return Err(Fault::UpstreamFailed);
        }
        if !is_whole {
            self.pass_on_body(&mut body, &server).await?;
        }
        if self.stream.body.is_done() {
            lease.give_back();
        }
        Ok(())
    }

    async fn pass_on_body(&self, body: &mut Incoming, server: &Server) -> Result<(), Fault> {
        let limit = self.group.settings.read_timeout;
        let mut timer = pin!(sleep_until((clock::now() + limit).into()));
        loop {
            self.room().await;
            let since = clock::now();
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                    return Poll::Ready(Ok(frame));
                }
                poll_deadline(timer.as_mut(), cx, || Some(since + limit)).map(Err)
            });
            let frame = match frame.await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return pushed(self.exchange.push_data(Bytes::new(), true)),
                Ok(Some(Err(error))) => {
                    server.fail(Failure::Broken, &describe(&error));
                    return Err(Fault::UpstreamFailed);
                }
                Err(()) => {
                    server.fail(Failure::Broken, &"it stopped sending");
                    return Err(Fault::UpstreamTimeout);
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let end = body.is_end_stream();
                    self.push_data(data, end).await?;
                    if end {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(fields) = frame.into_trailers() {
                        return pushed(self.exchange.push_trailers(trailers(&fields)));
                    }
                }
            }
        }
    }

    /// Passes bytes of the response's body to the exchange as it has room for them.
    pub(super) async fn push_data(&self, mut data: Bytes, end: bool) -> Result<(), Fault> {
        loop {
            let room = self.room().await;
            let piece = data.split_to(data.len().min(room));
            let piece = if piece.len() < COPIED { Bytes::copy_from_slice(&piece) } else { piece };
            let is_last = data.is_empty();
            pushed(self.exchange.push_data(piece, end && is_last))?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Waits until the exchange has room for bytes of the response's body. Returns how many it takes. The client, for
    /// which it waits, has a deadline of its own.
    pub(super) async fn room(&self) -> usize {
        poll_fn(|cx| match self.exchange.response_room() {
            0 => {
                self.stream.listen(cx.waker());
                Poll::Pending
            }
            room => Poll::Ready(room),
        })
        .await
    }

    fn with_head<R>(&self, with: impl FnOnce(&RequestView<'_>) -> R) -> Result<R, Fault> {
        self.exchange.with_head(|head| head.as_ref().map(with)).ok_or(Fault::ClientGone)
    }
}

/// Whether a response has no transfer coding but `chunked`, which is decoded.
fn is_understood(fields: &hyper::HeaderMap) -> bool {
    let mut codings = fields.get_all(hyper::header::TRANSFER_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The exchange takes what it has room for, unless it has ended.
pub(super) fn pushed(is_taken: bool) -> Result<(), Fault> {
    if is_taken { Ok(()) } else { Err(Fault::UpstreamFailed) }
}

/// The reason why there is no head of a response.
enum NoHead {
    Late,
    ClientGone,
    Lost { is_unsent: bool, error: hyper::Error },
}

/// Returns an error and its cause.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The interim heads of a response, on their way from the task of the connection.
#[derive(Clone, Default)]
struct Hints(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    heads: VecDeque<(u16, hyper::HeaderMap)>,
    waker: Option<Waker>,
}

impl Hints {
    fn attach(&self, request: &mut Request<Body>) {
        let hints = Arc::clone(&self.0);
        hyper::ext::on_informational(request, move |head| {
            // Nothing panics while it is locked.
            let mut waiting = hints.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.heads.len() < HINTS_MAX {
                waiting.heads.push_back((head.status().as_u16(), head.headers().clone()));
            }
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        });
    }

    fn listen(&self, waker: &Waker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waker = Some(waker.clone());
    }

    fn take(&self) -> VecDeque<(u16, hyper::HeaderMap)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).heads)
    }
}
