//! Messages about wrong values, and warnings.

use super::*;

#[test]
fn errors_of_values_name_the_expected_one() {
    for (toml, message) in [
        ("bind = 5", "1:8: bind: expected a string or an array of strings, found 5"),
        ("bind = [\"a:1\", 2]", "1:16: bind: expected a string, found 2"),
        ("bind = \"a:http\"", "1:8: bind: \"a:http\" cannot be bound: a port is a number"),
        (
            "workers = \"2\"",
            "1:11: workers: expected a whole number from 0 to 1024 or \"auto\", found the string \"2\"",
        ),
        ("workers = -1", "1:11: workers: expected a whole number from 0 to 1024 or \"auto\", found -1"),
        ("workers = 1.5", "1:11: workers: expected a whole number from 0 to 1024 or \"auto\", found 1.5"),
        ("workers = 99999999999999999999", "found a number with too many digits"),
        ("worker_class = \"gevent\"", "expected \"asyncio\", \"uvloop\" or \"trio\""),
        ("hcrs.lifespan = \"yes\"", "expected \"auto\", \"on\" or \"off\", found"),
        ("keep_alive_timeout = true", "a number of seconds from 0.001 to 31536000, found true"),
        ("keep_alive_timeout = 0", "a number of seconds from 0.001 to 31536000, found 0"),
        ("graceful_timeout = -0.5", "a number of seconds from 0 to 31536000, found -0.5"),
        ("graceful_timeout = nan", "a number of seconds from 0 to 31536000, found NaN"),
        ("graceful_timeout = inf", "a number of seconds from 0 to 31536000, found inf"),
        ("graceful_timeout = 2020-01-01", "found a date or time"),
        ("include_date_header = \"yes\"", "expected true or false, found the string \"yes\""),
        ("pid_path = \"\"", "expected a path as a string, found the string \"\""),
        ("root_path = \"a\\u0000\"", "a string without a zero byte"),
        ("alpn_protocols = \"h2\"", "expected an array of strings, found the string \"h2\""),
        (
            "alpn_protocols = [\"h2\", \"spdy\"]",
            "1:25: alpn_protocols: expected \"h2\" or \"http/1.1\", found \"spdy\"",
        ),
        ("h11_max_incomplete_size = 983_041", "a whole number from 256 to 983040, found 983041"),
        ("h2_max_header_list_size = 8_388_608", "a whole number from 256 to 983040, found 8388608"),
        ("h2_max_inbound_frame_size = 100", "a whole number from 16384 to 16777215, found 100"),
        ("loglevel = \"loud\"", "or \"critical\", found the string \"loud\""),
        ("access_log_format = \"%(z)s\"", "1:21: access_log_format: %(z)s is no atom that is known: l, h,"),
        (
            "accesslog = \"syslog:tcp://a\"",
            "1:13: accesslog: \"tcp://a\" is neither a path that begins with / nor udp://",
        ),
        ("statsd_host = \"localhost\"", "1:15: statsd_host: expected \"host:port\", found"),
        ("hcrs.trace_context = \"on\"", "expected \"off\", \"all\" or \"trusted\", found the string \"on\""),
        ("hcrs.trace_sample_ratio = 1.1", "trace_sample_ratio: expected a number from 0 to 1, found 1.1"),
        ("hcrs.trace_sample_ratio = -1", "trace_sample_ratio: expected a number from 0 to 1, found -1"),
        ("hcrs.otlp_endpoint = \"a:4318\"", "otlp_endpoint: expected a URL as in \"http://127.0.0.1:4318\""),
        ("hcrs.otlp_endpoint = \"http://a\"", "otlp_endpoint needs trace_context"),
        ("hcrs.otlp_service_name = \"\"", "otlp_service_name: expected a name, found"),
        ("hcrs.request_id = \"x id\"", "request_id: expected the name of a field without another meaning"),
        ("hcrs.request_id = \"Host\"", "as in \"x-request-id\", found the string \"Host\""),
        ("hcrs.request_id = \"traceparent\"", "request_id: expected the name of a field"),
        ("umask = 0o1000", "a whole number from 0 to 511, found 512"),
        ("hcrs = 1", "1:8: hcrs: expected a table, [hcrs], found 1"),
        (
            "[hcrs]\nio_threads = 0",
            "2:14: [hcrs] io_threads: expected a whole number from 1 to 1024, found 0",
        ),
        (
            "workers = 0\nuse_reloader = true",
            "2:16: use_reloader: there are no workers to reload, because workers is 0",
        ),
        ("certfile = \"c\"", "1:12: certfile is set but keyfile is not: TLS needs both"),
        ("keyfile = \"k\"", "1:11: keyfile is set but certfile is not: TLS needs both"),
        ("verify_mode = 2", "1:15: verify_mode is set but certfile and keyfile are not: TLS needs both"),
        (
            "[[hcrs.certificates]]\ncertfile = 'c'\nkeyfile = 'k'",
            "certificates is set but certfile and keyfile",
        ),
        ("verify_mode = 3", "1:15: verify_mode: expected"),
        ("cert_reqs = \"CERT_REQUIRE\"", "verify_mode: expected"),
        ("verify_mode = \"required\"", "CERT_REQUIRED"),
        ("server_names = ['a', 'http://b']", "1:22: server_names: expected a host name or address, with or"),
        ("server_names = '*'", "1:16: server_names: expected a name: wildcards are not supported"),
        ("alt_svc_headers = [\"a\\nb\"]", "1:20: alt_svc_headers: expected the value of a header field"),
        ("logconfig_dict = 'a'", "1:18: logconfig_dict: expected a table, found the string \"a\""),
        ("logconfig_dict.x = [inf]", "1:21: logconfig_dict: expected a value for Python's logging"),
        ("[hcrs]\nminimum_version = \"1.1\"", "2:19: [hcrs] minimum_version: expected"),
        ("[hcrs]\nkey_exchange = [\"rsa\"]", "2:17: [hcrs] key_exchange: expected"),
        ("[[hcrs.certificates]]\ncertfile = \"x\"", "each with certfile and keyfile"),
        (
            "[[hcrs.certificates]]\ncertfile = \"x\"\nkey = \"x\"",
            "3:7: [hcrs] certificates: expected only the keys certfile,",
        ),
    ] {
        let error = config(toml).expect_err(toml).to_string();
        assert!(error.contains(message), "{toml}\n{error}");
    }
}

#[test]
fn every_key_refuses_a_date() {
    for setting in table::all().filter(|setting| setting.ignored_reason().is_none()) {
        let table = if setting.is_extension { "[hcrs]\n" } else { "" };
        let key = setting.key;
        let error = config(&format!("{table}{key} = 2020-01-01")).expect_err(key).to_string();
        assert!(error.contains(key) && error.contains("found a date or time"), "{error}");
    }
}

#[track_caller]
fn warns(toml: &str, expected: &str) {
    let warnings = config(toml).unwrap_or_else(|error| panic!("{error}")).warnings;
    assert_eq!(warnings, [expected]);
}

#[test]
fn ignored_keys_are_a_warning_with_the_reason() {
    for setting in table::all() {
        if let Some(reason) = setting.ignored_reason() {
            let (key, reason) = (setting.key, reason.trim_end_matches('.'));
            warns(&format!("{key} = 0"), &format!("test.toml:1:1: {key} is ignored: {reason}"));
        }
    }
}

#[test]
fn names_of_flags_are_aliases() {
    for (toml, key) in [
        ("log_level = \"debug\"", "loglevel"),
        ("access_log = \"-\"", "accesslog"),
        ("access_logfile = \"-\"", "accesslog"),
        ("error_logfile = \"x\"", "errorlog"),
        ("keep_alive = 7", "keep_alive_timeout"),
        ("keep-alive = 7", "keep_alive_timeout"),
        ("pid = \"x\"", "pid_path"),
        ("reload = true", "use_reloader"),
    ] {
        let name = toml.split(' ').next().unwrap();
        let value = toml.split_once(" = ").unwrap().1;
        let read = config(toml).unwrap();
        assert_eq!(
            read.warnings,
            [format!("test.toml:1:1: {name} is taken as {key}, which is its name in Hypercorn")]
        );
        let same = settings(&format!("{key} = {value}"));
        assert_eq!(format!("{:?}", read.server), format!("{same:?}"));
    }
    warns(
        "loglevel = \"info\"\nlog_level = \"debug\"",
        "test.toml:2:1: log_level is ignored beside loglevel, which means the same",
    );
}

#[test]
fn keys_in_the_wrong_table_are_reported_with_the_right_one() {
    warns(
        "io_threads = 1",
        "test.toml:1:1: unknown key: io_threads, ignored; it belongs in the table [hcrs]",
    );
    warns(
        "[hcrs]\nworkers = 1",
        "test.toml:2:1: unknown key: [hcrs] workers, ignored; it belongs above all tables",
    );
}

#[test]
fn unknown_keys_are_a_warning_with_the_nearest_name() {
    for (key, hint) in [
        ("worker", "; did you mean workers?"),
        ("certfiles", "; did you mean certfile?"),
        ("keep-alive-timeout", "; did you mean keep_alive_timeout?"),
        ("BIND", "; did you mean bind?"),
        ("something_else", ""),
    ] {
        warns(&format!("\n  {key} = 1"), &format!("test.toml:2:3: unknown key: {key}, ignored{hint}"));
    }
    warns(
        "[hcrs]\nio_thread = 1",
        "test.toml:2:1: unknown key: [hcrs] io_thread, ignored; did you mean io_threads?",
    );
    warns(
        "[hypercorn]\nbind = \"a:1\"",
        "test.toml:1:2: unknown table [hypercorn], ignored; settings belong above all tables",
    );
}

#[test]
fn http3_needs_a_certificate_and_udp() {
    for (toml, message) in [
        (
            "quic_bind = \"a:1\"",
            "test.toml:1:13: quic_bind needs certfile and keyfile: HTTP/3 is always encrypted",
        ),
        (
            "certfile = 'c'\nkeyfile = 'k'\nquic_bind = [\"unix:s\"]",
            "test.toml:3:13: quic_bind has unix:s, but HTTP/3 is served over UDP alone",
        ),
    ] {
        let error = config(toml).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn changed_values_are_a_warning() {
    warns(
        "workers = 0",
        "test.toml:1:11: workers: 0 is treated as 1, because the app never runs in the main process; \
         set 1 or more",
    );
    warns(
        "logconfig_dict = {}\nlogconfig = \"f\"",
        "test.toml:1:1: logconfig_dict is ignored: logconfig names a file",
    );
    warns(
        "ca_certs = 'a'",
        "test.toml:1:12: ca_certs is ignored: without certfile and keyfile, bind is cleartext",
    );
    warns("user = 5", "test.toml:1:8: user is ignored: without group, unix sockets keep their owner");
    warns(
        "insecure_bind = \"a:1\"",
        "test.toml:1:17: insecure_bind is ignored: without certfile and keyfile, bind is cleartext already",
    );
    warns(
        "[hcrs]\nredirect_http = true",
        "test.toml:2:17: redirect_http is ignored: there is no insecure_bind beside a bind with TLS",
    );
}
