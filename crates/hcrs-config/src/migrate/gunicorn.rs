//! Gunicorn's settings, as `gunicorn --help` and its configuration file name them.

use crate::migrate::meaning::{self, LONGEST_STARTUP, LOOP_AUTO, app_path, atoms, log_config, trusted};
use crate::migrate::row::{Row, Server, Told, texts};
use crate::migrate::sheet::Sheet;
use crate::migrate::uvicorn;
use crate::migrate::words::assignment;
use crate::table::HEAD_MAX;
use crate::value::Datum;

const HOOK: &str =
    "hooks of the server's process are not called; an app has its lifespan, a module its import";
const DIRTY: &str = "there are no such workers";
const STRICT: &str = "parsing is strict, and nothing makes it less so";
const PASTE: &str = "name the app as MODULE:APP in application_path";
const CONTROL: &str = "there is no control socket; signals do the same";
const FIELDS: &str = "SCRIPT_NAME and PATH_INFO are not taken from the request; forwarded_prefix of [hcrs] believes X-Forwarded-Prefix";

/// A variable that Gunicorn reads and that is no setting.
const SCRIPT_NAME: &str = "SCRIPT_NAME";

pub(super) fn server() -> Server {
    Server {
        name: "gunicorn",
        rows: rows(),
        prefix: None,
        variables: &[
            ("WEB_CONCURRENCY", "workers"),
            ("PORT", "bind"),
            ("FORWARDED_ALLOW_IPS", "forwarded_allow_ips"),
            (SCRIPT_NAME, SCRIPT_NAME),
        ],
        abbreviates: true,
        app: "wsgi_app",
        config: Some("config"),
        finish,
    }
}

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "a table: a line for each setting")]
fn rows() -> Vec<Row> {
    vec![
        Row::part("wsgi_app", "", "application_path"),
        Row::part("config", "-c --config", "what it says"),
        Row::made("bind", "-b --bind", "bind, umask", bind).list().or("127.0.0.1:8000"),
        Row::same("backlog", "--backlog", "backlog").or("2048"),
        Row::same("workers", "-w --workers", "workers"),
        Row::made("worker_class", "-k --worker-class", "application_path, worker_class, wsgi_threads", worker_class).or("sync"),
        Row::part("threads", "--threads", "wsgi_threads").or("1"),
        Row::without("worker_connections", "--worker-connections", "connections are the edge's: each of its threads holds as many as max_connections of [hcrs] says").or("1000"),
        Row::made("max_requests", "--max-requests", "max_requests", meaning::max_requests),
        Row::made("max_requests_jitter", "--max-requests-jitter", "max_requests_jitter", meaning::max_requests_jitter),
        Row::same("timeout", "-t --timeout", "worker_timeout").or("30"),
        Row::same("graceful_timeout", "--graceful-timeout", "graceful_timeout").or("30"),
        Row::made("keepalive", "--keep-alive", "keep_alive_timeout", meaning::keep_alive).or("2"),
        Row::made("limit_request_line", "--limit-request-line", "h11_max_incomplete_size", head_size).or("4094"),
        Row::part("limit_request_fields", "--limit-request-fields", "h11_max_incomplete_size").or("100"),
        Row::part("limit_request_field_size", "--limit-request-field_size --limit-request-field-size", "h11_max_incomplete_size").or("8190"),
        Row::made("reload", "--reload", "use_reloader", meaning::reload).switch(),
        Row::without("reload_engine", "--reload-engine", "the reloader is hcrs's own").or("auto"),
        Row::same("reload_extra_files", "--reload-extra-file", "reload_include").list(),
        Row::without("spew", "--spew", "Python's own tools trace better").switch(),
        Row::without("check_config", "--check-config", "hcrs config check FILE does it").switch(),
        Row::without("print_config", "--print-config", "hcrs config show FILE does it").switch(),
        Row::without("preload_app", "--preload", "workers are started anew, not forked: each loads the app itself, and shares no memory").switch(),
        Row::without("sendfile", "--no-sendfile", "files of wsgi.file_wrapper are always sent by the edge").switch().or("true"),
        Row::without("reuse_port", "--reuse-port", "the edge's threads share a port by themselves").switch(),
        Row::made("chdir", "--chdir", "application_path", chdir),
        Row::without("daemon", "-D --daemon", "the service manager, or nohup, puts it into the background").switch(),
        Row::made(SCRIPT_NAME, "", "root_path", script_name),
        Row::made("raw_env", "-e --env", "root_path", raw_env).list(),
        Row::same("pidfile", "-p --pid", "pid_path"),
        Row::without("worker_tmp_dir", "--worker-tmp-dir", "no heartbeat is written to a file"),
        Row::made("user", "-u --user", "", user),
        Row::made("group", "-g --group", "", group),
        Row::part("umask", "-m --umask", "umask").or("0"),
        Row::without("initgroups", "--initgroups", "no privileges are dropped: the service manager starts it as a user").switch(),
        Row::without("tmp_upload_dir", "", "bodies that wait are held in memory, up to a limit"),
        Row::without("secure_scheme_headers", "", "X-Forwarded-Proto of trusted proxies says the scheme"),
        Row::made("forwarded_allow_ips", "--forwarded-allow-ips", "forwarded_allow_ips", forwarded).or("127.0.0.1,::1"),
        Row::made("pythonpath", "--pythonpath", "", pythonpath),
        Row::without("paste", "--paste --paster", PASTE),
        Row::without("raw_paste_global_conf", "--paste-global", PASTE).list(),
        Row::made("accesslog", "--access-logfile", "accesslog, access_log_format", access_log),
        Row::part("access_log_format", "--access-logformat", "access_log_format").or(DEFAULT_LINE),
        Row::without("disable_redirect_access_to_syslog", "--disable-redirect-access-to-syslog", "accesslog says where access lines go").switch(),
        Row::same("errorlog", "--error-logfile --log-file", "errorlog"),
        Row::made("loglevel", "--log-level", "loglevel", log_level),
        Row::without("capture_output", "--capture-output", "what the app prints goes where the server's standard error goes").switch(),
        Row::without("logger_class", "--logger-class", "the server's own log is not written by Python").or("gunicorn.glogging.Logger"),
        Row::made("logconfig", "--log-config", "logconfig", log_config),
        Row::made("logconfig_dict", "", "logconfig_dict", logconfig_dict),
        Row::made("logconfig_json", "--log-config-json", "logconfig", logconfig_json),
        Row::made("syslog", "--log-syslog", "errorlog", syslog).switch(),
        Row::part("syslog_addr", "--log-syslog-to", "errorlog").or("udp://localhost:514"),
        Row::part("syslog_facility", "--log-syslog-facility", "errorlog").or("user"),
        Row::without("syslog_prefix", "--log-syslog-prefix", "lines are told by the name hcrs"),
        Row::without("enable_stdio_inheritance", "-R --enable-stdio-inheritance", "workers always have the server's standard error").switch(),
        Row::made("statsd_host", "--statsd-host", "statsd_host", statsd_host),
        Row::same("statsd_prefix", "--statsd-prefix", "statsd_prefix"),
        Row::same("dogstatsd_tags", "--dogstatsd-tags", "dogstatsd_tags"),
        Row::without("enable_backlog_metric", "--enable-backlog-metric", "there is no such metric").switch(),
        Row::without("proc_name", "-n --name", "the process is called hcrs"),
        Row::without("default_proc_name", "", "the process is called hcrs"),
        Row::same("keyfile", "--keyfile", "keyfile"),
        Row::same("certfile", "--certfile", "certfile"),
        Row::without("ssl_version", "--ssl-version", "TLS 1.2 and 1.3 are spoken; minimum_version of [hcrs] can ask for 1.3").or("2"),
        Row::made("cert_reqs", "--cert-reqs", "verify_mode", meaning::verify_mode),
        Row::same("ca_certs", "--ca-certs", "ca_certs"),
        Row::without("suppress_ragged_eofs", "--suppress-ragged-eofs", "a client that ends TLS badly is its own affair").switch().or("true"),
        Row::without("do_handshake_on_connect", "--do-handshake-on-connect", "handshakes never hold up a worker").switch(),
        Row::same("ciphers", "--ciphers", "ciphers"),
        Row::made("proxy_protocol", "--proxy-protocol", "proxy_protocol", proxy_protocol).perhaps(&["off", "v1", "v2", "auto"]),
        Row::part("proxy_allow_ips", "--proxy-allow-from", "forwarded_allow_ips").or("127.0.0.1,::1"),
        Row::made("root_path", "--root-path", "root_path", root_path),
        Row::same("websocket_max_message_size", "--websocket-max-message-size", "websocket_max_message_size"),
        Row::made("asgi_loop", "--asgi-loop", "worker_class", asgi_loop),
        Row::same("asgi_lifespan", "--asgi-lifespan", "lifespan"),
        Row::without("asgi_disconnect_grace_period", "--asgi-disconnect-grace-period", "an app whose client is gone is told, and not cancelled").or("3"),
        Row::without("protocol", "--protocol", "uWSGI's protocol is not spoken: let the proxy speak HTTP").or("http"),
        Row::without("uwsgi_allow_ips", "--uwsgi-allow-from", "uWSGI's protocol is not spoken: let the proxy speak HTTP").or("127.0.0.1,::1"),
        Row::without("http_parser", "--http-parser", "there is one parser, and it is strict").or("auto"),
        Row::without("http_protocols", "--http-protocols", "HTTP/1.1 and HTTP/2 are spoken; alpn_protocols chooses what is offered with TLS"),
        Row::without("http2_cleartext", "--http2-cleartext", "HTTP/2 without TLS is spoken by prior knowledge").or("off"),
        Row::without("http2_initial_window_size", "--http2-initial-window-size", "windows follow what is read").or("65535"),
        Row::same("http2_max_concurrent_streams", "--http2-max-concurrent-streams", "h2_max_concurrent_streams"),
        Row::same("http2_max_frame_size", "--http2-max-frame-size", "h2_max_inbound_frame_size"),
        Row::same("http2_max_header_list_size", "--http2-max-header-list-size", "h2_max_header_list_size"),
        Row::without("permit_obsolete_folding", "--permit-obsolete-folding", STRICT).switch(),
        Row::without("strip_header_spaces", "--strip-header-spaces", STRICT).switch(),
        Row::without("permit_unconventional_http_method", "--permit-unconventional-http-method", STRICT).switch(),
        Row::without("permit_unconventional_http_version", "--permit-unconventional-http-version", STRICT).switch(),
        Row::without("casefold_http_method", "--casefold-http-method", STRICT).switch(),
        Row::without("forwarder_headers", "--forwarder-headers", FIELDS).or("SCRIPT_NAME,PATH_INFO"),
        Row::without("header_map", "--header-map", "fields with underscores are refused to WSGI apps").or("drop"),
        Row::without("control_socket", "--control-socket", CONTROL),
        Row::without("control_socket_mode", "--control-socket-mode", CONTROL),
        Row::without("control_socket_disable", "--no-control-socket", CONTROL).switch().or("false"),
        Row::without("dirty_apps", "--dirty-app", DIRTY).list(),
        Row::without("dirty_workers", "--dirty-workers", DIRTY).or("0"),
        Row::without("dirty_threads", "--dirty-threads", DIRTY).or("1"),
        Row::without("dirty_timeout", "--dirty-timeout", DIRTY).or("300"),
        Row::without("dirty_graceful_timeout", "--dirty-graceful-timeout", DIRTY).or("30"),
        Row::without("on_starting", "", HOOK),
        Row::without("on_reload", "", HOOK),
        Row::without("when_ready", "", HOOK),
        Row::without("pre_fork", "", HOOK),
        Row::without("post_fork", "", HOOK),
        Row::without("post_worker_init", "", HOOK),
        Row::without("worker_int", "", HOOK),
        Row::without("worker_abort", "", HOOK),
        Row::without("pre_exec", "", HOOK),
        Row::without("pre_request", "", "nothing is called for each request; a middleware of the app can be"),
        Row::without("post_request", "", "nothing is called for each request; a middleware of the app can be"),
        Row::without("child_exit", "", HOOK),
        Row::without("worker_exit", "", HOOK),
        Row::without("nworkers_changed", "", HOOK),
        Row::without("on_exit", "", HOOK),
        Row::without("ssl_context", "", "TLS is not Python's: say it with the keys of TLS"),
        Row::without("on_dirty_starting", "", DIRTY),
        Row::without("dirty_post_fork", "", DIRTY),
        Row::without("dirty_worker_init", "", DIRTY),
        Row::without("dirty_worker_exit", "", DIRTY),
    ]
}

fn bind(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    // A variable PORT is a port alone.
    let binds: Vec<String> = match told.origin.strip_prefix("PORT=") {
        Some(port) => vec![format!("0.0.0.0:{port}")],
        None => told.texts()?.iter().map(|bind| address(bind)).collect(),
    };
    sheet.set("bind", &texts(binds.iter().map(String::as_str)), told.origin.clone());
    if binds.iter().any(|bind| bind.starts_with("unix:")) {
        let umask = sheet.said_or_default("umask").ok_or("umask is not known")?;
        let bits = match umask.datum {
            Datum::Integer(bits) => bits,
            _ => number_with_base(&umask.text()?).ok_or("umask: expected a number such as 022 or 0o22")?,
        };
        sheet.set("umask", &Datum::Integer(bits & 0o777), umask.origin);
    } else if let Some(umask) = sheet.said("umask").map(|told| told.origin.clone()) {
        sheet.note(&umask, "only unix sockets have a mask here; UMask= of systemd's unit is for files");
    }
    Ok(())
}

/// As Gunicorn reads it, also octal with a leading zero.
fn number_with_base(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_start_matches('0');
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if digits.is_empty() && !text.is_empty() => Some(0),
        None if text.starts_with('0') => i64::from_str_radix(digits.trim_start_matches('o'), 8).ok(),
        None => text.parse().ok(),
    }
}

/// A bind of Gunicorn's as one of ours.
fn address(bind: &str) -> String {
    if let Some(path) = bind.strip_prefix("unix:") {
        return format!("unix:{}", path.strip_prefix("//").unwrap_or(path));
    }
    match bind.strip_prefix("tcp://").unwrap_or(bind) {
        "" => "0.0.0.0:8000".into(),
        bind if bind.starts_with(':') && !bind.starts_with("::") => format!("0.0.0.0{bind}"),
        bind => bind.to_owned(),
    }
}

/// What kind of worker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One request at a time.
    Sync,
    Threads,
    /// Of Uvicorn; true if its loop is chosen by what is installed.
    Uvicorn(bool),
    /// Gunicorn's own.
    Asgi,
    Green,
    Unknown,
}

fn kind(sheet: &Sheet<'_>) -> Kind {
    let text = sheet.text("worker_class").unwrap_or_default();
    let text = text.trim_start_matches("<class '").trim_end_matches("'>").trim_start_matches("egg:gunicorn#");
    let name = text.rsplit(['.', ':']).next().unwrap_or_default().to_ascii_lowercase();
    match name.as_str() {
        "sync" | "syncworker" if !has_threads(sheet) => Kind::Sync,
        "sync" | "syncworker" | "gthread" | "threadworker" => Kind::Threads,
        "asgi" | "asgiworker" => Kind::Asgi,
        "uvicornh11worker" => Kind::Uvicorn(false),
        name if name.contains("uvicorn") => Kind::Uvicorn(true),
        name if ["gevent", "eventlet", "tornado"].iter().any(|green| name.contains(green)) => Kind::Green,
        _ => Kind::Unknown,
    }
}

fn has_threads(sheet: &Sheet<'_>) -> bool {
    sheet.said("threads").is_some_and(|told| told.whole().is_ok_and(|threads| threads > 1))
}

fn worker_class(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match kind(sheet) {
        Kind::Sync => {
            let origin = format!("{}: one request at a time", told.origin);
            sheet.set("wsgi_threads", &Datum::Integer(1), origin);
        }
        Kind::Threads => {
            let threads = sheet.said_or_default("threads").ok_or("threads is not known")?;
            sheet.set("wsgi_threads", &Datum::Integer(threads.whole()?), threads.origin);
        }
        Kind::Uvicorn(true) => sheet.note(&told.origin, LOOP_AUTO),
        Kind::Uvicorn(false) => {
            sheet.set("worker_class", &Datum::Text("asyncio".into()), told.origin.clone());
        }
        Kind::Asgi => {}
        Kind::Green => {
            sheet.note(
                &told.origin,
                "there are no green threads: a WSGI app runs in wsgi_threads threads of each worker",
            );
        }
        Kind::Unknown => {
            sheet.note(
                &told.origin,
                "this class is not known: put asgi: or wsgi: before the app if it matters",
            );
        }
    }
    Ok(())
}

fn asgi_loop(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match told.text()?.as_str() {
        "auto" => sheet.note(&told.origin, LOOP_AUTO),
        name => sheet.set("worker_class", &Datum::Text(name.to_owned()), told.origin.clone()),
    }
    Ok(())
}

/// Room for what Gunicorn takes by default, short of its hundred fields of 8 KiB.
const USUAL_HEAD: i64 = 64 << 10;

fn head_size(_: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    const LIMITS: [&str; 3] = ["limit_request_line", "limit_request_fields", "limit_request_field_size"];
    let said: Vec<String> =
        LIMITS.iter().filter_map(|name| sheet.said(name)).map(|told| told.origin.clone()).collect();
    if said.is_empty() || matches!(kind(sheet), Kind::Uvicorn(_)) {
        for said in &said {
            sheet.note(said, "Uvicorn's workers do not obey it either");
        }
        sheet.set("h11_max_incomplete_size", &Datum::Integer(USUAL_HEAD), "gunicorn takes long fields");
        return Ok(());
    }
    let mut limits = [0; 3];
    for (limit, name) in limits.iter_mut().zip(LIMITS) {
        *limit = sheet.said_or_default(name).map_or(Ok(0), |told| told.whole())?;
    }
    let [line, fields, size] = limits;
    // Nothing means no limit.
    let whole = if limits.contains(&0) {
        HEAD_MAX
    } else {
        line.saturating_add(fields.saturating_mul(size.saturating_add(2))).saturating_add(4)
    };
    let origin = format!("{}: the whole head", said.join(", "));
    sheet.set("h11_max_incomplete_size", &Datum::Integer(whole.clamp(256, HEAD_MAX)), origin);
    Ok(())
}

fn chdir(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.folder = Some(told.text()?);
    Ok(())
}

/// Uvicorn's workers do not read it.
fn script_name(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match kind(sheet) {
        Kind::Uvicorn(_) => Ok(()),
        _ => root_path(told, sheet),
    }
}

fn raw_env(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let words = match &told.datum {
        Datum::Array(values) => values
            .iter()
            .filter_map(|value| match &value.datum {
                Datum::Text(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => vec![told.text()?],
    };
    for word in words {
        let (name, value) = assignment(&word).ok_or(format!("expected NAME=value, found {word:?}"))?;
        if name == SCRIPT_NAME && !matches!(kind(sheet), Kind::Uvicorn(_)) {
            sheet.set("root_path", &Datum::Text(value), format!("{name} in {}", told.origin));
        } else {
            sheet.environment.push((name, value));
        }
    }
    Ok(())
}

fn user(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.identity[0] = Some(told.text()?);
    Ok(())
}

fn group(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.identity[1] = Some(told.text()?);
    Ok(())
}

fn pythonpath(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.environment.push(("PYTHONPATH".into(), told.text()?.replace(',', ":")));
    Ok(())
}

fn forwarded(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    trusted(told, sheet)?;
    if sheet.literal("bind").is_some_and(|bind| bind.contains("unix:")) {
        believe_unix(sheet)?;
    }
    Ok(())
}

/// Gunicorn's own workers believe whoever connects to a unix socket; those of Uvicorn do not.
pub(super) fn believe_unix(sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let Kind::Uvicorn(_) = kind(sheet) {
        return Ok(());
    }
    let told = sheet.said_or_default("forwarded_allow_ips").ok_or("forwarded_allow_ips is not known")?;
    let all = told.texts()?;
    let all = all.iter().map(String::as_str).chain(["unix"]);
    sheet.set("forwarded_allow_ips", &texts(all), format!("{}, and the peers of unix sockets", told.origin));
    Ok(())
}

fn root_path(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let path = told.text()?;
    if !path.is_empty() {
        sheet.set("root_path", &Datum::Text(path), told.origin.clone());
    }
    Ok(())
}

fn proxy_protocol(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if told.text()?.eq_ignore_ascii_case("off") || told.boolean() == Ok(false) {
        return Ok(());
    }
    sheet.set("proxy_protocol", &Datum::Boolean(true), told.origin.clone());
    let mut all = sheet.said_or_default("forwarded_allow_ips").map_or(Ok(Vec::new()), |told| told.texts())?;
    if sheet.literal("forwarded_allow_ips").is_some_and(|all| all.contains("\"unix\"")) {
        all.push("unix".into());
    }
    let allowed = sheet.said_or_default("proxy_allow_ips").ok_or("proxy_allow_ips is not known")?;
    for address in allowed.texts()? {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let origin = format!("forwarded_allow_ips and proxy_allow_ips ({})", allowed.origin);
    sheet.set("forwarded_allow_ips", &texts(all.iter().map(String::as_str)), origin);
    Ok(())
}

/// Gunicorn's line, in its own atoms.
const DEFAULT_LINE: &str = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"";

/// Gunicorn's atoms in ours, where the same letters say something else.
fn atom(name: &str) -> Option<String> {
    Some(match name {
        // With the query, which `r` is without here.
        "r" => "%(R)s".into(),
        // Bytes that were sent, and not those that were announced.
        "b" | "B" => "%(bytes_sent)s".into(),
        "H" => "HTTP/%(H)s".into(),
        _ => return None,
    })
}

fn access_log(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let target = told.text()?;
    if target.is_empty() {
        return Ok(());
    }
    sheet.set("accesslog", &Datum::Text(target), told.origin.clone());
    if let Kind::Uvicorn(_) = kind(sheet) {
        let origin = "Uvicorn's workers write its line";
        sheet.set("access_log_format", &Datum::Text(uvicorn::ACCESS_LINE.into()), origin);
        if let Some(format) = sheet.said("access_log_format").map(|told| told.origin.clone()) {
            sheet.note(&format, "Uvicorn's workers do not obey it either");
        }
    } else {
        let format = sheet.said_or_default("access_log_format").ok_or("the format is not known")?;
        let ours = atoms(&format.text()?, atom);
        sheet.set("access_log_format", &Datum::Text(ours), format.origin);
    }
    Ok(())
}

fn log_level(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    meaning::level(told, sheet)?;
    let above = matches!(sheet.literal("loglevel"), Some("\"warning\"" | "\"error\"" | "\"critical\""));
    if above && sheet.literal("accesslog").is_some() && !matches!(kind(sheet), Kind::Uvicorn(_)) {
        let origin = format!("{}, but above info there would be no access lines", told.origin);
        sheet.set("loglevel", &Datum::Text("info".into()), origin);
    }
    Ok(())
}

fn logconfig_dict(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match &told.datum {
        Datum::Table(entries) if entries.is_empty() => Ok(()),
        Datum::Table(_) => log_config(told, sheet),
        _ => Err("expected a table".into()),
    }
}

fn logconfig_json(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let file = format!("json:{}", told.text()?);
    sheet.set("logconfig", &Datum::Text(file), told.origin.clone());
    Ok(())
}

fn syslog(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if !told.boolean()? {
        return Ok(());
    }
    let address = sheet.text("syslog_addr").unwrap_or_default();
    let facility = sheet.text("syslog_facility").unwrap_or_default();
    let target = match address.split_once("://") {
        Some(("udp", server)) => format!("udp://{server}"),
        Some(("unix", path)) => path.trim_end_matches("#dgram").trim_end_matches("#stream").to_owned(),
        _ => {
            sheet.note(
                &format!("syslog_addr {address}"),
                "syslog is spoken by UDP and by the system's socket",
            );
            return Ok(());
        }
    };
    let target =
        format!("syslog:{target}?facility={}", facility.trim_start_matches("LOG_").to_ascii_lowercase());
    sheet.set("errorlog", &Datum::Text(target.clone()), told.origin.clone());
    let stays =
        sheet.said("disable_redirect_access_to_syslog").is_some_and(|told| told.boolean() == Ok(true));
    if !stays {
        sheet.set("accesslog", &Datum::Text(target), told.origin.clone());
    }
    Ok(())
}

fn statsd_host(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let host = told.text()?;
    if host.starts_with("unix:") {
        sheet.note(&told.origin, "metrics are sent by UDP");
        return Ok(());
    }
    sheet.set("statsd_host", &Datum::Text(host), told.origin.clone());
    sheet.note(
        &told.origin,
        "the metrics' names are Hypercorn's: hypercorn.requests in place of gunicorn.requests",
    );
    Ok(())
}

fn finish(sheet: &mut Sheet<'_>) {
    let kind = kind(sheet);
    let interface = match kind {
        Kind::Sync | Kind::Threads | Kind::Green => "wsgi:",
        Kind::Uvicorn(_) | Kind::Asgi => "asgi:",
        Kind::Unknown => "",
    };
    if let Some(app) = sheet.said("wsgi_app").cloned()
        && let Ok(path) = app.text()
    {
        let path = if path.contains(':') { path } else { format!("{path}:application") };
        let folder = sheet.folder.clone().unwrap_or_default();
        let path = app_path(interface, &folder, &path, false);
        sheet.set("application_path", &Datum::Text(path), app.origin);
    }
    sheet.set("startup_timeout", &Datum::Text(LONGEST_STARTUP.into()), "gunicorn sets no limit");
    if !matches!(kind, Kind::Uvicorn(_) | Kind::Asgi) {
        meaning::any_body(sheet);
    }
    if matches!(kind, Kind::Threads | Kind::Green) && sheet.literal("worker_timeout") != Some("0") {
        sheet.note(
            "timeout of a worker with threads",
            "worker_timeout also ends a worker all of whose threads are busy, and end and begin no request for so long",
        );
    }
    if let Kind::Uvicorn(_) = kind {
        sheet.set("websocket_ping_interval", &Datum::Integer(20), "the default of Uvicorn's workers");
    }
}
