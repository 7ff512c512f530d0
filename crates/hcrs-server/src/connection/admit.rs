//! The limit of connections of an edge thread.

use std::rc::Rc;

use crate::client::Admitted;
use crate::state::ThreadState;

/// Returns a place for the connection; `None` if there are too many already. The connection is then closed at
/// once.
pub(crate) fn admit(shared: &Rc<ThreadState>) -> Option<Admitted> {
    let count = shared.connections.borrow().len();
    if count >= shared.settings().connection.max_connections {
        shared.metrics.refuse_connection();
        tracing::debug!("A connection was closed because there are {count} already (max_connections)");
        return None;
    }
    Some(Admitted::new(shared))
}
