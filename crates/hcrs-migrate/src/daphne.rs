//! Daphne's flags, for advice about them. Their conversion is not supported.

use crate::row::{Row, Server};

const TWISTED: &str =
    "hcrs has no Twisted endpoints; write --bind ADDRESS, and for TLS --certfile and --keyfile";
const CLOSE: &str = "an app whose client has left is notified, and not canceled";

pub(super) fn server() -> Server {
    Server {
        name: "daphne",
        rows: rows(),
        prefix: None,
        variables: &[],
        abbreviates: true,
        app: "application",
        config: None,
        finish: |_| {},
    }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        Row::part_of("port", "-p --port", "bind"),
        Row::part_of("bind", "-b --bind", "bind"),
        Row::unsupported("websocket_timeout", "--websocket_timeout", "WebSockets have no time limit"),
        Row::unsupported("websocket_connect_timeout", "--websocket_connect_timeout",
            "the app may take any time to accept a WebSocket"),
        Row::part_of("unix_socket", "-u --unix-socket", "bind"),
        Row::part_of("fd", "--fd", "bind"),
        Row::unsupported("endpoint", "-e --endpoint", TWISTED).list(),
        Row::part_of("verbosity", "-v --verbosity", "loglevel"),
        Row::unsupported("http_timeout", "-t --http-timeout",
            "the app may take any time to answer; worker_timeout of [hcrs] replaces workers that hang"),
        Row::part_of("access_log", "--access-log", "accesslog"),
        Row::part_of("log_fmt", "--log-fmt", "logconfig"),
        Row::part_of("ping_interval", "--ping-interval", "websocket_ping_interval"),
        Row::part_of("ping_timeout", "--ping-timeout", "websocket_ping_timeout"),
        Row::unsupported("application_close_timeout", "--application-close-timeout", CLOSE),
        Row::part_of("root_path", "--root-path", "root_path"),
        Row::part_of("proxy_headers", "--proxy-headers", "forwarded_allow_ips").switch(),
        Row::part_of("proxy_headers_host", "--proxy-headers-host", "proxy_headers"),
        Row::part_of("proxy_headers_port", "--proxy-headers-port", "proxy_headers"),
        Row::part_of("server_name", "-s --server-name --no-server-name", "include_server_header"),
    ]
}
