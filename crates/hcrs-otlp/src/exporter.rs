//! The thread that exports spans, and what each edge thread gathers for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{OtlpSettings, Span};

/// The most requests in a batch of an edge thread.
const BATCH: usize = 64;
/// The most batches that may wait for the thread: with the longest texts 5 MB.
const QUEUE: usize = 64;
/// How long a batch may wait for more requests.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// How long the end of a run waits for spans to be exported.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The numbers of requests whose spans were exported, and were not.
#[derive(Debug, Default)]
pub struct SpanTotals {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl SpanTotals {
    /// Returns the number of requests whose spans the collector has taken.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Returns the number of requests whose spans were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
#[cfg_attr(not(feature = "export"), expect(dead_code, reason = "no thread reads it"))]
enum Message {
    Requests(Vec<Span>),
    Close,
}

/// The handle of the exporting thread, owned by the run.
#[derive(Debug)]
pub struct Exporter {
    queue: SyncSender<Message>,
    closed: Receiver<()>,
    totals: Arc<SpanTotals>,
}

impl Exporter {
    /// Starts the thread; `None` if the settings name no collector.
    pub fn start(settings: &OtlpSettings) -> io::Result<Option<Self>> {
        if settings.endpoint.is_none() {
            return Ok(None);
        }
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let (at_end, closed) = mpsc::sync_channel(1);
        let totals = Arc::<SpanTotals>::default();
        let run = export::exporting(settings, Arc::clone(&totals))?;
        thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            run(messages);
            let _too_late = at_end.send(());
        })?;
        Ok(Some(Self { queue, closed, totals }))
    }

    /// Returns an edge thread's sender.
    pub fn sender(&self) -> SpanSender {
        let (queue, totals) = (self.queue.clone(), Arc::clone(&self.totals));
        SpanSender { queue, totals, batch: Vec::new(), since: None }
    }

    /// Returns the numbers of requests that were exported and dropped.
    pub fn totals(&self) -> &Arc<SpanTotals> {
        &self.totals
    }

    /// Exports what is queued, for two seconds at most, and ends the thread.
    pub fn close(self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Close) {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _too_slow = self.closed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// One edge thread's batch.
#[derive(Debug)]
pub struct SpanSender {
    queue: SyncSender<Message>,
    totals: Arc<SpanTotals>,
    batch: Vec<Span>,
    /// When the batch got its first request, as noted by `flush_due`.
    since: Option<Instant>,
}

impl SpanSender {
    /// Adds a request that is over.
    pub fn record(&mut self, request: Span) {
        self.batch.push(request);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Whether requests wait to be sent to the exporting thread.
    pub fn is_waiting(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Sends the batch to the exporting thread if it has waited long enough. Call it about every 100 ms.
    pub fn flush_due(&mut self, now: Instant) {
        if self.is_waiting() && now.saturating_duration_since(*self.since.get_or_insert(now)) >= BATCH_AGE {
            self.flush();
        }
    }

    /// Sends the batch to the exporting thread.
    pub fn flush(&mut self) {
        self.since = None;
        let batch = std::mem::take(&mut self.batch);
        let len = batch.len() as u64;
        if len > 0 && self.queue.try_send(Message::Requests(batch)).is_err() {
            self.totals.dropped.fetch_add(len, Ordering::Relaxed);
        }
    }
}

impl Drop for SpanSender {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(not(feature = "export"))]
mod export {
    use super::{Arc, Message, OtlpSettings, Receiver, SpanTotals, io};

    /// Fails: the export is left out.
    pub(super) fn exporting(
        _: &OtlpSettings,
        _: Arc<SpanTotals>,
    ) -> io::Result<impl FnOnce(Receiver<Message>) + Send + use<>> {
        let error = io::Error::new(io::ErrorKind::Unsupported, "hcrs was built without its feature otlp");
        Err::<fn(Receiver<Message>), _>(error)
    }
}

#[cfg(feature = "export")]
mod export {
    use std::hash::RandomState;
    use std::sync::mpsc::RecvTimeoutError;

    use super::{Arc, Duration, Instant, Message, Ordering, OtlpSettings, Receiver, Span, SpanTotals, io};
    use crate::client::Client;
    use crate::json::{Resource, encode};

    /// How long requests wait for others before they are exported.
    const EXPORT_AGE: Duration = Duration::from_secs(1);
    /// The number of requests that are exported without waiting for others.
    const EXPORT_SIZE: usize = 512;
    /// How long an export may take, from the connection to the answer.
    const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The shortest time between two complaints about a collector.
    const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

    /// Returns the work of the exporting thread.
    pub(super) fn exporting(
        settings: &OtlpSettings,
        totals: Arc<SpanTotals>,
    ) -> io::Result<impl FnOnce(Receiver<Message>) + Send + use<>> {
        let endpoint = settings.endpoint.clone().ok_or(io::ErrorKind::NotFound)?;
        let resource = Resource { service_name: settings.service_name.clone(), pid: std::process::id() };
        let mut exports = Exports {
            client: Client::new(endpoint)?,
            resource,
            totals,
            keys: RandomState::new(),
            complained_at: None,
        };
        Ok(move |messages: Receiver<Message>| exports.run(&messages))
    }

    struct Exports {
        client: Client,
        resource: Resource,
        totals: Arc<SpanTotals>,
        keys: RandomState,
        complained_at: Option<Instant>,
    }

    impl Exports {
        /// Exports requests until the run ends.
        fn run(&mut self, messages: &Receiver<Message>) {
            let mut waiting = Vec::new();
            let mut due = None::<Instant>;
            loop {
                let message = match due {
                    None => messages.recv().map_err(RecvTimeoutError::from),
                    Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
                };
                let goes_on = match message {
                    Ok(Message::Requests(requests)) => {
                        waiting.extend(requests);
                        let due = *due.get_or_insert_with(|| Instant::now() + EXPORT_AGE);
                        if waiting.len() < EXPORT_SIZE && Instant::now() < due {
                            continue;
                        }
                        true
                    }
                    Err(RecvTimeoutError::Timeout) => true,
                    Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => false,
                };
                self.export(&waiting);
                waiting.clear();
                due = None;
                if !goes_on {
                    return;
                }
            }
        }

        fn export(&mut self, requests: &[Span]) {
            if requests.is_empty() {
                return;
            }
            let len = requests.len() as u64;
            let body = encode(&self.resource, requests, &self.keys);
            match self.client.post(&body, Instant::now() + EXPORT_TIMEOUT) {
                Ok(()) => drop(self.totals.exported.fetch_add(len, Ordering::Relaxed)),
                Err(error) => {
                    self.totals.dropped.fetch_add(len, Ordering::Relaxed);
                    if self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                        self.complained_at = Some(Instant::now());
                        let (endpoint, dropped) = (&self.client.endpoint, self.totals.dropped());
                        tracing::warn!(
                            "Spans cannot be exported to {endpoint}: {error}; those of {dropped} requests are lost \
                             so far"
                        );
                    }
                }
            }
        }
    }
}

#[cfg(feature = "export")]
#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::Endpoint;
    use crate::client::tests::serve_one;
    use crate::span::tests::span;

    fn start(listener: &TcpListener) -> Exporter {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let endpoint = Endpoint::parse(&url);
        Exporter::start(&OtlpSettings { endpoint, ..OtlpSettings::default() }).unwrap().unwrap()
    }

    #[test]
    fn what_waits_at_the_end_is_exported() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exporter = start(&listener);
        let mut sender = exporter.sender();
        let start = Instant::now();
        sender.record(span());
        sender.flush_due(start);
        assert!(sender.is_waiting(), "young batches wait");
        sender.flush_due(start + BATCH_AGE);
        assert!(!sender.is_waiting(), "old ones go");
        sender.record(span());
        drop(sender);
        let totals = Arc::clone(exporter.totals());
        let served =
            thread::spawn(move || serve_one(&listener, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        exporter.close();
        let body = served.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&body).matches("\"kind\":2").count(), 2);
        assert_eq!((totals.exported(), totals.dropped()), (2, 0));
    }

    #[test]
    fn a_collector_that_does_not_answer_holds_nothing_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exporter = start(&listener);
        let mut sender = exporter.sender();
        let start = Instant::now();
        for _ in 0..BATCH * (QUEUE * 2 + 512) {
            sender.record(span());
        }
        assert!(start.elapsed() < Duration::from_secs(5), "nothing waits");
        assert!(exporter.totals().dropped() > 0 && exporter.totals().exported() == 0);
        let closing = Instant::now();
        exporter.close();
        assert!(closing.elapsed() < CLOSE_TIMEOUT + Duration::from_secs(1));
    }

    #[test]
    fn what_the_collector_refuses_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exporter = start(&listener);
        let totals = Arc::clone(exporter.totals());
        exporter.sender().record(span());
        let served =
            thread::spawn(move || serve_one(&listener, b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"));
        exporter.close();
        served.join().unwrap();
        assert_eq!((totals.exported(), totals.dropped()), (0, 1));
    }

    #[test]
    fn without_an_endpoint_there_is_no_thread() {
        assert!(Exporter::start(&OtlpSettings::default()).unwrap().is_none());
    }
}
