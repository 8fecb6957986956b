//! Whether a host is fit to be asked: one fault of the host pauses all work there, for longer each time.
//!
//! Host trouble is not job trouble: while a breaker is open no job of the host changes state and no retry is used.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

/// The first pause after a fault: short, because most faults are a dropped connection.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: a host that comes back is found again within this time, and one that stays away costs one
/// connection attempt in this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The health of one host, as the runner has seen it.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    trouble: Option<Trouble>,
    last_answer: Option<Instant>,
}

/// Why and since when a host is paused.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub since: Instant,
    /// The host is asked again at this time.
    pub until: Instant,
    /// Faults in a row.
    pub faults: u32,
    pub why: String,
    pub hint: Option<String>,
    pub cure: Cure,
}

/// What ends a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Any answer: the host could not be reached.
    Answer,
    /// A file that could be written: the host answers, but has no room or gives no right.
    Room,
}

/// Why a host has to be left alone, what the user can do, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub why: String,
    pub hint: Option<String>,
    pub cure: Cure,
}

/// Whether a fault is the first of a row, to be logged loudly, or one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tripped {
    Newly,
    Again,
}

impl Breaker {
    /// Returns how long the host still has to be left alone; zero when it may be asked now.
    pub fn pause_left(&self, now: Instant) -> Duration {
        self.trouble.as_ref().map_or(Duration::ZERO, |t| t.until.saturating_duration_since(now))
    }

    /// Returns the trouble of a host that has not answered since.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Returns when the host last answered.
    pub fn last_answer(&self) -> Option<Instant> {
        self.last_answer
    }

    /// Notes an answer. Returns the trouble that is over with it.
    pub fn answered(&mut self, now: Instant) -> Option<Trouble> {
        self.last_answer = Some(now);
        self.trouble.take_if(|trouble| trouble.cure == Cure::Answer)
    }

    /// Notes that files can be written, or that none has to be. Returns the trouble that is over with it.
    pub fn relieved(&mut self) -> Option<Trouble> {
        self.trouble.take_if(|trouble| trouble.cure == Cure::Room)
    }

    /// Notes a fault: the pause doubles with each in a row, up to a minute, with up to a quarter of jitter, so that
    /// many runners do not come back at the same moment.
    pub fn fault(&mut self, now: Instant, cause: Cause, random: &mut impl rand::Rng) -> Tripped {
        let Cause { why, hint, cure } = cause;
        let before = self.trouble.take();
        let faults = before.as_ref().map_or(0, |t| t.faults).saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << (faults - 1).min(6)).min(LONGEST_PAUSE);
        let jitter = pause.mul_f64(random.random_range(0.0..0.25));
        let since = before.as_ref().map_or(now, |t| t.since);
        self.trouble = Some(Trouble { since, until: now + pause + jitter, faults, why, hint, cure });
        if before.is_some() { Tripped::Again } else { Tripped::Newly }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_minute_and_end_with_an_answer() {
        let mut random = StdRng::seed_from_u64(1);
        let mut breaker = Breaker::default();
        let now = Instant::now();
        assert_eq!(breaker.pause_left(now), Duration::ZERO);
        let gone = |cure| Cause { why: "gone".into(), hint: None, cure };
        assert_eq!(breaker.fault(now, gone(Cure::Answer), &mut random), Tripped::Newly);
        for (faults, least_s) in [(2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60)] {
            assert_eq!(breaker.fault(now, gone(Cure::Answer), &mut random), Tripped::Again);
            let left = breaker.pause_left(now).as_secs_f64();
            assert!(left >= f64::from(least_s) && left <= f64::from(least_s) * 1.25, "{faults}: {left}");
        }
        assert_eq!(breaker.answered(now).map(|t| t.faults), Some(8));
        assert_eq!(breaker.pause_left(now), Duration::ZERO);
        assert_eq!(breaker.fault(now, gone(Cure::Room), &mut random), Tripped::Newly);
        assert!(breaker.answered(now).is_none(), "an answer makes no room");
        assert_eq!(breaker.fault(now, gone(Cure::Room), &mut random), Tripped::Again);
        assert_eq!(breaker.relieved().map(|t| t.faults), Some(2));
        assert!(breaker.trouble().is_none());
    }
}
