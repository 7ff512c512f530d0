//! Each setting of each server, and what becomes of it.

use std::collections::BTreeSet;
use std::fs;

use tempfile::TempDir;

use super::row::{Outcome, Row};
use super::words::split;
use super::*;
use crate::setting::{Kind, Setting};
use crate::table;

/// What a server's arguments come to, in an empty folder.
fn sheet<'a>(server: &'a Server, arguments: &[&str]) -> Sheet<'a> {
    let folder = TempDir::new().unwrap();
    let around = Surroundings { folder: Some(folder.path().to_owned()), ..Surroundings::default() };
    let invocation = Invocation {
        server: server.name,
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..Invocation::default()
    };
    let mut sheet = Sheet::new(server);
    tell_command(&invocation, &around, &mut sheet);
    sheet.convert();
    sheet
}

/// What a file says to a server.
fn sheet_of_file<'a>(server: &'a Server, toml: &str) -> Sheet<'a> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("settings.toml");
    fs::write(&path, toml).unwrap();
    let found = Found::read(path.to_str().unwrap(), Form::Toml, &Surroundings::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let mut sheet = Sheet::new(server);
    tell_file(found, &mut sheet);
    sheet.convert();
    sheet
}

fn all_servers() -> impl Iterator<Item = Server> {
    NAMES.into_iter().filter_map(server)
}

#[test]
fn settings_are_named_once_and_lead_to_settings_that_there_are() {
    for server in all_servers() {
        let (mut names, mut flags) = (BTreeSet::new(), BTreeSet::new());
        for row in &server.rows {
            assert!(names.insert(row.name.as_ref()), "{} {}", server.name, row.name);
            for flag in row.each_flag() {
                assert!(flags.insert(flag), "{} {flag}", server.name);
                assert!(flag.starts_with('-'), "{} {flag}", server.name);
            }
            match &row.outcome {
                Outcome::Same(key) => assert!(table::find(key).is_some(), "{} {key}", server.name),
                Outcome::Made(keys, _) => {
                    for key in keys.split(", ").filter(|key| !key.is_empty()) {
                        assert!(table::find(key).is_some(), "{} {key}", server.name);
                    }
                }
                Outcome::Part(_) => {}
                Outcome::Without(why) => assert!(why.len() > 10, "{} {}", server.name, row.name),
            }
        }
        for (_, row) in server.variables {
            assert!(server.row(row).is_some(), "{} {row}", server.name);
        }
        assert!(server.row(server.app).is_some(), "{}", server.name);
    }
}

/// A value that a setting takes and that is nobody's default, as a flag says it and as it is written.
fn sample(setting: &Setting) -> (String, String) {
    let quoted = |text: &str| (text.to_owned(), format!("\"{text}\""));
    match setting.kind {
        Kind::Boolean => ("true".into(), "true".into()),
        Kind::Whole(least, most) => {
            let number = 333.clamp(least, most).to_string();
            (number.clone(), number)
        }
        Kind::Mask => ("18".into(), "0o022".into()),
        Kind::Seconds(_) => ("7".into(), "7".into()),
        Kind::OneOf(words) => quoted(words.last().unwrap()),
        Kind::Texts | Kind::TextOrTexts | Kind::BooleanOrBinds => {
            ("127.0.0.1:1".into(), "[\"127.0.0.1:1\"]".into())
        }
        Kind::Text | Kind::Path | Kind::NameOrNumber | Kind::Table | Kind::Tables => quoted("x"),
    }
}

#[test]
fn settings_that_mean_the_same_pass_with_each_of_their_flags() {
    let mut seen = 0;
    for server in all_servers() {
        for row in &server.rows {
            let Outcome::Same(key) = row.outcome else { continue };
            let (said, written) = sample(table::find(key).unwrap());
            for flag in row.each_flag() {
                let mut arguments = vec![flag];
                if row.takes != Takes::Nothing {
                    arguments.push(&said);
                }
                arguments.push("a:b");
                let sheet = sheet(&server, &arguments);
                assert_eq!(sheet.problems, Vec::<String>::new(), "{} {arguments:?}", server.name);
                let expected = if flag.starts_with("--no-") { "false" } else { &written };
                assert_eq!(sheet.literal(key), Some(expected), "{} {arguments:?}", server.name);
                seen += 1;
            }
            let entry = format!("{} = {written}", row.name);
            assert_eq!(
                sheet_of_file(&server, &entry).literal(key),
                Some(written.as_str()),
                "{} {entry}",
                server.name
            );
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn settings_without_counterpart_are_told_with_the_reason_unless_they_change_nothing() {
    for server in all_servers() {
        for row in &server.rows {
            let Outcome::Without(why) = row.outcome else { continue };
            let why = why.trim_end_matches('.');
            let told = |sheet: &Sheet<'_>| sheet.notes.iter().any(|(_, found)| found == why);
            for flag in row.each_flag() {
                // What turns something off that is on by default is told, and the other way about.
                let tells = match (row.takes, row.default) {
                    (Takes::Nothing, default) => flag.starts_with("--no-") == (default == Some("true")),
                    _ => true,
                };
                let mut arguments = vec![flag];
                if row.takes != Takes::Nothing {
                    arguments.push("77");
                }
                arguments.push("a:b");
                let sheet = sheet(&server, &arguments);
                assert_eq!(told(&sheet), tells, "{} {arguments:?} {:?}", server.name, sheet.notes);
            }
            if let (Some(default), Some(flag)) = (row.default, row.each_flag().next())
                && row.takes != Takes::Nothing
            {
                let sheet = sheet(&server, &[flag, default, "a:b"]);
                assert!(!told(&sheet), "{} {flag} {default}", server.name);
            }
            let entry = format!("{} = \"x y\"", row.name);
            assert!(told(&sheet_of_file(&server, &entry)), "{} {entry}", server.name);
        }
    }
}

/// The name of a setting that is made into others, how it is said (flags, or a file's line), what is written and told.
type Case = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const UVICORN: &[Case] = &[
    ("app", "m:a", &["application_path = \"m:a\"", "startup_timeout = 600", "graceful_timeout = 90"], &["--loop auto"]),
    ("host", "m:a --host 0.0.0.0", &["bind = [\"0.0.0.0:8000\"]"], &[]),
    ("host", "m:a --host ::1 --port 5", &["bind = [\"[::1]:5\"]"], &[]),
    ("host", "host = ''", &["bind = [\"0.0.0.0:8000\", \"[::]:8000\"]"], &[]),
    ("port", "m:a --port=80", &["bind = [\"127.0.0.1:80\"]"], &[]),
    ("port", "port = 80", &["bind = [\"127.0.0.1:80\"]"], &[]),
    ("uds", "m:a --uds /run/s", &["bind = [\"unix:/run/s\"]", "umask = 0o111"], &[]),
    ("fd", "m:a --fd 3", &["bind = [\"fd://3\"]"], &[]),
    ("reload", "m:a --reload", &["use_reloader = true"], &[]),
    ("loop", "m:a --loop uvloop", &["worker_class = \"uvloop\""], &[]),
    ("loop", "m:a --loop zuvloop", &[], &["--loop zuvloop"]),
    ("ws_ping_interval", "m:a", &["websocket_ping_interval = 20"], &[]),
    ("ws_ping_interval", "m:a --ws-ping-interval 2.5", &["websocket_ping_interval = 2.5"], &[]),
    ("interface", "m:a --interface wsgi", &["application_path = \"wsgi:m:a\"", "wsgi_threads = 10"], &[]),
    ("interface", "m:a --interface wsgi", &["wsgi_max_body_size = 1073741824"], &[]),
    ("interface", "m:a --interface asgi3", &["application_path = \"asgi:m:a\""], &[]),
    ("interface", "m:a --interface asgi2", &["application_path = \"m:a\""], &["asgi2"]),
    ("env_file", "m:a --env-file .env", &[], &["--env-file .env", "set -a; . .env; set +a"]),
    ("log_config", "m:a --log-config l.ini", &["logconfig = \"l.ini\""], &[]),
    ("log_config", "m:a --log-config l.json", &["logconfig = \"json:l.json\""], &[]),
    ("log_config", "m:a --log-config l.yaml", &[], &["YAML"]),
    ("log_config", "log_config = { version = 1 }", &["logconfig_dict = { \"version\" = 1 }"], &[]),
    ("log_level", "m:a --log-level trace", &["loglevel = \"debug\""], &[]),
    ("log_level", "m:a --log-level critical", &["loglevel = \"critical\""], &[]),
    ("access_log", "m:a", &["accesslog = \"-\"", "access_log_format = \"%(h)s - "], &[]),
    ("access_log", "m:a --no-access-log", &["accesslog = \"\""], &[]),
    ("proxy_headers", "m:a --no-proxy-headers", &["proxy_headers = \"off\""], &[]),
    ("forwarded_allow_ips", "m:a", &["forwarded_allow_ips = [\"127.0.0.1\", \"::1\"]"], &[]),
    ("forwarded_allow_ips", "m:a --forwarded-allow-ips 10.0.0.0/8,1.2.3.4", &["forwarded_allow_ips = [\"10.0.0.0/8\", \"1.2.3.4\"]"], &[]),
    ("forwarded_allow_ips", "forwarded_allow_ips = ['*']", &["forwarded_allow_ips = [\"*\"]"], &[]),
    ("limit_concurrency", "m:a --limit-concurrency 10 --workers 3", &["max_connections = 30", "io_threads = 1"], &["503"]),
    ("limit_concurrency", "m:a --limit-concurrency 10 --workers 8", &["max_connections = 40", "io_threads = 2"], &["503"]),
    ("limit_max_requests", "m:a --limit-max-requests 9", &["max_requests = 9"], &[]),
    ("limit_max_requests_jitter", "m:a --limit-max-requests-jitter 8", &["max_requests_jitter = 8"], &[]),
    ("timeout_keep_alive", "m:a --timeout-keep-alive 7", &["keep_alive_timeout = 7"], &[]),
    ("timeout_keep_alive", "m:a --timeout-keep-alive 0", &["keep_alive_max_requests = 1"], &[]),
    ("ssl_cert_reqs", "m:a --ssl-cert-reqs 2 --ssl-certfile c --ssl-keyfile k --ssl-ca-certs a", &["verify_mode = \"CERT_REQUIRED\""], &[]),
    ("ssl_ciphers", "m:a --ssl-ciphers ECDHE+AESGCM", &["ciphers = \"ECDHE+AESGCM\""], &[]),
    ("headers", "m:a --header alt-svc:h3 --header X-A:b", &["alt_svc_headers = [\"h3\"]"], &["--header X-A:b"]),
    ("headers", "headers = [['Server', 'me']]", &["include_server_header = false"], &["Server:me"]),
    ("app_dir", "m:a --app-dir src", &["application_path = \"src/m:a\""], &[]),
    ("factory", "m:make --factory", &["application_path = \"m:make()\""], &[]),
    ("root_path", "m:a --root-path /x/", &["stripped_prefix = \"/x/\""], &[]),
    ("root_path", "app = 'm:a'\nroot_path = ''", &["application_path = \"m:a\""], &[]),
];

#[rustfmt::skip]
const GUNICORN: &[Case] = &[
    ("wsgi_app", "m", &["application_path = \"wsgi:m:application\""], &[]),
    ("wsgi_app", "wsgi_app = 'm:make()'", &["application_path = \"wsgi:m:make()\"", "startup_timeout = 600"], &[]),
    ("bind", "m:a", &["bind = [\"127.0.0.1:8000\"]"], &[]),
    ("bind", "m:a -b :80 --bind [::1]:81,tcp://1.2.3.4:82", &["bind = [\"0.0.0.0:80\", \"[::1]:81\", \"1.2.3.4:82\"]"], &[]),
    ("bind", "bind = 'unix:///run/s'", &["bind = [\"unix:/run/s\"]", "umask = 0o000"], &[]),
    ("bind", "m:a -b fd://3", &["bind = [\"fd://3\"]"], &[]),
    ("umask", "m:a -b unix:s -m 007", &["umask = 0o007"], &[]),
    ("umask", "m:a -m 18", &[], &["-m 18"]),
    ("worker_class", "m:a", &["wsgi_threads = 1", "application_path = \"wsgi:m:a\""], &[]),
    ("worker_class", "m:a -k uvicorn.workers.UvicornWorker", &["application_path = \"asgi:m:a\"", "websocket_ping_interval = 20"], &["uvloop is taken"]),
    ("worker_class", "m:a -k uvicorn_worker.UvicornH11Worker", &["application_path = \"asgi:m:a\"", "worker_class = \"asyncio\""], &[]),
    ("worker_class", "worker_class = { python = \"<class 'x.MyUvicornWorker'>\" }\nwsgi_app = 'm:a'", &["application_path = \"asgi:m:a\""], &[]),
    ("worker_class", "m:a -k asgi", &["application_path = \"asgi:m:a\""], &[]),
    ("worker_class", "m:a -k gevent", &["application_path = \"wsgi:m:a\""], &["green threads"]),
    ("worker_class", "m:a -k my.Worker", &["application_path = \"m:a\""], &["not known"]),
    ("threads", "m:a --threads 4", &["wsgi_threads = 4", "wsgi_max_body_size = 1073741824"], &["all of whose threads"]),
    ("threads", "m:a --threads 4 --timeout 0", &["worker_timeout = 0"], &[]),
    ("threads", "m:a -k egg:gunicorn#gthread", &["wsgi_threads = 1"], &[]),
    ("max_requests", "m:a --max-requests 1000 --max-requests-jitter 50", &["max_requests = 1000", "max_requests_jitter = 50"], &[]),
    ("max_requests_jitter", "max_requests_jitter = 7", &["max_requests_jitter = 7"], &[]),
    ("timeout", "m:a", &["worker_timeout = 30"], &[]),
    ("timeout", "m:a --timeout 0", &["worker_timeout = 0"], &[]),
    ("keepalive", "m:a", &["keep_alive_timeout = 2", "graceful_timeout = 30", "backlog = 2048"], &[]),
    ("keepalive", "m:a --keep-alive 75", &["keep_alive_timeout = 75"], &[]),
    ("limit_request_line", "m:a", &["h11_max_incomplete_size = 65536"], &[]),
    ("limit_request_line", "m:a --limit-request-line 1000", &["h11_max_incomplete_size = 820204"], &[]),
    ("limit_request_line", "m:a --limit-request-line 0", &["h11_max_incomplete_size = 983040"], &[]),
    ("limit_request_fields", "m:a --limit-request-fields 10", &["h11_max_incomplete_size = 86018"], &[]),
    ("limit_request_fields", "m:a -k uvicorn.workers.UvicornWorker --limit-request-fields 10", &["h11_max_incomplete_size = 65536"], &["do not obey"]),
    ("limit_request_field_size", "limit_request_field_size = 100", &["h11_max_incomplete_size = 14298"], &[]),
    ("reload", "m:a --reload", &["use_reloader = true"], &[]),
    ("chdir", "m:a --chdir /srv/app", &["application_path = \"wsgi:/srv/app/m:a\""], &["the folder /srv/app"]),
    ("raw_env", "m:a -e SCRIPT_NAME=/x --env A=1", &["root_path = \"/x\""], &["A: the file sets no variables"]),
    ("raw_env", "m:a -k uvicorn.workers.UvicornWorker -e SCRIPT_NAME=/x", &["application_path"], &["SCRIPT_NAME: the file sets"]),
    ("SCRIPT_NAME", "SCRIPT_NAME = '/x'", &["root_path = \"/x\""], &[]),
    ("user", "m:a -u www-data -g www", &[], &["user and group www-data, www"]),
    ("group", "group = 'www'", &[], &["user and group www"]),
    ("pythonpath", "m:a --pythonpath /a,/b", &[], &["PYTHONPATH"]),
    ("forwarded_allow_ips", "m:a", &["forwarded_allow_ips = [\"127.0.0.1\", \"::1\"]"], &[]),
    ("forwarded_allow_ips", "m:a -b unix:s", &["forwarded_allow_ips = [\"127.0.0.1\", \"::1\", \"unix\"]"], &[]),
    ("forwarded_allow_ips", "m:a -b unix:s -k uvicorn.workers.UvicornWorker", &["forwarded_allow_ips = [\"127.0.0.1\", \"::1\"]"], &[]),
    ("proxy_protocol", "m:a -b unix:s --proxy-protocol", &["forwarded_allow_ips = [\"127.0.0.1\", \"::1\", \"unix\"]"], &[]),
    ("forwarded_allow_ips", "m:a --forwarded-allow-ips *", &["forwarded_allow_ips = [\"*\"]"], &[]),
    ("accesslog", "m:a --access-logfile -", &["accesslog = \"-\"", "\\\"%(R)s\\\" %(s)s %(bytes_sent)s"], &[]),
    ("accesslog", "m:a -k uvicorn.workers.UvicornWorker --access-logfile -", &["access_log_format = \"%(h)s - "], &[]),
    ("access_log_format", "m:a --access-logfile a.log --access-logformat %(m)s-%(H)s-%(b)s-%({x}i)s", &["access_log_format = \"%(m)s-HTTP/%(H)s-%(bytes_sent)s-%({x}i)s\""], &[]),
    ("loglevel", "m:a --log-level warning", &["loglevel = \"warning\""], &[]),
    ("loglevel", "m:a --log-level warning --access-logfile -", &["loglevel = \"info\""], &[]),
    ("logconfig", "m:a --log-config l.conf", &["logconfig = \"l.conf\""], &[]),
    ("logconfig_dict", "logconfig_dict = { version = 1 }", &["logconfig_dict = { \"version\" = 1 }"], &[]),
    ("logconfig_json", "m:a --log-config-json l.json", &["logconfig = \"json:l.json\""], &[]),
    ("syslog", "m:a --log-syslog", &["errorlog = \"syslog:udp://localhost:514?facility=user\"", "accesslog = \"syslog:udp"], &[]),
    ("syslog_addr", "m:a --log-syslog --log-syslog-to unix:///dev/log#dgram", &["errorlog = \"syslog:/dev/log?facility=user\""], &[]),
    ("syslog_addr", "m:a --log-syslog --log-syslog-to tcp://h:1", &[], &["by UDP"]),
    ("syslog_facility", "m:a --log-syslog --log-syslog-facility LOG_LOCAL0", &["errorlog = \"syslog:udp://localhost:514?facility=local0\""], &[]),
    ("statsd_host", "m:a --statsd-host h:8125", &["statsd_host = \"h:8125\""], &["hypercorn.requests"]),
    ("cert_reqs", "cert_reqs = 2\ncertfile = 'c'\nkeyfile = 'k'\nca_certs = 'a'", &["verify_mode = \"CERT_REQUIRED\""], &[]),
    ("proxy_protocol", "m:a --proxy-protocol", &["proxy_protocol = true", "forwarded_allow_ips = [\"127.0.0.1\", \"::1\"]"], &[]),
    ("proxy_protocol", "proxy_protocol = true", &["proxy_protocol = true"], &[]),
    ("proxy_allow_ips", "m:a --proxy-protocol v2 --proxy-allow-from 10.0.0.1", &["forwarded_allow_ips = [\"127.0.0.1\", \"::1\", \"10.0.0.1\"]"], &[]),
    ("root_path", "m:a --root-path /x", &["root_path = \"/x\""], &[]),
    ("asgi_loop", "m:a -k asgi --asgi-loop uvloop", &["worker_class = \"uvloop\""], &[]),
    ("config", "m:a -c missing.conf.py", &[], &[]),
];

#[rustfmt::skip]
const GRANIAN: &[Case] = &[
    ("app", "m", &["application_path = \"m:app\""], &["RSGI"]),
    ("host", "m:a --host 0.0.0.0 --interface asgi", &["bind = [\"0.0.0.0:8000\"]", "application_path = \"asgi:m:a\"", "backlog = 1024"], &[]),
    ("port", "m:a --port 80 --host ::", &["bind = [\"[::]:80\"]"], &[]),
    ("uds", "m:a --uds /run/s", &["bind = [\"unix:/run/s\"]"], &[]),
    ("uds_permissions", "m:a --uds /run/s --uds-permissions 660", &["umask = 0o117"], &[]),
    ("interface", "m:a --interface wsgi", &["application_path = \"wsgi:m:a\"", "wsgi_max_body_size = 1073741824"], &[]),
    ("interface", "m:a --interface asginl", &["application_path = \"asgi:m:a\"", "lifespan = \"off\""], &[]),
    ("http", "m:a --http 1 --ssl-certificate c --ssl-keyfile k", &["alpn_protocols = [\"http/1.1\"]"], &[]),
    ("http", "m:a --http 2", &[], &["first bytes"]),
    ("blocking_threads", "m:a --interface wsgi --blocking-threads 8", &["wsgi_threads = 8"], &[]),
    ("blocking_threads", "m:a --interface asgi --blocking-threads 8", &[], &["only WSGI"]),
    ("loop", "m:a --loop uvloop", &["worker_class = \"uvloop\""], &[]),
    ("loop", "m:a --loop rloop", &[], &["--loop rloop"]),
    ("http1_buffer_size", "m:a", &["h11_max_incomplete_size = 417792"], &[]),
    ("http1_header_read_timeout", "m:a --http1-header-read-timeout 2500", &["head_timeout = 2.5", "keep_alive_timeout = 2.5"], &[]),
    ("http1_keep_alive", "m:a --no-http1-keep-alive", &["keep_alive_max_requests = 1"], &[]),
    ("log_enabled", "m:a --no-log", &["errorlog = \"\""], &[]),
    ("log_level", "m:a --log-level warn", &["loglevel = \"warning\""], &[]),
    ("log_config", "m:a --log-config l.json", &["logconfig = \"json:l.json\""], &[]),
    ("log_access_enabled", "m:a --access-log", &["accesslog = \"-\"", "access_log_format = \"%(t)s %(h)s - "], &[]),
    ("log_access_fmt", "m:a --access-log --access-log-fmt %(addr)s|%(header{X-Id})s|%(status)d", &["access_log_format = \"%(h)s|%({x-id}i)s|%(s)s\""], &[]),
    ("ssl_protocol_min", "m:a --ssl-certificate c --ssl-keyfile k", &["minimum_version = \"1.3\""], &[]),
    ("ssl_protocol_min", "m:a --ssl-certificate c --ssl-keyfile k --ssl-protocol-min tls1.2", &["minimum_version = \"1.2\""], &[]),
    ("ssl_client_verify", "m:a --ssl-certificate c --ssl-keyfile k --ssl-ca a --ssl-client-verify", &["verify_mode = \"CERT_REQUIRED\""], &[]),
    ("workers_kill_timeout", "m:a --workers-kill-timeout 1m30s", &["graceful_timeout = 90"], &[]),
    ("workers_kill_timeout", "m:a", &["graceful_timeout = 90", "startup_timeout = 600"], &[]),
    ("factory", "m:make --factory", &["application_path = \"m:make()\""], &[]),
    ("working_dir", "m:a --working-dir /srv", &["application_path = \"/srv/m:a\""], &[]),
    ("env_files", "m:a --env-files a.env --env-files b.env", &[], &["a.env", "b.env"]),
    ("reload", "m:a --reload", &["use_reloader = true"], &[]),
];

#[rustfmt::skip]
const HYPERCORN: &[Case] = &[
    ("config", "m:a -c missing.toml", &[], &[]),
];

#[test]
fn settings_that_are_made_into_others_are_made_as_they_mean() {
    for (server, cases) in
        [(uvicorn::server(), UVICORN), (gunicorn::server(), GUNICORN), (granian::server(), GRANIAN)]
    {
        for (name, said, written, told) in cases.iter().filter(|(name, ..)| *name != "config") {
            let words = split(said, |_| None).unwrap().words;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let made =
                if said.contains(" = ") { sheet_of_file(&server, said) } else { sheet(&server, &words) };
            let text =
                made.written("", &ends(&made, &[])).unwrap_or_else(|error| panic!("{name}: {said}\n{error}"));
            for line in *written {
                assert!(text.contains(line), "{name}: {said}\n{line}\n{text}");
            }
            let notes = text.split_once("What has no counterpart").map_or("", |(_, notes)| notes);
            for note in *told {
                assert!(notes.contains(note), "{name}: {said}\n{note}\n{text}");
            }
        }
    }
}

#[test]
fn each_setting_that_is_made_into_others_has_a_case() {
    for (server, cases) in [
        (uvicorn::server(), UVICORN),
        (gunicorn::server(), GUNICORN),
        (granian::server(), GRANIAN),
        (hypercorn::server(), HYPERCORN),
    ] {
        let is_made = |row: &&Row| matches!(row.outcome, Outcome::Made(..) | Outcome::Part(_));
        for row in server.rows.iter().filter(is_made) {
            assert!(cases.iter().any(|(name, ..)| *name == row.name), "{}: {}", server.name, row.name);
        }
        for (name, ..) in cases {
            assert!(server.row(name).is_some(), "{}: {name}", server.name);
        }
    }
}

/// What `hcrs migrate` with these words gives, without Python.
fn run(words: &[&str]) -> Result<String, Vec<String>> {
    let words = ["hcrs", "migrate"].iter().chain(words).map(std::ffi::OsString::from);
    match crate::parse_in(words, &[]) {
        Ok(crate::Command::Migrate(migrated)) => {
            let mut printed = Vec::new();
            migrated.deliver(&mut printed).map(|()| String::from_utf8(printed).unwrap())
        }
        Ok(other) => panic!("{other:?}"),
        Err(ConfigError::Invalid(problems)) => Err(problems),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_command_is_given_as_words_or_as_one() {
    for words in [
        &["uvicorn", "m:a", "--port", "80"][..],
        &["--", "uvicorn", "m:a", "--port", "80"],
        &["--", "uvicorn m:a --port 80"],
        &["uvicorn m:a --port 80"],
        &["PORT=80 uvicorn m:a --port $PORT"],
        &["P=80", "python3", "-m", "uvicorn", "m:a", "--port=80"],
        &["sh -c 'cd /srv && P=80 exec uvicorn m:a --port 80'"],
    ] {
        let text = run(words).unwrap();
        assert!(text.contains("bind = [\"127.0.0.1:80\"]"), "{words:?}\n{text}");
        assert!(text.contains("application_path = \"m:a\""), "{words:?}\n{text}");
    }
}

#[test]
fn variables_before_the_command_count_as_the_server_counts_them() {
    let text = run(&["WEB_CONCURRENCY=3 uvicorn m:a"]).unwrap();
    assert!(text.contains("workers = 3  "), "{text}");
    let text = run(&["WEB_CONCURRENCY=3 uvicorn m:a --workers 2"]).unwrap();
    assert!(text.contains("workers = 2  ") && text.contains("start hcrs with --workers 2"), "{text}");
    let text = run(&["UVICORN_PORT=81 uvicorn m:a"]).unwrap();
    assert!(text.contains("bind = [\"127.0.0.1:81\"]"), "{text}");
    let text = run(&["GRANIAN_WORKERS=2 GRANIAN_INTERFACE=wsgi granian m:a"]).unwrap();
    assert!(text.contains("workers = 2") && text.contains("\"wsgi:m:a\""), "{text}");
    let text = run(&["PORT=82 GUNICORN_CMD_ARGS='-w 5 --backlog 7' gunicorn m:a -w 6"]).unwrap();
    for line in ["bind = [\"0.0.0.0:82\"]", "workers = 6", "backlog = 7"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let text = run(&["PORT=82 uvicorn m:a"]).unwrap();
    assert!(text.contains("PORT=82: in the environment it wins over the file"), "{text}");
}

#[test]
fn whose_file_it_is_is_seen_by_its_name_or_by_what_is_in_it() {
    let folder = TempDir::new().unwrap();
    for (name, content, from, line) in [
        ("uvicorn.json", r#"{ "app": "m:a", "port": 80, "workers": null }"#, "", "bind = [\"127.0.0.1:80\"]"),
        ("server.json", r#"{ "app": "m:a", "timeout_keep_alive": 8 }"#, "", "keep_alive_timeout = 8"),
        ("settings.toml", "[uvicorn]\napp = 'm:a'\nuds = '/run/s'\n", "", "umask = 0o111"),
        (
            "hypercorn.toml",
            "application_path = 'm:a'\nworkers = 2\nlog_level = 'debug'\n",
            "",
            "loglevel = \"debug\"",
        ),
        (
            "other.toml",
            "bind = 'a:1'\nkeep_alive_timeout = 9\n[hcrs]\nqueue_size = 3\n",
            "",
            "queue_size = 3",
        ),
        ("x.toml", "workers = 2\n", "gunicorn", "graceful_timeout = 30"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let mut words = vec![path.to_str().unwrap()];
        if !from.is_empty() {
            words.extend(["--from", from]);
        }
        let text = run(&words).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        assert!(text.contains(line), "{name}: {line}\n{text}");
    }
}

#[test]
fn hypercorns_file_is_toml_whatever_its_name_ends_in() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hypercorn.conf");
    fs::write(&path, "workers = 5\n").unwrap();
    let text = run(&[&format!("hypercorn -c {} m:a", path.display())]).unwrap();
    assert!(text.contains("workers = 5") && text.contains("application_path = \"m:a\""), "{text}");
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let long = write("uvicorn.json", r#"{ "prot": 80, "port": "x", "workers": 5000 }"#);
    let broken = write("uvicorn.broken.json", "{ \"port\": }");
    let toml = write("hypercorn.bad.toml", "bind = \n");
    let strange = write("x.json", "{ \"colour\": 1 }");
    let yaml = write("gunicorn.yaml", "");
    for (words, reasons) in [
        (
            &["uvicorn m:a x --prot 1 --workers y"][..],
            &["did you mean --port?", "workers: expected a whole number"][..],
        ),
        (&["uvicorn m:a x"], &["x: nothing is expected"]),
        (&["uvicorn"], &["the app is missing"]),
        (&["uvicorn m:a --port"], &["--port: its value is missing"]),
        (&["uvicorn m:a --port $PORT"], &["$PORT is not set here"]),
        (&["uvicorn m:a --ssl-certfile c.pem"], &["certfile is set but keyfile is not"]),
        (&["uvicorn 'm:a"], &["not closed"]),
        (&["daphne m:a"], &["none of uvicorn"]),
        (
            &[&long],
            &["prot: uvicorn has no such setting", "did you mean port?", "a port is a number", "found 5000"],
        ),
        (&[&broken], &["line 1 column 11"]),
        (&[&toml], &["bad.toml:1:"]),
        (&[&strange], &["--from"]),
        (&[&yaml], &["only TOML, JSON and Python"]),
        (&["missing.json"], &["missing.json", "cannot read"]),
        (&["gunicorn m:a -c missing.py --wrokers 1"], &["missing.py", "did you mean --workers?"]),
    ] {
        let problems = run(words).unwrap_err().join("\n");
        for reason in reasons {
            assert!(problems.contains(reason), "{words:?}: {reason}\n{problems}");
        }
    }
}

#[test]
fn passwords_stand_in_no_comment() {
    let text = run(&["uvicorn m:a --ssl-certfile c --ssl-keyfile k --ssl-keyfile-password secret"]).unwrap();
    let with: Vec<_> = text.lines().filter(|line| line.contains("secret")).collect();
    assert!(matches!(with[..], [line] if line.starts_with("keyfile_password = \"secret\" ")), "{text}");
    assert!(with[0].ends_with("# --ssl-keyfile-password (hidden)"), "{text}");
}

proptest::proptest! {
    #[test]
    fn whatever_is_written_is_understood_or_refused(
        server in proptest::sample::select(&NAMES[..]),
        words in proptest::collection::vec(word(), 0..8),
        line in ".{0,60}",
    ) {
        let _understood = run(&[&["--", server][..], &words.iter().map(String::as_str).collect::<Vec<_>>()].concat());
        let _understood = run(&["--", &format!("{server} {line}")]);
    }

    #[test]
    fn whatever_a_unit_says_is_understood_or_refused(lines in proptest::collection::vec(unit_line(), 0..8)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("x.service");
        fs::write(&path, format!("[Service]\nExecStart=gunicorn a:b\n{}\n", lines.join("\n"))).unwrap();
        let _understood = run(&["--systemd", path.to_str().unwrap()]);
    }
}

/// Flags of all servers, and what may stand behind them. Files in Python are not evaluated.
fn word() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::strategy::Strategy as _;
    let flags: Vec<String> = all_servers()
        .flat_map(|server| server.rows.iter().flat_map(Row::each_flag).map(str::to_owned).collect::<Vec<_>>())
        .filter(|flag| flag != "-c" && flag != "--config")
        .collect();
    let number = proptest::prelude::any::<i64>().prop_map(|number| number.to_string());
    proptest::prop_oneof![
        3 => proptest::sample::select(flags),
        1 => number,
        1 => "[a-z:./$%(){}=,-]{0,12}",
        1 => proptest::sample::select(vec!["true".to_owned(), "unix:x".into(), ":80".into(), "é".into(), "-é".into()]),
    ]
}

fn unit_line() -> impl proptest::strategy::Strategy<Value = String> {
    proptest::prop_oneof![
        "(ExecStart|Environment|EnvironmentFile|WorkingDirectory|Type|TimeoutStopSec)=.{0,40}",
        "ExecStart=[-@:+!]{0,3}(uvicorn|/bin/sh -c|env A=1 granian) .{0,30}",
        ".{0,30}",
    ]
}

#[test]
fn short_flags_may_stand_together_and_long_ones_may_be_shortened() {
    let gunicorn = gunicorn::server();
    let sheet = sheet(&gunicorn, &["-DRw4", "-b:80", "-k=gthread", "--thre", "3", "m:a"]);
    assert_eq!(sheet.problems, Vec::<String>::new());
    for (key, literal) in [("workers", "4"), ("bind", "[\"0.0.0.0:80\"]"), ("wsgi_threads", "3")] {
        assert_eq!(sheet.literal(key), Some(literal), "{key}");
    }
}

#[test]
fn files_are_written_once_and_only_for_their_owner_if_they_hold_a_password() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.toml");
    let name = path.to_str().unwrap();
    assert_eq!(run(&["-o", name, "uvicorn", "m:a"]).unwrap(), format!("wrote {name}\n"));
    let first = fs::read_to_string(&path).unwrap();
    let problems = run(&["-o", name, "uvicorn", "m:b"]).unwrap_err().join("\n");
    assert!(problems.contains("exists: --force replaces it"), "{problems}");
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    run(&["-o", name, "--force", "uvicorn", "m:b"]).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("m:b"));

    let path = folder.path().join("secret.toml");
    let tls = ["--ssl-certfile", "c", "--ssl-keyfile", "k", "--ssl-keyfile-password", "p"];
    run(&[&["-o", path.to_str().unwrap(), "uvicorn", "m:a"], &tls[..]].concat()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
