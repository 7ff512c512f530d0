//! A budget that a client's events spend, and that time and completed responses refill.

use std::time::Instant;

/// A number of events in a burst, and a number of further events each second.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    left: f64,
    burst: f64,
    per_second: f64,
    filled_at: Option<Instant>,
}

impl Budget {
    /// Creates a budget of `burst` events at once, and `per_second` more each second.
    pub fn new(burst: u32, per_second: u32) -> Self {
        let burst = f64::from(burst);
        Self { left: burst, burst, per_second: f64::from(per_second), filled_at: None }
    }

    /// Adds `count`, up to the burst in all.
    pub fn earn(&mut self, count: u32) {
        self.left = self.burst.min(self.left + f64::from(count));
    }

    /// Spends `count`. Returns false once more was spent than there was.
    pub fn spend(&mut self, now: Instant, count: u32) -> bool {
        if let Some(filled_at) = self.filled_at {
            let elapsed = now.saturating_duration_since(filled_at).as_secs_f64();
            self.left = self.burst.min(self.left + elapsed * self.per_second);
        }
        self.filled_at = Some(now);
        self.left -= f64::from(count);
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn allows_a_burst_and_then_the_rate() {
        let (mut budget, start) = (Budget::new(10, 2), Instant::now());
        assert!(budget.spend(start, 10));
        assert!(!budget.spend(start, 1));
        assert!(budget.spend(start + Duration::from_secs(2), 3), "one was overdrawn, four came back");
        assert!(!budget.spend(start + Duration::from_secs(2), 1));
        assert!(!budget.spend(start + Duration::from_secs(1000), 11), "never more than the burst");
        budget.earn(5);
        assert!(budget.spend(start + Duration::from_secs(1000), 4), "one was overdrawn");
    }
}
