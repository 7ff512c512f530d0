//! Each key: a value in the file, and the setting that it becomes.

use std::fmt::Debug;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use hcrs_server::{
    AccessFormat, Lifespan, LogLevel, LogTarget, PythonLogging, ServerNames, Settings, WorkerClass,
};
use hcrs_tls::{KeyExchange, TlsVersion, VerifyFlags, VerifyMode};

mod acme;
mod any_text;
mod apps;
mod messages;
mod processes;
mod requests;
mod routes;
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
fn every_obeyed_key_has_a_line_in_a_test() {
    let this = concat!(
        include_str!("tests.rs"),
        include_str!("tests/acme.rs"),
        include_str!("tests/apps.rs"),
        include_str!("tests/processes.rs"),
        include_str!("tests/requests.rs"),
        include_str!("tests/routes.rs"),
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
