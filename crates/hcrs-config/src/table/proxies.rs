//! Proxies that speak for clients, and how far they are believed.

use std::num::NonZeroUsize;

use super::{MAX_COUNT, fill};
use crate::proxies;
use crate::setting::Group::Proxies;
use crate::setting::{ABOVE_ZERO, Kind, Setting, seconds, unset};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Proxies,
        "forwarded_allow_ips",
        Kind::TextOrTexts,
        unset,
        |v, d| fill(&mut d.proxies.settings.trusted, proxies::trust(v)),
        "Proxies that are believed when they speak of a client: addresses and networks, unix for peers on unix \
         sockets, * for whoever connects. The variable FORWARDED_ALLOW_IPS sets it where the file does not.",
    )
    .own(),
    Setting::new(
        Proxies,
        "proxy_headers",
        Kind::OneOf(&["legacy", "modern", "off"]),
        unset,
        |v, d| fill(&mut d.proxies.headers, proxies::headers(v)),
        "Which fields are believed: legacy is X-Forwarded-*, modern is Forwarded (RFC 7239), off neither. Unset, \
         legacy if anybody is trusted.",
    )
    .own(),
    Setting::new(
        Proxies,
        "forwarded_prefix",
        Kind::Boolean,
        |_| "false".into(),
        |v, d| fill(&mut d.proxies.prefix, v.boolean()),
        "Whether X-Forwarded-Prefix is believed too, which names what the proxy has taken off the path. Only for a \
         proxy that sets or removes it in every request.",
    )
    .own(),
    Setting::new(
        Proxies,
        "stripped_prefix",
        Kind::Text,
        |_| "\"\"".into(),
        |v, d| fill(&mut d.proxies.settings.stripped_prefix, proxies::prefix(v)),
        "What a proxy takes off each request's path, such as /api. It is put back for the app, into the path and before \
         root_path, as Uvicorn does with its root_path; WSGI's SCRIPT_NAME begins with it.",
    )
    .own(),
    Setting::new(
        Proxies,
        "trusted_hops",
        Kind::Whole(0, MAX_COUNT),
        |_| "0".into(),
        |v, d| fill(&mut d.proxies.hops, v.whole().map(NonZeroUsize::new)),
        "How many proxies a request passes, where they are known by their number; 0 goes by addresses.",
    )
    .own(),
    Setting::new(
        Proxies,
        "drop_untrusted_forwarded",
        Kind::Boolean,
        |d| d.server.proxies.drop_untrusted.to_string(),
        |v, d| fill(&mut d.proxies.settings.drop_untrusted, v.boolean()),
        "Whether Forwarded and X-Forwarded-* of peers that are not trusted are kept from the app.",
    )
    .own(),
    Setting::new(
        Proxies,
        "proxy_protocol",
        Kind::BooleanOrBinds,
        |_| "false".into(),
        |v, d| fill(&mut d.proxies.protocol, proxies::protocol(v)),
        "Whether connections begin with a header of the PROXY protocol: true for every listener, or the binds of \
         those that expect it.",
    )
    .own(),
    Setting::new(
        Proxies,
        "proxy_protocol_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.proxies.protocol_timeout),
        |v, d| fill(&mut d.proxies.settings.protocol_timeout, v.seconds()),
        "How long that header may take to arrive, in seconds.",
    )
    .own(),
];
