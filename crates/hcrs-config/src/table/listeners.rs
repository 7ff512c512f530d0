//! Settings of the listeners.

use super::store;
use crate::bind::{DEFAULT_BIND, binds};
use crate::kind::{ValueKind, array};
use crate::setting::Group::Listeners;
use crate::setting::{Setting, unset};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Listeners,
        "bind",
        ValueKind::TextOrTexts,
        |_| array([DEFAULT_BIND]),
        |v, d| store(&mut d.bind, binds(v)),
        "Addresses to listen on: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and \
         keyfile, TLS.",
    )
    .at_start()
    .flag("--bind", Some('b'), "ADDRESS"),
    Setting::new(
        Listeners,
        "insecure_bind",
        ValueKind::TextOrTexts,
        |_| array([]),
        |v, d| store(&mut d.insecure_bind, v.placed(binds(v))),
        "Addresses to listen on without TLS, when bind uses TLS.",
    )
    .at_start()
    .flag("--insecure-bind", None, "ADDRESS"),
    Setting::new(
        Listeners,
        "redirect_http",
        ValueKind::Boolean,
        |d| d.server.connection.redirect_http.to_string(),
        |v, d| store(&mut d.server.connection.redirect_http, v.boolean()),
        "Redirects requests on insecure_bind to the same URL with https (308), at the first TCP port of \
         bind, except for paths below /.well-known/acme-challenge/. server_names limits the hosts that are \
         redirected.",
    )
    .at_start()
    .flag("--redirect-http", None, "")
    .extension(),
    Setting::new(
        Listeners,
        "quic_bind",
        ValueKind::TextOrTexts,
        |_| array([]),
        |v, d| store(&mut d.quic_bind, v.placed(binds(v))),
        "Addresses to serve HTTP/3 on, over UDP; needs certfile and keyfile. Responses over HTTP/1.1 and HTTP/2 \
         then announce the first one's port, unless alt_svc_headers is set.",
    )
    .at_start()
    .flag("--quic-bind", None, "ADDRESS"),
    Setting::new(
        Listeners,
        "backlog",
        ValueKind::Whole(1, i32::MAX as i64),
        |d| d.server.backlog.to_string(),
        |v, d| store(&mut d.server.backlog, v.whole()),
        "Number of connections of each listener that may wait to be accepted.",
    )
    .at_start()
    .flag("--backlog", None, "NUMBER"),
    Setting::new(
        Listeners,
        "umask",
        ValueKind::Mask,
        unset,
        |v, d| store(&mut d.server.umask, v.whole().map(Some)),
        "Permission bits that unix sockets do not get. On the command line in decimal, or in octal as 0o022.",
    )
    .at_start()
    .flag("--umask", Some('m'), "MASK"),
    Setting::new(
        Listeners,
        "user",
        OWNER,
        unset,
        |v, d| store(&mut d.user, v.placed(v.whole())),
        "Numeric user id that owns unix sockets; requires group. The server's own user is process_user.",
    )
    .at_start()
    .flag("--user", Some('u'), "NUMBER"),
    Setting::new(
        Listeners,
        "group",
        OWNER,
        unset,
        |v, d| store(&mut d.group, v.placed(v.whole())),
        "Numeric group id that owns unix sockets; requires user.",
    )
    .at_start()
    .flag("--group", Some('g'), "NUMBER"),
    Setting::new(
        Listeners,
        "io_threads",
        ValueKind::Whole(1, super::MAX_COUNT),
        unset,
        |v, d| store(&mut d.server.io_threads, super::count(v).map(Some)),
        "Number of edge threads, which serve connections. Unset, one for every four workers.",
    )
    .at_start()
    .extension()
    .flag("--io-threads", None, "NUMBER"),
    Setting::new(
        Listeners,
        "max_connections",
        ValueKind::Whole(1, 1 << 24),
        |d| d.server.connection.max_connections.to_string(),
        |v, d| store(&mut d.server.connection.max_connections, v.whole()),
        "Largest number of connections of one edge thread; further ones are closed at once.",
    )
    .extension(),
];

/// Ids of users and groups. `chown` takes the largest number as "do not change".
const OWNER: ValueKind = ValueKind::Whole(0, u32::MAX as i64 - 1);
