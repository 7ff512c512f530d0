//! The upstreams of a route on an edge thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use hcrs_http::RequestView;
use hcrs_metrics::ThreadSnapshot;
use tokio::task::spawn_local;

use super::balance::{Candidate, choose};
use super::check;
use super::server::Server;
use crate::settings::{Balance, HashKey, Routes, UpstreamSettings, UpstreamTls};

/// The groups of all routes.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(RefCell<Vec<Rc<Group>>>);

/// The upstreams of a route.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) settings: Arc<UpstreamSettings>,
    pub(super) servers: Vec<Rc<Server>>,
    tls: Rc<Tls>,
    turn: Cell<usize>,
}

/// The TLS with the upstreams of a route; `None` if none speaks it, or if its settings cannot be used, which was logged.
#[derive(Debug)]
pub(super) struct Tls(RefCell<Option<UpstreamTls>>);

impl Tls {
    fn read(settings: &UpstreamSettings) -> Rc<Self> {
        let tls = settings.tls().unwrap_or_else(|error| {
            tracing::error!("Upstreams with TLS cannot be used: {error}");
            None
        });
        Rc::new(Self(RefCell::new(tls)))
    }

    /// Reads the authorities again, for new connections.
    fn renew(&self, settings: &UpstreamSettings) {
        match settings.tls() {
            Ok(tls) => drop(self.0.replace(tls)),
            Err(error) => {
                tracing::error!("Upstreams keep their authorities, because new ones cannot be used: {error}");
            }
        }
    }

    /// Returns the configurations for a connection.
    pub(super) fn get(&self) -> Option<UpstreamTls> {
        self.0.borrow().clone()
    }
}

impl Upstreams {
    /// Returns the group with these settings.
    pub(crate) fn group(&self, settings: &Arc<UpstreamSettings>) -> Rc<Group> {
        let mut groups = self.0.borrow_mut();
        if let Some(group) = groups.iter().find(|group| Arc::ptr_eq(&group.settings, settings)) {
            return Rc::clone(group);
        }
        let group = Group::new(settings);
        groups.push(Rc::clone(&group));
        group
    }

    /// Adds its upstreams to a snapshot.
    pub(crate) fn add_to(&self, snapshot: &mut ThreadSnapshot) {
        for server in self.0.borrow().iter().flat_map(|group| &group.servers) {
            snapshot.add_upstream(&server.name, server.facts());
        }
    }

    /// Changes to the groups of these routes. Those whose settings are the same keep their connections and their state;
    /// requests of others end as they have begun. Files of authorities
    /// are read again.
    pub(crate) fn change_to(&self, routes: &Routes) {
        let mut old = self.0.take();
        let mut new = Vec::new();
        for settings in routes.upstreams() {
            let group = match old.iter().position(|group| group.settings == *settings) {
                Some(at) => old.swap_remove(at).with(settings),
                None => Group::new(settings),
            };
            new.push(group);
        }
        self.0.replace(new);
    }
}

impl Group {
    fn new(settings: &Arc<UpstreamSettings>) -> Rc<Self> {
        let servers: Vec<_> = settings.servers.iter().map(|url| Server::new(url, settings)).collect();
        let tls = Tls::read(settings);
        for server in settings.health.iter().flat_map(|_| &servers) {
            spawn_local(check::run(Rc::downgrade(server), Arc::clone(settings), Rc::clone(&tls)));
        }
        Rc::new(Self { settings: Arc::clone(settings), servers, tls, turn: Cell::new(0) })
    }

    /// Returns the TLS for a connection.
    pub(super) fn tls(&self) -> Option<UpstreamTls> {
        self.tls.get()
    }

    /// Returns the group with equal settings in another place.
    fn with(&self, settings: &Arc<UpstreamSettings>) -> Rc<Self> {
        self.tls.renew(settings);
        let (servers, tls) = (self.servers.clone(), Rc::clone(&self.tls));
        Rc::new(Self { settings: Arc::clone(settings), servers, tls, turn: Cell::new(self.turn.get()) })
    }

    /// Chooses a server for a request, but none of those that have `failed` for it.
    pub(super) fn choose(&self, request: &RequestView<'_>, failed: &[bool], now: Instant) -> Option<usize> {
        let mut candidates = self.servers.iter().enumerate().map(|(at, server)| Candidate {
            name: &server.name,
            busy: server.busy(),
            is_up: server.is_up(now),
            has_failed: failed.get(at).copied().unwrap_or(false),
        });
        if self.servers.len() == 1 {
            return candidates.next().filter(|only| !only.has_failed).map(|_| 0);
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        choose(&candidates.collect::<Vec<_>>(), self.hash_key(request).as_deref(), turn)
    }

    /// Returns the value by which a request is sent to a server; `None` for the least busy one.
    fn hash_key(&self, request: &RequestView<'_>) -> Option<Vec<u8>> {
        match &self.settings.balance {
            Balance::LeastBusy => None,
            Balance::Hash(HashKey::Path) => Some(request.path.to_vec()),
            Balance::Hash(HashKey::Address) => {
                Some(request.client().map(|client| client.host.as_bytes().to_vec()).unwrap_or_default())
            }
            Balance::Hash(HashKey::Field(name)) => {
                request.fields().first(name.as_bytes()).map(<[u8]>::to_vec)
            }
        }
    }
}
