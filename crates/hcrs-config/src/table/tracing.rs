//! Settings of the labels by which logs and traces of several programs are joined.

use hcrs_http::trace_context::{TRACEPARENT, TRACESTATE};
use hcrs_http::{is_field_name, is_trailer_name};
use hcrs_server::{Endpoint, SampleRatio, TraceContext};

use super::store;
use crate::kind::{ValueKind, quoted};
use crate::setting::Group::Tracing;
use crate::setting::{Setting, unset};
use crate::value::{GivenValue, Mistake};

/// The longest name of a field with the id of a request, in bytes.
const NAME_MAX: usize = 64;

/// Fields of responses that the server or its protocols set.
const TAKEN: [&[u8]; 4] = [TRACEPARENT, TRACESTATE, b"date", b"server"];

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Tracing,
        "trace_context",
        ValueKind::OneOf(&["off", "all", "trusted"]),
        |d| quoted(d.server.labels.trace_context.as_str()),
        |v, d| store(&mut d.server.labels.trace_context, trace_context(v)),
        "Requests without a valid traceparent (W3C Trace Context) get a new one: all passes on those of all \
         clients, trusted only those of trusted proxies, off leaves requests as they are.",
    )
    .extension()
    .at_start(),
    Setting::new(
        Tracing,
        "trace_sample_ratio",
        ValueKind::Ratio,
        |_| "1".into(),
        |v, d| store(&mut d.server.labels.sample_ratio, sample_ratio(v)),
        "Share of new traces that are marked as sampled.",
    )
    .extension()
    .at_start(),
    Setting::new(
        Tracing,
        "otlp_endpoint",
        ValueKind::Text,
        unset,
        |v, d| store(&mut d.server.otlp.endpoint, endpoint(v)),
        "URL of a collector that gets the server's own spans of sampled requests by OTLP over HTTP, without \
         /v1/traces. Needs trace_context.",
    )
    .extension()
    .at_start(),
    Setting::new(
        Tracing,
        "otlp_service_name",
        ValueKind::Text,
        |d| quoted(&d.server.otlp.service_name),
        |v, d| store(&mut d.server.otlp.service_name, service_name(v)),
        "Name of the service in these spans (service.name).",
    )
    .extension()
    .at_start(),
    Setting::new(
        Tracing,
        "request_id",
        ValueKind::Text,
        |_| quoted(""),
        |v, d| store(&mut d.server.labels.request_id, request_id(v)),
        "Field with the id of a request, such as x-request-id, for the app and in the response. The id is that \
         of a trusted proxy, otherwise a new one. Empty for none.",
    )
    .extension()
    .at_start(),
];

/// Returns the collector; an empty text is none.
fn endpoint(given: &GivenValue<'_>) -> Result<Option<Endpoint>, Mistake> {
    match given.text()? {
        "" => Ok(None),
        url => Endpoint::parse(url)
            .map(Some)
            .ok_or_else(|| given.expected("a URL as in \"http://127.0.0.1:4318\", of http or https")),
    }
}

fn service_name(given: &GivenValue<'_>) -> Result<String, Mistake> {
    match given.text()? {
        "" => Err(given.expected("a name")),
        name => Ok(name.to_owned()),
    }
}

fn trace_context(given: &GivenValue<'_>) -> Result<TraceContext, Mistake> {
    let named = given.text().ok().map(str::to_ascii_lowercase);
    let all = [TraceContext::Off, TraceContext::All, TraceContext::Trusted];
    all.into_iter()
        .find(|trace_context| named.as_deref() == Some(trace_context.as_str()))
        .ok_or_else(|| given.expected("\"off\", \"all\" or \"trusted\""))
}

fn sample_ratio(given: &GivenValue<'_>) -> Result<SampleRatio, Mistake> {
    SampleRatio::new(given.ratio()?).ok_or_else(|| given.expected("a number from 0 to 1"))
}

/// Returns the name of the field in lower case.
fn request_id(given: &GivenValue<'_>) -> Result<Option<Box<[u8]>>, Mistake> {
    let name = given.text()?.to_ascii_lowercase().into_bytes();
    if name.is_empty() {
        return Ok(None);
    }
    // Fields that are not allowed in trailers have a meaning for the message as a whole.
    let is_free = is_trailer_name(&name) && !TAKEN.contains(&&*name);
    if name.len() <= NAME_MAX && is_field_name(&name) && is_free {
        return Ok(Some(name.into()));
    }
    Err(given.expected("the name of a field without another meaning, as in \"x-request-id\""))
}
