//! Requests and responses: proxies, traces, WebSockets, bodies, and who may ask for what.

use hcrs_coding::Coding;
use hcrs_forwarded::ForwardedStyle;
use hcrs_server::{SampleRatio, TraceContext};

use super::*;

#[test]
fn every_key_of_tracing_ends_in_its_setting() {
    let labels = |s: &Settings| s.labels.clone();
    ends_in("[hcrs]\ntrace_context = \"All\"", |s| labels(s).trace_context, TraceContext::All);
    ends_in("[hcrs]\ntrace_context = \"trusted\"", |s| labels(s).trace_context, TraceContext::Trusted);
    let half = SampleRatio::new(0.5).unwrap();
    ends_in("[hcrs]\ntrace_sample_ratio = 0.5", |s| labels(s).sample_ratio, half);
    let traced = "[hcrs]\ntrace_context = \"all\"\n";
    let endpoint = |s: &Settings| s.otlp.endpoint.as_ref().map(ToString::to_string);
    let shown = Some("http://a:4318/v1/traces".to_owned());
    ends_in(&format!("{traced}otlp_endpoint = \"http://a:4318\""), endpoint, shown);
    ends_in("[hcrs]\notlp_service_name = \"shop\"", |s| s.otlp.service_name.clone(), "shop".into());
    let name = Some(b"x-id"[..].into());
    ends_in("[hcrs]\nrequest_id = \"X-Id\"", |s| labels(s).request_id, name);
}

#[test]
fn every_key_of_proxies_ends_in_its_setting() {
    ends_in("[hcrs]\ndrop_untrusted_forwarded = true", |s| s.proxies.drop_untrusted, true);
    ends_in("[hcrs]\nforwarded_allow_ips = \"unix\"", |s| s.proxies.trusted.unix, true);
    let style = |s: &Settings| s.proxies.forwarded.map(|forwarded| forwarded.style);
    let trusting = |line: &str| format!("hcrs.forwarded_allow_ips = \"*\"\nhcrs.{line}");
    ends_in(&trusting("proxy_headers = \"modern\""), style, Some(ForwardedStyle::Modern));
    let hops = |s: &Settings| s.proxies.forwarded.and_then(|forwarded| forwarded.hops);
    ends_in(&trusting("trusted_hops = 2"), hops, NonZeroUsize::new(2));
    let prefix = |s: &Settings| s.proxies.forwarded.map(|forwarded| forwarded.prefix);
    ends_in(&trusting("forwarded_prefix = true"), prefix, Some(true));
    let stripped = |s: &Settings| s.proxies.stripped_prefix.clone();
    ends_in("[hcrs]\nstripped_prefix = \"/a/\"", stripped, hcrs_http::PathPrefix::parse("/a"));
    ends_in(&trusting("proxy_protocol = true"), |s| s.listeners[0].proxy_protocol, true);
    let timeout = |s: &Settings| s.proxies.protocol_timeout;
    ends_in("[hcrs]\nproxy_protocol_timeout = 2", timeout, Duration::from_secs(2));
}

#[test]
fn every_key_of_websockets_ends_in_its_setting() {
    let websocket = |s: &Settings| s.connection.websocket.clone();
    ends_in("[hcrs]\nwebsocket_over_h2 = false", |s| s.connection.h2.extended_connect, false);
    ends_in("[hcrs]\nwebsocket_compression = false", |s| websocket(s).compression, None);
    ends_in(
        "[hcrs]\nwebsocket_compression_level = 9\nwebsocket_compression = false",
        |s| websocket(s).compression,
        None,
    );
    let terms = |s: &Settings| websocket(s).compression.expect("compression is on");
    ends_in("[hcrs]\nwebsocket_compression_level = 9", |s| terms(s).level, 9);
    ends_in("[hcrs]\nwebsocket_compression_mem_level = 5", |s| terms(s).mem_level, 5);
    ends_in("[hcrs]\nwebsocket_compression_min_size = 0", |s| terms(s).min_size, 0);
    ends_in("[hcrs]\nwebsocket_compression_max_contexts = 3", |s| terms(s).max_contexts, 3);
    ends_in("[hcrs]\nwebsocket_server_max_window_bits = 9", |s| terms(s).server_max_window_bits, 9);
    ends_in("[hcrs]\nwebsocket_client_max_window_bits = 10", |s| terms(s).client_max_window_bits, 10);
    ends_in("[hcrs]\nwebsocket_server_context_takeover = true", |s| terms(s).server_context_takeover, true);
    ends_in("[hcrs]\nwebsocket_client_context_takeover = true", |s| terms(s).client_context_takeover, true);
    ends_in("[hcrs]\nwebsocket_ping_timeout = 3", |s| websocket(s).ping_timeout, Duration::from_secs(3));
    ends_in("[hcrs]\nwebsocket_max_fragments = 4", |s| websocket(s).max_fragments, 4);
    let closing = |s: &Settings| s.connection.websocket_close_timeout;
    ends_in("[hcrs]\nwebsocket_close_timeout = 0.5", closing, Duration::from_millis(500));
}

#[test]
fn pathsend_is_enabled_on_request() {
    ends_in("[hcrs]\npathsend = true", |s| s.connection.pathsend, true);
}

#[test]
fn redirect_http_needs_an_insecure_bind() {
    let toml = "insecure_bind = \"b:2\"\n[hcrs]\nredirect_http = true";
    ends_in(toml, |s| s.connection.redirect_http, true);
}

#[test]
fn bodies_are_bounded_on_request() {
    let of_all = |s: &Settings| s.routes.rules_of_all().max_body_size;
    ends_in("[hcrs]\nmax_body_size = \"10M\"", of_all, Some(10 << 20));
    ends_in("[hcrs]\nmax_body_size = 0", of_all, Some(0));
    let routes = settings("hcrs.max_body_size = 1\nhcrs.routes = [{ status = 404 }]").routes;
    assert_eq!(routes.list()[0].rules.max_body_size, Some(1));
}

#[test]
fn responses_are_compressed_on_request() {
    let of_all = |s: &Settings| s.routes.rules_of_all().compression.clone();
    let codings = |codings: &[Coding]| hcrs_coding::Settings {
        codings: Some(codings.to_vec()),
        ..hcrs_coding::Settings::default()
    };
    ends_in("[hcrs]\ncompress = true", of_all, codings(&Coding::ALL));
    ends_in("[hcrs]\ncompress = false", of_all, codings(&[]));
    ends_in(
        "[hcrs]\ncompress = [\"gzip\", \"br\", \"gzip\"]",
        of_all,
        codings(&[Coding::Gzip, Coding::Brotli]),
    );
    let expected = hcrs_coding::Settings {
        codings: None,
        types: Some(vec!["text/*".parse().unwrap()]),
        min_size: Some(2048),
        secrets: Some(true),
    };
    let toml = "[hcrs]\ncompress_types = [\"text/*\"]\ncompress_min_size = \"2K\"\ncompress_secrets = true";
    ends_in(toml, of_all, expected);
    let routes = settings("hcrs.compress = true\nhcrs.routes = [{ app = true, compress = [\"br\"] }]").routes;
    assert_eq!(routes.list()[0].rules.compression, codings(&[Coding::Brotli]));
    for (toml, message) in [
        ("compress = \"gzip\"", "compress: expected true, false, or an array of zstd, br and gzip, found"),
        (
            "compress = [\"deflate\"]",
            "compress: expected true, false, or an array of zstd, br and gzip, found",
        ),
        ("compress_types = [\"html\"]", "compress_types: expected a content type like \"text/html\""),
        ("compress_secrets = 1", "compress_secrets: expected true or false, found 1"),
    ] {
        let error = config(&format!("[hcrs]\n{toml}")).unwrap_err().to_string();
        assert!(error.contains("test.toml:2") && error.contains(message), "{error}");
    }
}

#[test]
fn the_admin_interface_and_the_probes_end_in_their_settings() {
    let bind = |toml: &str| settings(toml).admin_bind.map(|bind| bind.to_string());
    assert_eq!(bind("[hcrs]\nadmin_bind = \"unix:/run/a\""), Some("unix:/run/a".to_owned()));
    assert_eq!(bind("[hcrs]\nadmin_bind = \"[::1]:9000\""), Some("[::1]:9000".to_owned()));
    for other in ["0.0.0.0:9000", ":9000", "example.com:1", "nothing:x"] {
        let error = config(&format!("[hcrs]\nadmin_bind = \"{other}\"")).unwrap_err().to_string();
        assert!(error.contains("test.toml:2:14"), "{error}");
    }
    ends_in("[hcrs]\nlive_path = \"/alive\"", |s| s.health.live_path.clone(), "/alive".into());
    ends_in("[hcrs]\nready_path = \"/ok\"", |s| s.health.ready_path.clone(), "/ok".into());
    ends_in("[hcrs]\nready_workers = 2", |s| s.health.ready_workers, 2);
    ends_in("[hcrs]\npublic_health = true", |s| s.health.public, true);
}
