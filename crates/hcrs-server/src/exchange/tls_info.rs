//! Numbers for the TLS info of connections: a worker is sent the info once, and requests name it by a byte.
//!
//! Connections with the same info share a number. There are at most 255 numbers: while more different infos
//! than that are alive, numbers change their meaning, and their info is sent again.

use std::cell::RefCell;
use std::num::NonZeroU8;
use std::rc::{Rc, Weak};

use hcrs_tls::TlsInfo;

/// The most infos that a thread and its workers hold.
const NUMBERS: usize = u8::MAX as usize;

/// The TLS info of a connection, and the number by which its requests name it.
#[derive(Debug)]
pub(crate) struct NumberedTlsInfo<F = TlsInfo> {
    pub info: F,
    pub number: NonZeroU8,
    /// Distinguishes the infos that had the number one after another.
    serial: u64,
}

/// The numbers of an edge thread, and their meanings.
#[derive(Debug)]
pub(crate) struct TlsInfoTable<F = TlsInfo>(RefCell<Numbers<F>>);

#[derive(Debug)]
struct Numbers<F> {
    /// The info of each number, by number less one.
    meant: Vec<Weak<NumberedTlsInfo<F>>>,
    serial: u64,
}

impl<F> Default for TlsInfoTable<F> {
    fn default() -> Self {
        Self(RefCell::new(Numbers { meant: Vec::new(), serial: 0 }))
    }
}

impl<F: PartialEq> TlsInfoTable<F> {
    /// Assigns the info a number: the one that a connection with the same info has, one that no connection
    /// has, or the one that was assigned first.
    pub(crate) fn number(&self, info: F) -> Rc<NumberedTlsInfo<F>> {
        let numbers = &mut *self.0.borrow_mut();
        let mut free = None;
        for (at, meant) in numbers.meant.iter().enumerate() {
            match meant.upgrade() {
                Some(same) if same.info == info => return same,
                Some(_) => {}
                None => free = free.or(Some(at)),
            }
        }
        let at = match free {
            Some(at) => at,
            None if numbers.meant.len() < NUMBERS => {
                numbers.meant.push(Weak::new());
                numbers.meant.len() - 1
            }
            None => numbers.serial as usize % NUMBERS,
        };
        numbers.serial += 1;
        let number = NonZeroU8::MIN.saturating_add(at as u8);
        let numbered = Rc::new(NumberedTlsInfo { info, number, serial: numbers.serial });
        numbers.meant[at] = Rc::downgrade(&numbered);
        numbered
    }
}

/// The infos that were sent over a link.
#[derive(Debug, Default)]
pub(crate) struct SentInfo {
    /// The serial of the info that each number means there, by number less one.
    serials: Vec<u64>,
}

impl SentInfo {
    /// Whether the info has to be sent. If so, it is noted as sent.
    pub(crate) fn is_new<F>(&mut self, numbered: &NumberedTlsInfo<F>) -> bool {
        let at = usize::from(numbered.number.get()) - 1;
        if self.serials.len() <= at {
            self.serials.resize(at + 1, 0);
        }
        std::mem::replace(&mut self.serials[at], numbered.serial) != numbered.serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_with_the_same_info_share_a_number_that_is_sent_once() {
        let (numbers, mut sent) = (TlsInfoTable::default(), SentInfo::default());
        let first = numbers.number("a");
        assert!(sent.is_new(&first));
        let second = numbers.number("a");
        assert_eq!(first.number, second.number);
        assert!(!sent.is_new(&second));
        let other = numbers.number("b");
        assert_ne!(first.number, other.number);
        assert!(sent.is_new(&other) && !sent.is_new(&first));
        assert!(SentInfo::default().is_new(&first), "another link has heard nothing");
    }

    #[test]
    fn the_number_of_a_connection_that_is_gone_is_reused_and_sent_again() {
        let (numbers, mut sent) = (TlsInfoTable::default(), SentInfo::default());
        let first = numbers.number("a");
        let number = first.number;
        assert!(sent.is_new(&first));
        drop(first);
        let second = numbers.number("b");
        assert_eq!(second.number, number);
        assert!(sent.is_new(&second));
    }

    #[test]
    fn with_more_clients_than_numbers_each_request_still_has_the_right_info() {
        let (numbers, mut sent) = (TlsInfoTable::default(), SentInfo::default());
        let mut worker = vec![None; NUMBERS + 1];
        let alive: Vec<_> = (0..3 * NUMBERS).map(|n| numbers.number(n)).collect();
        for _round in 0..2 {
            for (n, numbered) in alive.iter().enumerate() {
                let meant = &mut worker[usize::from(numbered.number.get())];
                if sent.is_new(numbered) {
                    *meant = Some(numbered.info);
                }
                assert_eq!(*meant, Some(n));
            }
        }
    }
}
