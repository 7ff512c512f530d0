//! A request in flight, as its connection sees it, and its record in the access log when it is over.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use hcrs_http::{Blame, Fault, Field, RequestView, ResponseHead, Scheme, Version, response_content_length};
use hcrs_log::{AccessEntry, AccessLog};
use hcrs_otlp::Span;

use crate::client::Client;
use crate::exchange::Exchange;
use crate::labels::Label;
use crate::state::{FailedRequest, ThreadState};

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) exchange: Rc<Exchange>,
    /// When a byte of the body last arrived, or the app took the last one.
    pub(super) body_at: Instant,
    stream: Option<u64>,
    arrived: Instant,
    /// The response's status, once its head was sent.
    status: Option<u16>,
    head_at: Option<Instant>,
    fault: Option<Fault>,
    content_length: Option<u64>,
    /// The values of the response's fields that the access log shows.
    response_fields: Vec<Option<Box<[u8]>>>,
    bytes_sent: u64,
    bytes_received: u64,
}

impl InFlight {
    /// Returns a request that has just arrived, on the stream with this number if the protocol has streams.
    pub(super) fn new(exchange: Rc<Exchange>, stream: Option<u64>, now: Instant) -> Self {
        Self {
            exchange,
            body_at: now,
            stream,
            arrived: now,
            status: None,
            head_at: None,
            fault: None,
            content_length: None,
            response_fields: Vec::new(),
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// Passes bytes of the request's body to the exchange; the last ones if `end`.
    pub(super) fn receive(&mut self, data: Bytes, end: bool, now: Instant) {
        self.body_at = now;
        self.bytes_received += data.len() as u64;
        self.exchange.push_body(data, end);
    }

    /// Whether the app waits for the body and the client has sent none of it for `limit`.
    pub(super) fn is_body_overdue(&self, limit: Duration, now: Instant) -> bool {
        self.exchange.needs_body() && now.saturating_duration_since(self.body_at) >= limit
    }

    /// Passes bytes of a WebSocket to the exchange, which takes all of them.
    pub(super) fn receive_switched(&mut self, input: &mut BytesMut, now: Instant) {
        self.body_at = now;
        self.bytes_received += input.len() as u64;
        self.exchange.push_switched(input);
    }

    /// Returns the head of the response with the labels of the request and the changes of the rules.
    pub(super) fn labelled(&self, head: ResponseHead, shared: &ThreadState) -> ResponseHead {
        let head = match self.exchange.rules() {
            Some(rules) => self.exchange.with_head(|request| {
                let is_https = request.is_some_and(|request| request.scheme == Scheme::Https);
                rules.changed_head(head, is_https)
            }),
            None => head,
        };
        let Some(labels) = &shared.labels else { return head };
        let labelled = |request: Option<RequestView<'_>>| labels.label_response(&request?, &head);
        self.exchange.with_head(labelled).unwrap_or(head)
    }

    /// Calls `with` with the field of the response to a fault that has the id of the request.
    pub(super) fn with_own_field(&self, shared: &ThreadState, with: impl FnOnce(Option<Field<'_>>)) {
        let Some(labels) = &shared.labels else { return with(None) };
        self.exchange.with_head(|request| match request {
            Some(request) => with(labels.response_field(&request)),
            None => with(None),
        });
    }

    /// Notes that the response's head was sent.
    pub(super) fn note_head(&mut self, head: &ResponseHead, shared: &ThreadState, now: Instant) {
        self.status = Some(head.status());
        self.head_at = Some(now);
        let access = shared.access.borrow();
        let Some(format) = access.as_ref().map(AccessLog::format) else { return };
        if format.shows_length() {
            let length = head.fields().first(b"content-length");
            self.content_length = length.and_then(response_content_length).map(|(length, _)| length);
        }
        // Copied, because slices would keep everything alive that arrived with the head for as long as the
        // response takes.
        let value = |name: &[u8]| head.fields().first(name).map(Box::from);
        self.response_fields = format.response_fields().map(value).collect();
    }

    /// Notes that `len` bytes of the response's body were sent.
    pub(super) fn note_sent(&mut self, len: usize) {
        self.bytes_sent += len as u64;
    }

    /// Answers a fault as the rules say, if they do and no head was sent. The response is the next output then.
    #[must_use]
    pub(super) fn answer_fault(&self, fault: Fault) -> bool {
        self.status.is_none() && self.exchange.answer_fault(fault)
    }

    /// Whether the time for the response has passed.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.exchange.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Notes that the exchange ends with a fault, which was answered if no head was sent before.
    pub(super) fn note_fault(&mut self, fault: Fault) {
        self.status.get_or_insert(fault.status());
        self.fault.get_or_insert(fault);
    }

    /// Ends the exchange because its connection ends, or because the client has reset its stream.
    pub(super) fn cut(mut self, client: &Client, fault: Fault, now: Instant) -> Option<Vec<u8>> {
        self.fault.get_or_insert(fault);
        self.finish(client, now)
    }

    /// Ends the exchange at the connection: abandons it at the worker if that has not ended it, and records
    /// it. Returns the head's block for another request.
    pub(super) fn finish(self, client: &Client, now: Instant) -> Option<Vec<u8>> {
        // A WebSocket has been sent a Close frame, and only lacks the client's: nothing is lost.
        let is_request = !self.exchange.is_open_websocket();
        self.exchange.abandon();
        let head = self.exchange.take_head()?;
        let fault = self.fault();
        let shared = &client.admitted.shared;
        let label = shared.labels.as_ref().map(|labels| labels.of(&head.view())).unwrap_or_default();
        if let Some(fault) = fault {
            let failed =
                FailedRequest { connection: client.serial, stream: self.stream, id: label.request_id };
            shared.note_fault(failed, fault);
            if fault == Fault::DrainTimeout && is_request {
                shared.note_cut();
            }
        }
        if shared.spans.borrow().is_some() {
            self.record_span(client, &head.view(), label, now);
        }
        shared.end_request(&self.exchange, self.status, self.head_at, now);
        if shared.keeps_record() {
            let view = head.view();
            let sent_to = self.exchange.sent_to();
            let is_bodiless = view.method == b"HEAD" || matches!(self.status, Some(204 | 304));
            let since_arrival = |at: Instant| at.saturating_duration_since(self.arrived);
            let entry = AccessEntry {
                status: self.status,
                content_length: self.content_length,
                response_fields: &self.response_fields,
                bytes_sent: if is_bodiless { 0 } else { self.bytes_sent },
                bytes_received: self.bytes_received,
                duration: since_arrival(now),
                queue_time: sent_to.map(|sent| since_arrival(sent.at)),
                head_time: self.head_at.map(since_arrival),
                worker: sent_to.map(|sent| sent.worker.pid),
                request_id: label.request_id,
                trace: label.trace,
                fault,
                ..entry(client, &view, self.stream)
            };
            let is_logged = self.exchange.rules().and_then(|rules| rules.access_log).unwrap_or(true);
            shared.record(&entry, is_logged);
        }
        Some(head.into_block())
    }
}

impl InFlight {
    /// Returns the fault that has ended the exchange, also if rules have changed the response to it.
    fn fault(&self) -> Option<Fault> {
        self.fault.or(self.exchange.answered_fault())
    }

    /// Records the request as a span of its trace if that is sampled. Answers that the edge has made by itself
    /// are of no trace but for refusals.
    fn record_span(&self, client: &Client, head: &RequestView<'_>, label: Label<'_>, now: Instant) {
        let fault = self.fault();
        let sent_to = self.exchange.sent_to();
        let is_of_app = sent_to.is_some() || fault.is_some();
        let Some(trace) = label.trace.filter(|trace| trace.is_sampled() && is_of_app) else { return };
        let (Ok(trace_id), Ok(id)) = (trace.trace_id.try_into(), trace.span_id.try_into()) else { return };
        let since_arrival = |at: Instant| at.saturating_duration_since(self.arrived);
        let duration = since_arrival(now);
        let is_servers = |fault: Fault| fault.blame() != Blame::Peer;
        client.admitted.shared.record_span(Span {
            trace_id,
            id,
            parent: self.exchange.parent_span(),
            start: SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH),
            duration,
            queue: sent_to.map(|sent| since_arrival(sent.at)),
            head: self.head_at.map(since_arrival),
            method: Span::text(head.method),
            path: Span::text(head.path),
            host: Span::text(head.fields().first(b"host").unwrap_or_default()),
            scheme: head.scheme.as_str(),
            version: head.version.as_str(),
            status: self.status,
            fault: fault.map(Fault::counter),
            is_error: fault.is_some_and(is_servers) || self.status.is_some_and(|status| status >= 500),
            worker: sent_to.map(|sent| sent.worker.pid),
        });
    }
}

/// Records an HTTP/1.1 request that was refused before its head was complete; `input` begins with its bytes.
pub(super) fn record_unread(client: &Client, input: &[u8], fault: Fault, duration: Duration) {
    let shared = &client.admitted.shared;
    shared.note_fault(FailedRequest { connection: client.serial, stream: None, id: None }, fault);
    shared.end_unread(fault, duration);
    if !shared.keeps_record() {
        return;
    }
    let line = input.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let words = (words.next(), words.next(), words.next().and_then(|word| word.strip_prefix(b"HTTP/")));
    let (method, target, version) = match words {
        (Some(method), Some(target), Some(version)) => (method, target, version),
        // There is not even a request line, so the bytes are logged in the path's place.
        _ => (&b""[..], line, &b""[..]),
    };
    let mut parts = target.splitn(2, |&byte| byte == b'?');
    let entry = AccessEntry {
        client: client.endpoints.client(),
        scheme: client.scheme,
        protocol: protocol(Version::Http11),
        connection: client.serial,
        stream: None,
        method,
        path: parts.next().unwrap_or_default(),
        query: parts.next().unwrap_or_default(),
        version,
        fields: None,
        status: Some(fault.status()),
        content_length: None,
        response_fields: &[],
        bytes_sent: 0,
        bytes_received: 0,
        duration,
        queue_time: None,
        head_time: None,
        worker: None,
        request_id: None,
        trace: None,
        fault: Some(fault),
    };
    let is_logged = shared.settings().routes.rules(None).access_log.unwrap_or(true);
    shared.record(&entry, is_logged);
}

/// Returns a log entry with the facts of a request's head and none of its response.
fn entry<'a>(client: &'a Client, view: &RequestView<'a>, stream: Option<u64>) -> AccessEntry<'a> {
    AccessEntry {
        // The peer's address, whatever a proxy's fields name.
        client: client.endpoints.client(),
        scheme: client.scheme,
        protocol: protocol(view.version),
        connection: client.serial,
        stream,
        method: view.method,
        path: view.path,
        query: view.query,
        version: view.version.as_str().as_bytes(),
        fields: Some(view.fields()),
        status: None,
        content_length: None,
        response_fields: &[],
        bytes_sent: 0,
        bytes_received: 0,
        duration: Duration::ZERO,
        queue_time: None,
        head_time: None,
        worker: None,
        request_id: None,
        trace: None,
        fault: None,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http10 => "http/1.0",
        Version::Http11 => "http/1.1",
        Version::Http2 => "h2",
        Version::Http3 => "h3",
    }
}
