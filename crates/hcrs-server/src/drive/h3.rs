//! Drives an HTTP/3 connection.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hcrs_h3::{Connection, ErrorCode, Event, Sent, StreamKey, Transport, Turn};
use hcrs_http::{Endpoints, Fault, Field, RequestHead, ResponseHead};

use super::multiplexed::{self, Controls, Driver, Ended};
use crate::client::Client;
use crate::settings::ConnectionSettings;
use crate::state::ServerFields;

/// A QUIC connection whose handshake is complete.
pub(crate) trait Quic: Transport {
    /// Takes what has arrived and what is due, and passes what that means for streams to `report`.
    fn receive(&mut self, now: Instant, report: impl FnMut(StreamReport));

    /// Returns the addresses of both ends if the client has moved since the last call, and has proven that.
    fn moved_to(&mut self) -> Option<Rc<Endpoints>>;

    /// Takes the end of the connection, if it has ended: in order, or because of an error.
    fn take_end(&mut self) -> Option<io::Result<()>>;

    /// Sends what there is to send. `Pending` if the system takes no more; the task is woken when there is something
    /// to do.
    fn poll_send(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()>;

    /// Asks a client that has been silent for a sign of life, and lets it send more if an app `is_hungry`: it reads
    /// a stream of which nothing is there. To be called about once a second while something is in flight.
    fn look_after(&mut self, is_hungry: bool, now: Instant);
}

/// An event on a stream of the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamReport {
    /// The client has begun it.
    Opened(u64),
    /// It has bytes, has ended or was reset.
    Readable(u64),
    /// It takes bytes again.
    Writable(u64),
    /// The client has all of it.
    Finished(u64),
    /// The client wants no more of it.
    Stopped(u64),
}

/// Serves the connection until it ends. Returns the transport, which is closed or about to be.
pub(crate) async fn drive<Q: Quic>(client: Client, quic: Q) -> Q {
    let settings = client.admitted.shared.kept_settings();
    let endpoints = Rc::clone(&client.endpoints);
    let bodies = Rc::clone(&client.admitted.shared.bodies);
    let h3 = Connection::new(&limits(&settings.connection), endpoints, &bodies);
    let mut http3 = Http3 { h3, quic, end: None };
    let mut driver = Driver::new(client, &settings.connection);
    let ended = driver.run(&mut http3).await;
    let Http3 { mut quic, .. } = http3;
    quic.close(match ended {
        Ended::Fault(fault) => ErrorCode::of(fault),
        Ended::Closed | Ended::Protocol(_) | Ended::Io(_) => ErrorCode::NO_ERROR,
    });
    quic
}

/// Returns the limits of HTTP/3, which are those of HTTP/2.
fn limits(settings: &ConnectionSettings) -> hcrs_h3::Settings {
    let h2 = &settings.h2;
    hcrs_h3::Settings {
        max_concurrent_streams: h2.max_concurrent_streams,
        max_header_list_size: h2.max_header_list_size,
        max_fields: h2.max_fields,
        extended_connect: h2.extended_connect,
        stream_window: h2.stream_window as usize,
        connection_room: h2.connection_room,
        reset_burst: h2.reset_burst,
        reset_refill: h2.reset_refill,
        frame_burst: h2.frame_burst,
        frame_refill: h2.frame_refill,
    }
}

/// An HTTP/3 connection over its transport.
#[derive(Debug)]
struct Http3<Q> {
    h3: Connection,
    quic: Q,
    /// The end of the transport, which is reported once what arrived before is handled.
    end: Option<io::Result<()>>,
}

/// A turn of the connection.
struct Http3Turn<'a> {
    turn: Turn<'a>,
    end: &'a mut Option<io::Result<()>>,
}

impl<Q: Quic> multiplexed::Connection for Http3<Q> {
    type Controls = Connection;
    type Turn<'a>
        = Http3Turn<'a>
    where
        Self: 'a;

    fn receive(&mut self, now: Instant) -> Option<Rc<Endpoints>> {
        let h3 = &mut self.h3;
        self.quic.receive(now, |report| match report {
            StreamReport::Opened(id) => h3.opened(id),
            StreamReport::Readable(id) => h3.readable(id),
            StreamReport::Writable(id) => h3.writable(id),
            StreamReport::Finished(id) => h3.finished(id),
            StreamReport::Stopped(id) => h3.stopped(id),
        });
        if let Some(end) = self.quic.take_end() {
            self.end = Some(end);
        }
        let moved_to = self.quic.moved_to();
        if let Some(endpoints) = &moved_to {
            self.h3.set_endpoints(Rc::clone(endpoints));
        }
        moved_to
    }

    fn begin_turn<'a>(&'a mut self, fields: &ServerFields) -> Http3Turn<'a> {
        let Self { h3, quic, end } = self;
        Http3Turn { turn: h3.begin_turn(quic, &fields.streams), end }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        self.quic.poll_send(cx, now).map(Ok)
    }

    fn take_progress(&mut self) -> bool {
        // The socket is that of all connections. Whether this client takes anything is for the idle timeout.
        false
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Ready(());
        }
        let closed = self.h3.poll_close(&mut self.quic, cx, now);
        let _blocked = self.quic.poll_send(cx, now);
        closed
    }

    fn controls(&mut self) -> &mut Connection {
        &mut self.h3
    }

    fn look_after(&mut self, is_hungry: bool, now: Instant) {
        self.quic.look_after(is_hungry, now);
    }
}

impl Controls for Connection {
    fn fail(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        self.fail_with(key, fault, own);
    }

    fn graceful_shutdown(&mut self) {
        self.graceful_shutdown();
    }

    fn final_shutdown(&mut self) {
        self.final_shutdown();
    }

    fn abrupt_shutdown(&mut self, fault: Fault) {
        self.abrupt_shutdown(fault);
    }

    fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        self.stalled_since(instant)
    }

    fn due_at(&self, now: Instant) -> Option<Instant> {
        self.due_at(now)
    }

    fn awaits_head(&self) -> bool {
        self.awaits_settings()
    }

    fn oldest_head(&self) -> Option<Instant> {
        self.oldest_head()
    }

    fn refuse_heads(&mut self, since: Instant) {
        self.refuse_heads(since);
    }
}

impl multiplexed::Turn for Http3Turn<'_> {
    type Controls = Connection;

    fn controls(&mut self) -> &mut Connection {
        &mut self.turn
    }

    #[inline]
    fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        match self.turn.poll_event(cx, now) {
            Poll::Ready(Ok(event)) => Poll::Ready(Ok(event)),
            Poll::Ready(Err(ended)) => Poll::Ready(Err(ended.into())),
            Poll::Pending => match self.end.take() {
                Some(Ok(())) => Poll::Ready(Err(Ended::Closed)),
                Some(Err(error)) => Poll::Ready(Err(Ended::Io(error))),
                None => Poll::Pending,
            },
        }
    }

    fn send_interim(&mut self, key: StreamKey, head: &ResponseHead) -> Result<(), Fault> {
        self.turn.send_interim(key, head)
    }

    fn send_head(&mut self, key: StreamKey, head: &ResponseHead, end: bool) -> Result<bool, Fault> {
        self.turn.send_head(key, head, end)
    }

    fn send_data(&mut self, now: Instant, key: StreamKey, data: Bytes, end: bool) -> Result<Sent, Fault> {
        self.turn.send_data(now, key, data, end)
    }

    fn send_trailers(
        &mut self,
        now: Instant,
        key: StreamKey,
        trailers: &ResponseHead,
    ) -> Result<bool, Fault> {
        self.turn.send_trailers(now, key, trailers)
    }

    fn push(&mut self, _: StreamKey, head: RequestHead) -> Result<(), RequestHead> {
        // Browsers have given pushes up, and none has had them over HTTP/3.
        Err(head)
    }

    fn release(&mut self, key: StreamKey, len: usize) {
        self.turn.release(key, len);
    }

    fn open_window(&mut self, _: impl FnOnce() -> bool) {
        // A body that its app reads is always taken from the transport, which has a window of its own.
    }

    fn take_stalls(&mut self) -> u64 {
        self.turn.take_stalls()
    }

    fn end(self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        self.turn.end(cx, now);
        Poll::Ready(Ok(()))
    }
}

impl From<hcrs_h3::Ended> for Ended {
    fn from(ended: hcrs_h3::Ended) -> Self {
        match ended {
            hcrs_h3::Ended::Closed => Self::Closed,
            hcrs_h3::Ended::Protocol(code) => Self::Protocol(format!("HTTP/3 protocol error {code:?}")),
            hcrs_h3::Ended::Fault(fault) => Self::Fault(fault),
        }
    }
}
