//! Answers the probes of load balancers and orchestrators: whether the edge runs, and whether requests should
//! be sent to it.

use std::sync::atomic::{AtomicBool, Ordering};

use hcrs_http::ResponseHead;

use crate::exchange::WholeResponse;
use crate::settings::HealthSettings;

/// A question of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Does the edge run?
    Live,
    /// Should requests be sent to it?
    Ready,
}

impl Probe {
    /// Returns the question that a path asks.
    pub(crate) fn at(path: &[u8], settings: &HealthSettings) -> Option<Self> {
        match path {
            path if path == settings.live_path.as_bytes() => Some(Self::Live),
            path if path == settings.ready_path.as_bytes() => Some(Self::Ready),
            _ => None,
        }
    }
}

/// Whether enough workers are ready and no drain was asked for. The supervisor sets it, and all threads
/// read it.
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicBool);

impl Readiness {
    /// Sets whether requests should be sent to the server.
    pub(crate) fn set(&self, is_ready: bool) {
        self.0.store(is_ready, Ordering::Relaxed);
    }

    /// Whether requests should be sent to the server.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns the answer of a thread that serves: a draining one is not ready, whatever the workers are.
pub(crate) fn answer(probe: Probe, readiness: &Readiness, is_draining: bool) -> WholeResponse {
    let (status, text) = match probe {
        Probe::Live => (200, "live\n"),
        Probe::Ready if readiness.is_ready() && !is_draining => (200, "ready\n"),
        Probe::Ready => (503, "not ready\n"),
    };
    whole(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

/// Returns a response that no cache stores.
pub(crate) fn whole(status: u16, content_type: &str, body: Vec<u8>) -> WholeResponse {
    let length = body.len().to_string();
    let fields: [(&[u8], &[u8]); 4] = [
        (b"content-type", content_type.as_bytes()),
        (b"content-length", length.as_bytes()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ];
    WholeResponse { head: ResponseHead::new(status, fields), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_ready_while_it_serves_and_its_workers_are() {
        let readiness = Readiness::default();
        let status = |probe, is_draining| answer(probe, &readiness, is_draining).head.status();
        assert_eq!((status(Probe::Live, false), status(Probe::Ready, false)), (200, 503));
        readiness.set(true);
        assert_eq!((status(Probe::Ready, false), status(Probe::Ready, true)), (200, 503));
        assert_eq!(status(Probe::Live, true), 200);
    }

    #[test]
    fn paths_are_compared_whole() {
        let settings = HealthSettings { ready_path: "/healthz".into(), ..HealthSettings::default() };
        let at = |path: &[u8]| Probe::at(path, &settings);
        assert_eq!((at(b"/-/live"), at(b"/healthz")), (Some(Probe::Live), Some(Probe::Ready)));
        assert_eq!((at(b"/-/ready"), at(b"/-/live/"), at(b"/")), (None, None, None));
    }
}
