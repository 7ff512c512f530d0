//! Header blocks of the client: requests, which begin streams, and trailers, which end bodies.

use std::time::Instant;

use hcrs_http::Fault;
use hcrs_mux::{Decoded, Event, Owned as _, Request, RequestReader, StreamKey, TrailersReader, response};

use super::responses::{block_of, write_block};
use super::{Error, Protocol, SKIPS_REMEMBERED};
use crate::flow::FlowWindow;
use crate::frame::{END_HEADERS, END_STREAM, ErrorCode, HEADERS, Header};
use crate::stream::{Sending, Stream};

impl From<crate::hpack::MalformedBlock> for Error {
    fn from(_: crate::hpack::MalformedBlock) -> Self {
        Self::Protocol(ErrorCode::COMPRESSION_ERROR)
    }
}

impl Protocol {
    /// Takes a whole header block. It is decoded whatever becomes of it, because it changes the decoder's
    /// table.
    pub(super) fn header_block(
        &mut self,
        header: Header,
        depends_on_itself: bool,
        block: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        let id = header.stream_id;
        if id <= self.last_id {
            return self.trailers(header, block, now);
        }
        self.note_skipped(id);
        self.last_id = id;
        if self.is_ignored(id) {
            return Ok(self.decoder.decode(block, |_| {})?);
        }
        let is_last = header.has(END_STREAM);
        if self.open >= self.max_streams || depends_on_itself {
            self.decoder.decode(block, |_| {})?;
            let code = if depends_on_itself { ErrorCode::PROTOCOL_ERROR } else { ErrorCode::REFUSED_STREAM };
            return self.refuse_stream(id, code, now);
        }
        let mut reader = RequestReader::new(&self.checks);
        self.decoder.decode(block, |field| reader.field(field))?;
        match reader.finish(is_last) {
            Decoded::Request(request) => self.begin(id, request, is_last),
            Decoded::Refused(head, fault) => {
                self.events.push_back(Event::Refused { stream_id: id.into(), head, fault });
                let stream = Stream::requested(self.new_receiving(!is_last, None), FlowWindow::new(0));
                let key = self.insert(id, stream);
                self.answer_fault(key, fault, None);
            }
            Decoded::Malformed => return self.refuse_stream(id, ErrorCode::PROTOCOL_ERROR, now),
            Decoded::Broken => return Err(Error::Protocol(ErrorCode::PROTOCOL_ERROR)),
            Decoded::Excessive => return Err(Error::Protocol(ErrorCode::ENHANCE_YOUR_CALM)),
        }
        Ok(())
    }

    fn begin(&mut self, id: u32, request: Request, is_last: bool) {
        let Request { mut head, is_head, length, priority } = request;
        if !is_last && !head.is_websocket() {
            head.set_has_body();
        }
        if self.takes_pushes() {
            head.set_takes_pushes();
        }
        let receiving = self.new_receiving(!is_last, length);
        let mut stream = Stream::requested(receiving, FlowWindow::new(self.peer.initial_window));
        stream.is_head = is_head;
        stream.priority = self.first_priority(id, priority, head.is_websocket());
        self.forget_announced();
        let key = self.insert(id, stream);
        self.events.push_back(Event::Request { key, head });
    }

    fn insert(&mut self, id: u32, stream: Stream) -> StreamKey {
        self.open += 1;
        self.streams.insert(id.into(), stream)
    }

    /// Notes that no stream between the last one and `id` will begin. One that does is an error (RFC 9113 §5.1.1),
    /// unlike late trailers of a stream that is forgotten.
    fn note_skipped(&mut self, id: u32) {
        let next = if self.last_id == 0 { 1 } else { self.last_id + 2 };
        if id > next {
            if self.skipped.len() == SKIPS_REMEMBERED {
                self.skipped.pop_front();
            }
            self.skipped.push_back(next..id);
        }
    }

    /// Resets a stream before it has begun.
    fn refuse_stream(&mut self, id: u32, code: ErrorCode, now: Instant) -> Result<(), Error> {
        self.output.reset(id, code);
        self.remember_reset(id);
        self.spend_reset(now)
    }

    fn trailers(&mut self, header: Header, block: &[u8], now: Instant) -> Result<(), Error> {
        let mut reader = TrailersReader::new(&self.checks);
        self.decoder.decode(block, |field| reader.field(field))?;
        let Some(key) = self.streams.find(header.stream_id.into()) else {
            if self.skipped.iter().any(|skipped| skipped.contains(&header.stream_id)) {
                return Err(Error::Protocol(ErrorCode::PROTOCOL_ERROR));
            }
            return self.late(header.stream_id, now);
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let trailers = match reader.finish() {
            Err(Decoded::Broken) => return Err(Error::Protocol(ErrorCode::PROTOCOL_ERROR)),
            _ if !stream.receiving.is_open => Err(ErrorCode::STREAM_CLOSED),
            Ok(trailers) if header.has(END_STREAM) => stream.receiving.end().map(|()| trailers),
            _ => Err(ErrorCode::PROTOCOL_ERROR),
        };
        let trailers = match trailers {
            Ok(trailers) => trailers,
            Err(code) => return self.reset_for(key, code, now),
        };
        if stream.is_of_app() {
            if trailers.field_count() > 0 {
                self.events.push_back(Event::Trailers { key, trailers });
            }
            self.events.push_back(Event::End { key });
        }
        self.end_receiving(key);
        Ok(())
    }

    /// Answers a request with the response to a fault, and ends the app's part of the stream.
    pub(super) fn answer_fault(&mut self, key: StreamKey, fault: Fault, own: Option<hcrs_http::Field<'_>>) {
        let Self { output, encoder, server_fields, peer, .. } = self;
        let header = block_of(HEADERS, END_HEADERS | END_STREAM, key);
        write_block(output, header, peer.max_frame_size, |out| {
            response::write_fault(fault, own, server_fields, encoder, out);
        });
        if let Some(stream) = self.streams.get_mut(key) {
            stream.sending = Sending::Ended;
        }
        self.retire(key);
    }
}
