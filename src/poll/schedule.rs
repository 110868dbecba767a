//! When polls and attempts begin. Pure arithmetic: no clock of its own, no tasks.

use std::time::{Duration, Instant};

use crate::target::Timing;

/// The due times of one target's polls: a fixed grid, on which missed points are skipped and never replayed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    due: Instant,
    interval: Duration,
}

impl Schedule {
    /// A grid whose first point is `offset` after `now`.
    pub(super) fn starting(now: Instant, offset: Duration, interval: Duration) -> Self {
        Self { due: now + offset, interval }
    }

    /// When the next poll is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Moves on to the first point of the grid that is after `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.due);
        let missed = late.as_nanos() / self.interval.as_nanos().max(1);
        self.due += self.interval.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX));
    }

    /// A grid with another interval: the next poll comes at the latest one new interval from `now`.
    ///
    /// A reload changes many targets at once. What is left of a longer wait is taken modulo the new interval, so that
    /// targets which were spread over the old one are spread over the new one too, and not all polled together.
    pub(super) fn change_interval(&mut self, now: Instant, interval: Duration) {
        self.interval = interval;
        let left = self.due.saturating_duration_since(now);
        if left > interval {
            let left = left.as_nanos() % interval.as_nanos().max(1);
            self.due = now + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
        }
    }
}

/// Where in the interval the target that was started as number `index` gets its first poll.
///
/// Multiples of the golden ratio spread any number of targets evenly, however many follow: no two of the first
/// n are closer than about interval / (2.6 n). The first is polled at once.
pub(super) fn first_offset(index: u64, interval: Duration) -> Duration {
    const GOLDEN_RATIO_32: u32 = 0x9E37_79B9; // 2^32 / 1.618...
    // Only the low half of the index matters: the sequence has period 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "wraps on purpose")]
    let fraction = (index as u32).wrapping_mul(GOLDEN_RATIO_32);
    interval.mul_f64(f64::from(fraction) / f64::from(u32::MAX))
}

/// When attempt number `attempt` (from 0) begins, counted from the beginning of its poll, if the attempt before has
/// ended by then.
pub(super) fn attempt_offset(attempt: u32, timing: &Timing) -> Duration {
    timing.interval.get() * attempt / (timing.retries + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::PromDuration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn attempts_are_spread_over_the_interval() {
        let offsets = |timing: &Timing| (0..=timing.retries).map(|k| attempt_offset(k, timing).as_millis()).collect();
        let offsets_by_default: Vec<_> = offsets(&Timing::default());
        assert_eq!(offsets_by_default, [0, 1250, 2500, 3750]);
        let single = Timing { retries: 0, interval: PromDuration::from_secs(10), ..Timing::default() };
        let offsets_without_retries: Vec<_> = offsets(&single);
        assert_eq!(offsets_without_retries, [0]);
    }

    #[test]
    fn missed_points_are_skipped() {
        let start = Instant::now();
        let mut schedule = Schedule::starting(start, SECOND, 5 * SECOND);
        assert_eq!(schedule.due(), start + SECOND);
        for (polled_until, due) in [(1, 6), (10, 11), (11, 16), (32, 36)] {
            schedule.advance(start + polled_until * SECOND);
            assert_eq!(schedule.due(), start + due * SECOND, "after a poll that ended at {polled_until} s");
        }
    }

    #[test]
    fn a_shorter_interval_takes_effect_at_once() {
        let start = Instant::now();
        let mut schedule = Schedule::starting(start, 58 * SECOND, 60 * SECOND);
        schedule.change_interval(start, 5 * SECOND);
        assert_eq!(schedule.due(), start + 3 * SECOND);
        schedule.change_interval(start, 60 * SECOND);
        assert_eq!(schedule.due(), start + 3 * SECOND, "a longer one only after the poll that is due");
    }

    #[test]
    fn a_shorter_interval_keeps_targets_apart() {
        let start = Instant::now();
        let mut polled_at = [0; 6];
        for second in 0..60 {
            let mut schedule = Schedule::starting(start, second * SECOND, 60 * SECOND);
            schedule.change_interval(start, 6 * SECOND);
            let left = (schedule.due() - start).as_secs();
            assert!(left <= 6, "{left} s");
            polled_at[usize::try_from(left % 6).expect("small")] += 1;
        }
        assert_eq!(polled_at, [10; 6]);
    }

    #[test]
    fn first_polls_are_spread_evenly() {
        let count = 1000;
        let interval = 5 * SECOND;
        let mut offsets: Vec<_> = (0..count).map(|index| first_offset(index, interval)).collect();
        assert_eq!(offsets[0], Duration::ZERO);
        offsets.sort();
        let closest = offsets.windows(2).map(|pair| pair[1] - pair[0]).min().expect("many offsets");
        assert!(closest > interval / 3000, "{closest:?}");
        assert!(offsets[999] < interval);
    }
}
