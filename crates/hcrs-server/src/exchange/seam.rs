//! Access to an exchange for the model of the link.

use std::rc::Rc;

use hcrs_link::{FILE_COST, piece_cost};

use super::{Exchange, Piece, Place};

/// The number of workers that may die before they have begun a request.
pub(crate) const DEAD_WORKERS_MAX: u8 = super::origin_side::DEAD_WORKERS_MAX;

/// The resources that an exchange holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// The bytes of the request's body that wait, and those that are kept to be sent again.
    pub request: usize,
    /// The pieces' share of the response's window.
    pub response: usize,
    /// Whether the edge knows that a worker has begun the exchange.
    pub is_begun: bool,
}

impl Exchange {
    /// Returns the resources that the exchange holds now.
    pub(crate) fn model_held(self: &Rc<Self>) -> Held {
        let state = self.state.borrow();
        let (body, response) = (&state.body, &state.response);
        let cost = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => piece_cost(bytes.len()),
            Piece::File(_) => FILE_COST,
        };
        let hints = response.interim.iter().map(|hint| hint.cost).sum::<usize>()
            + response.pushes.iter().map(|hint| hint.cost).sum::<usize>();
        Held {
            request: body.waiting.iter().chain(&body.replay).map(bytes::Bytes::len).sum(),
            response: response.body.iter().map(cost).sum::<usize>() + hints,
            is_begun: matches!(state.place, Place::Begun(..)),
        }
    }
}
