//! Granian's settings, as `granian --help` and its variables name them.

use crate::migrate::meaning::{
    self, LONGEST_DRAIN, LONGEST_STARTUP, LOOP_AUTO, app_path, atoms, host_and_port,
};
use crate::migrate::row::{Row, Server, Told, texts};
use crate::migrate::sheet::Sheet;
use crate::value::Datum;

const RELOADER: &str = "the reloader decides itself what it watches";
const STATIC: &str = "files are not served beside the app: let it do so, or a proxy; what the app names as a file is sent by the edge";
const METRICS: &str = "there is no Prometheus endpoint; statsd_host sends metrics";
const RUNTIME: &str = "the edge has io_threads of [hcrs], and workers have none";
const RSS: &str = "workers are replaced by requests (max_requests), not by memory or age; the service manager can limit memory";
const WINDOWS: &str = "windows follow what is read";

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
        Row::part("app", "", "application_path"),
        Row::made("host", "--host", "bind", bind).or("127.0.0.1"),
        Row::part("port", "--port", "bind").or("8000"),
        Row::part("uds", "--uds", "bind"),
        Row::made("uds_permissions", "--uds-permissions", "umask", uds_permissions),
        Row::part("interface", "--interface", "application_path, lifespan").or("rsgi"),
        Row::made("http", "--http", "alpn_protocols", http).or("auto"),
        Row::without("websockets", "--ws --no-ws", "WebSockets are always spoken").switch().or("true"),
        Row::same("workers", "--workers", "workers"),
        Row::made("blocking_threads", "--blocking-threads", "wsgi_threads", blocking_threads),
        Row::without("blocking_threads_idle_timeout", "--blocking-threads-idle-timeout", "threads of WSGI apps stay").or("30"),
        Row::without("runtime_threads", "--runtime-threads", RUNTIME).or("1"),
        Row::without("runtime_blocking_threads", "--runtime-blocking-threads", RUNTIME),
        Row::without("runtime_mode", "--runtime-mode", RUNTIME).or("auto"),
        Row::made("loop", "--loop", "worker_class", worker_class).or("auto"),
        Row::without("threads", "--threads", RUNTIME).or("1"),
        Row::without("threading_mode", "--threading-mode", RUNTIME),
        Row::without("opt", "--opt --no-opt", RUNTIME).switch(),
        Row::without("task_impl", "--task-impl", "tasks are asyncio's").or("asyncio"),
        Row::same("backlog", "--backlog", "backlog").or("1024"),
        Row::without("backpressure", "--backpressure", "requests that no worker has begun wait in a queue, bounded by queue_size and queue_timeout of [hcrs]; those that one has begun are bounded by the app"),
        Row::same("http1_buffer_size", "--http1-buffer-size", "h11_max_incomplete_size").or("417792"),
        Row::made("http1_header_read_timeout", "--http1-header-read-timeout", "head_timeout, keep_alive_timeout", header_timeout).or("30000"),
        Row::made("http1_keep_alive", "--http1-keep-alive --no-http1-keep-alive", "keep_alive_max_requests", http1_keep_alive).switch(),
        Row::without("http1_pipeline_flush", "--http1-pipeline-flush --no-http1-pipeline-flush", "what is ready is always written at once").switch(),
        Row::without("http2_adaptive_window", "--http2-adaptive-window --no-http2-adaptive-window", WINDOWS).switch(),
        Row::without("http2_initial_connection_window_size", "--http2-initial-connection-window-size", WINDOWS).or("1048576"),
        Row::without("http2_initial_stream_window_size", "--http2-initial-stream-window-size", WINDOWS).or("1048576"),
        Row::without("http2_keep_alive_interval", "--http2-keep-alive-interval", "quiet connections end after keep_alive_timeout"),
        Row::without("http2_keep_alive_timeout", "--http2-keep-alive-timeout", "quiet connections end after keep_alive_timeout").or("20"),
        Row::same("http2_max_concurrent_streams", "--http2-max-concurrent-streams", "h2_max_concurrent_streams").or("200"),
        Row::same("http2_max_frame_size", "--http2-max-frame-size", "h2_max_inbound_frame_size"),
        Row::same("http2_max_headers_size", "--http2-max-headers-size", "h2_max_header_list_size"),
        Row::without("http2_max_send_buffer_size", "--http2-max-send-buffer-size", "what is sent follows the client's window").or("409600"),
        Row::made("log_enabled", "--log --no-log", "errorlog", log).switch(),
        Row::made("log_level", "--log-level", "loglevel", meaning::level).or("info"),
        Row::made("log_config", "--log-config", "logconfig", log_config),
        Row::made("log_access_enabled", "--access-log --no-access-log", "accesslog, access_log_format", access_log).switch(),
        Row::part("log_access_fmt", "--access-log-fmt", "access_log_format").or(DEFAULT_LINE),
        Row::same("ssl_certificate", "--ssl-certificate", "certfile"),
        Row::same("ssl_keyfile", "--ssl-keyfile", "keyfile"),
        Row::same("ssl_keyfile_password", "--ssl-keyfile-password", "keyfile_password"),
        Row::made("ssl_protocol_min", "--ssl-protocol-min", "minimum_version", minimum_version).or("tls1.3"),
        Row::same("ssl_ca", "--ssl-ca", "ca_certs"),
        Row::same("ssl_crl", "--ssl-crl", "crls").list(),
        Row::made("ssl_client_verify", "--ssl-client-verify --no-ssl-client-verify", "verify_mode", client_verify).switch(),
        Row::same("url_path_prefix", "--url-path-prefix", "root_path"),
        Row::without("respawn_failed_workers", "--respawn-failed-workers --no-respawn-failed-workers", "workers that die are always replaced").switch(),
        Row::without("respawn_interval", "--respawn-interval", "a worker that keeps dying is replaced ever later").or("3.5"),
        Row::without("rss_sample_interval", "--rss-sample-interval", RSS).or("30"),
        Row::without("rss_samples", "--rss-samples", RSS).or("1"),
        Row::without("workers_lifetime", "--workers-lifetime", RSS),
        Row::without("workers_max_rss", "--workers-max-rss", RSS),
        Row::made("workers_kill_timeout", "--workers-kill-timeout", "graceful_timeout", graceful_timeout),
        Row::part("factory", "--factory --no-factory", "application_path").switch(),
        Row::part("working_dir", "--working-dir", "application_path"),
        Row::made("env_files", "--env-files", "", env_files).list(),
        Row::without("static_path_route", "--static-path-route", STATIC).list(),
        Row::without("static_path_mount", "--static-path-mount", STATIC).list(),
        Row::without("static_path_dir_to_file", "--static-path-dir-to-file", STATIC),
        Row::without("static_path_expires", "--static-path-expires", STATIC).or("86400"),
        Row::without("metrics_enabled", "--metrics --no-metrics", METRICS).switch(),
        Row::without("metrics_scrape_interval", "--metrics-scrape-interval", METRICS).or("15"),
        Row::without("metrics_address", "--metrics-address", METRICS).or("127.0.0.1"),
        Row::without("metrics_port", "--metrics-port", METRICS).or("9090"),
        Row::made("reload", "--reload --no-reload", "use_reloader", meaning::reload).switch(),
        Row::same("reload_paths", "--reload-paths", "reload_dirs").list(),
        Row::without("reload_ignore_dirs", "--reload-ignore-dirs", RELOADER).list(),
        Row::without("reload_ignore_patterns", "--reload-ignore-patterns", RELOADER).list(),
        Row::without("reload_ignore_paths", "--reload-ignore-paths", RELOADER).list(),
        Row::without("reload_tick", "--reload-tick", RELOADER).or("50"),
        Row::without("reload_ignore_worker_failure", "--reload-ignore-worker-failure --no-reload-ignore-worker-failure", RELOADER).switch(),
        Row::without("process_name", "--process-name", "the process is called hcrs"),
        Row::same("pid_file", "--pid-file", "pid_path"),
    ]
}

fn bind(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if let Some(uds) = sheet.said("uds").cloned() {
        let bind = format!("unix:{}", uds.text()?);
        sheet.set("bind", &texts([bind.as_str()]), uds.origin);
        return Ok(());
    }
    let port = sheet.text("port").unwrap_or_default();
    let origins = [Some(told), sheet.said("port")].into_iter().flatten().filter(|told| !told.is_default);
    let origins: Vec<_> = origins.map(|told| told.origin.as_str()).collect();
    let origin = if origins.is_empty() { "granian's default".to_owned() } else { origins.join(", ") };
    let bind = host_and_port(&told.text()?, &port);
    sheet.set("bind", &texts([bind.as_str()]), origin);
    Ok(())
}

fn uds_permissions(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let text = told.text()?;
    let bits = i64::from_str_radix(text.trim_start_matches("0o"), 8)
        .map_err(|_| "expected octal permissions, as in 660")?;
    sheet.set("umask", &Datum::Integer(0o777 & !bits), format!("{}: what is masked out", told.origin));
    Ok(())
}

fn http(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let protocols = match told.text()?.as_str() {
        "auto" => return Ok(()),
        "1" => ["http/1.1"],
        "2" => ["h2"],
        other => return Err(format!("expected auto, 1 or 2, found {other:?}")),
    };
    if sheet.said("ssl_certificate").is_some() {
        sheet.set("alpn_protocols", &texts(protocols), told.origin.clone());
    } else {
        sheet.note(&told.origin, "without TLS a connection's first bytes decide; alpn_protocols is for TLS");
    }
    Ok(())
}

fn blocking_threads(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if sheet.text("interface").as_deref() == Some("wsgi") {
        sheet.set("wsgi_threads", &told.datum, told.origin.clone());
    } else if told.whole()? != 1 {
        sheet.note(&told.origin, "only WSGI apps have threads");
    }
    Ok(())
}

fn worker_class(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    match told.text()?.as_str() {
        "auto" if sheet.text("interface").as_deref() == Some("wsgi") => {}
        "auto" => sheet.note(&format!("--loop auto ({})", told.origin), LOOP_AUTO),
        name @ ("asyncio" | "uvloop") => {
            sheet.set("worker_class", &Datum::Text(name.into()), told.origin.clone());
        }
        _ => sheet.note(&told.origin, "the loops are asyncio, uvloop and trio"),
    }
    Ok(())
}

fn header_timeout(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds up to a minute")]
    let seconds = meaning::number(told.whole()? as f64 / 1000.0);
    sheet.set("head_timeout", &seconds, told.origin.clone());
    sheet.set(
        "keep_alive_timeout",
        &seconds,
        format!("{}, which the next request waits for too", told.origin),
    );
    Ok(())
}

fn http1_keep_alive(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if !told.boolean()? {
        sheet.set("keep_alive_max_requests", &Datum::Integer(1), told.origin.clone());
    }
    Ok(())
}

fn log(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if !told.boolean()? {
        sheet.set("errorlog", &Datum::Text(String::new()), told.origin.clone());
    }
    Ok(())
}

fn log_config(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    let file = format!("json:{}", told.text()?);
    sheet.set("logconfig", &Datum::Text(file), told.origin.clone());
    Ok(())
}

/// Granian's line, in its own atoms.
const DEFAULT_LINE: &str =
    "[%(time)s] %(addr)s - \"%(method)s %(path)s %(protocol)s\" %(status)d %(dt_ms).3f";

/// Granian's atoms in ours.
fn atom(name: &str) -> Option<String> {
    if let Some(field) = name.strip_prefix("header{") {
        return Some(format!("%({{{}}}i)s", field.trim_end_matches('}').to_ascii_lowercase()));
    }
    let ours = match name {
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
    Some(ours.into())
}

fn access_log(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if told.boolean()? {
        sheet.set("accesslog", &Datum::Text("-".into()), told.origin.clone());
        let format = sheet.said_or_default("log_access_fmt").ok_or("the format is not known")?;
        // The time has brackets of its own.
        let text = format.text()?.replace("[%(time)s]", "%(time)s");
        sheet.set("access_log_format", &Datum::Text(atoms(&text, atom)), format.origin);
    }
    Ok(())
}

fn minimum_version(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if sheet.said("ssl_certificate").is_some() {
        let version = told.text()?.trim_start_matches("tls").to_owned();
        sheet.set("minimum_version", &Datum::Text(version), told.origin.clone());
    }
    Ok(())
}

fn client_verify(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    if told.boolean()? {
        sheet.set("verify_mode", &Datum::Text("CERT_REQUIRED".into()), told.origin.clone());
    }
    Ok(())
}

fn graceful_timeout(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.set("graceful_timeout", &meaning::number(told.seconds()?), told.origin.clone());
    Ok(())
}

fn env_files(told: &Told, sheet: &mut Sheet<'_>) -> Result<(), String> {
    sheet.environment_files.extend(told.texts()?);
    Ok(())
}

fn finish(sheet: &mut Sheet<'_>) {
    let interface = match sheet.text("interface").unwrap_or_default().as_str() {
        "wsgi" => {
            meaning::any_body(sheet);
            "wsgi:"
        }
        "asginl" => {
            sheet.set("lifespan", &Datum::Text("off".into()), "--interface asginl");
            "asgi:"
        }
        "rsgi" => {
            let said = sheet.said_or_default("interface").map_or(String::new(), |told| told.origin);
            sheet.note(
                &format!("--interface rsgi ({said})"),
                "RSGI is Granian's own and not spoken here: name an ASGI or WSGI app",
            );
            ""
        }
        _ => "asgi:",
    };
    if let Some(app) = sheet.said("app").cloned()
        && let Ok(path) = app.text()
    {
        let path = if path.contains(':') { path } else { format!("{path}:app") };
        let folder = sheet.text("working_dir").unwrap_or_default();
        let factory = sheet.said("factory").is_some_and(|told| told.boolean() == Ok(true));
        sheet.set("application_path", &Datum::Text(app_path(interface, &folder, &path, factory)), app.origin);
    }
    if sheet.literal("graceful_timeout").is_none() {
        let origin = "granian sets no limit; systemd kills after 90 s";
        sheet.set("graceful_timeout", &Datum::Text(LONGEST_DRAIN.into()), origin);
    }
    sheet.set("startup_timeout", &Datum::Text(LONGEST_STARTUP.into()), "granian sets no limit");
}
