//! Numbers for what is known of TLS connections: a worker is told the facts once, and requests name them by a byte.
//!
//! Connections with the same facts share a number. There are only so many: with more different facts alive than numbers
//! the numbers change their meaning, and workers are told again.

use std::cell::RefCell;
use std::num::NonZeroU8;
use std::rc::{Rc, Weak};

use hcrs_tls::TlsInfo;

/// How many different facts a thread and its workers hold on to.
const NUMBERS: usize = u8::MAX as usize;

/// The facts about a connection, and the number that its requests name them by.
#[derive(Debug)]
pub(crate) struct NumberedFacts<F = TlsInfo> {
    pub facts: F,
    pub number: NonZeroU8,
    /// Tells apart those that had the number one after another.
    serial: u64,
}

/// The numbers of an edge thread, and what they mean.
#[derive(Debug)]
pub(crate) struct TlsNumbers<F = TlsInfo>(RefCell<Numbers<F>>);

#[derive(Debug)]
struct Numbers<F> {
    /// By number, less one.
    meant: Vec<Weak<NumberedFacts<F>>>,
    serial: u64,
}

impl<F> Default for TlsNumbers<F> {
    fn default() -> Self {
        Self(RefCell::new(Numbers { meant: Vec::new(), serial: 0 }))
    }
}

impl<F: PartialEq> TlsNumbers<F> {
    /// Gives the facts a number: the one that a connection with the same facts has, one that no connection has, or
    /// the one that was given out first.
    pub(crate) fn number(&self, facts: F) -> Rc<NumberedFacts<F>> {
        let numbers = &mut *self.0.borrow_mut();
        let mut free = None;
        for (at, meant) in numbers.meant.iter().enumerate() {
            match meant.upgrade() {
                Some(same) if same.facts == facts => return same,
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
        let numbered = Rc::new(NumberedFacts { facts, number, serial: numbers.serial });
        numbers.meant[at] = Rc::downgrade(&numbered);
        numbered
    }
}

/// What a worker was told on a link.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By number, less one: the serial of the facts that it means there.
    serials: Vec<u64>,
}

impl Told {
    /// Whether these facts have to be told, which is then taken to happen.
    pub(crate) fn is_news<F>(&mut self, numbered: &NumberedFacts<F>) -> bool {
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
    fn connections_with_the_same_facts_share_a_number_that_is_told_once() {
        let (numbers, mut told) = (TlsNumbers::default(), Told::default());
        let first = numbers.number("a");
        assert!(told.is_news(&first));
        let second = numbers.number("a");
        assert_eq!(first.number, second.number);
        assert!(!told.is_news(&second));
        let other = numbers.number("b");
        assert_ne!(first.number, other.number);
        assert!(told.is_news(&other) && !told.is_news(&first));
        assert!(Told::default().is_news(&first), "another link has heard nothing");
    }

    #[test]
    fn the_number_of_a_connection_that_is_gone_is_given_to_another_and_told_again() {
        let (numbers, mut told) = (TlsNumbers::default(), Told::default());
        let first = numbers.number("a");
        let number = first.number;
        assert!(told.is_news(&first));
        drop(first);
        let second = numbers.number("b");
        assert_eq!(second.number, number);
        assert!(told.is_news(&second));
    }

    #[test]
    fn with_more_clients_than_numbers_each_is_still_told_rightly() {
        let (numbers, mut told) = (TlsNumbers::default(), Told::default());
        let mut worker = vec![None; NUMBERS + 1];
        let alive: Vec<_> = (0..3 * NUMBERS).map(|n| numbers.number(n)).collect();
        for _round in 0..2 {
            for (n, numbered) in alive.iter().enumerate() {
                let meant = &mut worker[usize::from(numbered.number.get())];
                if told.is_news(numbered) {
                    *meant = Some(numbered.facts);
                }
                assert_eq!(*meant, Some(n));
            }
        }
    }
}
