//! The calling process in a worker's place: it is passed the links and is never started, killed or replaced.

use std::io;

use super::event::Event;
use super::signals::{Signal, Stop};
use super::{Supervisor, worker};
use crate::embedder::EmbedderEvent;
use crate::{AppSettings, Embedder, Settings};

/// Returns the number of workers of an app that are kept alive.
pub(super) fn slots(settings: &Settings, app: &AppSettings) -> usize {
    if settings.embedder.is_some() { 1 } else { app.workers.get() }
}

impl Supervisor<'_> {
    /// Passes the embedder and each thread their ends of the links. The embedder decides how long the app may
    /// take to be ready.
    pub(super) async fn attach_embedder(
        &mut self,
        embedder: &Embedder,
        at: usize,
        slot: usize,
    ) -> io::Result<()> {
        self.last_id += 1;
        let id = self.last_id;
        let mut links = Vec::with_capacity(self.edge.len());
        for _ in 0..self.edge.len() {
            let (mut end, socket, memory) = worker::link(id, &self.pools[at].app.name)?;
            end.parts.slot = self.pools[at].slots[slot].seat;
            embedder.pass_link(self.edge.len(), &socket, &memory)?;
            links.push(end);
        }
        let events = self.sender.clone();
        embedder.watch(move |event| {
            let event = match event {
                EmbedderEvent::Stop => {
                    Event::Signal(Signal::Stop(Stop { name: "the calling program", ..Stop::TERM }))
                }
                EmbedderEvent::Gone => Event::EmbedderGone,
            };
            let _supervisor_gone = events.blocking_send(event);
        })?;
        self.pools[at].workers.add(id, embedder.pid(), slot, None);
        self.edge.attach(links).await;
        Ok(())
    }
}
