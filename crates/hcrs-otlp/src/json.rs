//! The JSON encoding of OTLP's `ExportTraceServiceRequest`, with the attributes of OpenTelemetry's semantic
//! conventions for HTTP servers.

use std::hash::BuildHasher;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::span::{Span, SpanId};

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The process that the spans are of.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) service_name: String,
    pub(crate) pid: u32,
}

/// Returns the body of a request that exports `requests`. The ids of stages are drawn by `keys`.
pub(crate) fn encode(resource: &Resource, requests: &[Span], keys: &impl BuildHasher) -> Vec<u8> {
    let spans = requests.iter().flat_map(|request| of_request(request, keys)).collect();
    let attributes = vec![text("service.name", &resource.service_name), number("process.pid", resource.pid)];
    let scope = Scope { name: "hcrs", version: env!("CARGO_PKG_VERSION") };
    let scope_spans = vec![ScopeSpans { scope, spans }];
    let request =
        Export { resource_spans: vec![ResourceSpans { resource: Attributes { attributes }, scope_spans }] };
    serde_json::to_vec(&request).expect("invariant: texts and numbers can be written as JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: Vec<ResourceSpans<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Attributes<'a>,
    scope_spans: Vec<ScopeSpans<'a>>,
}

#[derive(Serialize)]
struct Attributes<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Encoded<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Encoded<'a> {
    #[serde(serialize_with = "digits")]
    trace_id: &'a [u8],
    #[serde(serialize_with = "digits")]
    span_id: SpanId,
    #[serde(serialize_with = "optional_digits", skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<SpanId>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'a> {
    StringValue(&'a str),
    /// 64 bits, which JSON of protobuf writes as a string.
    IntValue(String),
}

fn text<'a>(key: &'static str, value: &'a str) -> Attribute<'a> {
    Attribute { key, value: Value::StringValue(value) }
}

fn number(key: &'static str, value: impl Into<i64>) -> Attribute<'static> {
    Attribute { key, value: Value::IntValue(value.into().to_string()) }
}

fn of_request<'a>(request: &'a Span, keys: &impl BuildHasher) -> Vec<Encoded<'a>> {
    let Span { duration, queue, head, .. } = *request;
    let mut attributes = vec![
        text("http.request.method", &request.method),
        text("url.path", &request.path),
        text("url.scheme", request.scheme),
        text("network.protocol.version", request.version),
    ];
    if !request.host.is_empty() {
        attributes.push(text("server.address", &request.host));
    }
    attributes.extend(request.status.map(|status| number("http.response.status_code", status)));
    attributes.extend(request.fault.map(|fault| text("error.type", fault)));
    attributes.extend(request.worker.map(|pid| number("hcrs.worker.pid", pid)));
    let stage = |name: &'static str, from: Duration, to: Duration| Encoded {
        span_id: id_of_stage(keys, request.id, name),
        parent_span_id: Some(request.id),
        attributes: Vec::new(),
        status: None,
        ..encoded(request, name, INTERNAL, from, to)
    };
    let mut spans = vec![Encoded {
        attributes,
        status: request.is_error.then_some(Status { code: ERROR }),
        ..encoded(request, &request.method, SERVER, Duration::ZERO, duration)
    }];
    if let Some(sent) = queue {
        spans.push(stage("queue", Duration::ZERO, sent));
        spans.push(stage("app", sent, head.unwrap_or(duration)));
    }
    spans.extend(head.map(|head| stage("send", head, duration)));
    spans
}

fn encoded<'a>(request: &'a Span, name: &'a str, kind: u8, from: Duration, to: Duration) -> Encoded<'a> {
    Encoded {
        trace_id: &request.trace_id,
        span_id: request.id,
        parent_span_id: request.parent,
        name,
        kind,
        start_time_unix_nano: nanoseconds(request.start + from),
        end_time_unix_nano: nanoseconds(request.start + to.max(from)),
        attributes: Vec::new(),
        status: None,
    }
}

/// Returns an id that differs from those of other spans.
fn id_of_stage(keys: &impl BuildHasher, request: SpanId, name: &str) -> SpanId {
    let digits = hcrs_http::trace_context::hex_digits(u128::from(keys.hash_one((request, name)).max(1)));
    let mut id = SpanId::default();
    id.copy_from_slice(&digits[16..]);
    id
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn digits<S: Serializer>(digits: impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(std::str::from_utf8(digits.as_ref()).unwrap_or_default())
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn optional_digits<S: Serializer>(id: &Option<SpanId>, serializer: S) -> Result<S::Ok, S::Error> {
    digits(id.unwrap_or_default(), serializer)
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;
    use crate::span::tests::span;

    fn encode_one(span: Span) -> serde_json::Value {
        let resource = Resource { service_name: "shop".to_owned(), pid: 17 };
        serde_json::from_slice(&encode(&resource, &[span], &RandomState::new())).unwrap()
    }

    #[test]
    fn a_request_is_a_span_with_one_for_each_stage() {
        let export = encode_one(span());
        let resource = &export["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"],
            serde_json::json!([
                { "key": "service.name", "value": { "stringValue": "shop" } },
                { "key": "process.pid", "value": { "intValue": "17" } },
            ])
        );
        let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        let server = &spans[0];
        assert_eq!(server["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            (&server["spanId"], &server["parentSpanId"]),
            (&"00f067aa0ba902b7".into(), &"1111111111111111".into())
        );
        assert_eq!(
            (&server["name"], &server["kind"], &server["status"]["code"]),
            (&"GET".into(), &2.into(), &2.into())
        );
        let attribute = |key: &str| {
            let attributes = server["attributes"].as_array().unwrap();
            attributes.iter().find(|attribute| attribute["key"] == key).unwrap()["value"].clone()
        };
        assert_eq!(attribute("url.path"), serde_json::json!({ "stringValue": "/a\"b" }));
        assert_eq!(attribute("http.response.status_code"), serde_json::json!({ "intValue": "502" }));
        assert_eq!(attribute("error.type"), serde_json::json!({ "stringValue": "worker_lost" }));
        let times: Vec<_> = spans
            .iter()
            .map(|span| {
                let offset = |key: &str| span[key].as_str().unwrap().strip_prefix("1795406491").unwrap();
                (span["name"].as_str().unwrap(), offset("startTimeUnixNano"), offset("endTimeUnixNano"))
            })
            .collect();
        assert_eq!(
            times,
            [
                ("GET", "000000000", "030000000"),
                ("queue", "000000000", "001000000"),
                ("app", "001000000", "020000000"),
                ("send", "020000000", "030000000"),
            ]
        );
        let ids: std::collections::HashSet<_> =
            spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
        assert!(ids.len() == 4 && ids.iter().all(|id| id.len() == 16));
        assert!(
            spans[1..].iter().all(|stage| stage["parentSpanId"] == "00f067aa0ba902b7" && stage["kind"] == 1)
        );
    }

    #[test]
    fn what_did_not_happen_is_left_out() {
        let refused = Span {
            parent: None,
            queue: None,
            head: None,
            status: None,
            fault: None,
            is_error: false,
            worker: None,
            host: String::new(),
            ..span()
        };
        let export = encode_one(refused);
        let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 1);
        assert!(spans[0].get("parentSpanId").is_none() && spans[0].get("status").is_none());
        let keys = spans[0]["attributes"].as_array().unwrap();
        assert_eq!(keys.len(), 4);
        let export = encode_one(Span { head: None, ..span() });
        let names = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(
            names.iter().map(|span| span["name"].as_str().unwrap()).collect::<Vec<_>>(),
            ["GET", "queue", "app"]
        );
    }
}
