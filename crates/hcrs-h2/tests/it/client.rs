//! An honest client, that of the `h2` crate, polled by hand beside the server.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, Response};

use crate::pipe::{End, pipe};
use crate::server::{App, Server, Wakes};
use hcrs_h2::{BodyRoom, Settings};

/// A client's connection and the server's beside it.
pub(crate) struct Pair {
    pub(crate) server: Server,
    send: SendRequest<Bytes>,
    connection: Pin<Box<dyn Future<Output = Result<(), h2::Error>>>>,
    woken: Arc<Wakes>,
}

impl Pair {
    pub(crate) fn new(app: App) -> Self {
        Self::with(&Settings::default(), &h2::client::Builder::new(), app)
    }

    pub(crate) fn with(settings: &Settings, builder: &h2::client::Builder, app: App) -> Self {
        Self::beside(&BodyRoom::new(settings.thread_room), settings, builder, app)
    }

    /// Creates a client's connection and the server's, with other connections in the room.
    pub(crate) fn beside(
        room: &Rc<BodyRoom>,
        settings: &Settings,
        builder: &h2::client::Builder,
        app: App,
    ) -> Self {
        let (ours, theirs): (End, End) = pipe();
        let counted = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counted));
        let handshake = pin!(builder.handshake(ours));
        let Poll::Ready(outcome) = handshake.poll(&mut Context::from_waker(&waker)) else {
            panic!("a client does not wait for the server's preface");
        };
        let (send, connection) = outcome.expect("a pipe that is open");
        let server = Server::beside(room, theirs, settings, app);
        let mut pair = Self { server, send, connection: Box::pin(connection), woken: counted };
        pair.run(std::future::ready(()));
        pair
    }

    /// Polls both ends until the client's `future` is done.
    pub(crate) fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        loop {
            self.woken.take();
            let outcome = future.as_mut().poll(&mut cx);
            let _open = self.connection.as_mut().poll(&mut cx);
            let polls = self.server.settle();
            let is_woken = self.woken.take() > 0;
            match outcome {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => assert!(is_woken || polls > 0, "both ends sleep: {:?}", self.server.seen),
            }
        }
    }

    /// Begins a request; `end` if it has no body.
    pub(crate) fn begin(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let ready = self.send.clone().ready();
        let mut send = self.run(ready).expect("an open connection");
        send.send_request(request, end).expect("a good request")
    }

    /// Sends a request without a body. Returns the response and its body.
    pub(crate) fn fetch(&mut self, request: Request<()>) -> Result<(Response<()>, Vec<u8>), h2::Error> {
        let (response, _) = self.begin(request, true);
        self.run(async {
            let (head, mut body) = response.await?.into_parts();
            let bytes = read_body(&mut body).await?;
            Ok((Response::from_parts(head, ()), bytes))
        })
    }
}

/// Reads a body to its end and opens the window as it goes.
pub(crate) async fn read_body(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Waits for two futures at a time.
pub(crate) async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(outcome) = one.as_mut().poll(cx)
        {
            first = Some(outcome);
        }
        if second.is_none()
            && let Poll::Ready(outcome) = other.as_mut().poll(cx)
        {
            second = Some(outcome);
        }
        if first.is_some() && second.is_some() {
            first.take().zip(second.take()).map_or(Poll::Pending, Poll::Ready)
        } else {
            Poll::Pending
        }
    })
    .await
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("https://example.com{path}")).body(()).expect("a good request")
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("https://example.com{path}")).body(()).expect("a good request")
}
