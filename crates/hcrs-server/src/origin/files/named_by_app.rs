//! Files that responses of the app, or of an upstream, name by `x-accel-redirect` or `x-sendfile`, at routes that are internal.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrs_files::{accel_path, sendfile_rest};
use hcrs_http::{RequestHead, ResponseHead};

use super::head::value_of;
use super::{Files, Looked, refusal, send};
use crate::clock;
use crate::exchange::{InternalFiles, Replaced};
use crate::settings::{ConfiguredRoute, RouteAction, Settings};

/// The field that names a path that an internal route takes.
const ACCEL: &[u8] = b"x-accel-redirect";

/// The field that names a file by its place on the machine.
const SENDFILE: &[u8] = b"x-sendfile";

/// How often a file that cannot be sent is logged.
const WARNED: Duration = Duration::from_secs(1);

/// The internal routes of an edge thread.
#[derive(Debug)]
pub(crate) struct NamedByApp {
    settings: Arc<Settings>,
    files: Rc<Files>,
    /// The places of the internal routes and their folders, absolute.
    folders: Vec<(usize, PathBuf)>,
    /// When a file that cannot be sent was last logged.
    warned: Cell<Option<Instant>>,
}

impl NamedByApp {
    /// Returns the internal routes of these settings; `None` if there are none.
    pub(crate) fn of(settings: &Arc<Settings>, files: &Rc<Files>) -> Option<Rc<Self>> {
        let routes = settings.routes.list().iter().enumerate();
        let folders: Vec<_> = routes
            .filter_map(|(index, route)| match &route.action {
                RouteAction::Files(files) if files.internal => {
                    Some((index, std::path::absolute(&files.folder).ok()?))
                }
                _ => None,
            })
            .collect();
        (!folders.is_empty()).then(|| {
            Rc::new(Self {
                settings: Arc::clone(settings),
                files: Rc::clone(files),
                folders,
                warned: Cell::new(None),
            })
        })
    }

    /// Returns the file that a response names.
    fn look(&self, request: &RequestHead, head: &ResponseHead) -> Looked {
        let now = clock::now();
        if let Some(value) = value_of(head, ACCEL) {
            let Some(path) = accel_path(value) else { return Looked::Nothing };
            let Some(taken) = self.settings.routes.find_internal(&request.view(), &path) else {
                return Looked::Nothing;
            };
            let route = &self.settings.routes[taken];
            return self.look_at(route, route.matcher.rest(&path), now);
        }
        let value = value_of(head, SENDFILE).unwrap_or_default();
        let below = |of: fn(&Path) -> Option<PathBuf>| {
            self.folders.iter().find_map(|(index, folder)| {
                let rest = sendfile_rest(value, &of(folder)?)?;
                Some(self.look_at(&self.settings.routes.list()[*index], rest, now))
            })
        };
        // Apps often name the place to which links in a folder's name lead.
        let found = below(|folder| Some(folder.to_owned()));
        found.or_else(|| below(|folder| folder.canonicalize().ok())).unwrap_or(Looked::Nothing)
    }

    fn look_at(&self, route: &ConfiguredRoute, rest: &[u8], now: Instant) -> Looked {
        match &route.action {
            RouteAction::Files(settings) => self.files.look(rest, settings, now),
            _ => Looked::Nothing,
        }
    }

    fn warn(&self, head: &ResponseHead) {
        let now = clock::now();
        if self.warned.get().is_none_or(|at| now.saturating_duration_since(at) >= WARNED) {
            self.warned.set(Some(now));
            let named = value_of(head, ACCEL).or_else(|| value_of(head, SENDFILE));
            let named = String::from_utf8_lossy(named.unwrap_or_default());
            tracing::warn!(
                "A response names a file that no internal route has: {named:?}; answered with 404"
            );
        }
    }
}

impl InternalFiles for NamedByApp {
    fn replace(&self, request: &RequestHead, head: ResponseHead) -> Replaced {
        let is_named = |(name, _): (&[u8], &[u8])| {
            [ACCEL, SENDFILE].into_iter().any(|known| name.eq_ignore_ascii_case(known))
        };
        if !head.fields().any(is_named) {
            return Replaced::No(head);
        }
        if request.is_websocket() {
            // The response denies a WebSocket, and a file would open it.
            let fields = head.fields().filter(|&field| !is_named(field));
            return Replaced::No(ResponseHead::new(head.status(), fields));
        }
        Replaced::By(match self.look(request, &head) {
            Looked::File(file) => send(&request.view(), &file, Some(&head)),
            Looked::TooManyFiles => refusal(503, &[]),
            Looked::Folder | Looked::Listing(..) | Looked::Nothing => {
                self.warn(&head);
                refusal(404, &[])
            }
        })
    }
}
