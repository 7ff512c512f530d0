//! Requests that the worker has not begun: they are offered, withdrawn, and found to be begun.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hcrs_link::{FromEdge, Request, StreamId, TlsInfo};

use super::out::Out;
use super::streams::Entry;
use super::{Life, Link};
use crate::exchange::tls_info::NumberedTlsInfo;
use crate::exchange::{Exchange, SentTo};

impl Link {
    /// Whether a request may be started. Looks for requests that were begun meanwhile, if that matters.
    pub(crate) fn has_start_credit(&self, now: Instant) -> bool {
        if self.life.get() != Life::Ready {
            return false;
        }
        if !self.streams.borrow().has_start_credit() {
            self.note_begun_all(now);
        }
        self.streams.borrow().has_start_credit() && self.out.borrow().has_room()
    }

    /// Whether a request may be started, the worker is not suspect, and fewer than `ahead` requests are
    /// unbegun.
    pub(crate) fn is_fit(&self, now: Instant, ahead: usize) -> bool {
        if self.is_suspect.get() || !self.streams.borrow().has_fewer_offered(ahead) {
            self.note_begun_all(now);
        }
        !self.is_suspect.get() && self.has_start_credit(now) && self.streams.borrow().has_fewer_offered(ahead)
    }

    /// Offers a request to the worker, which has a start credit. Does nothing if the client has gone.
    pub(crate) fn start(self: &Rc<Self>, exchange: &Rc<Exchange>, now: Instant) {
        let stream = {
            let (expects_continue, takes_files) = (exchange.expects_continue(), exchange.takes_files());
            let Some(head) = exchange.head() else { return };
            let mut streams = self.streams.borrow_mut();
            let Some((stream, slot)) = streams.offer(&self.claims, exchange, now) else {
                debug_assert!(false, "invariant: the caller has seen a start credit");
                return;
            };
            let is_last = streams.ids_are_used_up();
            if self.quota.as_ref().is_some_and(|quota| quota.take()) || is_last {
                self.is_spent.set(true);
            }
            let out = &mut *self.out.borrow_mut();
            if let Some(info) = exchange.tls()
                && self.sent_info.borrow_mut().is_new(info)
            {
                send_tls_info(info, out);
            }
            out.push(&FromEdge::Request(Request {
                stream,
                slot: slot as u16,
                head: head.as_bytes(),
                has_body: head.has_body(),
                expects_continue,
                takes_files,
            }));
            stream
        };
        exchange.sent(Rc::<Self>::clone(self), stream, SentTo { worker: self.name, at: now });
        self.wake();
    }

    /// Withdraws the unbegun requests that `which` picks by exchange and time of sending. Returns them, the
    /// oldest arrival first.
    pub(crate) fn withdraw(
        &self,
        now: Instant,
        which: impl Fn(&Exchange, Instant) -> bool,
    ) -> Vec<Rc<Exchange>> {
        self.note_begun_all(now);
        let streams = self.streams.borrow();
        let is_picked =
            |entry: &Entry| entry.exchange.as_ref().is_some_and(|exchange| which(exchange, entry.sent_at()));
        let picked =
            streams.offered().filter(|(_, entry)| is_picked(entry)).map(|(stream, _)| stream).collect();
        drop(streams);
        self.withdraw_streams(picked)
    }

    /// Withdraws the unbegun requests except the `ahead` that were sent first. Returns them, the oldest
    /// arrival first.
    pub(crate) fn withdraw_beyond(&self, now: Instant, ahead: usize) -> Vec<Rc<Exchange>> {
        self.note_begun_all(now);
        let mut unbegun: Vec<_> = self.streams.borrow().offered().map(|(stream, _)| stream).collect();
        unbegun.sort_unstable();
        unbegun.drain(..ahead.min(unbegun.len()));
        self.withdraw_streams(unbegun)
    }

    fn withdraw_streams(&self, picked: Vec<StreamId>) -> Vec<Rc<Exchange>> {
        let mut withdrawn = Vec::new();
        {
            let mut streams = self.streams.borrow_mut();
            for stream in picked {
                let Some(entry) = streams.withdraw(&self.claims, stream) else { continue };
                self.restore_quota();
                self.out.borrow_mut().push(&FromEdge::Reset { stream, cancel: false });
                withdrawn.extend(entry.exchange);
            }
        }
        if !withdrawn.is_empty() {
            self.wake();
        }
        for exchange in &withdrawn {
            exchange.withdrawn();
        }
        withdrawn.sort_by_key(|exchange| exchange.arrived());
        withdrawn
    }

    /// Uncounts a request that was withdrawn.
    pub(super) fn restore_quota(&self) {
        if let Some(quota) = &self.quota {
            quota.restore();
        }
    }

    /// Whether there are requests that are not known to be begun.
    pub(crate) fn has_unbegun(&self, now: Instant) -> bool {
        self.note_begun_all(now);
        self.streams.borrow().has_offered()
    }

    /// Returns the arrival of the oldest request that is not known to be begun.
    pub(crate) fn oldest_unbegun(&self) -> Option<Instant> {
        let streams = self.streams.borrow();
        streams.offered().filter_map(|(_, entry)| Some(entry.exchange.as_ref()?.arrived())).min()
    }

    /// Returns how long the worker has left a request unbegun without any progress, if that is at least
    /// `timeout`. It is then suspect until it makes progress.
    pub(crate) fn stalled_for(&self, now: Instant, timeout: Duration) -> Option<Duration> {
        self.note_begun_all(now);
        let oldest = self.streams.borrow().offered().map(|(_, entry)| entry.sent_at()).min()?;
        let stalled = now.saturating_duration_since(oldest.max(self.progress_at.get()));
        if stalled < timeout {
            return None;
        }
        self.is_suspect.set(true);
        Some(stalled)
    }

    /// Notes the requests that were begun and passed since the last look.
    pub(super) fn note_begun_all(&self, now: Instant) {
        let newly = self.streams.borrow_mut().note_begun_all(&self.claims);
        if newly.has_progress {
            self.note_progress(now);
        }
        for exchange in newly.begun {
            exchange.begun();
        }
    }
}

/// Sends the meaning of a TLS info number.
fn send_tls_info(NumberedTlsInfo { info, number, .. }: &NumberedTlsInfo, out: &mut Out) {
    let meaning = TlsInfo {
        version: info.version().unwrap_or(0),
        cipher_suite: info.cipher_suite().unwrap_or(0),
        server_certificate: info.server_certificate(),
        client_name: info.client_name(),
        client_certificates: info.client_certificates().iter().map(String::as_str).collect(),
    };
    out.push(&FromEdge::Tls { number: u16::from(number.get()), info: &meaning.to_bytes() });
}
