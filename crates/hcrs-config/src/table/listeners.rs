//! Where connections are accepted.

use hcrs_server::Bind;

use super::fill;
use crate::bind;
use crate::draft::Draft;
use crate::setting::Group::Listeners;
use crate::setting::{Kind, Setting, array, unset};
use crate::value::{Given, Mistake};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Listeners,
        "bind",
        Kind::TextOrTexts,
        |_| array([Draft::DEFAULT_BIND]),
        |v, d| fill(&mut d.bind, binds(v)),
        "Where to listen: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS.",
    )
    .flag("--bind", Some('b'), "ADDRESS"),
    Setting::new(
        Listeners,
        "insecure_bind",
        Kind::TextOrTexts,
        |_| array([]),
        |v, d| fill(&mut d.insecure_bind, v.placed(binds(v))),
        "Where to listen without TLS, beside bind with TLS.",
    )
    .flag("--insecure-bind", None, "ADDRESS"),
    Setting::new(
        Listeners,
        "redirect_http",
        Kind::Boolean,
        |d| d.server.connection.redirect_http.to_string(),
        |v, d| fill(&mut d.server.connection.redirect_http, v.boolean()),
        "Whether requests of insecure_bind are redirected to the same URL over https (308), at the first TCP port of bind. Paths \
         below /.well-known/acme-challenge/ are not. server_names limits the hosts that are redirected.",
    )
    .own(),
    Setting::ignored(Listeners, "quic_bind", Kind::TextOrTexts, "HTTP/3 is not spoken.").flag(
        "--quic-bind",
        None,
        "ADDRESS",
    ),
    Setting::new(
        Listeners,
        "backlog",
        Kind::Whole(1, i32::MAX as i64),
        |d| d.server.backlog.to_string(),
        |v, d| fill(&mut d.server.backlog, v.whole()),
        "Connections that may wait to be accepted, for each listener.",
    )
    .flag("--backlog", None, "NUMBER"),
    Setting::new(
        Listeners,
        "umask",
        Kind::Mask,
        unset,
        |v, d| fill(&mut d.server.umask, v.whole().map(Some)),
        "What is masked out of the permissions of unix sockets. As a flag in decimal, or as 0o022.",
    )
    .flag("--umask", Some('m'), "MASK"),
    Setting::new(
        Listeners,
        "user",
        OWNER,
        unset,
        |v, d| fill(&mut d.user, v.placed(v.whole())),
        "The number of the user that owns unix sockets; with group. No privileges are dropped.",
    )
    .flag("--user", Some('u'), "NUMBER"),
    Setting::new(
        Listeners,
        "group",
        OWNER,
        unset,
        |v, d| fill(&mut d.group, v.placed(v.whole())),
        "The number of the group that owns unix sockets; with user.",
    )
    .flag("--group", Some('g'), "NUMBER"),
    Setting::new(
        Listeners,
        "io_threads",
        Kind::Whole(1, super::MAX_COUNT),
        unset,
        |v, d| fill(&mut d.server.io_threads, super::count(v).map(Some)),
        "Threads that serve connections. Unset, one for four workers.",
    )
    .own()
    .flag("--io-threads", None, "NUMBER"),
    Setting::new(
        Listeners,
        "max_connections",
        Kind::Whole(1, 1 << 24),
        |d| d.server.connection.max_connections.to_string(),
        |v, d| fill(&mut d.server.connection.max_connections, v.whole()),
        "Connections of one thread; more are closed at once.",
    )
    .own(),
];

/// The greatest number is what `chown` takes for "leave it".
const OWNER: Kind = Kind::Whole(0, u32::MAX as i64 - 1);

/// Addresses to listen on.
pub(crate) fn binds(given: &Given<'_>) -> Result<Vec<Bind>, Mistake> {
    let texts = given.text_or_texts()?;
    texts
        .into_iter()
        .map(|(text, place)| {
            bind::parse(text).map_err(|reason| Mistake {
                place: place.clone(),
                message: format!("{text:?} cannot be bound: {reason}"),
            })
        })
        .collect()
}
