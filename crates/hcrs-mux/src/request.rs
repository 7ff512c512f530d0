//! Heads of requests: fields are checked as they are decoded, and written into the form in which a head
//! crosses the edge.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::rc::Rc;

use hcrs_http::{
    Endpoints, Fault, METHOD_MAX, Priority, RequestHead, RequestLine, ResponseHead, ResponseHeadWriter,
    Scheme, Version, base64, is_authority, is_trailer_name, request_content_length,
};

use crate::field::{Field, Form, Name};
use crate::path::{BadPath, Target};
use crate::{ENTRY_COST, spare};

/// The limits of requests, and the facts that the requests of a connection share.
#[derive(Debug)]
pub struct Checks {
    /// The protocol of the connection.
    pub version: Version,
    /// The scheme of the connection.
    pub scheme: Scheme,
    /// The addresses of the connection.
    pub endpoints: Rc<Endpoints>,
    /// Most fields of a request, with each cookie crumb and repeat.
    pub max_fields: usize,
    /// Most bytes of a header list, with [`ENTRY_COST`] more for each field.
    pub max_list_size: usize,
    /// Whether clients may ask for a WebSocket by extended CONNECT.
    pub extended_connect: bool,
}

/// Multiple of the limit of a header list from which on the connection ends: a client that sends that much
/// ignores the limit.
const FAR_BEYOND: usize = 4;

/// The head of a request, once its last field was read.
#[derive(Debug)]
pub enum Decoded {
    /// A request that can be served.
    Request(Request),
    /// A request that is answered with a fault's response, and its head as far as it can be represented.
    Refused(RequestHead, Fault),
    /// The request is malformed (RFC 9113 §8.1.1, RFC 9114 §4.1.2): its stream is reset.
    Malformed,
    /// A field has bytes that no field may have: the connection ends.
    Broken,
    /// The header list is far larger than the limit that was announced: the connection ends.
    Excessive,
}

/// A request that can be served.
#[derive(Debug)]
pub struct Request {
    /// The request's head.
    pub head: RequestHead,
    /// The request's method is HEAD.
    pub is_head: bool,
    /// The length of the body, if it was announced.
    pub length: Option<u64>,
    /// The priority of the response, if the request has a field for it.
    pub priority: Option<Priority>,
}

/// A reader of one request's fields.
#[derive(Debug)]
pub struct RequestReader<'c> {
    checks: &'c Checks,
    /// The pseudo-header fields' values, one after another.
    line: Vec<u8>,
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    protocol: Option<Range<usize>>,
    /// The head, once the pseudo-header fields are complete.
    head: Option<RequestHead>,
    is_websocket: bool,
    is_head: bool,
    list_size: usize,
    field_count: usize,
    hosts: usize,
    /// A host that came behind other fields although it has to be the first.
    late_host: Option<Vec<u8>>,
    cookie: Vec<u8>,
    length: Option<u64>,
    priority: Option<Priority>,
    problems: Problems,
}

/// The errors that were found, in the order of precedence.
#[derive(Debug, Default)]
struct Problems {
    is_broken: bool,
    is_malformed: bool,
    /// A fault of the method, the path or the host.
    line: Option<Fault>,
    is_too_large: bool,
    fields: Option<Fault>,
}

impl Problems {
    fn line(&mut self, fault: Fault) {
        self.line.get_or_insert(fault);
    }

    fn fields(&mut self, text: &'static str) {
        self.fields.get_or_insert(Fault::BadRequest(text));
    }
}

impl<'c> RequestReader<'c> {
    /// Begins to read the fields of a request.
    pub fn new(checks: &'c Checks) -> Self {
        let mut line = spare::take();
        line.clear();
        Self {
            checks,
            line,
            method: None,
            scheme: None,
            authority: None,
            path: None,
            protocol: None,
            head: None,
            is_websocket: false,
            is_head: false,
            list_size: 0,
            field_count: 0,
            hosts: 0,
            late_host: None,
            cookie: Vec::new(),
            length: None,
            priority: None,
            problems: Problems::default(),
        }
    }

    /// Reads the next field.
    #[inline]
    pub fn field(&mut self, field: &Field<'_>) {
        self.list_size += field.name.len() + field.value.len() + ENTRY_COST;
        if field.kind == Name::Malformed || field.form == Form::Malformed && !field.kind.is_pseudo() {
            self.problems.is_broken = true;
        }
        if self.list_size > self.checks.max_list_size {
            self.problems.is_too_large = true;
        } else if field.kind.is_pseudo() {
            self.pseudo(field);
        } else {
            self.regular(field);
        }
    }

    fn pseudo(&mut self, field: &Field<'_>) {
        let start = self.line.len();
        let place = match field.kind {
            Name::Method => &mut self.method,
            Name::Scheme => &mut self.scheme,
            Name::Authority => &mut self.authority,
            Name::Path => &mut self.path,
            Name::Protocol => &mut self.protocol,
            _ => {
                self.problems.is_malformed = true;
                return;
            }
        };
        if place.is_some() || self.head.is_some() {
            self.problems.is_malformed = true;
            return;
        }
        *place = Some(start..start + field.value.len());
        self.line.extend_from_slice(field.value);
        if field.form != Form::Good {
            self.problems.is_malformed = true;
        }
    }

    fn regular(&mut self, field: &Field<'_>) {
        self.field_count += 1;
        if self.field_count > self.checks.max_fields {
            self.problems.is_too_large = true;
            return;
        }
        if self.head.is_none() {
            self.begin();
        }
        let Some(head) = &mut self.head else { return };
        if field.form == Form::Padded {
            self.problems.fields("field value begins or ends with white space");
        }
        match field.kind {
            Name::Host => self.host(field.value),
            Name::Cookie => self.crumb(field.value),
            Name::ContentLength => {
                if self.length.is_some() {
                    self.problems.fields("more than one content-length");
                }
                match request_content_length(field.value) {
                    Some(length) => self.length = Some(length),
                    None => self.problems.fields("malformed content-length"),
                }
                head.push_field(field.name, field.value);
            }
            Name::Te if field.value != b"trailers" => self.problems.is_malformed = true,
            Name::ConnectionSpecific => self.problems.is_malformed = true,
            Name::Underscored | Name::Malformed => {}
            // It has no meaning beside extended CONNECT, where the app gets a key of the server's.
            Name::WebSocketKey if self.is_websocket => {}
            Name::Priority => {
                self.priority = Some(self.priority.unwrap_or_default().updated(field.value));
                head.push_field(field.name, field.value);
            }
            _ => head.push_field(field.name, field.value),
        }
    }

    /// Reads the host that a client sends instead of `:authority`, or beside it (RFC 9113 §8.3.1).
    fn host(&mut self, value: &[u8]) {
        self.hosts += 1;
        if self.hosts > 1 {
            return self.problems.line(Fault::BadRequest("more than one host"));
        }
        if let Some(authority) = &self.authority {
            if !self.line[authority.clone()].eq_ignore_ascii_case(value) {
                self.problems.line(Fault::BadRequest("host differs from :authority"));
            }
            return;
        }
        if !is_authority(value) {
            self.problems.line(Fault::BadRequest("malformed host"));
        }
        self.late_host = Some(value.to_vec());
    }

    /// Joins the crumbs of a cookie (RFC 9113 §8.2.3).
    fn crumb(&mut self, value: &[u8]) {
        if self.cookie.capacity() == 0 {
            self.cookie = spare::take();
            self.cookie.clear();
        } else {
            self.cookie.extend_from_slice(b"; ");
        }
        self.cookie.extend_from_slice(value);
        // So that an empty crumb counts as one.
        self.cookie.reserve(1);
    }

    /// Begins the head with the pseudo-header fields.
    fn begin(&mut self) {
        let text = |range: &Option<Range<usize>>| range.as_ref().map(|range| &self.line[range.clone()]);
        let method = text(&self.method).unwrap_or_default();
        let target = text(&self.path);
        let authority = text(&self.authority);
        let protocol = text(&self.protocol);
        let problems = &mut self.problems;
        let is_connect = method == b"CONNECT";
        if method.is_empty() || !hcrs_http::is_field_name(method) {
            problems.is_malformed = true;
        }
        if protocol.is_some() && !(is_connect && self.checks.extended_connect) {
            problems.is_malformed = true;
        }
        if is_connect && protocol.is_none() {
            // RFC 9113 §8.5: the scheme and the path are left out.
            problems.is_malformed |= self.scheme.is_some() || target.is_some() || authority.is_none();
            problems.line(Fault::MethodNotAllowed);
        } else {
            problems.is_malformed |= !text(&self.scheme).is_some_and(is_scheme);
            if is_connect && protocol != Some(b"websocket") {
                problems.line(Fault::MethodNotAllowed);
            }
        }
        if method.len() > METHOD_MAX {
            problems.line(Fault::BadRequest("method too long"));
        }
        let target = if let Some(target) = target {
            let target = Target::split(target);
            match target.check(method == b"OPTIONS") {
                Ok(()) => {}
                Err(BadPath::Malformed) => problems.is_malformed = true,
                Err(BadPath::Refused(fault)) => problems.line(fault),
            }
            target
        } else {
            problems.is_malformed |= !is_connect || protocol.is_some();
            Target { path: b"", query: b"" }
        };
        self.is_head = method == b"HEAD";
        self.is_websocket = is_connect && protocol == Some(b"websocket");
        let line = RequestLine {
            version: self.checks.version,
            scheme: self.checks.scheme,
            // The method by which HTTP/1.1 asks for a WebSocket.
            method: if self.is_websocket { b"GET" } else { &method[..method.len().min(METHOD_MAX)] },
            path: target.path,
            query: target.query,
        };
        let mut head = RequestHead::new(spare::take(), line, &self.checks.endpoints);
        if let Some(authority) = authority {
            if !is_authority(authority) {
                problems.line(Fault::BadRequest("malformed host"));
            }
            head.push_field(b"host", authority);
        }
        if self.is_websocket {
            head.set_websocket();
            push_upgrade(&mut head);
        }
        self.head = Some(head);
    }

    /// Ends the head; `is_last` if no body follows.
    pub fn finish(mut self, is_last: bool) -> Decoded {
        if self.head.is_none() {
            self.begin();
        }
        let Some(mut head) = self.head.take() else { return Decoded::Malformed };
        spare::recycle(self.line);
        if let Some(host) = self.late_host {
            head = with_host(head, &host, self.checks);
        } else if self.authority.is_none() {
            self.problems.line(Fault::BadRequest("no host"));
        }
        if self.cookie.capacity() > 0 {
            head.push_field(b"cookie", &self.cookie);
            spare::recycle(self.cookie);
        }
        let problems = self.problems;
        if problems.is_broken {
            return Decoded::Broken;
        }
        if self.list_size > self.checks.max_list_size.saturating_mul(FAR_BEYOND) {
            return Decoded::Excessive;
        }
        let is_short = is_last && self.length.is_some_and(|length| length > 0);
        // Fields that were left out because there are too many may be those that seem to be missing.
        if (problems.is_malformed || is_short) && !problems.is_too_large {
            return Decoded::Malformed;
        }
        let too_large = problems.is_too_large || !head.is_whole();
        let too_large = too_large.then_some(Fault::HeadTooLarge);
        if let Some(fault) = too_large.or(problems.line).or(problems.fields) {
            return Decoded::Refused(head, fault);
        }
        let Self { is_head, length, priority, .. } = self;
        Decoded::Request(Request { head, is_head, length, priority })
    }
}

/// Whether the value is a scheme (RFC 3986 §3.1). The one that a request is served with is the connection's.
fn is_scheme(value: &[u8]) -> bool {
    let may_follow = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    matches!(value, b"https" | b"http")
        || value.first().is_some_and(u8::is_ascii_alphabetic) && value.iter().all(may_follow)
}

/// Returns the head with the host as its first field.
fn with_host(head: RequestHead, host: &[u8], checks: &Checks) -> RequestHead {
    if head.view().field_count == 0 {
        let mut head = head;
        head.push_field(b"host", host);
        return head;
    }
    let mut is_first = true;
    let changed = head.changed(checks.scheme, &checks.endpoints, |changed, name, value| {
        if std::mem::take(&mut is_first) {
            changed.push_field(b"host", host);
        }
        changed.push_field(name, value);
    });
    spare::recycle(head.into_block());
    changed
}

/// Appends the fields by which HTTP/1.1 asks for a WebSocket and which extended CONNECT does not have (RFC
/// 8441 §5): apps look for `upgrade`, and use the key as a name of the WebSocket.
fn push_upgrade(head: &mut RequestHead) {
    head.push_field(b"upgrade", b"websocket");
    head.push_field(b"connection", b"upgrade");
    // Each state differs from the ones before, and the first is drawn from the system's randomness.
    let state = RandomState::new();
    let nonce = [state.hash_one(0), state.hash_one(1)].map(u64::to_le_bytes);
    head.push_field(b"sec-websocket-key", base64(nonce.as_flattened()).as_bytes());
}

/// A reader of a request's trailers.
#[derive(Debug)]
pub struct TrailersReader<'c> {
    checks: &'c Checks,
    /// The fields that are passed on, as a head without a status.
    block: Vec<u8>,
    writer: ResponseHeadWriter,
    list_size: usize,
    field_count: usize,
    is_malformed: bool,
    is_broken: bool,
}

impl<'c> TrailersReader<'c> {
    /// Begins to read the fields of trailers.
    pub fn new(checks: &'c Checks) -> Self {
        let mut block = Vec::new();
        let writer = ResponseHeadWriter::begin(&mut block, 0);
        Self { checks, block, writer, list_size: 0, field_count: 0, is_malformed: false, is_broken: false }
    }

    /// Reads the next field.
    pub fn field(&mut self, field: &Field<'_>) {
        self.list_size += field.name.len() + field.value.len() + ENTRY_COST;
        self.field_count += 1;
        self.is_broken |= field.form == Form::Malformed || field.kind == Name::Malformed;
        let is_too_long = u16::try_from(field.name.len()).is_err();
        self.is_malformed |= field.kind.is_pseudo() || field.kind == Name::ConnectionSpecific || is_too_long;
        if field.kind != Name::Underscored && is_trailer_name(field.name) && !self.is_wrong() {
            self.writer.field(&mut self.block, field.name, field.value.trim_ascii());
        }
    }

    /// Returns the trailers as a head without a status, without those fields that may not stand there; as an error what
    /// is wrong with them.
    pub fn finish(self) -> Result<ResponseHead, Decoded> {
        if self.is_broken {
            return Err(Decoded::Broken);
        }
        if self.is_wrong() {
            return Err(Decoded::Malformed);
        }
        Ok(self.writer.into_head(self.block))
    }

    fn is_wrong(&self) -> bool {
        let is_too_large =
            self.list_size > self.checks.max_list_size || self.field_count > self.checks.max_fields;
        self.is_broken || self.is_malformed || is_too_large
    }
}

#[cfg(test)]
mod tests;
