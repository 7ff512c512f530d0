//! The servers whose settings can be converted.

use crate::row::Server;
use crate::{granian, gunicorn, hypercorn, uvicorn};

/// Names of the servers, which are also those of their commands.
pub(crate) const NAMES: [&str; 4] = ["uvicorn", "gunicorn", "granian", "hypercorn"];

/// Returns the server of this name.
pub(crate) fn server(name: &str) -> Option<Server> {
    Some(match name {
        "uvicorn" => uvicorn::server(),
        "gunicorn" => gunicorn::server(),
        "granian" => granian::server(),
        "hypercorn" => hypercorn::server(),
        _ => return None,
    })
}
