//! A thread's endpoint for QUIC: receives datagrams, finds their connections, and begins new ones.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hcrs_tls::TlsConfig;
use quinn_proto::{
    AcceptError, ConnectionError, ConnectionEvent, ConnectionHandle, DatagramEvent, EndpointEvent, Incoming,
    ServerConfig, Transmit,
};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::allowance::Allowance;
use super::config::{self, Windows};
use super::connection::Connection;
use super::ids::may_have_id_of_client;
use super::inbox::{Arrival, Inbox};
use super::keys::Keys;
use super::passing::{Passing, QuicListener};
use super::places::Places;
use super::retry::HandshakeRate;
use super::socket::{Datagram, Socket};
use crate::clock;
use crate::connection::admit;
use crate::exchange::mailbox::Mailbox;
use crate::state::{Phase, ThreadState};

/// The number of system calls for datagrams after which connections get their turn.
const RECEIVES_PER_TURN: usize = 8;

/// The number of datagrams of other threads after which connections get their turn.
const PASSED_PER_TURN: usize = 64;

/// The most connections that are over and still wait for late datagrams of their clients. Those of further ones
/// get a stateless reset.
const CLOSING: usize = 1024;

/// The most connections whose clients may send the bodies of all streams that they may open.
const WIDE: usize = 8;

/// The most connections that may keep much of their responses until their clients have acknowledged it.
const LARGE: usize = 32;

thread_local! {
    /// Where datagrams are written before they are sent.
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `with` with the buffer of the thread for datagrams that are to be sent, which is empty.
pub(super) fn with_output<R>(with: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut output = OUTPUT.take();
    output.clear();
    let result = with(&mut output);
    OUTPUT.set(output);
    result
}

/// The endpoint of a thread for one address.
pub(super) struct Endpoint {
    quic: RefCell<quinn_proto::Endpoint>,
    /// The connections, by their handles.
    inboxes: RefCell<Vec<Option<Rc<Inbox>>>>,
    pub socket: Socket,
    passing: Passing,
    pub tls: Arc<TlsConfig>,
    rate: RefCell<HandshakeRate>,
    /// The number of handshakes that are unfinished.
    handshakes: Cell<usize>,
    /// Places for connections that are over and not forgotten yet.
    pub closing: Rc<Places>,
    /// Places for connections with a wide window.
    pub wide: Rc<Places>,
    /// Places for connections with a large window of responses.
    pub large: Rc<Places>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Serves HTTP/3 at one address of the thread, until the task is aborted. When the thread drains it begins no more
/// connections.
pub(crate) async fn run(shared: Rc<ThreadState>, listener: QuicListener, tls: Arc<TlsConfig>) {
    let address = listener.address.clone();
    let QuicListener { socket, receives, passing, mut passed, .. } = listener;
    let endpoint = match Endpoint::open(&shared, socket, passing, tls) {
        Ok(endpoint) => Rc::new(endpoint),
        Err(error) => return tracing::error!("Cannot serve HTTP/3 on {address}: {error}"),
    };
    loop {
        tokio::select! {
            readable = endpoint.socket.readable(), if receives && !shared.is_succeeded.is_cancelled() => {
                if let Err(error) = readable.and_then(|()| endpoint.receive(&shared)) {
                    tracing::debug!("Cannot receive on {address}: {error}");
                }
                // The connections take what they have got.
                tokio::task::yield_now().await;
            }
            Some(datagram) = passed.recv() => {
                endpoint.take_passed(&shared, datagram, &mut passed);
                tokio::task::yield_now().await;
            }
            () = endpoint.socket.unblock() => {}
            () = shared.is_succeeded.cancelled(), if receives && !shared.is_succeeded.is_cancelled() => {}
        }
    }
}

impl Endpoint {
    fn open(
        shared: &ThreadState,
        socket: std::net::UdpSocket,
        passing: Passing,
        tls: Arc<TlsConfig>,
    ) -> io::Result<Self> {
        let socket = Socket::new(socket, &shared.metrics)?;
        let config = passing.keys.endpoint_config(passing.thread);
        let may_probe = !socket.may_fragment();
        let server = config::of_unknown_clients(&passing.keys, &tls).map_err(io::Error::other)?;
        Ok(Self {
            quic: RefCell::new(quinn_proto::Endpoint::new(
                Arc::new(config),
                Some(Arc::new(server)),
                may_probe,
                None,
            )),
            inboxes: RefCell::default(),
            socket,
            passing,
            tls,
            rate: RefCell::new(HandshakeRate::new(clock::now())),
            handshakes: Cell::new(0),
            closing: Places::new(CLOSING),
            wide: Places::new(WIDE),
            large: Places::new(LARGE),
        })
    }

    fn receive(self: &Rc<Self>, shared: &Rc<ThreadState>) -> io::Result<()> {
        let now = clock::now();
        for _ in 0..RECEIVES_PER_TURN {
            let received = self.socket.receive(|datagram| {
                if let Some(datagram) = self.passing.keep(datagram) {
                    self.handle(shared, datagram, now);
                }
            });
            match received {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes a datagram that another thread has received, and those behind it.
    fn take_passed(
        self: &Rc<Self>,
        shared: &Rc<ThreadState>,
        first: Datagram,
        passed: &mut mpsc::Receiver<Datagram>,
    ) {
        let now = clock::now();
        self.handle(shared, first, now);
        for _ in 1..PASSED_PER_TURN {
            let Ok(datagram) = passed.try_recv() else { return };
            self.handle(shared, datagram, now);
        }
    }

    fn handle(self: &Rc<Self>, shared: &Rc<ThreadState>, datagram: Datagram, now: Instant) {
        let Datagram { remote, local, ecn, bytes } = datagram;
        let (len, knows_id) = (bytes.len(), !may_have_id_of_client(&bytes));
        let event = with_output(|output| {
            let event = self.quic.borrow_mut().handle(now, remote, local, ecn, bytes, output);
            match event {
                Some(DatagramEvent::Response(transmit)) => {
                    let _sent_or_lost = self.socket.send(&transmit, output);
                    None
                }
                event => event,
            }
        });
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(Some(inbox)) = self.inboxes.borrow().get(handle.0) {
                    inbox.push(Arrival { source: remote, len, knows_id, event });
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.begin(shared, incoming, len, now),
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Begins a connection in a task of its own, unless there are too many.
    fn begin(self: &Rc<Self>, shared: &Rc<ThreadState>, incoming: Incoming, len: usize, now: Instant) {
        let is_proven = incoming.remote_address_validated();
        if shared.is_succeeded.is_cancelled() {
            // The client tries again, and the successor gets that.
            return self.quic.borrow_mut().ignore(incoming);
        }
        if shared.phase() != Phase::Serving {
            return self.refuse(incoming);
        }
        if !is_proven && self.rate.borrow_mut().needs_proof(self.handshakes.get(), now) {
            return self.ask_for_proof(incoming);
        }
        let Some(admitted) = admit::admit(shared) else { return self.refuse(incoming) };
        let arriving = Arriving::new(Rc::clone(self), incoming, len);
        spawn_local(super::serve(admitted, arriving));
    }

    fn refuse(&self, incoming: Incoming) {
        self.respond(|quic, output| Some(quic.refuse(incoming, output)));
    }

    fn ask_for_proof(&self, incoming: Incoming) {
        self.respond(|quic, output| match quic.retry(incoming, output) {
            Ok(transmit) => Some(transmit),
            // Its token is of another kind.
            Err(error) => Some(quic.refuse(error.into_incoming(), output)),
        });
    }

    fn respond(&self, respond: impl FnOnce(&mut quinn_proto::Endpoint, &mut Vec<u8>) -> Option<Transmit>) {
        with_output(|output| {
            if let Some(transmit) = respond(&mut self.quic.borrow_mut(), output) {
                let _sent_or_lost = self.socket.send(&transmit, output);
            }
        });
    }

    /// Returns the keys of the process.
    pub(super) fn keys(&self) -> &Keys {
        &self.passing.keys
    }

    /// Passes on what a connection reports; its answer is for the connection.
    pub(super) fn handle_event(
        &self,
        handle: ConnectionHandle,
        event: EndpointEvent,
    ) -> Option<ConnectionEvent> {
        self.quic.borrow_mut().handle_event(handle, event)
    }

    fn insert(&self, handle: ConnectionHandle, inbox: &Rc<Inbox>) {
        let mut inboxes = self.inboxes.borrow_mut();
        if inboxes.len() <= handle.0 {
            inboxes.resize_with(handle.0 + 1, || None);
        }
        inboxes[handle.0] = Some(Rc::clone(inbox));
    }

    /// Forgets a connection. Its handle may be that of another one from now on.
    pub(super) fn remove(&self, handle: ConnectionHandle) {
        if let Some(inbox) = self.inboxes.borrow_mut().get_mut(handle.0) {
            *inbox = None;
        }
    }
}

/// The first datagram of a connection, until it is accepted or ignored, and its handshake until that is over.
#[derive(Debug)]
pub(super) struct Arriving {
    endpoint: Rc<Endpoint>,
    incoming: Option<Incoming>,
    /// The length of that datagram.
    len: usize,
}

impl Arriving {
    fn new(endpoint: Rc<Endpoint>, incoming: Incoming, len: usize) -> Self {
        endpoint.handshakes.set(endpoint.handshakes.get() + 1);
        Self { endpoint, incoming: Some(incoming), len }
    }

    pub(super) fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// Accepts the connection with this configuration. `mailbox` wakes its task.
    pub(super) fn accept(
        &mut self,
        server: ServerConfig,
        windows: Windows,
        mailbox: &Rc<Mailbox>,
    ) -> Result<Connection, ConnectionError> {
        let incoming = self.incoming.take().expect("invariant: a connection is accepted once");
        let endpoint = &self.endpoint;
        let proven = incoming.remote_address_validated().then_some(incoming.remote_address());
        with_output(|output| {
            let accepted =
                endpoint.quic.borrow_mut().accept(incoming, clock::now(), output, Some(Arc::new(server)));
            match accepted {
                Ok((handle, quic)) => {
                    let inbox = Rc::new(Inbox::new(Rc::clone(mailbox)));
                    endpoint.insert(handle, &inbox);
                    // Further datagrams may have waited with the first one.
                    let further = usize::try_from(quic.stats().udp_rx.bytes).unwrap_or(usize::MAX);
                    let allowance = Allowance::new(proven, self.len.saturating_add(further));
                    Ok(Connection::new(Rc::clone(endpoint), (handle, quic), inbox, windows, allowance))
                }
                Err(AcceptError { cause, response }) => {
                    if let Some(transmit) = response {
                        let _sent_or_lost = endpoint.socket.send(&transmit, output);
                    }
                    Err(cause)
                }
            }
        })
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.endpoint.handshakes.set(self.endpoint.handshakes.get() - 1);
        if let Some(incoming) = self.incoming.take() {
            self.endpoint.quic.borrow_mut().ignore(incoming);
        }
    }
}
