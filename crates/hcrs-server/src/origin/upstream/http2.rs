//! A request over HTTP/2, whose protocol is spoken by `hyper`: each connection has a task of its own, and each request.

mod heads;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hcrs_http::{Fault, request_content_length};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response, StatusCode};
use tokio::time::sleep_until;

use super::body::Body;
use super::deadline::poll_deadline;
use super::job::{HALF_CLOSED_MAX, Job, pushed};
use super::retry::Ended;
use super::server::{Place, Server};
use crate::clock;
use heads::{request_head, response_head, trailers};

/// The size below which pieces of a body are copied, in bytes: a small piece would keep the buffer that it was read
/// into.
const COPIED: usize = 4 << 10;

/// The end of an attempt without a response.
struct Failed {
    ended: Ended,
    fault: Fault,
}

/// The reason why there is no head of a response.
enum NoHead {
    Late,
    ClientGone,
    Lost { is_unsent: bool, error: hyper::Error },
}

/// Serves a request over a connection, to its end or until it has to be sent again.
pub(super) async fn serve(job: Rc<Job>, server: &Server, place: Place, is_reused: bool) {
    match attempt(&job, server, &place, is_reused).await {
        Ok(response) => match pass_on(&job, server, response).await {
            Ok(()) => job.finish(),
            Err(fault) => job.fail(fault),
        },
        Err(Failed { ended, fault }) => {
            drop(place);
            job.again(ended, fault);
        }
    }
}

async fn attempt(
    job: &Rc<Job>,
    server: &Server,
    place: &Place,
    is_reused: bool,
) -> Result<Response<Incoming>, Failed> {
    let outcome = await_head(job, place, request(job, server)?).await;
    outcome.map_err(|no_head| match no_head {
        NoHead::Late => {
            Job::blame(server, &"it does not answer in time");
            server.discard(place);
            Failed { ended: Ended::Lost, fault: Fault::UpstreamTimeout }
        }
        NoHead::ClientGone => Failed { ended: Ended::Lost, fault: Fault::ClientGone },
        NoHead::Lost { is_unsent, error } => {
            server.discard(place);
            let ended = match (is_unsent, is_reused) {
                (true, _) => Ended::Unsent,
                (false, true) => Ended::LostWithReused,
                (false, false) => Ended::Lost,
            };
            if ended == Ended::Lost {
                Job::blame(server, &describe(&error));
            }
            Failed { ended, fault: Fault::UpstreamFailed }
        }
    })
}

/// Returns the request in the form for a connection.
fn request(job: &Rc<Job>, server: &Server) -> Result<Request<Body>, Failed> {
    let gone = |fault| Failed { ended: Ended::Lost, fault };
    let made = job.with_head(|head| {
        let parts = request_head(head, job.context(server))?;
        let body = if head.has_body {
            let length = head.fields().first(b"content-length").and_then(request_content_length);
            Body::new(job, length)
        } else {
            Body::none()
        };
        Some(Request::from_parts(parts, body))
    });
    // Its host or target has bytes that no request to the upstream can have.
    let bad = Failed { ended: Ended::Lost, fault: Fault::BadRequest("request that cannot be passed on") };
    made.map_err(gone)?.ok_or(bad)
}

async fn await_head(job: &Job, place: &Place, request: Request<Body>) -> Result<Response<Incoming>, NoHead> {
    let settings = &job.group.settings;
    let sent_at = clock::now();
    let mut timer = pin!(sleep_until((sent_at + settings.read_timeout.min(settings.send_timeout)).into()));
    let mut leaves_at = None;
    let mut response = pin!(place.send(request));
    poll_fn(|cx| {
        job.listen(cx.waker());
        if let Poll::Ready(sent) = response.as_mut().poll(cx) {
            return Poll::Ready(
                sent.map_err(|lost| NoHead::Lost { is_unsent: lost.is_unsent, error: lost.error }),
            );
        }
        if job.is_half_closed() && leaves_at.is_none() {
            let at = clock::now() + HALF_CLOSED_MAX;
            leaves_at = Some(at);
            timer.as_mut().reset(at.into());
        }
        let body = &job.body;
        let due = || match body.stuck_since() {
            Some(since) => Some(since + settings.send_timeout),
            // A client that is slow has a deadline of its own.
            None if !body.is_done() => None,
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
async fn pass_on(job: &Job, server: &Server, response: Response<Incoming>) -> Result<(), Fault> {
    server.succeed();
    let (parts, mut body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        Job::blame(server, &"it switches to a protocol that it was not asked for");
        return Err(Fault::UpstreamFailed);
    }
    let is_whole = body.is_end_stream();
    job.push_head(response_head(parts.status.as_u16(), &parts.headers), is_whole)?;
    if is_whole { Ok(()) } else { pass_on_body(job, &mut body, server).await }
}

async fn pass_on_body(job: &Job, body: &mut Incoming, server: &Server) -> Result<(), Fault> {
    let limit = job.group.settings.read_timeout;
    let mut timer = pin!(sleep_until((clock::now() + limit).into()));
    loop {
        room(job).await;
        let since = clock::now();
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            poll_deadline(timer.as_mut(), cx, || Some(since + limit)).map(Err)
        });
        let frame = match frame.await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return pushed(job.exchange.push_data(Bytes::new(), true)),
            Ok(Some(Err(error))) => {
                Job::blame(server, &describe(&error));
                return Err(Fault::UpstreamFailed);
            }
            Err(()) => {
                Job::blame(server, &"it stopped sending");
                return Err(Fault::UpstreamTimeout);
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let end = body.is_end_stream();
                push_data(job, data, end).await?;
                if end {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(fields) = frame.into_trailers() {
                    return pushed(job.exchange.push_trailers(trailers(&fields)));
                }
            }
        }
    }
}

/// Passes bytes of the response's body to the exchange as it has room for them.
async fn push_data(job: &Job, mut data: Bytes, end: bool) -> Result<(), Fault> {
    loop {
        let room = room(job).await;
        let piece = data.split_to(data.len().min(room));
        let piece = if piece.len() < COPIED { Bytes::copy_from_slice(&piece) } else { piece };
        let is_last = data.is_empty();
        pushed(job.exchange.push_data(piece, end && is_last))?;
        if is_last {
            return Ok(());
        }
    }
}

/// Waits until the exchange has room for bytes of the response's body. Returns how many it takes. The client, for which
/// it waits, has a deadline of its own.
async fn room(job: &Job) -> usize {
    poll_fn(|cx| match job.exchange.response_room() {
        0 => {
            job.listen(cx.waker());
            Poll::Pending
        }
        room => Poll::Ready(room),
    })
    .await
}

/// Returns an error and its cause.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
