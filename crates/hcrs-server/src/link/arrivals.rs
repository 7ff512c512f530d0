//! What a worker's frames do, each checked: a worker that breaks the rules loses its link.

use std::rc::Rc;

use bytes::Bytes;
use hcrs_exchange::{Fault, ResponseHead, is_field_name, is_field_value, is_promise_name};
use hcrs_link::{FilePart, FrameHeader, INTERIM_LEN_MAX, Kind, LinkError, split_promise};

use super::{Link, Notice};
use crate::exchange::Exchange;
use crate::file_body::FileBody;

impl Link {
    pub(super) fn handle(
        &self,
        header: FrameHeader,
        payload: Bytes,
        notice: &mut impl FnMut(Notice),
    ) -> Result<(), LinkError> {
        let malformed = LinkError::Unexpected(header.kind);
        match header.kind {
            Kind::Response => {
                let head = ResponseHead::parse(payload).map_err(|_| malformed)?;
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_head(head, header.is_end())
                {
                    return Err(malformed);
                }
                self.end_stream_if(header.is_end(), header.stream);
            }
            Kind::Interim | Kind::Push => self.take_hint(&header, payload)?,
            Kind::Trailers => {
                let trailers = ResponseHead::parse(payload).map_err(|_| malformed)?;
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_trailers(trailers)
                {
                    return Err(malformed);
                }
                self.end_stream_if(true, header.stream);
            }
            Kind::Data | Kind::Block => {
                let data = match header.kind {
                    Kind::Block => self.lend(&payload).ok_or(malformed)?,
                    _ => payload,
                };
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_data(data, header.is_end())
                {
                    return Err(malformed);
                }
                self.end_stream_if(header.is_end(), header.stream);
            }
            Kind::Text | Kind::Binary => self.handle_message(header, &payload)?,
            Kind::Close => {
                if let Some(exchange) = self.exchange(&header)
                    && !exchange.push_close(&payload)
                {
                    return Err(malformed);
                }
            }
            Kind::File => {
                let FilePart { offset, len, process, descriptor } =
                    FilePart::parse(&payload).filter(|part| part.len > 0).ok_or(malformed)?;
                let exchange = self.exchange(&header);
                let file = exchange.map(|to| (to, FileBody::open(process, descriptor, offset, len)));
                self.push(Kind::Opened, 0, 0, &descriptor.to_le_bytes());
                if let Some((exchange, file)) = file
                    && !exchange.push_file(file, header.is_end())
                {
                    return Err(malformed);
                }
                self.end_stream_if(header.is_end(), header.stream);
            }
            Kind::Credit => {
                let credit =
                    payload.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(malformed)?;
                if let Some(exchange) = self.exchange(&header) {
                    exchange.app_took(credit);
                }
            }
            Kind::Reset => {
                let exchange = self.exchange(&header);
                self.end_stream_if(true, header.stream);
                if let Some(exchange) = exchange {
                    exchange.fail(Fault::AppFailed);
                }
            }
            Kind::Done => self.end_stream_if(true, header.stream),
            Kind::Ready => {
                self.ready.set(!self.is_retired.get());
                notice(Notice::Ready);
            }
            Kind::Failed => notice(Notice::Failed(String::from_utf8_lossy(&payload).into_owned())),
            Kind::Begun | Kind::Pong => {}
            Kind::Request | Kind::Drain | Kind::Ping | Kind::Opened | Kind::Tls => return Err(malformed),
        }
        Ok(())
    }

    /// A piece of a WebSocket's message, which is framed from where it stands.
    pub(super) fn handle_message(&self, header: FrameHeader, payload: &[u8]) -> Result<(), LinkError> {
        match self.exchange(&header) {
            Some(exchange) if !exchange.push_message(header.kind, payload, header.is_end()) => {
                Err(LinkError::Unexpected(header.kind))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Passes on what comes before a response, or beside it, and no window bounds.
    fn take_hint(&self, header: &FrameHeader, payload: Bytes) -> Result<(), LinkError> {
        let malformed = LinkError::Unexpected(header.kind);
        if payload.len() > INTERIM_LEN_MAX {
            return Err(malformed);
        }
        let exchange = self.exchange(header);
        let taken = if header.kind == Kind::Push {
            let (target, fields) = promise(&payload).ok_or(malformed)?;
            exchange.is_none_or(|exchange| exchange.push_promise(target, &fields))
        } else {
            let head = ResponseHead::parse(payload).map_err(|_| malformed)?;
            exchange.is_none_or(|exchange| exchange.push_interim(head))
        };
        if taken { Ok(()) } else { Err(malformed) }
    }

    /// The bytes in the block that a payload names, which is free again when they are dropped.
    fn lend(&self, payload: &[u8]) -> Option<Bytes> {
        let (block, rest) = payload.split_first_chunk()?;
        let len = rest.try_into().ok()?;
        let [block, len] = [*block, len].map(|number| u32::from_le_bytes(number) as usize);
        Some(Bytes::from_owner(self.blocks.as_ref()?.lend(block, len)?))
    }

    /// The exchange that a frame is about. A frame about a request says that it was begun.
    fn exchange(&self, header: &FrameHeader) -> Option<Rc<Exchange>> {
        let mut streams = self.streams.borrow_mut();
        let begun = self.note_begun(&mut streams, header.stream);
        let exchange = streams.get(header.stream)?.exchange.clone();
        drop(streams);
        if let Some(begun) = begun {
            begun.begun();
        }
        exchange
    }

    fn end_stream_if(&self, end: bool, stream: u32) {
        if !end {
            return;
        }
        let mut streams = self.streams.borrow_mut();
        let Some(entry) = streams.get(stream) else { return };
        let exchange = entry.exchange.take();
        if let Some(slot) = entry.slot {
            self.claims.release(slot);
            streams.free(slot);
        }
        streams.remove(stream);
        drop(streams);
        if let Some(exchange) = exchange {
            exchange.finished();
        }
    }
}

/// The target and the fields of a request to promise; `None` if they do not have the form, or cannot be promised.
fn promise(payload: &Bytes) -> Option<(&[u8], ResponseHead)> {
    let (target, at) = split_promise(payload)?;
    let fields = ResponseHead::parse(payload.slice(at..)).ok()?;
    let can_stand = |(name, value)| is_field_name(name) && is_promise_name(name) && is_field_value(value);
    fields.fields().all(can_stand).then_some((target, fields))
}
