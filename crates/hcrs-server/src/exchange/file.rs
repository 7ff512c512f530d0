//! The parts of files in a response's body.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hcrs_http::Fault;
use hcrs_link::FILE_COST;

use super::{Exchange, Piece, Response, Source};
use crate::exchange::file_body::{FileBody, Next, Sent};
use crate::exchange::send_file::SendFile;

/// The outcome of [`Exchange::poll_send_file`].
#[derive(Debug)]
pub(crate) enum SentOfFile {
    /// `len` bytes were sent; `last`: the file has no more; `end`: nor has the response.
    Bytes { len: usize, last: bool, end: bool },
    /// The next bytes have to be taken from [`Exchange::next_output`].
    Read,
    /// The response cannot be completed.
    Failed(Fault),
}

impl Exchange {
    /// Passes a part of a file that the worker has sent as a piece of the response's body. Returns false if
    /// it may not now.
    #[must_use]
    pub(crate) fn push_file(&self, mut file: FileBody, end: bool) -> bool {
        let mut state = self.state.borrow_mut();
        if state.response.replacement.is_some() {
            if !state.response.window.spend(FILE_COST) {
                return false;
            }
            // Its bytes are not read, so only its cost counts.
            state.drop_replaced(FILE_COST, FILE_COST, end);
            drop(state);
            self.announce();
            return true;
        }
        let response = &mut state.response;
        let permit = self.file_permit.borrow();
        let Some(permit) = &*permit else { return false };
        if !response.has_head || response.ended || !response.window.spend(FILE_COST) {
            return false;
        }
        file.count_as(permit.open());
        response.body.push_back(Piece::File(Box::new(file)));
        response.ended = end;
        drop(state);
        self.announce();
        true
    }

    /// Whether the body continues with a part of a file, of at most `room` bytes, that
    /// [`Exchange::poll_send_file`] may be able to send.
    pub(crate) fn may_send_file(&self, room: u64) -> bool {
        let state = self.state.borrow();
        let response = &state.response;
        match response.body.front() {
            Some(Piece::File(file)) => {
                response.head.is_none()
                    && response.coder.is_none()
                    && response.unsent == 0
                    && file.left() <= room
                    && file.may_be_sent()
            }
            Some(Piece::Bytes(_)) | None => false,
        }
    }

    /// Sends the next bytes, at most `max`, of the file at the front of the body, if they are in the page
    /// cache.
    pub(crate) fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        to: &mut impl SendFile,
        max: usize,
    ) -> Poll<io::Result<SentOfFile>> {
        let mut state = self.state.borrow_mut();
        let response = &mut state.response;
        let Some(Piece::File(file)) = response.body.front_mut() else {
            return Poll::Ready(Ok(SentOfFile::Read));
        };
        let sent = match ready!(file.poll_send(cx, to, max))? {
            Sent::Bytes(len) => {
                let last = file.left() == 0;
                if last {
                    response.body.pop_front();
                    response.unsent_of = Source::File { last };
                }
                let end = response.ended && response.trailers.is_none() && response.body.is_empty();
                SentOfFile::Bytes { len, last, end }
            }
            Sent::Read => SentOfFile::Read,
            Sent::Failed => {
                response.body.clear();
                SentOfFile::Failed(Fault::AppFailed)
            }
        };
        drop(state);
        if let SentOfFile::Bytes { last: true, .. } = sent {
            // All of the file's bytes are already sent, so its window cost is credited now.
            self.client_took(0);
        }
        Poll::Ready(Ok(sent))
    }

    /// Returns the next piece of the file at the front of the body; `None` while it is being read.
    pub(super) fn next_of_file(self: &Rc<Self>, response: &mut Response) -> Option<Result<Bytes, Fault>> {
        let Some(Piece::File(file)) = response.body.front_mut() else { return None };
        match file.next() {
            Next::Piece(data) => {
                let last = file.left() == 0;
                if last {
                    response.body.pop_front();
                }
                response.unsent_of = Source::File { last };
                Some(Ok(data))
            }
            Next::Failed => {
                response.body.clear();
                Some(Err(Fault::AppFailed))
            }
            Next::Wait => None,
            Next::Read(read) => {
                let this = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let outcome = tokio::task::spawn_blocking(|| read.run()).await;
                    let outcome = outcome.unwrap_or_else(|error| Err(io::Error::other(error)));
                    // If the client has gone meanwhile, the piece is not needed any more.
                    if let Some(Piece::File(file)) = this.state.borrow_mut().response.body.front_mut() {
                        file.finish_read(outcome);
                    }
                    this.announce();
                });
                None
            }
        }
    }
}
