//! Routes to upstreams.

use hcrs_http::is_field_name;
use hcrs_server::{
    Balance, HashKey, HealthCheck, UpstreamHost, UpstreamProtocol, UpstreamSettings, UpstreamUrl,
};

use super::entries::{Entries, at};
use super::keys::RouteKey;
use crate::kind::{ABOVE_ZERO, ValueKind};
use crate::value::Mistake;

/// The most upstreams of a route: a choice looks at each.
const SERVERS_MAX: usize = 256;

/// The action.
pub(super) const ACTION: &str = "upstream";

/// Its keys.
pub(super) const KEYS: &[RouteKey] = &[
    RouteKey {
        key: ACTION,
        kind: ValueKind::TextOrTexts,
        goes_with: None,
        doc: "Action: passes the request on to one of these HTTP servers, as http://127.0.0.1:9000, https://HOST/BASE or \
              unix:/run/x.sock. WebSockets are passed on as well.",
    },
    key(
        "strip_path",
        ValueKind::Boolean,
        "Whether the route's path is removed from that of the request; false by default.",
    ),
    key(
        "balance",
        ValueKind::OneOf(&["least-busy", "hash"]),
        "The choice of an upstream: the least busy one of the edge thread, by default, or by hash_by.",
    ),
    key(
        "hash_by",
        ValueKind::Text,
        "What requests to the same upstream have in common: address, of the client, by default; path; or the name of a \
         request field.",
    ),
    key(
        "upstream_protocol",
        ValueKind::OneOf(&["auto", "http/1.1", "h2"]),
        "The protocol: by default HTTP/1.1, or over TLS HTTP/2 if the upstream chooses it; h2 without TLS is HTTP/2 by \
         prior knowledge.",
    ),
    key(
        "upstream_host",
        ValueKind::Text,
        "The host that upstreams see: client, that of the request, by default; upstream, that of the URL; or a name.",
    ),
    key(
        "upstream_ca",
        ValueKind::Path,
        "The file with the authorities of the upstreams' certificates; those that the system trusts by default.",
    ),
    key(
        "upstream_verify",
        ValueKind::Boolean,
        "Whether the upstreams' certificates are verified; true by default.",
    ),
    key(
        "upstream_connections",
        ValueKind::Whole(1, 65_536),
        "The most connections of an edge thread to one upstream; 256 by default. Requests beyond wait for \
         connect_timeout.",
    ),
    key(
        "connect_timeout",
        ABOVE_ZERO,
        "Longest time for a connection to an upstream, in seconds; 5 by default.",
    ),
    key(
        "read_timeout",
        ABOVE_ZERO,
        "Longest time that an upstream may send nothing while it is to send, in seconds, and that a WebSocket may be \
         silent; 60 by default.",
    ),
    key(
        "send_timeout",
        ABOVE_ZERO,
        "Longest time that an upstream may take nothing of a request's body, in seconds; 60 by default.",
    ),
    key(
        "retries",
        ValueKind::Whole(0, 16),
        "The most further attempts for a request that no upstream has begun; 2 by default.",
    ),
    key(
        "health_path",
        ValueKind::Text,
        "The path of requests that check each upstream: one that answers with 2xx or 3xx is up. Unset, only the outcomes \
         of requests tell.",
    ),
    RouteKey {
        key: "health_interval",
        kind: ValueKind::Seconds(0.1),
        goes_with: Some("health_path"),
        doc: "The time between two such requests of an edge thread, in seconds; 5 by default.",
    },
];

const fn key(key: &'static str, kind: ValueKind, doc: &'static str) -> RouteKey {
    RouteKey { key, kind, goes_with: Some(ACTION), doc }
}

impl Entries<'_> {
    /// Returns the settings of a route to upstreams; `None` if it is another route.
    pub(super) fn upstream(&self) -> Result<Option<UpstreamSettings>, Mistake> {
        let servers = self.read(ACTION, |given| {
            let urls = given.text_or_texts()?;
            if urls.is_empty() || urls.len() > SERVERS_MAX {
                return Err(given.expected(format_args!("1 to {SERVERS_MAX} URLs")));
            }
            let parse =
                |(url, place)| UpstreamUrl::parse(url).map_err(|expected| at(url, place).expected(expected));
            urls.into_iter().map(parse).collect::<Result<Vec<_>, _>>()
        })?;
        let Some(servers) = servers else { return Ok(None) };
        let defaults = UpstreamSettings::new(servers);
        let hash_by = self.read("hash_by", |given| match given.text()? {
            "address" => Ok(HashKey::Address),
            "path" => Ok(HashKey::Path),
            name if is_field_name(name.as_bytes()) => Ok(HashKey::Field(name.to_ascii_lowercase())),
            _ => Err(given.expected("address, path or the name of a request field")),
        })?;
        let balance = match (self.read("balance", |given| given.text())?, hash_by) {
            (Some("least-busy"), None) => Balance::LeastBusy,
            (Some("least-busy"), Some(_)) => {
                let mistake =
                    |given: crate::value::GivenValue<'_>| Err(given.expected("balance = \"hash\" beside it"));
                return self.read("hash_by", mistake);
            }
            (Some(_), hash_by) => Balance::Hash(hash_by.unwrap_or(HashKey::Address)),
            (None, Some(hash_by)) => Balance::Hash(hash_by),
            (None, None) => defaults.balance,
        };
        let path = self.read("health_path", |given| {
            let path = given.text()?;
            let is_path =
                path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            is_path.then(|| path.to_owned()).ok_or_else(|| given.expected("a path"))
        })?;
        let interval = self.read("health_interval", |given| given.seconds())?;
        Ok(Some(UpstreamSettings {
            balance,
            health: path.map(|path| HealthCheck {
                path,
                interval: interval.unwrap_or(HealthCheck::DEFAULT_INTERVAL),
            }),
            strip_path: self.read("strip_path", |given| given.boolean())?.unwrap_or(defaults.strip_path),
            protocol: self
                .read("upstream_protocol", |given| {
                    Ok(match given.text()? {
                        "http/1.1" => UpstreamProtocol::Http1,
                        "h2" => UpstreamProtocol::Http2,
                        _ => UpstreamProtocol::Auto,
                    })
                })?
                .unwrap_or(defaults.protocol),
            host: self
                .read("upstream_host", |given| match given.text()? {
                    "client" => Ok(UpstreamHost::Client),
                    "upstream" => Ok(UpstreamHost::Upstream),
                    name if hcrs_http::is_authority(name.as_bytes()) => {
                        Ok(UpstreamHost::Named(name.to_owned()))
                    }
                    _ => Err(given.expected("client, upstream or the name of a host")),
                })?
                .unwrap_or(defaults.host),
            connect_timeout: self
                .read("connect_timeout", |given| given.seconds())?
                .unwrap_or(defaults.connect_timeout),
            read_timeout: self
                .read("read_timeout", |given| given.seconds())?
                .unwrap_or(defaults.read_timeout),
            send_timeout: self
                .read("send_timeout", |given| given.seconds())?
                .unwrap_or(defaults.send_timeout),
            ca: self.read("upstream_ca", |given| given.path())?,
            verify: self.read("upstream_verify", |given| given.boolean())?.unwrap_or(defaults.verify),
            retries: self.read("retries", |given| given.whole())?.unwrap_or(defaults.retries),
            connections: self
                .read("upstream_connections", |given| given.whole())?
                .unwrap_or(defaults.connections),
            servers: defaults.servers,
        }))
    }
}
