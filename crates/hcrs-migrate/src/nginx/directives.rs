//! The directives of nginx, and what becomes of each.

/// Result of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It becomes these keys, or a part of them.
    Converted(&'static str),
    /// hcrs does this by itself, or needs none of it.
    NotNeeded(&'static str),
    /// hcrs has nothing like it.
    NoCounterpart(&'static str),
    /// A block that holds others.
    Structure,
    /// It is not in the table.
    Unknown,
}

use Fate::{Converted, NoCounterpart, NotNeeded, Structure};

const STREAMS: &str = "responses are sent as they come; nothing is buffered, and slow clients hold no worker";
const NO_CACHE: &str = "there is no cache of responses";
const SENDING: &str = "the edge sends files and small pieces in the best way by itself";
const TLS_TICKETS: &str = "sessions are resumed by tickets whose keys change by themselves";
const PROCESSES: &str = "the edge has threads, which io_threads of [hcrs] sets";
const TYPES: &str = "content types are those of the files' extensions";
const LUA: &str = "there are no scripts; move it to the app";
const LOOK_UP: &str = "names are resolved by the system";
const UPSTREAM_ONLY: &str =
    "connections to the app need no such setting, and upstreams have keys of their own";
const STAPLING: &str = "OCSP stapling is not supported, and the large authorities have ended OCSP";

/// The directives, grouped. A name that ends in `*` stands for all that begin with it.
pub(crate) const TABLE: &[(&str, Fate)] = &[
    ("http", Structure),
    ("events", Structure),
    ("server", Structure),
    ("location", Structure),
    ("upstream", Converted("workers, upstream")),
    ("if", Converted("host, scheme, method, maintenance_file")),
    ("listen", Converted("bind, insecure_bind, proxy_protocol, backlog")),
    ("server_name", Converted("host, server_names")),
    ("root", Converted("files")),
    ("alias", Converted("files, file")),
    ("index", Converted("index")),
    ("autoindex", Converted("listing")),
    ("try_files", Converted("files, missing")),
    ("return", Converted("redirect, status, redirect_http")),
    ("rewrite", Converted("redirect")),
    ("set", Converted("the directives that name the variable")),
    ("map", Converted("nothing, if it is for WebSockets")),
    ("include", Converted("the directives of the file")),
    ("internal", Converted("internal")),
    ("proxy_pass", Converted("app, upstream, strip_path")),
    ("grpc_pass", Converted("upstream, upstream_protocol")),
    ("uwsgi_pass", Converted("app")),
    ("scgi_pass", Converted("app")),
    ("proxy_set_header", Converted("drop_untrusted_forwarded, request_id, upstream_host")),
    ("proxy_hide_header", Converted("remove_headers")),
    ("proxy_connect_timeout", Converted("connect_timeout")),
    ("proxy_read_timeout", Converted("read_timeout")),
    ("proxy_send_timeout", Converted("send_timeout")),
    ("proxy_next_upstream", Converted("retries")),
    ("proxy_next_upstream_tries", Converted("retries")),
    ("proxy_ssl_verify", Converted("upstream_verify")),
    ("proxy_ssl_trusted_certificate", Converted("upstream_ca")),
    ("proxy_redirect", Converted("nothing, if it is off")),
    ("client_max_body_size", Converted("max_body_size")),
    ("client_header_timeout", Converted("head_timeout")),
    ("client_body_timeout", Converted("read_timeout")),
    ("send_timeout", Converted("write_timeout")),
    ("keepalive_timeout", Converted("keep_alive_timeout")),
    ("keepalive_requests", Converted("keep_alive_max_requests")),
    ("large_client_header_buffers", Converted("h11_max_incomplete_size")),
    ("add_header", Converted("set_headers, add_headers, strict_transport, cache_control")),
    ("expires", Converted("cache_control, set_headers")),
    ("gzip", Converted("compress")),
    ("gzip_types", Converted("compress_types")),
    ("gzip_min_length", Converted("compress_min_size")),
    ("gzip_static", Converted("precompressed")),
    ("brotli", Converted("compress")),
    ("brotli_types", Converted("compress_types")),
    ("brotli_min_length", Converted("compress_min_size")),
    ("brotli_static", Converted("precompressed")),
    ("zstd", Converted("compress")),
    ("zstd_types", Converted("compress_types")),
    ("zstd_min_length", Converted("compress_min_size")),
    ("zstd_static", Converted("precompressed")),
    ("limit_req_zone", Converted("rate, rate_by")),
    ("limit_req", Converted("rate, rate_burst")),
    ("limit_except", Converted("method, status")),
    ("auth_basic", Converted("auth_realm")),
    ("auth_basic_user_file", Converted("auth")),
    ("allow", Converted("allow")),
    ("deny", Converted("deny, status")),
    ("error_page", Converted("error_pages")),
    ("ssl_certificate", Converted("certfile, certificates")),
    ("ssl_certificate_key", Converted("keyfile, certificates")),
    ("ssl_protocols", Converted("minimum_version")),
    ("ssl_ciphers", Converted("ciphers")),
    ("ssl_verify_client", Converted("verify_mode")),
    ("ssl_client_certificate", Converted("ca_certs")),
    ("ssl_crl", Converted("crls")),
    ("ssl_reject_handshake", Converted("server_names")),
    ("set_real_ip_from", Converted("forwarded_allow_ips")),
    ("real_ip_header", Converted("proxy_protocol")),
    ("access_log", Converted("accesslog, access_log")),
    ("log_format", Converted("access_log_format, access_log_json")),
    ("error_log", Converted("errorlog, loglevel")),
    ("user", Converted("process_user, process_group")),
    ("pid", Converted("pid_path")),
    ("satisfy", Converted("allow, auth")),
    ("default_type", Converted("content_type, force_type")),
    ("types", Converted("force_type, if it is empty")),
    // By itself.
    ("ssl", NotNeeded("addresses of bind have TLS, those of insecure_bind have not")),
    ("http2", NotNeeded("HTTP/2 is always enabled")),
    ("http2_push*", NotNeeded("pushes are those of the app")),
    ("http2_*", NotNeeded("HTTP/2 has its limits, h2_ in docs/reference.md")),
    ("sendfile*", NotNeeded(SENDING)),
    ("tcp_nopush", NotNeeded(SENDING)),
    ("tcp_nodelay", NotNeeded(SENDING)),
    ("aio*", NotNeeded(SENDING)),
    ("directio*", NotNeeded(SENDING)),
    ("output_buffers", NotNeeded(SENDING)),
    ("postpone_output", NotNeeded(SENDING)),
    ("open_file_cache*", NotNeeded("the edge has its own cache of open files")),
    ("etag", NotNeeded("files have an etag")),
    ("if_modified_since", NotNeeded("conditions of requests are obeyed as RFC 9110 says")),
    ("max_ranges", NotNeeded("at most 16 ranges of a request are sent")),
    ("types_hash_*", NotNeeded(TYPES)),
    ("charset*", NotNeeded("text files are sent as UTF-8")),
    ("log_not_found", NotNeeded("a file that is not there is no error in the log")),
    ("log_subrequest", NotNeeded("there are no subrequests")),
    (
        "server_tokens",
        NotNeeded("the server field names no version; include_server_header = false leaves it out"),
    ),
    ("server_names_hash_*", NotNeeded("names are compared without a table")),
    ("server_name_in_redirect", NotNeeded("redirects name the host of the request")),
    ("variables_hash_*", NotNeeded("there are no variables")),
    ("map_hash_*", NotNeeded("there are no variables")),
    ("proxy_headers_hash_*", NotNeeded("fields are passed on as they are")),
    ("absolute_redirect", NotNeeded("locations are as the routes name them")),
    ("port_in_redirect", NotNeeded("locations are as the routes name them")),
    (
        "merge_slashes",
        NotNeeded("routes compare paths with single slashes; the app gets the path as it was sent"),
    ),
    ("underscores_in_headers", NotNeeded("ASGI apps get all fields, WSGI apps none with underscores")),
    ("ignore_invalid_headers", NotNeeded("invalid fields are refused")),
    ("worker_processes", NotNeeded(PROCESSES)),
    ("worker_connections", NotNeeded("max_connections of [hcrs] limits the connections of a thread")),
    (
        "worker_rlimit_nofile",
        NotNeeded("the limit of open files is that of the service manager (LimitNOFILE=)"),
    ),
    ("worker_shutdown_timeout", NotNeeded("graceful_timeout is the time for requests in flight")),
    ("worker_*", NotNeeded(PROCESSES)),
    ("multi_accept", NotNeeded(PROCESSES)),
    ("accept_mutex*", NotNeeded(PROCESSES)),
    ("use", NotNeeded(PROCESSES)),
    ("daemon", NotNeeded("hcrs stays in the foreground, for the service manager")),
    ("master_process", NotNeeded(PROCESSES)),
    ("load_module", NotNeeded("there are no modules")),
    ("thread_pool", NotNeeded(PROCESSES)),
    ("timer_resolution", NotNeeded(PROCESSES)),
    ("pcre_jit", NotNeeded("there are no regular expressions")),
    ("reset_timedout_connection", NotNeeded("connections that time out are closed at once")),
    ("lingering_*", NotNeeded("what a client still sends is read for a while by itself")),
    ("client_body_buffer_size", NotNeeded("bodies pass through bounded buffers")),
    ("client_body_temp_path", NotNeeded("bodies pass through bounded buffers")),
    ("client_body_in_*", NotNeeded("bodies pass through bounded buffers")),
    ("client_header_buffer_size", NotNeeded("buffers grow up to h11_max_incomplete_size")),
    ("connection_pool_size", NotNeeded("memory is bounded by connection")),
    ("request_pool_size", NotNeeded("memory is bounded by connection")),
    ("chunked_transfer_encoding", NotNeeded("responses are framed as the protocol needs it")),
    ("msie_*", NotNeeded("no client needs it any more")),
    ("keepalive_disable", NotNeeded("no client needs it any more")),
    ("ssl_session_*", NotNeeded(TLS_TICKETS)),
    (
        "ssl_prefer_server_ciphers",
        NotNeeded("all ciphers that are enabled are good; the client's order is obeyed where it matters"),
    ),
    ("ssl_dhparam", NotNeeded("no cipher with finite-field Diffie-Hellman is enabled")),
    ("ssl_ecdh_curve", NotNeeded("key_exchange has X25519 and the NIST curves")),
    ("ssl_buffer_size", NotNeeded("TLS records have a size that fits")),
    ("ssl_early_data", NotNeeded("requests are never taken from early data, which can be replayed")),
    ("ssl_conf_command", NotNeeded("TLS is not OpenSSL's")),
    ("ssl_trusted_certificate", NotNeeded("it is for OCSP stapling")),
    ("ssl_verify_depth", NotNeeded("chains of certificates are verified to the authority")),
    ("ssl_handshake_timeout", NotNeeded("ssl_handshake_timeout of hcrs is 60 s")),
    ("gzip_vary", NotNeeded("vary is always set")),
    ("gzip_proxied", NotNeeded("responses are compressed for proxies as well")),
    ("gzip_*", NotNeeded("compression has its own level and buffers")),
    ("brotli_*", NotNeeded("compression has its own level and buffers")),
    ("zstd_*", NotNeeded("compression has its own level and buffers")),
    ("gunzip*", NotNeeded("files are sent as their clients accept them")),
    ("proxy_http_version", NotNeeded("the app needs no protocol, and upstreams have keys of their own")),
    ("proxy_buffer*", NotNeeded(STREAMS)),
    ("proxy_busy_buffers_size", NotNeeded(STREAMS)),
    ("proxy_max_temp_file_size", NotNeeded(STREAMS)),
    ("proxy_temp_*", NotNeeded(STREAMS)),
    ("proxy_request_buffering", NotNeeded(STREAMS)),
    ("proxy_pass_header", NotNeeded("all fields of responses are passed on")),
    ("proxy_pass_request_*", NotNeeded("requests are passed on whole")),
    ("proxy_socket_keepalive", NotNeeded(UPSTREAM_ONLY)),
    ("proxy_next_upstream_timeout", NotNeeded(UPSTREAM_ONLY)),
    ("proxy_ssl_*", NotNeeded(UPSTREAM_ONLY)),
    ("proxy_ignore_client_abort", NotNeeded("the app is notified when its client leaves, and may go on")),
    ("uwsgi_*", NotNeeded("the app needs no protocol between it and the server")),
    ("scgi_*", NotNeeded("the app needs no protocol between it and the server")),
    ("real_ip_recursive", NotNeeded("the last address that is not trusted is the client's")),
    ("limit_req_status", NotNeeded("the status is 429")),
    ("limit_req_log_level", NotNeeded("refused requests are in the access log")),
    ("resolver*", NotNeeded(LOOK_UP)),
    // Nothing like it.
    ("geo*", NoCounterpart("there are no variables; allow and deny have networks")),
    ("split_clients", NoCounterpart("there are no variables")),
    ("userid*", NoCounterpart("the app sets cookies")),
    (
        "limit_conn*",
        NoCounterpart(
            "connections are limited by max_connections of each thread, and rate limits requests of a client",
        ),
    ),
    ("limit_rate*", NoCounterpart("the speed of responses is not limited")),
    ("proxy_cache*", NoCounterpart(NO_CACHE)),
    ("proxy_no_cache", NoCounterpart(NO_CACHE)),
    ("proxy_ignore_headers", NoCounterpart(NO_CACHE)),
    ("proxy_store*", NoCounterpart(NO_CACHE)),
    ("fastcgi_cache*", NoCounterpart(NO_CACHE)),
    (
        "proxy_intercept_errors",
        NoCounterpart("error pages are those of the server's own answers; the app's are sent as they are"),
    ),
    ("proxy_cookie_*", NoCounterpart("cookies of the app are sent as they are")),
    ("proxy_method", NoCounterpart("requests are passed on as they are")),
    ("proxy_set_body", NoCounterpart("requests are passed on as they are")),
    ("proxy_bind", NoCounterpart("the system chooses the address")),
    ("sub_filter*", NoCounterpart("bodies are sent as they are")),
    ("addition*", NoCounterpart("bodies are sent as they are")),
    ("add_before_body", NoCounterpart("bodies are sent as they are")),
    ("add_after_body", NoCounterpart("bodies are sent as they are")),
    ("add_trailer", NoCounterpart("trailers are those of the app")),
    ("ssi*", NoCounterpart("files are sent as they are")),
    ("image_filter*", NoCounterpart("files are sent as they are")),
    ("xslt*", NoCounterpart("files are sent as they are")),
    ("mp4*", NoCounterpart("files are sent as they are, with ranges")),
    ("flv", NoCounterpart("files are sent as they are, with ranges")),
    ("slice*", NoCounterpart(NO_CACHE)),
    ("mirror*", NoCounterpart("requests go to one place")),
    ("auth_request*", NoCounterpart("the app decides who may see what; routes have allow, deny and auth")),
    ("auth_jwt*", NoCounterpart("the app decides who may see what; routes have allow, deny and auth")),
    ("secure_link*", NoCounterpart("the app decides who may see what; let it answer with X-Accel-Redirect")),
    (
        "stub_status",
        NoCounterpart(
            "set admin_bind in [hcrs]: metrics for Prometheus are at /metrics of the admin interface",
        ),
    ),
    ("ssl_stapling*", NoCounterpart(STAPLING)),
    ("ssl_ocsp*", NoCounterpart(STAPLING)),
    (
        "ssl_password_file",
        NoCounterpart("keyfile_password, or HCRS_KEYFILE_PASSWORD, holds the password of the key"),
    ),
    (
        "ssl_session_ticket_key",
        NoCounterpart(
            "for servers that resume each other's sessions, name a file in ticket_keys of [hcrs]: not of raw bytes as \
             nginx's, but with a key in each line, made by openssl rand -base64 32; sessions with nginx do not resume",
        ),
    ),
    ("autoindex_*", NoCounterpart("the list of a folder has one form")),
    ("random_index", NoCounterpart("a folder is answered by its index")),
    (
        "disable_symlinks",
        NoCounterpart(
            "symbolic links that lead out of the folder are not followed, unless follow_links says so",
        ),
    ),
    ("break", NoCounterpart("paths are not rewritten within the server")),
    ("rewrite_log", NotNeeded("hcrs config route shows which route takes a request")),
    ("fastcgi_*", NoCounterpart("FastCGI is not supported")),
    ("memcached_*", NoCounterpart("there are no other sources of responses")),
    ("grpc_*", NoCounterpart("upstreams have the keys of docs/reference.md")),
    ("dav_*", NoCounterpart("files are only read")),
    ("perl*", NoCounterpart(LUA)),
    ("js_*", NoCounterpart(LUA)),
    ("lua_*", NoCounterpart(LUA)),
    (
        "more_*",
        NoCounterpart("set_headers and remove_headers of [hcrs] or a route change fields of responses"),
    ),
    ("modsecurity*", NoCounterpart("requests are not searched for attacks")),
    ("passenger*", NoCounterpart("hcrs starts the app by itself; name it in application_path")),
    ("quic_*", NoCounterpart("QUIC has no settings but quic_bind")),
    ("http3", NotNeeded("addresses of quic_bind speak HTTP/3")),
    ("http3_*", NoCounterpart("HTTP/3 has the limits of HTTP/2")),
    ("stream", NoCounterpart("only HTTP is served")),
    ("mail", NoCounterpart("only HTTP is served")),
    ("env", NoCounterpart("env in [hcrs] sets variables of the workers")),
    ("zone", NotNeeded("threads share nothing")),
];

/// Returns what becomes of a directive: by its name, or by the longest beginning in the table.
pub(crate) fn fate(name: &str) -> Fate {
    let exact = TABLE.iter().find(|(known, _)| *known == name);
    let lua = name.ends_with("_by_lua_block") || name.ends_with("_by_lua_file");
    let by_beginning = || {
        let beginnings = TABLE.iter().filter(|(known, _)| {
            known.strip_suffix('*').is_some_and(|beginning| name.starts_with(beginning))
        });
        beginnings.max_by_key(|(known, _)| known.len())
    };
    match exact.or_else(by_beginning) {
        Some((_, fate)) => *fate,
        None if lua => NoCounterpart(LUA),
        None => Fate::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_decides() {
        assert!(matches!(fate("gzip_types"), Converted("compress_types")));
        assert!(matches!(fate("gzip_comp_level"), NotNeeded(_)));
        assert!(matches!(fate("proxy_cache_path"), NoCounterpart(NO_CACHE)));
        assert!(matches!(fate("proxy_ssl_name"), NotNeeded(_)));
        assert!(matches!(fate("http2_push_preload"), NotNeeded("pushes are those of the app")));
        assert!(matches!(fate("access_by_lua_block"), NoCounterpart(LUA)));
        assert_eq!(fate("nothing_like_it"), Fate::Unknown);
    }

    #[test]
    fn no_directive_is_twice_in_the_table() {
        for (at, (name, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|(known, _)| known != name), "{name}");
        }
    }
}
