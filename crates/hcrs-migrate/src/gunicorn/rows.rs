//! The table of Gunicorn's settings.

use crate::conversions::{self, log_config};
use crate::row::Row;

use super::{
    DEFAULT_LINE, SCRIPT_NAME, access_log, asgi_loop, bind, chdir, forwarded, group, head_size, log_level,
    logconfig_dict, logconfig_json, proxy_protocol, pythonpath, raw_env, root_path, script_name, statsd_host,
    syslog, user, worker_class,
};

const HOOK: &str = "hooks of the server are not called; use the app's lifespan, or the import of its module";
const POST_FORK: &str = "move it to a module, as a function of one argument, and name it as module:function in \
                         post_fork of [hcrs], or without preload in worker_start";
const WORKER_START: &str = "move it to a module, as a function of one argument, and name it as module:function in \
                            worker_start of [hcrs]";
const WORKER_EXIT: &str = "move it to a module, as a function of one argument, and name it as module:function in \
                           worker_exit of [hcrs]";
const DIRTY: &str = "hcrs has no dirty workers";
const STRICT: &str = "parsing is always strict";
const PASTE: &str = "name the app as MODULE:APP in application_path";
const CONTROL: &str = "there is no control socket; use signals";
const FIELDS: &str = "SCRIPT_NAME and PATH_INFO are not read from requests; forwarded_prefix of [hcrs] reads \
                      X-Forwarded-Prefix";

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "a table: one entry for each setting")]
pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::part_of("wsgi_app", "", "application_path"),
        Row::part_of("config", "-c --config", "the settings in it"),
        Row::converted("bind", "-b --bind", "bind, umask", bind).list().with_default("127.0.0.1:8000"),
        Row::same("backlog", "--backlog", "backlog").with_default("2048"),
        Row::same("workers", "-w --workers", "workers"),
        Row::converted("worker_class", "-k --worker-class", "application_path, worker_class, wsgi_threads",
            worker_class).with_default("sync"),
        Row::part_of("threads", "--threads", "wsgi_threads").with_default("1"),
        Row::unsupported("worker_connections", "--worker-connections",
            "the edge holds the connections; max_connections of [hcrs] limits those of each of its threads")
            .with_default("1000"),
        Row::converted("max_requests", "--max-requests", "max_requests", conversions::max_requests),
        Row::converted("max_requests_jitter", "--max-requests-jitter", "max_requests_jitter",
            conversions::max_requests_jitter),
        Row::same("timeout", "-t --timeout", "worker_timeout").with_default("30"),
        Row::same("graceful_timeout", "--graceful-timeout", "graceful_timeout").with_default("30"),
        Row::converted("keepalive", "--keep-alive", "keep_alive_timeout", conversions::keep_alive)
            .with_default("2"),
        Row::converted("limit_request_line", "--limit-request-line", "h11_max_incomplete_size", head_size)
            .with_default("4094"),
        Row::part_of("limit_request_fields", "--limit-request-fields", "h11_max_incomplete_size")
            .with_default("100"),
        Row::part_of("limit_request_field_size", "--limit-request-field_size --limit-request-field-size",
            "h11_max_incomplete_size").with_default("8190"),
        Row::converted("reload", "--reload", "use_reloader", conversions::reload).switch(),
        Row::unsupported("reload_engine", "--reload-engine", "hcrs has its own reloader")
            .with_default("auto"),
        Row::same("reload_extra_files", "--reload-extra-file", "reload_include").list(),
        Row::unsupported("spew", "--spew", "use Python's own tools for tracing").switch(),
        Row::unsupported("check_config", "--check-config", "use hcrs config check FILE").switch(),
        Row::unsupported("print_config", "--print-config", "use hcrs config show FILE").switch(),
        Row::same("preload_app", "--preload", "preload").switch(),
        Row::unsupported("sendfile", "--no-sendfile", "the edge always sends files of wsgi.file_wrapper")
            .switch().with_default("true"),
        Row::unsupported("reuse_port", "--reuse-port", "the edge's threads always share their ports")
            .switch(),
        Row::converted("chdir", "--chdir", "chdir", chdir),
        Row::unsupported("daemon", "-D --daemon", "use the service manager, or nohup").switch(),
        Row::converted(SCRIPT_NAME, "", "root_path", script_name),
        Row::converted("raw_env", "-e --env", "env, root_path", raw_env).list(),
        Row::same("pidfile", "-p --pid", "pid_path"),
        Row::unsupported("worker_tmp_dir", "--worker-tmp-dir", "heartbeats are not written to a file"),
        Row::converted("user", "-u --user", "process_user", user),
        Row::converted("group", "-g --group", "process_group", group),
        Row::part_of("umask", "-m --umask", "umask").with_default("0"),
        Row::unsupported("initgroups", "--initgroups",
            "process_user, like systemd, always sets the groups of the user").switch(),
        Row::unsupported("tmp_upload_dir", "", "waiting bodies are held in memory, up to a limit"),
        Row::unsupported("secure_scheme_headers", "",
            "the scheme is read from X-Forwarded-Proto of trusted proxies"),
        Row::converted("forwarded_allow_ips", "--forwarded-allow-ips", "forwarded_allow_ips", forwarded)
            .with_default("127.0.0.1,::1"),
        Row::converted("pythonpath", "--pythonpath", "env", pythonpath),
        Row::unsupported("paste", "--paste --paster", PASTE),
        Row::unsupported("raw_paste_global_conf", "--paste-global", PASTE).list(),
        Row::converted("accesslog", "--access-logfile", "accesslog, access_log_format", access_log),
        Row::part_of("access_log_format", "--access-logformat", "access_log_format")
            .with_default(DEFAULT_LINE),
        Row::unsupported("disable_redirect_access_to_syslog", "--disable-redirect-access-to-syslog",
            "accesslog sets the destination of the access log").switch(),
        Row::same("errorlog", "--error-logfile --log-file", "errorlog"),
        Row::converted("loglevel", "--log-level", "loglevel", log_level),
        Row::same("capture_output", "--capture-output", "capture_output").switch(),
        Row::unsupported("logger_class", "--logger-class", "the server's own log is not written by Python")
            .with_default("gunicorn.glogging.Logger"),
        Row::converted("logconfig", "--log-config", "logconfig", log_config),
        Row::converted("logconfig_dict", "", "logconfig_dict", logconfig_dict),
        Row::converted("logconfig_json", "--log-config-json", "logconfig", logconfig_json),
        Row::converted("syslog", "--log-syslog", "errorlog", syslog).switch(),
        Row::part_of("syslog_addr", "--log-syslog-to", "errorlog").with_default("udp://localhost:514"),
        Row::part_of("syslog_facility", "--log-syslog-facility", "errorlog").with_default("user"),
        Row::unsupported("syslog_prefix", "--log-syslog-prefix", "the program name in syslog is hcrs"),
        Row::unsupported("enable_stdio_inheritance", "-R --enable-stdio-inheritance",
            "workers always inherit the server's standard error").switch(),
        Row::converted("statsd_host", "--statsd-host", "statsd_host", statsd_host),
        Row::same("statsd_prefix", "--statsd-prefix", "statsd_prefix"),
        Row::same("dogstatsd_tags", "--dogstatsd-tags", "dogstatsd_tags"),
        Row::unsupported("enable_backlog_metric", "--enable-backlog-metric", "hcrs has no such metric")
            .switch(),
        Row::same("proc_name", "-n --name", "proc_name"),
        Row::unsupported("default_proc_name", "", "the default of proc_name is hcrs"),
        Row::same("keyfile", "--keyfile", "keyfile"),
        Row::same("certfile", "--certfile", "certfile"),
        Row::unsupported("ssl_version", "--ssl-version",
            "TLS 1.2 and 1.3 are enabled; minimum_version of [hcrs] can require 1.3").with_default("2"),
        Row::converted("cert_reqs", "--cert-reqs", "verify_mode", conversions::verify_mode),
        Row::same("ca_certs", "--ca-certs", "ca_certs"),
        Row::unsupported("suppress_ragged_eofs", "--suppress-ragged-eofs",
            "connections that end without TLS's close_notify are no errors").switch().with_default("true"),
        Row::unsupported("do_handshake_on_connect", "--do-handshake-on-connect",
            "handshakes never block a worker").switch(),
        Row::same("ciphers", "--ciphers", "ciphers"),
        Row::converted("proxy_protocol", "--proxy-protocol", "proxy_protocol", proxy_protocol)
            .optional_value(&["off", "v1", "v2", "auto"]),
        Row::part_of("proxy_allow_ips", "--proxy-allow-from", "forwarded_allow_ips")
            .with_default("127.0.0.1,::1"),
        Row::converted("root_path", "--root-path", "root_path", root_path),
        Row::same("websocket_max_message_size", "--websocket-max-message-size", "websocket_max_message_size"),
        Row::converted("asgi_loop", "--asgi-loop", "worker_class", asgi_loop),
        Row::same("asgi_lifespan", "--asgi-lifespan", "lifespan"),
        Row::unsupported("asgi_disconnect_grace_period", "--asgi-disconnect-grace-period",
            "an app whose client has left is notified, not canceled").with_default("3"),
        Row::unsupported("protocol", "--protocol",
            "uWSGI's protocol is not supported; let the proxy use HTTP")
            .with_default("http"),
        Row::unsupported("uwsgi_allow_ips", "--uwsgi-allow-from",
            "uWSGI's protocol is not supported; let the proxy use HTTP").with_default("127.0.0.1,::1"),
        Row::unsupported("http_parser", "--http-parser", "hcrs has one parser, which is strict")
            .with_default("auto"),
        Row::unsupported("http_protocols", "--http-protocols",
            "HTTP/1.1 and HTTP/2 are enabled; alpn_protocols sets the protocols that are offered with TLS"),
        Row::unsupported("http2_cleartext", "--http2-cleartext",
            "HTTP/2 without TLS is enabled by prior knowledge").with_default("off"),
        Row::unsupported("http2_initial_window_size", "--http2-initial-window-size",
            "windows adapt to the data that is read").with_default("65535"),
        Row::same("http2_max_concurrent_streams", "--http2-max-concurrent-streams",
            "h2_max_concurrent_streams"),
        Row::same("http2_max_frame_size", "--http2-max-frame-size", "h2_max_inbound_frame_size"),
        Row::same("http2_max_header_list_size", "--http2-max-header-list-size", "h2_max_header_list_size"),
        Row::unsupported("permit_obsolete_folding", "--permit-obsolete-folding", STRICT).switch(),
        Row::unsupported("strip_header_spaces", "--strip-header-spaces", STRICT).switch(),
        Row::unsupported("permit_unconventional_http_method", "--permit-unconventional-http-method", STRICT)
            .switch(),
        Row::unsupported("permit_unconventional_http_version", "--permit-unconventional-http-version", STRICT)
            .switch(),
        Row::unsupported("casefold_http_method", "--casefold-http-method", STRICT).switch(),
        Row::unsupported("forwarder_headers", "--forwarder-headers", FIELDS)
            .with_default("SCRIPT_NAME,PATH_INFO"),
        Row::unsupported("header_map", "--header-map", "fields with underscores are not passed to WSGI apps")
            .with_default("drop"),
        Row::unsupported("control_socket", "--control-socket", CONTROL),
        Row::unsupported("control_socket_mode", "--control-socket-mode", CONTROL),
        Row::unsupported("control_socket_disable", "--no-control-socket", CONTROL)
            .switch().with_default("false"),
        Row::unsupported("dirty_apps", "--dirty-app", DIRTY).list(),
        Row::unsupported("dirty_workers", "--dirty-workers", DIRTY).with_default("0"),
        Row::unsupported("dirty_threads", "--dirty-threads", DIRTY).with_default("1"),
        Row::unsupported("dirty_timeout", "--dirty-timeout", DIRTY).with_default("300"),
        Row::unsupported("dirty_graceful_timeout", "--dirty-graceful-timeout", DIRTY).with_default("30"),
        Row::unsupported("on_starting", "", HOOK),
        Row::unsupported("on_reload", "", HOOK),
        Row::unsupported("when_ready", "", HOOK),
        Row::unsupported("pre_fork", "", HOOK),
        Row::unsupported("post_fork", "", POST_FORK),
        Row::unsupported("post_worker_init", "", WORKER_START),
        Row::unsupported("worker_int", "", HOOK),
        Row::unsupported("worker_abort", "", HOOK),
        Row::unsupported("pre_exec", "", HOOK),
        Row::unsupported("pre_request", "",
            "hooks are not called for each request; use a middleware of the app"),
        Row::unsupported("post_request", "",
            "hooks are not called for each request; use a middleware of the app"),
        Row::unsupported("child_exit", "", HOOK),
        Row::unsupported("worker_exit", "", WORKER_EXIT),
        Row::unsupported("nworkers_changed", "", HOOK),
        Row::unsupported("on_exit", "", HOOK),
        Row::unsupported("ssl_context", "", "TLS does not use Python; use the TLS settings of hcrs"),
        Row::unsupported("on_dirty_starting", "", DIRTY),
        Row::unsupported("dirty_post_fork", "", DIRTY),
        Row::unsupported("dirty_worker_init", "", DIRTY),
        Row::unsupported("dirty_worker_exit", "", DIRTY),
    ]
}
