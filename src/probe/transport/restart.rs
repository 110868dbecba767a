//! When a child that ended may be started again: at once after a life that was worth it, else later and later.

use std::time::{Duration, Instant};

use crate::probe::ProbeError;

/// Delay after the first start that came to nothing; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// Longest delay: what a server that was repaired takes to be noticed at most.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// A child that lived this long and answered may be started again at once, and its failures are forgotten.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// The starts of one target's child.
#[derive(Debug, Default)]
pub(crate) struct Restart {
    failures: u32,
    waiting: Option<(Instant, ProbeError)>,
}

impl Restart {
    /// A child ended, for this reason.
    pub(crate) fn ended(&mut self, now: Instant, lived: Duration, answered: bool, cause: ProbeError) {
        if answered && lived >= GOOD_LIFE {
            *self = Self::default();
            return;
        }
        let delay = FIRST_DELAY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_DELAY);
        self.failures += 1;
        self.waiting = Some((now + delay, cause));
    }

    /// Whether the child may be started now.
    ///
    /// # Errors
    ///
    /// Why the last one ended, with the time that is left to wait.
    pub(crate) fn permit(&self, now: Instant) -> Result<(), ProbeError> {
        let Some((not_before, cause)) = &self.waiting else { return Ok(()) };
        let left = not_before.saturating_duration_since(now);
        if left.is_zero() {
            return Ok(());
        }
        let mut error = cause.clone();
        let next = format!("it is started again in {} s", left.as_secs() + 1);
        error.hint = Some(match &cause.hint {
            Some(hint) => format!("{hint}; {next}").into(),
            None => next.into(),
        });
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Failure;

    #[test]
    fn the_delay_grows_and_is_capped() {
        let cause = ProbeError::new(Failure::ProcessExit, "`x` ended").hint("its last words on stderr: ouch");
        let mut restart = Restart::default();
        let mut now = Instant::now();
        assert!(restart.permit(now).is_ok(), "the first start");
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            restart.ended(now, Duration::from_secs(5), true, cause.clone());
            let almost = now + Duration::from_millis(seconds * 1000 - 1);
            let error = restart.permit(almost).expect_err("too early");
            assert_eq!(error.hint.as_deref(), Some("its last words on stderr: ouch; it is started again in 1 s"));
            assert_eq!(error.failure, Failure::ProcessExit);
            now += Duration::from_secs(seconds);
            assert!(restart.permit(now).is_ok(), "{seconds}");
        }
        restart.ended(now, Duration::from_secs(60), false, cause.clone());
        assert!(restart.permit(now).is_err(), "a life without an answer is none");
        restart.ended(now, Duration::from_secs(10), true, cause.clone());
        assert!(restart.permit(now).is_ok(), "a good life");
        restart.ended(now, Duration::ZERO, true, cause);
        assert!(restart.permit(now + Duration::from_secs(1)).is_ok(), "counting begins anew");
    }
}
