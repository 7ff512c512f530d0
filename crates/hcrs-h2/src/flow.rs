//! Flow-control windows (RFC 9113 §5.2, §6.9).

use crate::frame::MAX_31;

/// Bytes that one end lets the other send. A change of settings may make them negative (RFC 9113 §6.9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowWindow(i64);

impl FlowWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// Returns the number of bytes that may be sent.
    #[inline]
    pub(crate) fn left(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Takes bytes that are sent. False if they are more than may be sent.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> bool {
        self.0 = self.0.saturating_sub_unsigned(len as u64);
        self.0 >= 0
    }

    /// Opens the window. False if it is now greater than a window may be.
    #[must_use]
    pub(crate) fn open(&mut self, increment: u32) -> bool {
        self.0 += i64::from(increment);
        self.0 <= i64::from(MAX_31)
    }

    /// Changes the window as the setting of the size with which windows begin. False if it is now greater than a
    /// window may be.
    #[must_use]
    pub(crate) fn change(&mut self, before: u32, after: u32) -> bool {
        self.0 += i64::from(after) - i64::from(before);
        self.0 <= i64::from(MAX_31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_taken_opened_and_changed() {
        let mut window = FlowWindow::new(10);
        assert!(window.take(10) && window.left() == 0);
        assert!(window.change(10, 4) && window.left() == 0, "minus six");
        assert!(window.open(7) && window.left() == 1);
        assert!(!window.take(2));
        let mut window = FlowWindow::new(MAX_31);
        assert!(window.open(0) && !window.open(1));
        assert!(!FlowWindow::new(MAX_31).change(0, 1));
    }
}
