//! Numbers that one thread counts: cells without atomics, which may be copied to another thread.

use std::cell::Cell;
use std::marker::PhantomData;

use hcrs_http::Fault;

use crate::label::{ConnectionProtocol, HandshakeFailure, Label, Protocol, RestartCause, Stall, StatusClass};

/// A value that the values of other threads are added to.
pub(crate) trait Merge {
    /// Adds the other value.
    fn merge(&self, other: &Self);
}

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Merge for Counter {
    fn merge(&self, other: &Self) {
        self.add(other.get());
    }
}

/// The number of things that there are now.
#[derive(Debug, Clone, Default)]
pub struct Level(Cell<u64>);

impl Level {
    /// Notes that there is one more.
    #[inline]
    pub fn rise(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// Notes that there is one less.
    #[inline]
    pub fn fall(&self) {
        self.0.set(self.0.get().saturating_sub(1));
    }

    /// Sets the number.
    pub fn set(&self, n: u64) {
        self.0.set(n);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Merge for Level {
    fn merge(&self, other: &Self) {
        self.0.set(self.get() + other.get());
    }
}

/// One `T` for each value of a label.
#[derive(Debug, Clone)]
pub struct By<L, T, const N: usize> {
    values: [T; N],
    label: PhantomData<L>,
}

pub(crate) type ByProtocol<T> = By<Protocol, T, { Protocol::ALL.len() }>;
pub(crate) type ByConnectionProtocol<T> = By<ConnectionProtocol, T, { ConnectionProtocol::ALL.len() }>;
pub(crate) type ByStatus<T> = By<StatusClass, T, { StatusClass::ALL.len() }>;
pub(crate) type ByHandshakeFailure<T> = By<HandshakeFailure, T, { HandshakeFailure::ALL.len() }>;
pub(crate) type ByCause<T> = By<RestartCause, T, { RestartCause::ALL.len() }>;
pub(crate) type ByFault<T> = By<Fault, T, { Fault::ALL.len() }>;

/// The number of times that bytes began to wait for credit, by place.
pub type Stalls = By<Stall, Counter, { Stall::ALL.len() }>;

impl<L: Label, T: Default, const N: usize> Default for By<L, T, N> {
    fn default() -> Self {
        const { assert!(N == L::ALL.len(), "there is one value for each of the label's") };
        Self { values: std::array::from_fn(|_| T::default()), label: PhantomData }
    }
}

impl<L: Label, T, const N: usize> By<L, T, N> {
    /// Returns the value of `label`.
    #[inline]
    pub fn of(&self, label: L) -> &T {
        &self.values[label.index()]
    }

    /// Iterates over the label's values and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (L, &T)> {
        L::ALL.iter().copied().zip(&self.values)
    }
}

impl<L: Label, const N: usize> By<L, Counter, N> {
    /// Adds the numbers of `other`.
    pub fn add_all(&self, other: &Self) {
        self.merge(other);
    }
}

impl<L, T: Merge, const N: usize> Merge for By<L, T, N> {
    fn merge(&self, other: &Self) {
        for (value, other) in self.values.iter().zip(&other.values) {
            value.merge(other);
        }
    }
}
