//! Drives an HTTP/3 connection.

use crate::client::Client;
use crate::connection::quic::Connection;

/// Serves the connection until it ends.
pub(crate) async fn drive(client: Client, connection: Connection) -> Connection {
    drop(client);
    connection
}
