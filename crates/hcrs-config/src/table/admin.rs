//! Settings of the admin interface and of the probes.

use std::net::IpAddr;

use hcrs_server::Bind;

use super::store;
use crate::bind;
use crate::draft::Draft;
use crate::kind::{ValueKind, quoted};
use crate::setting::Group::Admin;
use crate::setting::{Setting, unset};
use crate::value::{GivenValue, Mistake};

/// The key of the admin interface's address.
pub(crate) const ADMIN_BIND: &str = "admin_bind";

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        Admin,
        ADMIN_BIND,
        ValueKind::Text,
        unset,
        admin_bind,
        "Address of the admin interface: unix:PATH, which only the server's user may open, or HOST:PORT of a \
         loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, \
         drain and dump use it; it has probes, metrics and a page for browsers. Off by default.",
    )
    .at_start()
    .extension()
    .flag("--admin-bind", None, "ADDRESS"),
    Setting::new(
        Admin,
        "live_path",
        ValueKind::Text,
        |d| quoted(&d.server.health.live_path),
        |v, d| store(&mut d.server.health.live_path, path(v)),
        "Path of the probe that is answered with 200 as long as the server runs.",
    )
    .extension(),
    Setting::new(
        Admin,
        "ready_path",
        ValueKind::Text,
        |d| quoted(&d.server.health.ready_path),
        |v, d| store(&mut d.server.health.ready_path, path(v)),
        "Path of the probe that is answered with 200 while requests should be sent, and with 503 during a \
         drain and while fewer than ready_workers workers are ready.",
    )
    .extension(),
    Setting::new(
        Admin,
        "ready_workers",
        ValueKind::Whole(1, super::MAX_COUNT),
        |d| d.server.health.ready_workers.to_string(),
        |v, d| store(&mut d.server.health.ready_workers, v.whole()),
        "Number of workers that have to be ready; all of them if it is larger than their number.",
    )
    .extension(),
    Setting::new(
        Admin,
        "public_health",
        ValueKind::Boolean,
        |d| d.server.health.public.to_string(),
        |v, d| store(&mut d.server.health.public, v.boolean()),
        "Whether the probes are answered on every listener, in place of the app, and not on admin_bind alone.",
    )
    .extension(),
];

fn path(given: &GivenValue<'_>) -> Result<String, Mistake> {
    match given.text() {
        Ok(path)
            if path.starts_with('/')
                && path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'?') =>
        {
            Ok(path.to_owned())
        }
        _ => Err(given.expected("a path that begins with / and has no query")),
    }
}

fn admin_bind(given: &GivenValue<'_>, draft: &mut Draft) -> Result<(), Mistake> {
    let text = given.text()?;
    let mistake = |message| Mistake { place: given.value.place.clone(), message };
    let bind = bind::parse(text).map_err(|reason| mistake(format!("{text:?} cannot be bound: {reason}")))?;
    if let Bind::Tcp { host, .. } = &bind
        && !host.eq_ignore_ascii_case("localhost")
        && !host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    {
        return Err(mistake(format!(
            "{host:?} is not a loopback address, and the admin interface can stop the server; write \
             \"unix:PATH\" or \"127.0.0.1:PORT\""
        )));
    }
    draft.server.admin_bind = Some(bind);
    Ok(())
}
