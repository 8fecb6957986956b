//! Times as people write and read them: in their own time zone. Pure: the current time comes in.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp as Moment, ToSpan as _, Zoned};

use crate::model::Timestamp;

/// A date, a date with a time, or a time of day, as written on the command line; local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalTime {
    At(DateTime),
    /// Today; yesterday if that is still to come.
    OfDay(Time),
}

impl FromStr for LocalTime {
    type Err = String;

    /// Reads `2026-11-20`, `2026-11-20T14:30:00`, `2026-11-20 14:30:00` and `14:30:00`; seconds may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
            return Ok(Self::At(date.at(0, 0, 0, 0)));
        }
        for format in ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
            if let Ok(at) = DateTime::strptime(format, text) {
                return Ok(Self::At(at));
            }
        }
        for format in ["%H:%M:%S", "%H:%M"] {
            if let Ok(time) = Time::strptime(format, text) {
                return Ok(Self::OfDay(time));
            }
        }
        Err("expected 2026-11-20, 2026-11-20T14:30:00 or 14:30:00".into())
    }
}

impl LocalTime {
    /// Returns the moment meant, read in the time zone of `now`.
    pub(super) fn resolve(self, now: &Zoned) -> Option<Timestamp> {
        let zoned = |at: DateTime| at.to_zoned(now.time_zone().clone()).ok();
        let meant = match self {
            Self::At(at) => zoned(at)?,
            Self::OfDay(time) => {
                let today = zoned(now.date().to_datetime(time))?;
                if today <= *now { today } else { today.checked_sub(1.day()).ok()? }
            }
        };
        Some(Timestamp::from_millis(meant.timestamp().as_millisecond()))
    }
}

/// Returns the moment `days` and `hours` before `now`; none where that is before all time.
pub(super) fn ago(now: &Zoned, days: u32, hours: u32) -> Option<Timestamp> {
    let back = SignedDuration::from_hours(i64::from(days) * 24 + i64::from(hours));
    let then = now.timestamp().checked_sub(back).ok()?;
    Some(Timestamp::from_millis(then.as_millisecond()))
}

/// Shows moments in one time zone.
#[derive(Debug, Clone)]
pub(super) struct Zone(pub(super) TimeZone);

impl Zone {
    /// Returns the moment to the minute, `2026-11-20 14:30`.
    pub(super) fn minute(&self, at: Timestamp) -> String {
        self.show(at, "%Y-%m-%d %H:%M")
    }

    /// Returns the moment to the second, `2026-11-20 14:30:05`.
    pub(super) fn second(&self, at: Timestamp) -> String {
        self.show(at, "%Y-%m-%d %H:%M:%S")
    }

    fn show(&self, at: Timestamp, format: &str) -> String {
        Moment::from_millisecond(at.timestamp_millis()).map_or_else(
            |_| "?".to_owned(),
            |moment| moment.to_zoned(self.0.clone()).strftime(format).to_string(),
        )
    }

    /// Returns the zone's short name at the moment, for column titles: `CET`.
    pub(super) fn name(&self, now: &Zoned) -> String {
        now.with_time_zone(self.0.clone()).strftime("%Z").to_string()
    }
}

/// Returns the time between two moments in seconds, never less than none.
pub(super) fn seconds_between(start: Timestamp, end: Timestamp) -> f64 {
    let milliseconds = end.timestamp_millis().saturating_sub(start.timestamp_millis()).max(0);
    std::time::Duration::from_millis(milliseconds.unsigned_abs()).as_secs_f64()
}

/// Returns a duration as hours and minutes, `1:05`.
pub(super) fn hours_minutes(start: Timestamp, end: Timestamp) -> String {
    let minutes = end.timestamp_millis().saturating_sub(start.timestamp_millis()).max(0) / 60_000;
    format!("{}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-03-10T12:00:00+01:00[Europe/Paris]".parse().unwrap()
    }

    fn resolved(text: &str) -> String {
        let at = text.parse::<LocalTime>().unwrap().resolve(&now()).unwrap();
        at.try_to_rfc3339_string().unwrap()
    }

    #[test]
    fn local_times_become_utc() {
        assert_eq!(resolved("2026-03-09"), "2026-03-08T23:00:00Z");
        assert_eq!(resolved("2026-07-01T10:00:30"), "2026-07-01T08:00:30Z", "summer time");
        assert_eq!(resolved("2026-07-01 10:00"), "2026-07-01T08:00:00Z");
        assert_eq!(resolved("11:59:59"), "2026-03-10T10:59:59Z", "today");
        assert_eq!(resolved("12:00:01"), "2026-03-09T11:00:01Z", "yesterday");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "yesterday", "2026-13-01", "25:00:00", "2026-03-09T", "2026-03-09x"] {
            assert!(text.parse::<LocalTime>().is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_shown_in_the_zone() {
        let zone = Zone(now().time_zone().clone());
        let at = Timestamp::from_millis(1_772_000_000_000);
        assert_eq!(zone.minute(at), "2026-02-25 07:13");
        assert_eq!(zone.name(&now()), "CET");
        assert_eq!(hours_minutes(at, Timestamp::from_millis(1_772_000_000_000 + 3_900_000)), "1:05");
        assert_eq!(hours_minutes(at, Timestamp::from_millis(0)), "0:00", "a clock that was set back");
    }

    #[test]
    fn days_and_hours_add_up() {
        assert_eq!(ago(&now(), 1, 2).unwrap().try_to_rfc3339_string().unwrap(), "2026-03-09T09:00:00Z");
    }
}
