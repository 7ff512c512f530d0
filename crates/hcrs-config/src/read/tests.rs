//! Each key: a value in the file, and the setting that it becomes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use std::num::{NonZeroU64, NonZeroUsize};

use hcrs_coding::Coding;
use hcrs_forwarded::ForwardedStyle;
use hcrs_server::{
    AccessFormat, AccountName, AppIndex, Balance, ConfiguredRoute, FilesSettings, FixedBody, FixedResponse,
    HashKey, HealthCheck, HostPattern, Lifespan, LoadedFile, LogLevel, LogTarget, MissingFile, PathPattern,
    PythonLogging, RedirectSettings, RouteAction, RouteMatcher, SampleRatio, ServerNames, Settings,
    TraceContext, UpstreamHost, UpstreamProtocol, UpstreamSettings, UpstreamUrl, WorkerClass,
};
use hcrs_tls::{KeyExchange, TlsVersion, VerifyFlags, VerifyMode};
use proptest::prelude::*;

mod acme;
mod apps;
mod messages;
mod rules;

use super::*;
use crate::setting::TakesEffect;
use crate::{Command, ConfigError, parse_in};

fn config(toml: &str) -> Result<Config, ConfigError> {
    check_text("test.toml", toml.into())
}

/// Returns the settings of a file without mistakes and warnings.
#[track_caller]
fn settings(toml: &str) -> Settings {
    let config = config(toml).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.warnings, Vec::<String>::new(), "{toml}");
    config.server
}

/// Sets one key beside an app and a certificate, without which some settings are dropped; then changes it while a
/// server runs, which applies it as the table says.
#[track_caller]
fn ends_in<T: Debug + PartialEq>(toml: &str, setting: impl Fn(&Settings) -> T, expected: T) {
    const BASE: [&str; 3] = ["application_path = \"app\"\n", "certfile = \"c\"\n", "keyfile = \"k\"\n"];
    let key = toml.split(' ').next().unwrap();
    let rest: String = BASE.into_iter().filter(|line| !line.starts_with(key)).collect();
    assert_eq!(setting(&settings(&format!("{rest}{toml}"))), expected, "{toml}");
    assert_ne!(setting(&settings(&BASE.concat())), expected, "{toml}: the test sets the default");
    let (old, new) = (config(&BASE.concat()).unwrap(), config(&format!("{rest}{toml}")).unwrap());
    let changed = setting(&old.server.changed_to(new.server));
    let mut pairs = old.resolved.iter().zip(&new.resolved);
    let is_kept = pairs.any(|(old, new)| {
        let setting = table::find(new.key).unwrap();
        old.fingerprint != new.fingerprint && setting.takes_effect == TakesEffect::AtStart
    });
    assert_eq!(changed, if is_kept { setting(&old.server) } else { expected }, "{toml} at a reload");
}

fn app(settings: &Settings) -> &hcrs_server::AppSettings {
    settings.apps.first().expect("an app is set")
}

fn tls(settings: &Settings) -> &hcrs_tls::Settings {
    settings.tls.as_ref().expect("TLS is set")
}

fn binds(settings: &Settings, tls: bool) -> Vec<String> {
    settings
        .listeners
        .iter()
        .filter(|listener| listener.tls == tls)
        .map(|listener| listener.bind.to_string())
        .collect()
}

#[test]
fn lists_and_tables_end_in_their_settings() {
    let names = |names: &[&str]| {
        let mut served = ServerNames::default();
        for name in names {
            served.push(name).unwrap();
        }
        served
    };
    ends_in("server_names = [\"a\", \"b:1\"]", |s| s.connection.server_names.clone(), names(&["a", "b:1"]));
    ends_in("server_names = \"a.test\"", |s| s.connection.server_names.clone(), names(&["a.test"]));
    ends_in("alt_svc_headers = [\"x\"]", |s| s.connection.alt_svc.clone(), vec!["x".parse().unwrap()]);
    let json = r#"{"version":1,"disable_existing_loggers":false,"loggers":{"a.b":{"handlers":["x",1.5]}}}"#;
    ends_in(
        "logconfig_dict = { version = 1, disable_existing_loggers = false, \
         loggers.'a.b'.handlers = ['x', 1.5] }",
        |s| s.log.python.clone(),
        Some(PythonLogging::Dict(json.into())),
    );
}

#[test]
fn the_last_number_of_workers_counts() {
    let parsed = |flags: &str, environment: &[(&str, &str)]| {
        let words = format!("hcrs {flags} m:a");
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        match parse_in(words.split_whitespace().map(OsString::from), &environment) {
            Ok(Command::Serve(config)) => app(&config.server).clone(),
            other => panic!("{other:?}"),
        }
    };
    let auto = parsed("--workers auto", &[("WEB_CONCURRENCY", "3")]);
    assert_eq!(auto.usable_cores.unwrap().count, auto.workers);
    assert!(parsed("", &[("WEB_CONCURRENCY", "auto")]).usable_cores.is_some());
    let three = parsed("-w 3", &[("WEB_CONCURRENCY", "auto")]);
    assert_eq!((three.workers.get(), three.usable_cores), (3, None));
}

#[test]
fn zero_max_requests_means_no_limit() {
    let never = config("application_path = \"m:a\"\nmax_requests = 0").unwrap();
    assert_eq!(never.server.apps[0].max_requests, None);
}

#[test]
fn the_surroundings_of_the_processes_end_in_their_settings() {
    ends_in("[hcrs]\nproc_name = \"shop\"", |s| s.proc_name.clone(), "shop".into());
    ends_in("[hcrs]\nchdir = \"/srv\"", |s| s.chdir.clone(), Some("/srv".into()));
    let variables = vec![("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())];
    ends_in("[hcrs]\nenv = [\"A=1=2\", \"B=\"]", |s| app(s).variables.clone(), variables.clone());
    ends_in("[hcrs]\nenv = { A = \"1=2\", B = \"\" }", |s| app(s).variables.clone(), variables);
}

#[test]
fn the_user_of_the_process_ends_in_its_setting() {
    let user = |name: &str| AccountName::parse(name);
    ends_in("[hcrs]\nprocess_user = \"www-data\"", |s| s.process_user.clone(), user("www-data"));
    ends_in("[hcrs]\nprocess_user = 33", |s| s.process_user.clone(), Some(AccountName::Number(33)));
    let group = "[hcrs]\nprocess_user = 33\nprocess_group = \"www-data\"";
    ends_in(group, |s| s.process_group.clone(), user("www-data"));
    for (wrong, why) in [
        ("process_user = \"\"", "expected a user, as its name or its number"),
        ("process_user = -1", "expected a user, as its name or its number"),
        ("process_user = 4294967295", "expected a user, as its name or its number"),
        ("process_user = \"a:b\"", "expected a user, as its name or its number"),
        ("process_group = 33", "process_group: needs process_user"),
    ] {
        let error = config(&format!("[hcrs]\n{wrong}")).unwrap_err().to_string();
        assert!(error.contains("test.toml:2") && error.contains(why), "{error}");
    }
}

#[test]
fn captured_output_ends_in_its_setting() {
    ends_in("[hcrs]\ncapture_output = true", |s| s.log.capture_output, true);
    let without_log = config("errorlog = \"\"\n[hcrs]\ncapture_output = true").unwrap();
    assert!(!without_log.server.log.capture_output);
    assert!(without_log.warnings[0].contains("test.toml:3"), "{:?}", without_log.warnings);
}

#[test]
fn the_timeouts_of_workers_end_in_their_settings() {
    ends_in("[hcrs]\nretire_timeout = 0.5", |s| app(s).retire_timeout, Duration::from_millis(500));
    ends_in("[hcrs]\nworker_timeout = 0", |s| app(s).worker_timeout, Duration::ZERO);
    ends_in("[hcrs]\nworker_timeout = 2.5", |s| app(s).worker_timeout, Duration::from_millis(2500));
}

#[test]
fn the_limits_of_workers_end_in_their_settings() {
    ends_in("[hcrs]\nmax_worker_age = 3600", |s| app(s).max_worker_age, Some(Duration::from_secs(3600)));
    ends_in("[hcrs]\nmax_worker_rss = 500000000", |s| app(s).max_worker_rss, Some(500_000_000));
}

#[test]
fn preload_and_the_hooks_end_in_their_settings() {
    ends_in("[hcrs]\npreload = true", |s| app(s).preload, true);
    ends_in("[hcrs]\npost_fork = \"a.b:c\"", |s| app(s).hooks.post_fork.clone(), Some("a.b:c".into()));
    ends_in("[hcrs]\nworker_start = \"a:b.c\"", |s| app(s).hooks.worker_start.clone(), Some("a:b.c".into()));
    ends_in("[hcrs]\nworker_exit = \"a:_b2\"", |s| app(s).hooks.worker_exit.clone(), Some("a:_b2".into()));
    for wrong in ["a", "a:", ":b", "a/b:c", "a:b()", "2a:b", "a:b:c", "a..b:c"] {
        let error = config(&format!("[hcrs]\nworker_exit = \"{wrong}\"")).unwrap_err().to_string();
        assert!(error.contains("a function as \"MODULE:FUNCTION\""), "{error}");
    }
}

#[test]
fn every_key_ends_in_its_setting() {
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    ends_in("bind = \"[::1]:1\"", |s| binds(s, true), list(&["[::1]:1"]));
    ends_in("bind = [\"a:1\", \"unix:s\"]", |s| binds(s, true), list(&["a:1", "unix:s"]));
    ends_in("insecure_bind = \"b:2\"", |s| binds(s, false), list(&["b:2"]));
    ends_in("insecure_bind = [\"b:2\", \"fd://4\"]", |s| binds(s, false), list(&["b:2", "fd://4"]));
    ends_in(
        "quic_bind = [\"c:3\", \"fd://5\"]",
        |s| s.quic_binds.iter().map(ToString::to_string).collect(),
        list(&["c:3", "fd://5"]),
    );
    ends_in("backlog = 2048", |s| s.backlog, 2048);
    ends_in("umask = 0o007", |s| s.umask, Some(7));
    ends_in("application_path = \"m:a\"", |s| s.apps.first().map(|app| app.path.clone()), Some("m:a".into()));
    ends_in("root_path = \"/api/\"", |s| app(s).root_path.clone(), "/api".into());
    ends_in("workers = 4", |s| app(s).workers.get(), 4);
    ends_in(
        "workers = \"auto\"",
        |s| app(s).usable_cores.map(|cores| cores.count == app(s).workers),
        Some(true),
    );
    ends_in("worker_class = \"uvloop\"", |s| app(s).worker_class, WorkerClass::Uvloop);
    ends_in("worker_class = \"trio\"", |s| app(s).worker_class, WorkerClass::Trio);
    ends_in("max_requests = 1000", |s| app(s).max_requests.map(NonZeroU64::get), Some(1000));
    ends_in("max_requests_jitter = 50", |s| app(s).max_requests_jitter, 50);
    ends_in("use_reloader = true", |s| app(s).use_reloader, true);
    ends_in("[hcrs]\nreload_dirs = [\"a\"]", |s| app(s).reload.dirs.clone(), vec!["a".into()]);
    ends_in("[hcrs]\nreload_include = [\"a\"]", |s| app(s).reload.include.clone(), list(&["a"]));
    ends_in("[hcrs]\nreload_exclude = [\"a\"]", |s| app(s).reload.exclude.clone(), list(&["a"]));
    ends_in("pid_path = \"run/pid\"", |s| s.pid_path.clone(), Some("run/pid".into()));
    ends_in("wsgi_max_body_size = 1", |s| app(s).wsgi_max_body_size, 1);
    ends_in("startup_timeout = 1.5", |s| app(s).startup_timeout, Duration::from_millis(1500));
    ends_in("shutdown_timeout = 2", |s| app(s).shutdown_timeout, Duration::from_secs(2));
    ends_in("graceful_timeout = 0", |s| s.graceful_timeout, Duration::ZERO);
    ends_in("keep_alive_timeout = 75", |s| s.connection.keep_alive_timeout, Duration::from_secs(75));
    ends_in("keep_alive_max_requests = 7", |s| s.connection.keep_alive_max_requests, NonZeroU64::new(7));
    ends_in("read_timeout = 9", |s| s.connection.body_timeout, Duration::from_secs(9));
    ends_in("include_date_header = false", |s| s.connection.include_date_header, false);
    ends_in("include_server_header = false", |s| s.connection.include_server_header, false);
    ends_in("certfile = \"other\"", |s| tls(s).certfile.clone(), "other".into());
    ends_in("keyfile = \"other\"", |s| tls(s).keyfile.clone(), "other".into());
    ends_in("alpn_protocols = [\"http/1.1\"]", |s| tls(s).alpn_protocols.clone(), list(&["http/1.1"]));
    ends_in("ssl_handshake_timeout = 10", |s| tls(s).handshake_timeout, Duration::from_secs(10));
    ends_in("websocket_max_message_size = 9", |s| s.connection.websocket.max_message_size, 9);
    let ping = |s: &Settings| s.connection.websocket.ping_interval;
    ends_in("websocket_ping_interval = 2", ping, Some(Duration::from_secs(2)));
    ends_in("h11_max_incomplete_size = 4096", |s| s.connection.h1.max_head_bytes, 4096);
    ends_in("h2_max_concurrent_streams = 250", |s| s.connection.h2.max_concurrent_streams, 250);
    ends_in("h2_max_header_list_size = 8192", |s| s.connection.h2.max_header_list_size, 8192);
    ends_in("h2_max_inbound_frame_size = 65536", |s| s.connection.h2.max_inbound_frame_size, 65_536);
    ends_in("accesslog = \"-\"", |s| s.log.access.clone(), Some(LogTarget::Standard));
    ends_in("accesslog = \"a.log\"", |s| s.log.access.clone(), Some(LogTarget::File("a.log".into())));
    let format = |format| AccessFormat::parse(format).unwrap();
    ends_in("access_log_format = \"%(m)s\"", |s| s.log.access_format.clone(), format("%(m)s"));
    ends_in("[hcrs]\naccess_log_json = true", |s| s.log.access_format.clone(), AccessFormat::json());
    ends_in("errorlog = \"e.log\"", |s| s.log.error.clone(), Some(LogTarget::File("e.log".into())));
    ends_in("errorlog = \"\"", |s| s.log.error.clone(), None);
    let syslog = LogTarget::parse("syslog:/dev/log").unwrap();
    ends_in("errorlog = \"syslog:\"", |s| s.log.error.clone(), syslog);
    ends_in("statsd_host = \"[::1]:8125\"", |s| s.statsd.host.clone(), "[::1]:8125".into());
    ends_in("statsd_prefix = \"shop\"", |s| s.statsd.prefix.clone(), "shop".into());
    ends_in("dogstatsd_tags = \"a:b\"", |s| s.statsd.tags.clone(), "a:b".into());
    let file = Some(PythonLogging::File("json:l.json".into()));
    ends_in("logconfig = \"json:l.json\"", |s| s.log.python.clone(), file);
    ends_in("loglevel = \"WARNING\"", |s| s.log.level, LogLevel::Warning);
    ends_in("debug = true", |s| app(s).debug, true);
    ends_in("user = 5\ngroup = 6", |s| s.socket_owner, Some((5, 6)));
    ends_in("keyfile_password = \"p\"", |s| tls(s).keyfile_password.clone(), Some("p".into()));
    ends_in("ca_certs = \"a\"", |s| tls(s).ca_certs.clone(), Some("a".into()));
    ends_in("verify_mode = 2", |s| tls(s).verify_mode, VerifyMode::Required);
    ends_in("verify_mode = \"CERT_OPTIONAL\"", |s| tls(s).verify_mode, VerifyMode::Optional);
    ends_in("verify_flags = 4", |s| tls(s).verify_flags, VerifyFlags::CRL_CHECK_LEAF);
    ends_in("verify_flags = \"VERIFY_CRL_CHECK_LEAF\"", |s| tls(s).verify_flags, VerifyFlags::CRL_CHECK_LEAF);
    ends_in("ciphers = \"CHACHA20\"", |s| tls(s).ciphers.clone(), "CHACHA20".into());
    ends_in("[hcrs]\ncrls = \"r\"", |s| tls(s).crls.len(), 1);
    ends_in("[hcrs]\nticket_keys = \"t\"", |s| tls(s).ticket_keys.clone(), Some("t".into()));
    ends_in("[hcrs]\nminimum_version = 1.3", |s| tls(s).minimum_version, TlsVersion::Tls13);
    ends_in("[hcrs]\nminimum_version = \"1.3\"", |s| tls(s).minimum_version, TlsVersion::Tls13);
    ends_in(
        "[hcrs]\nkey_exchange = [\"x25519\"]",
        |s| tls(s).key_exchange.clone(),
        vec![KeyExchange::X25519],
    );
    ends_in(
        "[[hcrs.certificates]]\ncertfile = \"x\"\nkeyfile = \"y\" # certificates = 1",
        |s| tls(s).more_certificates.iter().map(|pair| pair.keyfile.clone()).collect::<Vec<_>>(),
        vec!["y".into()],
    );
    ends_in("[hcrs]\nmax_handshakes = 5", |s| s.connection.max_handshakes, 5);
    ends_in("[hcrs]\nmax_connections = 5", |s| s.connection.max_connections, 5);
    ends_in("[hcrs]\nhead_timeout = 5", |s| s.connection.head_timeout, Duration::from_secs(5));
    ends_in("[hcrs]\nwrite_timeout = 5", |s| s.connection.write_timeout, Duration::from_secs(5));
    ends_in("[hcrs]\nstall_timeout = 5", |s| app(s).dispatch.stall_timeout, Duration::from_secs(5));
    ends_in("[hcrs]\nio_threads = 3", |s| s.io_threads.map(NonZeroUsize::get), Some(3));
    ends_in("hcrs.io_threads = 3", |s| s.io_threads.map(NonZeroUsize::get), Some(3));
    ends_in("[hcrs]\nlifespan = \"off\"", |s| app(s).lifespan, Lifespan::Off);
    ends_in("[hcrs]\npython = \"bin/python\"", |s| app(s).python.clone(), Some("bin/python".into()));
    ends_in("[hcrs]\nqueue_size = 0", |s| app(s).dispatch.queue_size, 0);
    ends_in("[hcrs]\nqueue_timeout = 0.25", |s| app(s).dispatch.queue_timeout, Duration::from_millis(250));
    ends_in("[hcrs]\nwsgi_threads = 12", |s| app(s).wsgi_threads.map(NonZeroUsize::get), Some(12));
}

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
fn routes_end_in_their_settings() {
    let route = |toml: &str| {
        let routes = settings(&format!("[[hcrs.routes]] # routes = 1\n{toml}")).routes;
        assert_eq!(routes.list().len(), 1);
        routes.list()[0].clone()
    };
    let all = route(
        "path = \"/static/\"\nhost = [\"a.test\", \"*.b.test\"]\nmethod = \"GET\"\nscheme = \"https\"\n\
         files = \"static\"\nindex = \"home.html\"\nmissing = \"next\"\ncache_control = \"no-cache\"\n\
         hidden = true\nfollow_links = true\nprecompressed = true\nhashed_immutable = true\nattachment = true\n\
         force_type = \"text/plain\"\nlisting = true",
    );
    let expected = ConfiguredRoute {
        matcher: RouteMatcher {
            paths: vec![PathPattern::Prefix("/static".into())],
            hosts: vec![HostPattern::Exact("a.test".into()), HostPattern::Below(".b.test".into())],
            methods: vec!["GET".into()],
            scheme: Some(hcrs_http::Scheme::Https),
        },
        action: RouteAction::Files(FilesSettings {
            folder: "static".into(),
            index: vec!["home.html".into()],
            missing: MissingFile::NextRoute,
            cache_control: Some("no-cache".into()),
            hidden: true,
            follow_links: true,
            precompressed: true,
            hashed_immutable: true,
            attachment: true,
            force_type: Some("text/plain".into()),
            listing: true,
            internal: false,
        }),
        rules: Arc::default(),
    };
    assert_eq!(all, expected);
    assert!(route("files = \"media\"\ninternal = true").action.is_internal());
    let redirect = route("redirect = \"https://{host}{path}{query}\"\nredirect_status = 301").action;
    let location = "https://{host}{path}{query}".into();
    assert_eq!(redirect, RouteAction::Redirect(RedirectSettings { location, status: 301 }));
    let gone = FixedResponse {
        status: 410,
        body: FixedBody::Text("gone".into()),
        content_type: Some("text/html".into()),
    };
    let fixed = route("path = \"*.php\"\nstatus = 410\ntext = \"gone\"\ncontent_type = \"text/html\"");
    assert_eq!(fixed.action, RouteAction::Fixed(gone));
    let page = FixedBody::File(LoadedFile::new("gone.html".into()));
    let fixed = route("status = 410\nfile = \"gone.html\"").action;
    assert_eq!(fixed, RouteAction::Fixed(FixedResponse { status: 410, body: page, content_type: None }));
    assert_eq!(route("path = [\"=/\", \"/a\"]\nwelcome = true").action, RouteAction::Welcome);
    let api = route("path = \"/api\"\napp = true\nmax_body_size = \"1k\"");
    assert_eq!((api.action, api.rules.max_body_size), (RouteAction::App(AppIndex(0)), Some(1024)));
    let route = "[[hcrs.routes]]\nstatus = 404";
    assert_eq!(settings("application_path = \"a\"").changed_to(settings(route)).routes.list().len(), 1);
}

#[test]
fn routes_to_upstreams_end_in_their_settings() {
    let upstream =
        |toml: &str| match settings(&format!("[[hcrs.routes]]\n{toml}")).routes.list()[0].action.clone() {
            RouteAction::Upstream(settings) => UpstreamSettings::clone(&settings),
            other => panic!("{other:?}"),
        };
    let url = |text: &str| UpstreamUrl::parse(text).unwrap();
    let all = upstream(
        "upstream = [\"https://a.test/base\", \"unix:/run/x.sock\"]\nstrip_path = true\nbalance = \"hash\"\n\
         hash_by = \"X-User\"\nupstream_protocol = \"h2\"\nupstream_host = \"upstream\"\nupstream_ca = \"ca.pem\"\n\
         upstream_verify = false\nupstream_connections = 3\nconnect_timeout = 1\nread_timeout = 2\nsend_timeout = 3\n\
         retries = 0\nhealth_path = \"/health\"\nhealth_interval = 9",
    );
    let seconds = Duration::from_secs;
    let expected = UpstreamSettings {
        servers: vec![url("https://a.test/base"), url("unix:/run/x.sock")],
        strip_path: true,
        balance: Balance::Hash(HashKey::Field("x-user".into())),
        protocol: UpstreamProtocol::Http2,
        host: UpstreamHost::Upstream,
        connect_timeout: seconds(1),
        read_timeout: seconds(2),
        send_timeout: seconds(3),
        ca: Some("ca.pem".into()),
        verify: false,
        health: Some(HealthCheck { path: "/health".into(), interval: seconds(9) }),
        retries: 0,
        connections: 3,
    };
    assert_eq!(all, expected);
    let one = "upstream = \"http://127.0.0.1:9000\"";
    let defaults = UpstreamSettings::new(vec![url("http://127.0.0.1:9000")]);
    assert_eq!(upstream(one), defaults);
    assert_eq!(upstream(&format!("{one}\nbalance = \"hash\"")).balance, Balance::Hash(HashKey::Address));
    assert_eq!(upstream(&format!("{one}\nhash_by = \"path\"")).balance, Balance::Hash(HashKey::Path));
    let named = UpstreamHost::Named("a.test:81".into());
    assert_eq!(upstream(&format!("{one}\nupstream_host = \"a.test:81\"")).host, named);
}

#[test]
fn static_files_are_routes_behind_the_others() {
    let toml =
        "hcrs.static = [\"/static=./s\", \"/m=/srv/m\"]\nhcrs.routes = [{ status = 404, host = \"a\" }]";
    let routes = settings(toml).routes;
    let routes = routes.list();
    assert_eq!(routes.len(), 3);
    assert_eq!(routes[1].action, RouteAction::Files(FilesSettings::new("./s".into())));
    assert_eq!(routes[2].matcher.paths, [PathPattern::Prefix("/m".into())]);
    ends_in("[hcrs]\nstatic = [\"/a=b\"]", |s| s.routes.list().len(), 1);
    for (text, message) in [
        ("/static", "expected a path and a folder, as"),
        ("/static=", "expected a path and a folder, as"),
        ("static=s", "expected a path that begins with /"),
    ] {
        let error = config(&format!("[hcrs]\nstatic = [{text:?}]")).unwrap_err().to_string();
        assert!(
            error.contains("test.toml:2") && error.contains("static: ") && error.contains(message),
            "{error}"
        );
    }
}

#[test]
fn mistakes_in_routes_are_named_with_their_place() {
    for (toml, line, message) in [
        ("files = \"a\"\nstatus = 404", 1, "a route has one action, and this one has files and status"),
        ("path = \"/a\"", 1, "a route has one of files, redirect, status, app, upstream, welcome"),
        ("path = \"/a\"\npaht = \"/b\"\nstatus = 404", 3, "unknown key: paht; did you mean path?"),
        ("status = 404\nindex = \"a\"", 3, "index goes with files, which this route does not have"),
        ("path = \"a\"\nstatus = 404", 2, "path: expected a path that begins with /"),
        ("host = [\"a\", \"b:80\"]\nstatus = 404", 2, "host: expected a host name or address without a port"),
        ("method = \"get\"\nstatus = 404", 2, "method: expected a method in capitals"),
        (
            "upstream = [\"http://a\", \"a:80\"]",
            2,
            "upstream: expected http://HOST:PORT, https://HOST:PORT or unix:PATH",
        ),
        ("upstream = []", 2, "upstream: expected 1 to 256 URLs"),
        (
            "upstream = \"http://a\"\nbalance = \"least-busy\"\nhash_by = \"path\"",
            4,
            "hash_by: expected balance =",
        ),
        ("upstream = \"http://a\"\nhealth_path = \"x\"", 3, "health_path: expected a path"),
        ("upstream = \"http://a\"\nhealth_interval = 1", 3, "health_interval goes with health_path"),
        (
            "upstream = \"http://a\"\nupstream_host = \"a b\"",
            3,
            "upstream_host: expected client, upstream or the name",
        ),
        ("status = 404\nretries = 1", 3, "retries goes with upstream, which this route does not have"),
        ("scheme = \"ws\"\nstatus = 404", 2, "scheme: expected http or https"),
        ("status = 600", 2, "status: expected a whole number from 200 to 599"),
        ("redirect = \"https://{hots}/\"", 2, "redirect: expected a URL or a path, in which braces hold"),
        ("redirect = \"/\"\nredirect_status = 305", 3, "redirect_status: expected 301, 302, 303, 307 or 308"),
        ("files = \"a\"\nmissing = \"../x\"", 3, "missing: expected the name of a file below the folder"),
        ("files = \"a\"\ninternal = true\nmissing = \"next\"", 4, "missing: expected a name, because"),
        (
            "files = \"a\"\ncache_control = \"a\\nb\"",
            3,
            "cache_control: expected the value of a response field",
        ),
        (
            "app = true\nmax_body_size = \"1T\"",
            3,
            "max_body_size: expected a number of bytes, or text as \"10M\"",
        ),
        ("welcome = false", 1, "expected welcome = true, or another action"),
        ("status = 404\ntext = \"a\"\nfile = \"a\"", 4, "file: expected text or file, and not both"),
        ("path = [\"/a\", \"b\"]\nstatus = 404", 2, "path: expected a path that begins with /"),
        ("app = false", 2, "app: expected true or the name of an app, or another action"),
    ] {
        let error = config(&format!("[[hcrs.routes]]\n{toml}")).unwrap_err().to_string();
        assert!(
            error.contains(&format!("test.toml:{line}")) && error.contains(&format!("routes: {message}")),
            "{error}"
        );
    }
    let unreachable =
        "[[hcrs.routes]]\npath = \"/a\"\nstatus = 404\n[[hcrs.routes]]\npath = \"/a/b\"\nstatus = 404";
    let error = config(unreachable).unwrap_err().to_string();
    assert!(error.contains("test.toml:4") && error.contains("route 1 takes all of them"), "{error}");
    let reachable = unreachable.replace("/a/b", "/ab");
    assert_eq!(settings(&reachable).routes.list().len(), 2);
    let internal = unreachable.replacen("status = 404", "files = \"a\"\ninternal = true", 1);
    assert_eq!(settings(&internal).routes.list().len(), 2, "it takes no request of a client");
    let many = "[[hcrs.routes]]\nstatus = 404\npath = \"/n\"\n".repeat(10_000);
    let error = config(&many).unwrap_err().to_string();
    assert!(error.contains("routes: expected at most 1024 routes"), "{error}");
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
fn waiting_requests_are_bounded_in_bytes() {
    assert_eq!(
        app(&settings("application_path = \"m:a\"\nhcrs.queue_bytes = 65536")).dispatch.queue_bytes,
        65_536
    );
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

#[test]
fn every_obeyed_key_has_a_line_in_a_test_above() {
    let this = concat!(
        include_str!("tests.rs"),
        include_str!("tests/acme.rs"),
        include_str!("tests/apps.rs"),
        include_str!("tests/rules.rs")
    );
    for setting in table::all().filter(|setting| setting.ignored_reason().is_none()) {
        assert!(this.contains(&format!("{} = ", setting.key)), "{} is not tested", setting.key);
    }
}

#[test]
fn every_setting_is_in_a_group_of_the_reference() {
    let shown = crate::setting::Group::ALL
        .iter()
        .map(|group| table::all().filter(|setting| setting.group == *group).count())
        .sum::<usize>();
    assert_eq!(shown, table::all().count());
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> =
        table::all().flat_map(|setting| setting.aliases.iter().copied().chain([setting.key])).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn defaults_are_those_of_hypercorn() {
    let settings = settings("");
    // With one exception: clients lose requests when such a limit closes the connection.
    assert_eq!(settings.connection.keep_alive_max_requests, None);
    assert!(settings.apps.is_empty() && settings.tls.is_none());
    assert_eq!(binds(&settings, false), ["127.0.0.1:8000"]);
    assert_eq!(settings.backlog, 100);
    assert_eq!(settings.graceful_timeout, Duration::from_secs(3));
    assert_eq!(settings.connection.keep_alive_timeout, Duration::from_secs(5));
    assert_eq!(settings.connection.h1.max_head_bytes, 16_384);
    assert_eq!(settings.connection.h2.max_concurrent_streams, 100);
    assert_eq!(settings.connection.h2.max_header_list_size, 65_536);
    assert_eq!(settings.connection.h2.max_inbound_frame_size, 16_384);
    assert!(settings.connection.include_date_header && settings.connection.include_server_header);
    assert_eq!(settings.log.access, None);
    assert_eq!(settings.log.error, Some(LogTarget::Standard));
    assert_eq!(settings.log.level, LogLevel::Info);

    let settings = self::settings("application_path = \"app\"\ncertfile = \"c\"\nkeyfile = \"k\"");
    assert_eq!(app(&settings).workers.get(), 1);
    assert_eq!(app(&settings).worker_class, WorkerClass::Asyncio);
    assert_eq!(app(&settings).root_path, "");
    assert_eq!(app(&settings).wsgi_max_body_size, 16_777_216);
    assert_eq!(app(&settings).startup_timeout, Duration::from_secs(60));
    assert_eq!(app(&settings).shutdown_timeout, Duration::from_secs(60));
    assert_eq!(tls(&settings).alpn_protocols, ["h2", "http/1.1"]);
    assert_eq!(tls(&settings).handshake_timeout, Duration::from_secs(60));
}

#[test]
fn empty_application_path_is_no_app() {
    assert!(settings("application_path = \"\"").apps.is_empty());
}

/// Returns lines that are often valid, or nearly so.
fn line() -> impl Strategy<Value = String> {
    let names: Vec<&str> = table::all().map(|setting| setting.key).chain(["hcrs", "[hcrs]", "x"]).collect();
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        ".{0,12}".prop_map(|text| format!("{text:?}")),
        ".{0,12}".prop_map(|text| format!("['{text}', ")),
        "\\PC{0,12}",
        Just("[\"a:1\", \"[::1]\", 'unix:ü']".to_owned()),
        Just("{ a = 1 }".to_owned()),
    ];
    (proptest::sample::select(names), "( = )?", value)
        .prop_map(|(name, equals, value)| name.to_owned() + &equals + &value)
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_list_of_problems(lines in proptest::collection::vec(line(), 0..6)) {
        match config(&lines.join("\n")) {
            Ok(config) => {
                let has_bind = lines.iter().any(|line| line.contains("bind"));
                prop_assert!(!config.server.listeners.is_empty() || has_bind);
            }
            Err(ConfigError::Invalid(problems)) => prop_assert!(!problems.is_empty()),
            Err(error @ (ConfigError::Usage(_) | ConfigError::Arguments(_))) => prop_assert!(false, "{error}"),
        }
    }
}
