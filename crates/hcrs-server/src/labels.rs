//! The labels of requests, by which logs and traces of several programs are joined: the trace context of W3C
//! (`traceparent`), and an id in a field that the operator names.
//!
//! A label is a field of the request's head, so that the app, the access log and the response have it from
//! there. Without these settings no head is looked at.

mod settings;

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use hcrs_http::trace_context::{
    TRACEPARENT, TRACEPARENT_LEN, TRACESTATE, TraceParent, hex_digits, new_traceparent,
};
use hcrs_http::{Field, RequestHead, RequestView, ResponseHead};
use hcrs_otlp::SpanId;

pub use settings::{LabelSettings, SampleRatio, TraceContext};

/// The length of the longest id that is taken from a request, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// Labels the requests of an edge thread.
#[derive(Debug)]
pub(crate) struct Labels {
    settings: LabelSettings,
    /// Whether sampled requests become spans of this server.
    exports: bool,
    ids: Ids,
}

/// A request with its labels.
#[derive(Debug)]
pub(crate) struct Labelled {
    /// The head.
    pub head: RequestHead,
    /// The client's span, if the head names one of this server in its place.
    pub parent: Option<SpanId>,
}

/// The labels of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Label<'a> {
    /// The id of the request.
    pub request_id: Option<&'a [u8]>,
    /// The trace and the parent span, as the app sees them.
    pub trace: Option<TraceParent<'a>>,
}

impl Labels {
    /// Returns the labels that the settings ask for; `None` for none. If the server `exports` spans, sampled
    /// requests name one of its own as the parent.
    pub(crate) fn new(settings: &LabelSettings, exports: bool) -> Option<Self> {
        let is_needed = settings.trace_context != TraceContext::Off || settings.request_id.is_some();
        is_needed.then(|| Self { settings: settings.clone(), exports, ids: Ids::default() })
    }

    /// Returns the head with its labels: those that it has if they are valid and from a client that is
    /// believed, new ones otherwise. `is_trusted` tells whether its peer is a trusted proxy.
    pub(crate) fn label(&self, mut head: RequestHead, is_trusted: bool) -> Labelled {
        let traces = self.settings.trace_context != TraceContext::Off;
        let id_name = self.settings.request_id.as_deref();
        let (mut parent, mut id, mut has_state) = (Found::default(), Found::default(), false);
        let view = head.view();
        for (name, value) in view.fields() {
            match name {
                TRACEPARENT if traces => parent = parent.and(value),
                TRACESTATE if traces => has_state = true,
                _ if id_name.is_some_and(|id_name| id_name == name) => id = id.and(value),
                _ => {}
            }
        }
        let believes_parent = is_trusted || self.settings.trace_context == TraceContext::All;
        let kept = parent.one().filter(|_| believes_parent).and_then(TraceParent::parse);
        let child = kept.filter(|kept| self.exports && kept.is_sampled()).map(|kept| Child {
            field: kept.child(self.ids.next_64()),
            parent: kept.span_id.try_into().unwrap_or_default(),
        });
        let keeps_id = is_trusted && id.one().is_some_and(is_request_id);
        let makes_parent = traces && kept.is_none();
        let makes_id = id_name.is_some() && !keeps_id;
        let drops_state = makes_parent && has_state;
        let drops_parent = child.is_some() || makes_parent && !matches!(parent, Found::None);
        let drops_id = makes_id && !matches!(id, Found::None);
        if drops_parent || drops_state || drops_id {
            head = head.without(|name| match name {
                TRACEPARENT => drops_parent,
                TRACESTATE => drops_state,
                _ => drops_id && Some(name) == id_name,
            });
        }
        if let Some(child) = &child {
            head.push_field(TRACEPARENT, &child.field);
        } else if makes_parent {
            let trace_id = self.ids.next_128();
            let is_sampled = self.settings.sample_ratio.takes(trace_id);
            head.push_field(TRACEPARENT, &new_traceparent(trace_id, self.ids.next_64(), is_sampled));
        }
        if let Some(name) = id_name.filter(|_| makes_id) {
            head.push_field(name, &hex_digits(self.ids.next_128()));
        }
        Labelled { head, parent: child.map(|child| child.parent) }
    }

    /// Returns the labels of a head that [`Labels::label`] has returned.
    pub(crate) fn of<'a>(&self, head: &RequestView<'a>) -> Label<'a> {
        let traces = self.settings.trace_context != TraceContext::Off;
        let field = |name: &[u8]| head.fields().first(name);
        Label {
            request_id: self.settings.request_id.as_deref().and_then(field),
            trace: field(TRACEPARENT).filter(|_| traces).and_then(TraceParent::parse),
        }
    }

    /// Returns the field of a response with the id of its request.
    pub(crate) fn response_field<'a>(&'a self, request: &RequestView<'a>) -> Option<Field<'a>> {
        let name = self.settings.request_id.as_deref()?;
        Some(Field { name, value: request.fields().first(name)? })
    }

    /// Returns the head of a response with the id of its request; `None` if it stays as it is, because there
    /// is no id or the app has set that field.
    pub(crate) fn label_response(
        &self,
        request: &RequestView<'_>,
        response: &ResponseHead,
    ) -> Option<ResponseHead> {
        let field = self.response_field(request)?;
        response.fields().first(field.name).is_none().then(|| response.with_field(field))
    }
}

/// The span of this server that takes a client's place as the parent.
struct Child {
    field: [u8; TRACEPARENT_LEN],
    /// The client's span.
    parent: SpanId,
}

/// The values of a field in a head.
#[derive(Debug, Clone, Copy, Default)]
enum Found<'a> {
    #[default]
    None,
    One(&'a [u8]),
    Several,
}

impl<'a> Found<'a> {
    fn and(self, value: &'a [u8]) -> Self {
        match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    fn one(self) -> Option<&'a [u8]> {
        match self {
            Self::One(value) => Some(value),
            Self::None | Self::Several => None,
        }
    }
}

/// Whether the id of a request can be taken over: visible ASCII of a bounded length.
fn is_request_id(value: &[u8]) -> bool {
    (1..=REQUEST_ID_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// A source of ids that are unique: a keyed hash of a counter. The standard library draws the 128 bits of its
/// keys from the system's randomness.
#[derive(Debug, Default)]
struct Ids {
    keys: RandomState,
    count: Cell<u64>,
}

impl Ids {
    /// Returns a random number that is not 0.
    fn next_64(&self) -> u64 {
        loop {
            self.count.set(self.count.get().wrapping_add(1));
            let number = self.keys.hash_one(self.count.get());
            if number != 0 {
                return number;
            }
        }
    }

    /// Returns a random number that is not 0.
    fn next_128(&self) -> u128 {
        u128::from(self.next_64()) << 64 | u128::from(self.next_64())
    }
}

#[cfg(test)]
mod tests;
