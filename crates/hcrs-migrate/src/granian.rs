//! Granian's settings, by their names in `granian --help` and its environment variables.

use hcrs_config::Datum;

use crate::conversions::{self, LONGEST_DRAIN, LONGEST_STARTUP, LOOP_AUTO, app_path, atoms, host_and_port};
use crate::row::{MigratedSetting, Row, Server, texts};
use crate::sheet::Sheet;

const RELOADER: &str =
    "see reload_dirs, reload_include and reload_exclude of [hcrs]; the rest of the reloader is fixed";
const STATIC: &str = "write static = [\"ROUTE=FOLDER\"] in [hcrs], or a route with files, index and cache_control \
                      (docs/guide/routes.md)";
const METRICS: &str =
    "set admin_bind in [hcrs]: metrics for Prometheus are at /metrics of the admin interface";
const RUNTIME: &str = "only the edge has such threads: io_threads of [hcrs]";
const RSS: &str = "set max_worker_rss, in bytes, or max_worker_age, in seconds, in [hcrs]";
const WINDOWS: &str = "windows adapt to the data that is read";

pub(super) fn server() -> Server {
    Server {
        name: "granian",
        rows: rows(),
        prefix: Some("GRANIAN_"),
        variables: &[],
        abbreviates: false,
        app: "app",
        config: None,
        finish,
    }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        Row::part_of("app", "", "application_path"),
        Row::converted("host", "--host", "bind", bind).with_default("127.0.0.1"),
        Row::part_of("port", "--port", "bind").with_default("8000"),
        Row::part_of("uds", "--uds", "bind"),
        Row::converted("uds_permissions", "--uds-permissions", "umask", uds_permissions),
        Row::part_of("interface", "--interface", "application_path, lifespan").with_default("rsgi"),
        Row::converted("http", "--http", "alpn_protocols", http).with_default("auto"),
        Row::unsupported("websockets", "--ws --no-ws", "WebSockets are always enabled")
            .switch().with_default("true"),
        Row::same("workers", "--workers", "workers"),
        Row::converted("blocking_threads", "--blocking-threads", "wsgi_threads", blocking_threads),
        Row::unsupported("blocking_threads_idle_timeout", "--blocking-threads-idle-timeout",
            "threads of WSGI apps are never ended").with_default("30"),
        Row::unsupported("runtime_threads", "--runtime-threads", RUNTIME).with_default("1"),
        Row::unsupported("runtime_blocking_threads", "--runtime-blocking-threads", RUNTIME),
        Row::unsupported("runtime_mode", "--runtime-mode", RUNTIME).with_default("auto"),
        Row::converted("loop", "--loop", "worker_class", worker_class).with_default("auto"),
        Row::unsupported("threads", "--threads", RUNTIME).with_default("1"),
        Row::unsupported("threading_mode", "--threading-mode", RUNTIME),
        Row::unsupported("opt", "--opt --no-opt", RUNTIME).switch(),
        Row::unsupported("task_impl", "--task-impl", "tasks are those of asyncio").with_default("asyncio"),
        Row::same("backlog", "--backlog", "backlog").with_default("1024"),
        Row::unsupported("backpressure", "--backpressure",
            "waiting requests are bounded by queue_size and queue_timeout of [hcrs]; those that a worker has \
             begun, by the app"),
        Row::same("http1_buffer_size", "--http1-buffer-size", "h11_max_incomplete_size")
            .with_default("417792"),
        Row::converted("http1_header_read_timeout", "--http1-header-read-timeout",
            "head_timeout, keep_alive_timeout", header_timeout).with_default("30000"),
        Row::converted("http1_keep_alive", "--http1-keep-alive --no-http1-keep-alive",
            "keep_alive_max_requests", http1_keep_alive).switch(),
        Row::unsupported("http1_pipeline_flush", "--http1-pipeline-flush --no-http1-pipeline-flush",
            "responses are always written at once").switch(),
        Row::unsupported("http2_adaptive_window", "--http2-adaptive-window --no-http2-adaptive-window",
            WINDOWS)
            .switch(),
        Row::unsupported("http2_initial_connection_window_size", "--http2-initial-connection-window-size",
            WINDOWS).with_default("1048576"),
        Row::unsupported("http2_initial_stream_window_size", "--http2-initial-stream-window-size", WINDOWS)
            .with_default("1048576"),
        Row::unsupported("http2_keep_alive_interval", "--http2-keep-alive-interval",
            "idle connections are closed after keep_alive_timeout"),
        Row::unsupported("http2_keep_alive_timeout", "--http2-keep-alive-timeout",
            "idle connections are closed after keep_alive_timeout").with_default("20"),
        Row::same("http2_max_concurrent_streams", "--http2-max-concurrent-streams",
            "h2_max_concurrent_streams")
            .with_default("200"),
        Row::same("http2_max_frame_size", "--http2-max-frame-size", "h2_max_inbound_frame_size"),
        Row::same("http2_max_headers_size", "--http2-max-headers-size", "h2_max_header_list_size"),
        Row::unsupported("http2_max_send_buffer_size", "--http2-max-send-buffer-size",
            "sending follows the client's window").with_default("409600"),
        Row::converted("log_enabled", "--log --no-log", "errorlog", log).switch(),
        Row::converted("log_level", "--log-level", "loglevel", conversions::level).with_default("info"),
        Row::converted("log_config", "--log-config", "logconfig", log_config),
        Row::converted("log_access_enabled", "--access-log --no-access-log", "accesslog, access_log_format",
            access_log).switch(),
        Row::part_of("log_access_fmt", "--access-log-fmt", "access_log_format").with_default(DEFAULT_LINE),
        Row::same("ssl_certificate", "--ssl-certificate", "certfile"),
        Row::same("ssl_keyfile", "--ssl-keyfile", "keyfile"),
        Row::same("ssl_keyfile_password", "--ssl-keyfile-password", "keyfile_password"),
        Row::converted("ssl_protocol_min", "--ssl-protocol-min", "minimum_version", minimum_version)
            .with_default("tls1.3"),
        Row::same("ssl_ca", "--ssl-ca", "ca_certs"),
        Row::same("ssl_crl", "--ssl-crl", "crls").list(),
        Row::converted("ssl_client_verify", "--ssl-client-verify --no-ssl-client-verify", "verify_mode",
            client_verify).switch(),
        Row::same("url_path_prefix", "--url-path-prefix", "root_path"),
        Row::unsupported("respawn_failed_workers", "--respawn-failed-workers --no-respawn-failed-workers",
            "workers that exit are always replaced").switch(),
        Row::unsupported("respawn_interval", "--respawn-interval",
            "the delay grows each time that a worker exits").with_default("3.5"),
        Row::unsupported("rss_sample_interval", "--rss-sample-interval", RSS).with_default("30"),
        Row::unsupported("rss_samples", "--rss-samples", RSS).with_default("1"),
        Row::unsupported("workers_lifetime", "--workers-lifetime", RSS),
        Row::unsupported("workers_max_rss", "--workers-max-rss", RSS),
        Row::converted("workers_kill_timeout", "--workers-kill-timeout", "graceful_timeout",
            graceful_timeout),
        Row::part_of("factory", "--factory --no-factory", "application_path").switch(),
        Row::part_of("working_dir", "--working-dir", "application_path"),
        Row::converted("env_files", "--env-files", "", env_files).list(),
        Row::unsupported("static_path_route", "--static-path-route", STATIC).list(),
        Row::unsupported("static_path_mount", "--static-path-mount", STATIC).list(),
        Row::unsupported("static_path_dir_to_file", "--static-path-dir-to-file", STATIC),
        Row::unsupported("static_path_expires", "--static-path-expires", STATIC).with_default("86400"),
        Row::unsupported("metrics_enabled", "--metrics --no-metrics", METRICS).switch(),
        Row::unsupported("metrics_scrape_interval", "--metrics-scrape-interval", METRICS).with_default("15"),
        Row::unsupported("metrics_address", "--metrics-address", METRICS).with_default("127.0.0.1"),
        Row::unsupported("metrics_port", "--metrics-port", METRICS).with_default("9090"),
        Row::converted("reload", "--reload --no-reload", "use_reloader", conversions::reload).switch(),
        Row::same("reload_paths", "--reload-paths", "reload_dirs").list(),
        Row::unsupported("reload_ignore_dirs", "--reload-ignore-dirs", RELOADER).list(),
        Row::unsupported("reload_ignore_patterns", "--reload-ignore-patterns", RELOADER).list(),
        Row::unsupported("reload_ignore_paths", "--reload-ignore-paths", RELOADER).list(),
        Row::unsupported("reload_tick", "--reload-tick", RELOADER).with_default("50"),
        Row::unsupported("reload_ignore_worker_failure",
            "--reload-ignore-worker-failure --no-reload-ignore-worker-failure", RELOADER).switch(),
        Row::same("process_name", "--process-name", "proc_name"),
        Row::same("pid_file", "--pid-file", "pid_path"),
    ]
}

fn bind(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let Some(uds) = sheet.given("uds").cloned() {
        let bind = format!("unix:{}", uds.text()?);
        sheet.set("bind", &texts([bind.as_str()]), uds.origin);
        return Ok(());
    }
    let port = sheet.text("port").unwrap_or_default();
    let origins = [Some(given), sheet.given("port")].into_iter().flatten().filter(|given| !given.is_default);
    let origins: Vec<_> = origins.map(|given| given.origin.as_str()).collect();
    let origin = if origins.is_empty() { "granian's default".to_owned() } else { origins.join(", ") };
    let bind = host_and_port(&given.text()?, &port);
    sheet.set("bind", &texts([bind.as_str()]), origin);
    Ok(())
}

fn uds_permissions(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let text = given.text()?;
    let bits = i64::from_str_radix(text.trim_start_matches("0o"), 8)
        .map_err(|_| "expected octal permissions, as in 660")?;
    sheet.set("umask", &Datum::Integer(0o777 & !bits), format!("{}: its complement", given.origin));
    Ok(())
}

fn http(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let protocols = match given.text()?.as_str() {
        "auto" => return Ok(()),
        "1" => ["http/1.1"],
        "2" => ["h2"],
        other => return Err(format!("expected auto, 1 or 2, found {other:?}")),
    };
    if sheet.given("ssl_certificate").is_some() {
        sheet.set("alpn_protocols", &texts(protocols), given.origin.clone());
    } else {
        sheet.note(
            &given.origin,
            "without TLS the first bytes of a connection decide; alpn_protocols is only for TLS",
        );
    }
    Ok(())
}

fn blocking_threads(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if sheet.text("interface").as_deref() == Some("wsgi") {
        sheet.set("wsgi_threads", &given.datum, given.origin.clone());
    } else if given.whole()? != 1 {
        sheet.note(&given.origin, "only WSGI apps run in threads");
    }
    Ok(())
}

fn worker_class(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match given.text()?.as_str() {
        "auto" if sheet.text("interface").as_deref() == Some("wsgi") => {}
        "auto" => sheet.note(&format!("--loop auto ({})", given.origin), LOOP_AUTO),
        name @ ("asyncio" | "uvloop") => {
            sheet.set("worker_class", &Datum::Text(name.into()), given.origin.clone());
        }
        _ => sheet.note(&given.origin, "not supported; the event loops are asyncio, uvloop and trio"),
    }
    Ok(())
}

fn header_timeout(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds up to a minute")]
    let seconds = conversions::number(given.whole()? as f64 / 1000.0);
    sheet.set("head_timeout", &seconds, given.origin.clone());
    sheet.set(
        "keep_alive_timeout",
        &seconds,
        format!("{}, which also limits the wait for the next request", given.origin),
    );
    Ok(())
}

fn http1_keep_alive(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if !given.boolean()? {
        sheet.set("keep_alive_max_requests", &Datum::Integer(1), given.origin.clone());
    }
    Ok(())
}

fn log(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if !given.boolean()? {
        sheet.set("errorlog", &Datum::Text(String::new()), given.origin.clone());
    }
    Ok(())
}

fn log_config(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let file = format!("json:{}", given.text()?);
    sheet.set("logconfig", &Datum::Text(file), given.origin.clone());
    Ok(())
}

/// Format of Granian's access log, in its own atoms.
const DEFAULT_LINE: &str =
    "[%(time)s] %(addr)s - \"%(method)s %(path)s %(protocol)s\" %(status)d %(dt_ms).3f";

/// Returns the counterpart of one of Granian's atoms.
fn atom(name: &str) -> Option<String> {
    if let Some(field) = name.strip_prefix("header{") {
        return Some(format!("%({{{}}}i)s", field.trim_end_matches('}').to_ascii_lowercase()));
    }
    let atom = match name {
        "addr" => "%(h)s",
        "time" => "%(t)s",
        "dt_ms" => "%(M)s",
        "status" => "%(s)s",
        "path" => "%(U)s",
        "query_string" => "%(q)s",
        "method" => "%(m)s",
        "scheme" => "%(S)s",
        "protocol" => "HTTP/%(H)s",
        _ => return None,
    };
    Some(atom.into())
}

fn access_log(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if given.boolean()? {
        sheet.set("accesslog", &Datum::Text("-".into()), given.origin.clone());
        let format =
            sheet.given_or_default("log_access_fmt").ok_or("the format of the access log is missing")?;
        // The counterpart of the time has its own brackets.
        let text = format.text()?.replace("[%(time)s]", "%(time)s");
        sheet.set("access_log_format", &Datum::Text(atoms(&text, atom)), format.origin);
    }
    Ok(())
}

fn minimum_version(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if sheet.given("ssl_certificate").is_some() {
        let version = given.text()?.trim_start_matches("tls").to_owned();
        sheet.set("minimum_version", &Datum::Text(version), given.origin.clone());
    }
    Ok(())
}

fn client_verify(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if given.boolean()? {
        sheet.set("verify_mode", &Datum::Text("CERT_REQUIRED".into()), given.origin.clone());
    }
    Ok(())
}

fn graceful_timeout(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.set("graceful_timeout", &conversions::number(given.seconds()?), given.origin.clone());
    Ok(())
}

fn env_files(given: &MigratedSetting, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.environment_files.extend(given.texts()?);
    Ok(())
}

fn finish(sheet: &mut Sheet<'_>) {
    let interface = match sheet.text("interface").unwrap_or_default().as_str() {
        "wsgi" => {
            conversions::any_body(sheet);
            "wsgi:"
        }
        "asginl" => {
            sheet.set("lifespan", &Datum::Text("off".into()), "--interface asginl");
            "asgi:"
        }
        "rsgi" => {
            let origin = sheet.given_or_default("interface").map_or(String::new(), |given| given.origin);
            sheet.note(
                &format!("--interface rsgi ({origin})"),
                "RSGI is not supported; name an ASGI or WSGI app",
            );
            ""
        }
        _ => "asgi:",
    };
    if let Some(app) = sheet.given("app").cloned()
        && let Ok(path) = app.text()
    {
        let path = if path.contains(':') { path } else { format!("{path}:app") };
        let folder = sheet.text("working_dir").unwrap_or_default();
        let factory = sheet.given("factory").is_some_and(|given| given.boolean() == Ok(true));
        sheet.set("application_path", &Datum::Text(app_path(interface, &folder, &path, factory)), app.origin);
    }
    if sheet.literal("graceful_timeout").is_none() {
        let origin = "granian sets no limit; systemd kills after 90 s";
        sheet.set("graceful_timeout", &Datum::Text(LONGEST_DRAIN.into()), origin);
    }
    sheet.set("startup_timeout", &Datum::Text(LONGEST_STARTUP.into()), "granian sets no limit");
}
