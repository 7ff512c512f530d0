//! The decoder's dynamic table (RFC 9204 §3.2).

use std::collections::VecDeque;

use hcrs_mux::{Entry, Field};

/// Size of the largest table that the client may ask for, in bytes (`SETTINGS_QPACK_MAX_TABLE_CAPACITY`).
pub(super) const CAPACITY_MAX: usize = 4096;

/// The dynamic table. It begins with no capacity.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The entries, oldest first.
    entries: VecDeque<Entry>,
    size: usize,
    capacity: usize,
    /// Number of entries that were ever inserted: the absolute index of the next.
    inserted: u64,
}

/// An entry that is larger than the table, or a capacity beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Table {
    /// Returns the number of entries that were ever inserted.
    #[inline]
    pub(super) fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Returns the entry with an absolute index (RFC 9204 §3.2.4).
    #[inline]
    pub(super) fn get(&self, index: u64) -> Option<Field<'_>> {
        let behind = self.inserted.checked_sub(index)?;
        let at = (self.entries.len() as u64).checked_sub(behind)?;
        self.entries.get(at as usize).map(Entry::field)
    }

    /// Returns the entry that is `index` entries before the newest (RFC 9204 §3.2.5).
    pub(super) fn get_newest(&self, index: usize) -> Option<Field<'_>> {
        self.get(self.inserted.checked_sub(1)?.checked_sub(index as u64)?)
    }

    pub(super) fn set_capacity(&mut self, capacity: usize) -> Result<(), TooLarge> {
        if capacity > CAPACITY_MAX {
            return Err(TooLarge);
        }
        self.capacity = capacity;
        self.evict(capacity);
        Ok(())
    }

    pub(super) fn insert(&mut self, entry: Entry) -> Result<(), TooLarge> {
        let cost = entry.cost();
        self.evict(self.capacity.checked_sub(cost).ok_or(TooLarge)?);
        self.size += cost;
        self.inserted += 1;
        self.entries.push_back(entry);
        Ok(())
    }

    fn evict(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.cost();
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        assert_eq!(self.size, self.entries.iter().map(Entry::cost).sum());
        self.size
    }
}
