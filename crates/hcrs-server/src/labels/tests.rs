//! Which labels are kept, made and dropped.

use std::collections::HashSet;

use hcrs_http::{Endpoints, RequestLine, Scheme, Version};

use super::*;
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let line = RequestLine {
        version: Version::Http2,
        scheme: Scheme::Https,
        method: b"GET",
        path: b"/",
        query: b"",
    };
    let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
    for (name, value) in fields {
        head.push_field(name.as_bytes(), value.as_bytes());
    }
    head
}

fn fields(head: &RequestHead) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    head.view().fields().map(|(name, value)| (text(name), text(value))).collect()
}

fn labels(trace_context: TraceContext, request_id: Option<&str>) -> Labels {
    let request_id = request_id.map(|name| name.as_bytes().into());
    Labels::new(&LabelSettings { trace_context, request_id, ..LabelSettings::default() }, false).unwrap()
}

fn traced(trace_context: TraceContext, given: &[(&str, &str)], is_trusted: bool) -> Vec<(String, String)> {
    fields(&labels(trace_context, None).label(head(given), is_trusted).head)
}

#[test]
fn nothing_is_labelled_by_default() {
    assert!(Labels::new(&LabelSettings::default(), true).is_none());
}

#[test]
fn a_valid_parent_stays_as_it_is() {
    let given = [("tracestate", "a=1"), ("traceparent", PARENT), ("x", "y"), ("tracestate", "b=2")];
    let kept = fields(&head(&given));
    assert_eq!(traced(TraceContext::All, &given, false), kept);
    assert_eq!(traced(TraceContext::Trusted, &given, true), kept);
    let later = [("traceparent", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-will-be")];
    assert_eq!(traced(TraceContext::All, &later, false), fields(&head(&later)));
}

#[test]
fn any_other_is_replaced_and_takes_its_state_along() {
    for (trace_context, given) in [
        (TraceContext::All, &[("x", "y")][..]),
        (TraceContext::All, &[("tracestate", "a=1"), ("x", "y")]),
        (TraceContext::All, &[("traceparent", "00-1-2-3"), ("x", "y"), ("tracestate", "a=1")]),
        (TraceContext::All, &[("traceparent", PARENT), ("x", "y"), ("traceparent", PARENT)]),
        (TraceContext::Trusted, &[("traceparent", PARENT), ("x", "y"), ("tracestate", "a=1")]),
    ] {
        let found = traced(trace_context, given, false);
        assert_eq!(found[0], ("x".to_owned(), "y".to_owned()), "{given:?}");
        assert_eq!((found.len(), &*found[1].0), (2, "traceparent"), "{given:?}");
        let parent = TraceParent::parse(found[1].1.as_bytes()).unwrap();
        assert!(parent.is_sampled() && found[1].1.ends_with("-03"), "{found:?}");
        assert!(!PARENT.as_bytes().windows(32).any(|id| id == parent.trace_id));
    }
}

#[test]
fn a_span_that_is_exported_takes_the_place_of_the_parent() {
    let settings = LabelSettings { trace_context: TraceContext::All, ..LabelSettings::default() };
    let labels = Labels::new(&settings, true).unwrap();
    let sampled = PARENT.replace("b7-00", "b7-01");
    let labelled = labels.label(head(&[("traceparent", &sampled), ("tracestate", "a=1")]), false);
    assert_eq!(labelled.parent, Some(*b"00f067aa0ba902b7"));
    let found = fields(&labelled.head);
    assert_eq!((&*found[0].0, &*found[0].1, &*found[1].0), ("tracestate", "a=1", "traceparent"));
    let trace = labels.of(&labelled.head.view()).trace.unwrap();
    assert!(trace.trace_id == b"4bf92f3577b34da6a3ce929d0e0e4736" && trace.span_id != b"00f067aa0ba902b7");
    assert!(trace.is_sampled());
    let unsampled = labels.label(head(&[("traceparent", PARENT)]), false);
    assert_eq!(
        (fields(&unsampled.head), unsampled.parent),
        (fields(&head(&[("traceparent", PARENT)])), None)
    );
    let begun = labels.label(head(&[]), false);
    assert!(begun.parent.is_none() && labels.of(&begun.head.view()).trace.is_some());
}

#[test]
fn a_share_of_the_new_traces_is_sampled() {
    let sampled = |ratio| {
        let sample_ratio = SampleRatio::new(ratio).unwrap();
        let settings = LabelSettings { trace_context: TraceContext::All, sample_ratio, request_id: None };
        let labels = Labels::new(&settings, false).unwrap();
        (0..4000)
            .filter(|_| labels.of(&labels.label(head(&[]), false).head.view()).trace.unwrap().is_sampled())
            .count()
    };
    assert_eq!((sampled(0.0), sampled(1.0)), (0, 4000));
    let quarter = sampled(0.25);
    assert!((800..1200).contains(&quarter), "{quarter}");
}

#[test]
fn the_id_of_a_request_is_a_trusted_proxys() {
    let labels = labels(TraceContext::Off, Some("x-request-id"));
    let of = |given: &[(&str, &str)], is_trusted| {
        let head = labels.label(head(given), is_trusted).head;
        assert_eq!(fields(&head).iter().filter(|(name, _)| name == "x-request-id").count(), 1, "{given:?}");
        let label = labels.of(&head.view());
        assert!(label.trace.is_none());
        String::from_utf8(label.request_id.unwrap().to_vec()).unwrap()
    };
    let longest = "a".repeat(REQUEST_ID_MAX);
    assert_eq!(of(&[("x-request-id", "req/4~2")], true), "req/4~2");
    assert_eq!(of(&[("x-request-id", &longest)], true), longest);
    let too_long = "a".repeat(REQUEST_ID_MAX + 1);
    let twice = [("x-request-id", "1"), ("x-request-id", "1")];
    let is_new = |id: &str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    for value in ["", "a b", "a\u{e9}", "a\tb", &too_long] {
        let id = of(&[("x-request-id", value)], true);
        assert!(is_new(&id) && id != too_long[..32], "{value:?}: {id}");
    }
    assert!(is_new(&of(&twice, true)));
    assert!(is_new(&of(&[("x-request-id", "req/4~2")], false)), "clients that are not trusted");
    assert!(is_new(&of(&[], true)));
}

#[test]
fn a_response_has_the_id_unless_the_app_has_set_one() {
    let labels = labels(TraceContext::All, Some("x-request-id"));
    let request = labels.label(head(&[("x-request-id", "4242")]), true).head;
    let response = |fields: &[(&'static [u8], &'static [u8])]| {
        let head = ResponseHead::new(204, fields.iter().copied());
        let head = labels.label_response(&request.view(), &head).unwrap_or(head);
        head.fields().map(|(name, value)| [name, b"=", value].concat()).collect::<Vec<_>>()
    };
    assert_eq!(response(&[(b"a", b"b")]), [&b"a=b"[..], b"x-request-id=4242"]);
    assert_eq!(response(&[(b"X-Request-Id", b"mine")]), [b"X-Request-Id=mine"]);
}

#[test]
fn ids_differ() {
    let (one, other) = (Ids::default(), Ids::default());
    let mut seen = HashSet::new();
    for _ in 0..1000 {
        assert!(seen.insert(one.next_128()) && seen.insert(other.next_128()));
    }
}
