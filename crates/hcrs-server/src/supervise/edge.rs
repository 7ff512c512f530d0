//! The edge threads as the supervisor uses them: it sends them orders and notices when one ends.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hcrs_log::{AccessLog, LogWriter, Statsd, StatsdTarget};
use hcrs_metrics::ThreadSnapshot;
use hcrs_otlp::Exporter;
use hcrs_tls::TlsConfig;
use socket2::Socket;
use tokio::sync::{mpsc, oneshot};

use super::event::Event;
use crate::Settings;
use crate::bind::BoundListener;
use crate::bind::udp::BoundUdp;
use crate::connection::quic;
use crate::origin::admin::Port;
use crate::origin::health::Readiness;
use crate::state::Records;
use crate::thread::control::{Control, LinkEnd, Report};
use crate::thread::{self, EdgeThread, ThreadSetup};

/// The most reports of one thread that may wait for the supervisor.
const REPORTS: usize = 64;
/// The most commands of the admin interface that may wait for the supervisor.
const CALLS: usize = 16;
/// The most connections to the admin interface.
const ADMIN_CONNECTIONS: usize = 32;
/// How long a thread may take to make room for an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the threads may take to end when they have nothing left to do.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the edge threads record requests.
#[derive(Debug)]
pub(super) struct Outlets<'a> {
    /// The access log, if there is one.
    pub access_log: Option<&'a LogWriter>,
    /// The target of metrics, if there is one.
    pub statsd: Option<StatsdTarget>,
    /// The exporter of spans, if there is one.
    pub exporter: Option<&'a Exporter>,
    /// Whether requests should be sent to the server, for the answers to probes.
    pub readiness: Arc<Readiness>,
}

/// The bound sockets that the edge threads get.
#[derive(Debug)]
pub(super) struct Sockets {
    /// The listeners of each thread.
    pub listeners: Vec<Vec<BoundListener>>,
    /// The sockets for HTTP/3.
    pub quic: Vec<BoundUdp>,
    /// The way for datagrams of the predecessor's connections.
    pub to_predecessor: Option<Socket>,
}

/// All edge threads.
#[derive(Debug)]
pub(super) struct Edge {
    /// The threads by number; `None` once one has ended.
    threads: Vec<Option<EdgeThread>>,
    /// The thread of the admin interface, if there is one.
    admin: Option<EdgeThread>,
}

impl Edge {
    /// Starts a thread for each list of listeners. Their reports, and their end, become events.
    pub(super) fn start(
        settings: &Arc<Settings>,
        tls: Option<&Arc<TlsConfig>>,
        sockets: Sockets,
        outlets: &Outlets<'_>,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let Sockets { listeners, quic, to_predecessor } = sockets;
        let quic_port = quic.first().and_then(BoundUdp::port);
        let quic = quic::listeners(quic, listeners.len(), to_predecessor)?;
        let mut threads = Vec::with_capacity(listeners.len());
        let rules = Arc::default();
        for (index, (listeners, quic)) in listeners.into_iter().zip(quic).enumerate() {
            let (reports, mut reported) = mpsc::channel(REPORTS);
            let thread = thread::start(ThreadSetup {
                index,
                settings: Arc::clone(settings),
                tls: tls.cloned(),
                listeners,
                quic,
                quic_port,
                reports,
                records: Records {
                    access: outlets.access_log.map(|writer| AccessLog::new(writer, &settings.log)),
                    statsd: outlets.statsd.clone().map(Statsd::new),
                    spans: outlets.exporter.map(Exporter::sender),
                },
                readiness: Arc::clone(&outlets.readiness),
                rules: Arc::clone(&rules),
                admin: None,
            })?;
            threads.push(Some(thread));
            let events = events.clone();
            tokio::spawn(async move {
                while let Some(report) = reported.recv().await {
                    let event = match report {
                        Report::Worker(id, event) => Event::Worker(id, event),
                        Report::Drained { cut } => Event::Drained { thread: index, cut },
                    };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                // The thread held the only other end.
                let _supervisor_gone = events.send(Event::ThreadEnded(index)).await;
            });
        }
        Ok(Self { threads, admin: None })
    }

    /// Starts the thread of the admin interface, which serves at once. Its commands become events.
    pub(super) async fn start_admin(
        &mut self,
        settings: &Settings,
        listener: BoundListener,
        outlets: &Outlets<'_>,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<()> {
        let address = listener.address.clone();
        let (port, mut calls) = mpsc::channel(CALLS);
        // None is sent: it has no workers, and ends with the process.
        let (reports, _) = mpsc::channel(REPORTS);
        let mut own =
            Settings { health: settings.health.clone(), backlog: settings.backlog, ..Settings::default() };
        own.connection.max_connections = ADMIN_CONNECTIONS;
        let thread = thread::start(ThreadSetup {
            index: self.threads.len(),
            settings: Arc::new(own),
            tls: None,
            listeners: vec![listener],
            quic: Vec::new(),
            quic_port: None,
            reports,
            records: Records::default(),
            readiness: Arc::clone(&outlets.readiness),
            rules: Arc::default(),
            admin: Some(Port(port)),
        })?;
        // The thread has an empty queue.
        let _sent = thread.control.send(Control::Accept).await;
        let events = events.clone();
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                if events.send(Event::Call(call)).await.is_err() {
                    return;
                }
            }
        });
        self.admin = Some(thread);
        tracing::info!("The admin interface is at {address}");
        Ok(())
    }

    /// Ends the thread of the admin interface, which a successor serves from now on.
    pub(super) fn end_admin(&mut self) {
        // It ends when its queue is closed.
        self.admin = None;
    }

    /// Asks each thread for its metrics.
    pub(super) fn snapshots(&self) -> Vec<oneshot::Receiver<ThreadSnapshot>> {
        let ask = |thread: &EdgeThread| {
            let (reply, snapshot) = oneshot::channel();
            // A thread that does not take orders does not reply either.
            let _stuck = thread.control.try_send(Control::Snapshot(reply));
            snapshot
        };
        self.threads.iter().flatten().map(ask).collect()
    }

    /// Waits until each thread has carried out the orders before; one that hangs is not awaited for long.
    pub(super) async fn settle(&self) {
        for snapshot in self.snapshots() {
            // A thread replies in the order of its orders.
            let _hangs = tokio::time::timeout(ORDER_TIMEOUT, snapshot).await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether the thread has not ended.
    pub(super) fn is_alive(&self, index: usize) -> bool {
        self.threads[index].is_some()
    }

    /// Sends every thread the same order.
    pub(super) async fn send_all(&self, mut order: impl FnMut() -> Control) {
        for index in 0..self.threads.len() {
            self.send(index, order()).await;
        }
    }

    /// Sends each thread its link to a new worker.
    pub(super) async fn attach(&self, links: Vec<LinkEnd>) {
        for (index, end) in links.into_iter().enumerate() {
            self.send(index, Control::Attach(end)).await;
        }
    }

    async fn send(&self, index: usize, order: Control) {
        let Some(thread) = &self.threads[index] else { return };
        // A thread that has ended reports that itself.
        let send = thread.control.send_timeout(order, ORDER_TIMEOUT).await;
        if let Err(mpsc::error::SendTimeoutError::Timeout(order)) = send {
            tracing::error!("Edge thread {index} is not responding: {order:?} was not delivered");
        }
    }

    /// Notes that a thread has ended. Returns the message of its panic, if it panicked.
    pub(super) fn ended(&mut self, index: usize) -> Option<String> {
        let thread = self.threads[index].take()?;
        drop(thread.control);
        thread.handle.join().err().map(|panic| panic_text(panic.as_ref()))
    }

    /// Ends the threads, and waits for them briefly. Log lines that they have not written by then are lost.
    pub(super) async fn end(&mut self) {
        let handles: Vec<_> = self
            .threads
            .iter_mut()
            .chain([&mut self.admin])
            .filter_map(Option::take)
            .map(|thread| thread.handle)
            .collect();
        let (all_ended, ended) = oneshot::channel();
        // Not a blocking task: at its end the runtime would wait for it indefinitely.
        let joining = std::thread::Builder::new().name("edge-end".to_owned()).spawn(move || {
            for handle in handles {
                let _panic_at_the_end = handle.join();
            }
            let _nobody_waits = all_ended.send(());
        });
        if joining.is_ok() {
            let _late = tokio::time::timeout(END_TIMEOUT, ended).await;
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic without a text").to_owned()
}
