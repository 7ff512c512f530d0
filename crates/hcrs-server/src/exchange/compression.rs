//! Compression of a response. It is decided when the head leaves, and the body is encoded as the connection takes it,
//! one step at a time: the worker's credit for the bytes of a step returns when the client has taken what became of
//! them, so that windows bound memory as they do for other bodies.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hcrs_coding::{
    BodyLength, Coding, ConnectionEncoders, Encoder, STEP_MAX, Verdict, WHOLE_MAX, coded_head, judge,
    revalidated_head, varied_head,
};
use hcrs_http::{Fault, RequestHead, ResponseHead, response_content_length};
use hcrs_link::{FILE_COST, PIECE_COST};

use super::{Exchange, Output, Piece, Response, Source};
use crate::settings::Rules;

/// The terms on which a response may be compressed.
#[derive(Debug)]
pub(crate) struct Compression {
    /// The rules of the request.
    pub rules: Arc<Rules>,
    /// The encoders of its connection.
    pub encoders: Rc<ConnectionEncoders>,
}

/// The encoding of a response's body.
#[derive(Debug)]
pub(super) struct Coder {
    encoder: Encoder,
    /// The number of bytes that the body still has by its announced length, which the head that left has not.
    length_left: Option<u64>,
    /// Whether the end of the body was encoded.
    is_complete: bool,
    /// The cost, in the worker's window, of the bytes whose encoded ones the client has not taken.
    cost: usize,
}

impl Coder {
    /// Counts bytes of the body against its announced length. Returns false if it is broken.
    fn admits(&mut self, len: usize, end: bool) -> bool {
        let Some(left) = self.length_left else { return true };
        self.length_left = left.checked_sub(len as u64);
        self.length_left.is_some_and(|left| left == 0 || !end)
    }

    /// Takes the cost of what the client has taken.
    pub(super) fn take_cost(&mut self) -> usize {
        std::mem::take(&mut self.cost)
    }
}

/// A head as it leaves.
struct Leaving {
    head: ResponseHead,
    /// The whole body's length, where it is known.
    body: Option<usize>,
}

/// The reason why a head does not leave now.
enum Held {
    /// The thread has to encode no more in this turn.
    UntilNextTurn,
    /// The body is being read.
    UntilRead,
    /// The body cannot be read.
    Failed(Fault),
}

impl Compression {
    fn encode_whole(
        &self,
        coding: Coding,
        body: &Bytes,
        response: &mut Response,
        head: &ResponseHead,
    ) -> Leaving {
        if announced_length(head).is_some_and(|length| length != body.len() as u64) {
            // The connection refuses it.
            return Leaving { head: head.clone(), body: Some(body.len()) };
        }
        let Some(encoded) = self.encoders.of_thread().encode_whole(coding, body) else {
            return Leaving { head: varied_head(head), body: Some(body.len()) };
        };
        let len = encoded.len();
        response.body.clear();
        response.body.push_back(Piece::Bytes(encoded.into()));
        Leaving { head: coded_head(head, coding, Some(len as u64)), body: Some(len) }
    }

    fn begin_stream(&self, coding: Coding, response: &mut Response, of: &Leaving) -> Leaving {
        let Some(encoder) = self.encoders.begin(coding) else {
            return Leaving { head: varied_head(&of.head), body: of.body };
        };
        let length_left = announced_length(&of.head);
        response.coder = Some(Box::new(Coder { encoder, length_left, is_complete: false, cost: 0 }));
        Leaving { head: coded_head(&of.head, coding, None), body: None }
    }

    /// Whether the thread has to encode no more in this turn.
    fn has_used_its_share(&self) -> bool {
        self.encoders.of_thread().has_used_its_share()
    }
}

impl Response {
    /// Whether the front of the body is being read.
    pub(super) fn awaits_file(&self) -> bool {
        matches!(self.body.front(), Some(Piece::File(file)) if file.is_away())
    }

    /// Whether the next part of an encoded body can be had now.
    pub(super) fn may_encode(&self, coder: &Coder) -> bool {
        if self.unsent > 0 || self.has_yielded {
            return false;
        }
        match self.body.front() {
            Some(_) => !self.awaits_file(),
            None if self.ended && !coder.is_complete => true,
            None => self.fault.is_some() || coder.is_complete && self.trailers.is_some(),
        }
    }
}

impl Exchange {
    /// Returns the head of the response, which is about to leave, after it has been decided whether the body is
    /// encoded. `None` if that has to wait.
    pub(super) fn next_head(
        self: &Rc<Self>,
        request: Option<&RequestHead>,
        response: &mut Response,
        head: ResponseHead,
    ) -> Option<Output> {
        let ends_with_body = response.ended && response.trailers.is_none();
        let body = ends_with_body.then(|| response.body.iter().map(Piece::len).sum());
        let of = Leaving { head, body };
        let leaving = match (&self.compression, request) {
            (Some(compression), Some(request)) => self.begin_body(compression, request, response, &of),
            _ => return Some(with_end(of, ends_with_body && response.body.is_empty())),
        };
        match leaving {
            Ok(leaving) => Some(with_end(leaving, ends_with_body && response.body.is_empty())),
            Err(Held::Failed(fault)) => Some(Output::Fault(fault)),
            Err(Held::UntilNextTurn | Held::UntilRead) => {
                response.has_yielded = matches!(leaving, Err(Held::UntilNextTurn));
                response.head = Some(of.head);
                None
            }
        }
    }

    /// Decides on the body of a response, and changes the head by it. A body that is whole and short is encoded.
    fn begin_body(
        self: &Rc<Self>,
        compression: &Compression,
        request: &RequestHead,
        response: &mut Response,
        of: &Leaving,
    ) -> Result<Leaving, Held> {
        let Leaving { head, body } = of;
        let length = body.map_or(BodyLength::AsAnnounced, |len| BodyLength::Whole(len as u64));
        let request = request.view();
        let unencoded = |head| Leaving { head, body: *body };
        Ok(match judge(&request, head, length, &compression.rules.compression) {
            Verdict::Untouched => unencoded(head.clone()),
            Verdict::Varied => unencoded(varied_head(head)),
            Verdict::Revalidated => unencoded(revalidated_head(head)),
            Verdict::Coded(coding) if request.method == b"HEAD" => unencoded(coded_head(head, coding, None)),
            Verdict::Coded(_) if compression.has_used_its_share() => return Err(Held::UntilNextTurn),
            Verdict::Coded(coding) => match self.whole(response, *body)? {
                Some(whole) => compression.encode_whole(coding, &whole, response, head),
                None => compression.begin_stream(coding, response, of),
            },
        })
    }

    /// Returns the body if all of it is there, and short enough to be encoded at once. A short file is read.
    fn whole(self: &Rc<Self>, response: &mut Response, len: Option<usize>) -> Result<Option<Bytes>, Held> {
        let Some(len) = len.filter(|&len| len <= WHOLE_MAX) else { return Ok(None) };
        if response.body.len() == 1
            && let Some(Piece::File(_)) = response.body.front()
        {
            let piece = self.next_of_file(response).ok_or(Held::UntilRead)?.map_err(Held::Failed)?;
            response.unsent_of = Source::Worker;
            let is_all = piece.len() == len;
            response.body.push_front(Piece::Bytes(piece.clone()));
            return Ok(is_all.then_some(piece));
        }
        let bytes = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => Some(bytes.clone()),
            Piece::File(_) => None,
        };
        let pieces: Option<Vec<Bytes>> = response.body.iter().map(bytes).collect();
        Ok(pieces.map(|mut pieces| match pieces.pop() {
            Some(only) if pieces.is_empty() => only,
            last => pieces.into_iter().chain(last).collect::<Vec<_>>().concat().into(),
        }))
    }

    /// Returns the next part of an encoded body, or what follows it.
    pub(super) fn next_encoded(self: &Rc<Self>, response: &mut Response) -> Option<Output> {
        let mut coder = response.coder.take()?;
        let output = self.encode_next(response, &mut coder);
        response.coder = Some(coder);
        output
    }

    fn encode_next(self: &Rc<Self>, response: &mut Response, coder: &mut Coder) -> Option<Output> {
        if !response.may_encode(coder) {
            return None;
        }
        if coder.is_complete {
            let trailers = response.trailers.take().map(Output::Trailers);
            return trailers.or_else(|| response.fault.take().map(Output::Fault));
        }
        if response.body.is_empty() && !response.ended {
            return response.fault.take().map(Output::Fault);
        }
        if self.compression.as_ref().is_some_and(Compression::has_used_its_share) {
            response.has_yielded = true;
            return None;
        }
        let pieces = match response.body.front() {
            Some(Piece::File(_)) => match self.next_of_file(response)? {
                Ok(piece) => {
                    if response.unsent_of == (Source::File { last: true }) {
                        coder.cost += FILE_COST;
                    }
                    vec![piece]
                }
                Err(fault) => return Some(Output::Fault(fault)),
            },
            Some(Piece::Bytes(_)) | None => take_bytes(response, &mut coder.cost),
        };
        let end = response.ended && response.body.is_empty();
        let len = pieces.iter().map(Bytes::len).sum();
        let encoded = if coder.admits(len, end) { coder.encoder.step(&pieces, end).ok() } else { None };
        let Some(encoded) = encoded else {
            response.body.clear();
            return Some(Output::Fault(Fault::AppFailed));
        };
        coder.is_complete = end;
        response.unsent = encoded.len();
        response.unsent_of = Source::Encoder;
        Some(Output::Data { data: encoded.into(), end: end && response.trailers.is_none() })
    }
}

fn with_end(Leaving { head, body }: Leaving, end: bool) -> Output {
    Output::Head { head, end, body }
}

/// Takes as many bytes from the front of the body as are encoded in one step, and adds up their cost.
fn take_bytes(response: &mut Response, cost: &mut usize) -> Vec<Bytes> {
    let (mut pieces, mut room) = (Vec::new(), STEP_MAX);
    while room > 0
        && let Some(Piece::Bytes(front)) = response.body.front_mut()
    {
        let piece = front.split_to(front.len().min(room));
        room -= piece.len();
        *cost += piece.len();
        if front.is_empty() {
            *cost += PIECE_COST;
            response.body.pop_front();
        }
        pieces.push(piece);
    }
    pieces
}

fn announced_length(head: &ResponseHead) -> Option<u64> {
    head.fields().first(b"content-length").and_then(response_content_length).map(|(length, _)| length)
}

#[cfg(test)]
mod tests;
