//! Settings of reverse proxies and of the trust in them.

use std::num::NonZeroUsize;

use super::{MAX_COUNT, store};
use crate::kind::{ABOVE_ZERO, ValueKind, seconds};
use crate::proxies;
use crate::setting::Group::Proxies;
use crate::setting::{Setting, unset};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Proxies,
        "forwarded_allow_ips",
        ValueKind::TextOrTexts,
        unset,
        |v, d| store(&mut d.proxies.settings.trusted, proxies::trust(v)),
        "Proxies whose information about clients is trusted: addresses and networks, unix for peers on unix \
         sockets, * for every peer. The variable FORWARDED_ALLOW_IPS sets it if the file does not.",
    )
    .extension(),
    Setting::new(
        Proxies,
        "proxy_headers",
        ValueKind::OneOf(&["legacy", "modern", "off"]),
        unset,
        |v, d| store(&mut d.proxies.headers, proxies::headers(v)),
        "Fields that are read from trusted proxies: legacy for X-Forwarded-*, modern for Forwarded (RFC \
         7239), off for none. Unset, legacy if any proxy is trusted.",
    )
    .extension(),
    Setting::new(
        Proxies,
        "forwarded_prefix",
        ValueKind::Boolean,
        |_| "false".into(),
        |v, d| store(&mut d.proxies.prefix, v.boolean()),
        "Reads X-Forwarded-Prefix as well, the prefix that the proxy has removed from the path. Only for a \
         proxy that sets or removes this field in every request.",
    )
    .extension(),
    Setting::new(
        Proxies,
        "stripped_prefix",
        ValueKind::Text,
        |_| "\"\"".into(),
        |v, d| store(&mut d.proxies.settings.stripped_prefix, proxies::prefix(v)),
        "Prefix that a proxy removes from each request's path, such as /api. It is restored for the app, in \
         the path and before root_path, as Uvicorn does with its root_path; WSGI's SCRIPT_NAME begins with \
         it.",
    )
    .extension(),
    Setting::new(
        Proxies,
        "trusted_hops",
        ValueKind::Whole(0, MAX_COUNT),
        |_| "0".into(),
        |v, d| store(&mut d.proxies.hops, v.whole().map(NonZeroUsize::new)),
        "Number of proxies that a request passes, if proxies are identified by their number; 0 identifies \
         them by address.",
    )
    .extension(),
    Setting::new(
        Proxies,
        "drop_untrusted_forwarded",
        ValueKind::Boolean,
        |d| d.server.proxies.drop_untrusted.to_string(),
        |v, d| store(&mut d.proxies.settings.drop_untrusted, v.boolean()),
        "Removes Forwarded and X-Forwarded-* fields of untrusted peers from requests.",
    )
    .extension(),
    Setting::new(
        Proxies,
        "proxy_protocol",
        ValueKind::BooleanOrBinds,
        |_| "false".into(),
        |v, d| store(&mut d.proxies.protocol, proxies::protocol(v)),
        "Whether connections begin with a header of the PROXY protocol: true for every listener, or the \
         addresses of the listeners that expect it.",
    )
    .at_start()
    .extension(),
    Setting::new(
        Proxies,
        "proxy_protocol_timeout",
        ABOVE_ZERO,
        |d| seconds(d.server.proxies.protocol_timeout),
        |v, d| store(&mut d.proxies.settings.protocol_timeout, v.seconds()),
        "Time limit for the arrival of the PROXY protocol header, in seconds.",
    )
    .extension(),
];
