//! The exchange as an operator sees it while it is in flight.

use hcrs_metrics::{ActiveRequest, METHOD_SHOWN_MAX, PATH_SHOWN_MAX, Stage, WorkerName};

use super::{Exchange, Place};

/// The state of an exchange that is in flight.
#[derive(Debug)]
pub(crate) struct Activity {
    /// The stage.
    pub stage: Stage,
    /// The worker that has the request, or had it last.
    pub worker: Option<WorkerName>,
    /// The method, for people to read.
    pub method: String,
    /// The path, for people to read.
    pub path: String,
}

impl Exchange {
    /// Returns the state of the exchange; `None` once it is over.
    pub(crate) fn activity(&self) -> Option<Activity> {
        let state = self.state.borrow();
        let head = state.head.as_ref()?.view();
        Some(Activity {
            stage: match state.place {
                _ if state.response.has_head => Stage::Sending,
                Place::Queued => Stage::Queued,
                Place::Sent(..) | Place::Begun(..) => Stage::App,
                // It has failed, and its connection has not answered yet.
                Place::Over => Stage::Sending,
            },
            worker: state.sent.map(|sent| sent.worker),
            method: ActiveRequest::shown(head.method, METHOD_SHOWN_MAX),
            path: ActiveRequest::shown(head.path, PATH_SHOWN_MAX),
        })
    }

    /// Stores the exchange's place in the thread's list of requests in flight.
    pub(crate) fn list_at(&self, place: usize) {
        self.listed_at.set(Some(place));
    }

    /// Takes the exchange's place in the thread's list of requests in flight; `None` the second time.
    pub(crate) fn take_place(&self) -> Option<usize> {
        self.listed_at.take()
    }
}
