//! Admits a connection, or not: an edge thread has a limit of them.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::edge_thread::{Phase, Shared};
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

impl Admitted {
    /// Does what precedes the connection's first request, while there is time for one: `None` if the thread drains and that
    /// is over.
    pub(crate) async fn while_welcome<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.mailbox.attend(cx.waker());
            self.mailbox.rest();
            match work.as_mut().poll(cx) {
                Poll::Pending if self.shared.phase() >= Phase::Finishing => Poll::Ready(None),
                polled => polled.map(Some),
            }
        })
        .await
    }
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
