//! Admits a connection, or not: an edge thread has a limit of them.

use std::rc::Rc;

use crate::edge_thread::Shared;
use crate::mailbox::Mailbox;

/// A connection's place among those of its thread, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// What the thread's connections share.
    pub shared: Rc<Shared>,
    /// Wakes the connection.
    pub mailbox: Rc<Mailbox>,
    key: usize,
}

/// Gives the connection a place, or none if there are too many already: it is then closed at once.
pub(crate) fn admit(shared: &Rc<Shared>) -> Option<Admitted> {
    let mut connections = shared.connections.borrow_mut();
    if connections.len() >= shared.settings.connection.max_connections {
        tracing::debug!("A connection was closed because there are {} already", connections.len());
        return None;
    }
    let mailbox = Rc::new(Mailbox::default());
    let key = connections.insert(Rc::clone(&mailbox));
    Some(Admitted { shared: Rc::clone(shared), mailbox, key })
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.connections.borrow_mut().remove(self.key);
        self.shared.stir.notify_one();
        // What it held can be given back to the system in a while.
        self.shared.dispatch.stir();
    }
}
