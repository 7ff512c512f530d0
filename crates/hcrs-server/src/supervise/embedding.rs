//! The calling process in a worker's place: it is passed the links and is never started, killed or replaced.

use std::io;

use super::event::Event;
use super::signals::{Signal, Stop};
use super::{Supervisor, worker};
use crate::embedder::EmbedderEvent;
use crate::{Embedder, Settings};

/// Returns the number of workers that are kept alive.
pub(super) fn slots(settings: &Settings) -> usize {
    match (&settings.app, &settings.embedder) {
        (None, _) => 0,
        (Some(_), Some(_)) => 1,
        (Some(app), None) => app.workers.get(),
    }
}

impl Supervisor<'_> {
    /// Passes the embedder and each thread their ends of the links. The embedder decides how long the app may
    /// take to be ready.
    pub(super) async fn attach_embedder(&mut self, embedder: &Embedder, slot: usize) -> io::Result<()> {
        self.last_id += 1;
        let id = self.last_id;
        let mut links = Vec::with_capacity(self.edge.len());
        for _ in 0..self.edge.len() {
            let (mut end, socket, memory) = worker::link(id)?;
            end.parts.slot = slot;
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
        self.workers.add(id, embedder.pid(), slot, None);
        self.edge.attach(links).await;
        Ok(())
    }
}
