//! The calling process in a worker's place: it is passed the links and is never started, killed or replaced.

use std::io;

use super::signals::{Signal, Stop};
use super::{Event, Supervisor, worker};
use crate::caller::CallerEvent;
use crate::{Caller, Settings};

/// Returns the number of workers that are kept alive.
pub(super) fn places(settings: &Settings) -> usize {
    match (&settings.app, &settings.caller) {
        (None, _) => 0,
        (Some(_), Some(_)) => 1,
        (Some(app), None) => app.workers.get(),
    }
}

impl Supervisor<'_> {
    /// Passes the caller and each thread their ends of the links. The caller decides how long the app may
    /// take to be ready.
    pub(super) async fn attach_caller(&mut self, caller: &Caller, place: usize) -> io::Result<()> {
        self.last_id += 1;
        let id = self.last_id;
        let mut links = Vec::with_capacity(self.edge.len());
        for _ in 0..self.edge.len() {
            let (end, socket, memory) = worker::link(id)?;
            caller.pass_link(self.edge.len(), &socket, &memory)?;
            links.push(end);
        }
        let events = self.sender.clone();
        caller.watch(move |event| {
            let event = match event {
                CallerEvent::Stop => {
                    Event::Signal(Signal::Stop(Stop { name: "the calling program", ..Stop::TERM }))
                }
                CallerEvent::Gone => Event::CallerGone,
            };
            let _supervisor_gone = events.blocking_send(event);
        })?;
        self.workers.add(id, caller.pid(), place, None);
        self.edge.attach(links).await;
        Ok(())
    }
}
