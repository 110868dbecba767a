//! Maintenance: the times in which a server is worked on and nobody wants to hear of it.
//!
//! Pure: whether a window is open follows from the window and an instant, so that nothing has to be started, stopped or
//! remembered. Knows neither servers nor how windows are written in a file.
//!
//! What surprises: weekly windows are times on the wall of their zone, so a change of the clocks lengthens or shortens
//! them. An hour that comes twice belongs to the window both times; a window that would lie altogether in an hour that
//! is left out keeps its length and begins where the clock goes on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// Windows that follow each other without a gap count as one, up to so many: a fortnight of nights.
const MOST_JOINED: usize = 14;

/// The maintenance windows of one server; most have none. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Maintenance(Arc<[Window]>);

/// One window.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// When it is open.
    pub when: When,
    /// Why, in words for people; may be shown to everybody.
    pub reason: Option<Arc<str>>,
}

/// When a window is open.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// From `start` on, up to `end` and no longer.
    Once {
        /// The first instant.
        start: Timestamp,
        /// The first instant after it.
        end: Timestamp,
    },
    /// Every week.
    Weekly(Weekly),
}

/// The same hours on some days of every week.
#[derive(Debug, Clone, PartialEq)]
pub struct Weekly {
    /// The days on which it begins; at least one.
    pub days: Vec<Weekday>,
    /// When it begins.
    pub from: ClockTime,
    /// When it ends: on the next day where that is not after `from`.
    pub to: ClockTime,
    /// Where the clock hangs.
    pub zone: TimeZone,
}

/// A time of day, to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockTime {
    /// 0 to 1440; the last is the end of the day.
    minutes: i64,
}

/// That a server is in maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'w> {
    /// Why, where a window that is open says so.
    pub reason: Option<&'w str>,
    /// The first instant after it, windows that follow without a gap included.
    pub until: Timestamp,
}

impl Maintenance {
    /// Collects windows.
    #[must_use]
    pub fn new(windows: Vec<Window>) -> Self {
        Self(windows.into())
    }

    /// The windows.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.0.iter()
    }

    /// Whether, why and until when a server is in maintenance at `time`.
    #[must_use]
    pub fn at(&self, time: SystemTime) -> Option<Open<'_>> {
        if self.0.is_empty() {
            return None;
        }
        let time = Timestamp::try_from(time).ok()?;
        let mut until = self.end_at(time)?;
        for _ in 1..MOST_JOINED {
            match self.end_at(until) {
                Some(end) => until = end,
                None => break,
            }
        }
        let open = self.0.iter().filter(|window| window.when.end_at(time).is_some());
        Some(Open { reason: open.filter_map(|window| window.reason.as_deref()).next(), until })
    }

    /// When the last of the windows that are open at `time` ends.
    fn end_at(&self, time: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter_map(|window| window.when.end_at(time)).max()
    }
}

impl When {
    /// The end of the window, if it is open.
    fn end_at(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once { start, end } => (*start <= time && time < *end).then_some(*end),
            Self::Weekly(weekly) => {
                let today = weekly.zone.to_datetime(time).date();
                // Shorter than a day: one that is open began today or yesterday.
                let days = [today.yesterday().ok(), Some(today)];
                let spans = days.into_iter().flatten().filter_map(|date| weekly.beginning_on(date));
                spans.filter(|(start, end)| *start <= time && time < *end).map(|(_, end)| end).max()
            }
        }
    }
}

impl Weekly {
    /// The window that begins on this date; half-open.
    fn beginning_on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.contains(&date.weekday()) {
            return None;
        }
        let length = match self.to.minutes - self.from.minutes {
            same_day @ 1.. => same_day,
            over_midnight => over_midnight + ClockTime::DAY,
        };
        let from = self.from.on(date)?;
        let to = from.checked_add(length.minutes()).ok()?;
        let start = self.zone.to_ambiguous_timestamp(from).compatible().ok()?;
        let end = self.zone.to_ambiguous_timestamp(to).later().ok()?;
        match start < end {
            true => Some((start, end)),
            false => Some((start, start.checked_add(length.minutes()).ok()?)),
        }
    }
}

impl ClockTime {
    /// Minutes of a day.
    const DAY: i64 = 24 * 60;

    /// Whether it is `24:00`, which belongs to the next day already.
    #[must_use]
    pub fn is_end_of_day(self) -> bool {
        self.minutes == Self::DAY
    }

    fn on(self, date: Date) -> Option<DateTime> {
        date.at(0, 0, 0, 0).checked_add(self.minutes.minutes()).ok()
    }
}

/// Not a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockTimeError;

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl fmt::Display for ClockTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time of day")
    }
}

impl std::error::Error for ClockTimeError {}

impl FromStr for ClockTime {
    type Err = ClockTimeError;

    /// `00:00` to `24:00`.
    fn from_str(text: &str) -> Result<Self, ClockTimeError> {
        let two_digits = |part: &str| match part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()) {
            true => part.parse::<i64>().ok(),
            false => None,
        };
        let (hours, minutes) = text.split_once(':').ok_or(ClockTimeError)?;
        match (two_digits(hours), two_digits(minutes)) {
            (Some(hours @ 0..24), Some(minutes @ 0..60)) => Ok(Self { minutes: hours * 60 + minutes }),
            (Some(24), Some(0)) => Ok(Self { minutes: Self::DAY }),
            _ => Err(ClockTimeError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(start: &str, end: &str, reason: Option<&str>) -> Window {
        let when = When::Once { start: start.parse().expect("a time"), end: end.parse().expect("a time") };
        Window { when, reason: reason.map(Into::into) }
    }

    fn weekly(days: &[Weekday], from: &str, to: &str, zone: &str) -> Window {
        let weekly = Weekly {
            days: days.to_vec(),
            from: from.parse().expect("a time of day"),
            to: to.parse().expect("a time of day"),
            zone: TimeZone::get(zone).expect("a zone"),
        };
        Window { when: When::Weekly(weekly), reason: None }
    }

    /// Until when the windows are open at `time`; empty for closed.
    #[track_caller]
    fn check(windows: &[Window], time: &str, until: &str) {
        let maintenance = Maintenance::new(windows.to_vec());
        let at: Timestamp = time.parse().expect("a time");
        let found = maintenance.at(at.into()).map(|open| open.until.to_string()).unwrap_or_default();
        assert_eq!(found, until, "at {time}");
    }

    #[test]
    fn a_window_is_open_from_its_start_and_closed_from_its_end() {
        let window = [once("2026-12-01T22:00:00+01:00", "2026-12-02T02:00:00+01:00", None)];
        check(&window, "2026-12-01T20:59:59Z", "");
        check(&window, "2026-12-01T21:00:00Z", "2026-12-02T01:00:00Z");
        check(&window, "2026-12-02T00:59:59Z", "2026-12-02T01:00:00Z");
        check(&window, "2026-12-02T01:00:00Z", "");
        check(&[], "2026-12-01T21:00:00Z", "");
    }

    #[test]
    fn weekly_windows_are_local() {
        use Weekday::{Saturday, Sunday};
        let window = [weekly(&[Saturday, Sunday], "02:00", "04:00", "Europe/Berlin")];
        check(&window, "2026-11-28T00:59:59Z", ""); // a Saturday
        check(&window, "2026-11-28T01:00:00Z", "2026-11-28T03:00:00Z");
        check(&window, "2026-11-29T02:59:59Z", "2026-11-29T03:00:00Z");
        check(&window, "2026-11-29T03:00:00Z", "");
        check(&window, "2026-11-30T01:30:00Z", "");
        check(&window, "2026-07-04T00:00:00Z", "2026-07-04T02:00:00Z"); // summer
        // It is Saturday there while it is Friday in Greenwich.
        let window = [weekly(&[Saturday], "00:00", "01:00", "Pacific/Auckland")];
        check(&window, "2026-07-03T12:30:00Z", "2026-07-03T13:00:00Z");
    }

    #[test]
    fn over_midnight_a_window_belongs_to_the_day_it_begins_on() {
        let window = [weekly(&[Weekday::Saturday], "23:00", "01:30", "UTC")];
        check(&window, "2026-11-28T00:30:00Z", "");
        check(&window, "2026-11-28T23:00:00Z", "2026-11-29T01:30:00Z");
        check(&window, "2026-11-29T01:29:59Z", "2026-11-29T01:30:00Z");
        check(&window, "2026-11-29T01:30:00Z", "");
        check(&window, "2026-11-29T23:00:00Z", "");
        let to_the_end = [weekly(&[Weekday::Saturday], "23:00", "24:00", "UTC")];
        check(&to_the_end, "2026-11-28T23:59:59Z", "2026-11-29T00:00:00Z");
        check(&to_the_end, "2026-11-29T00:00:00Z", "");
    }

    /// In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29 (01:00Z), and from 03:00 to 02:00 on 2026-10-25 (01:00Z).
    #[test]
    fn the_clocks_change_inside_a_window() {
        let sunday = |from, to| [weekly(&[Weekday::Sunday], from, to, "Europe/Berlin")];
        // Spring: three hours on the wall are two.
        check(&sunday("01:00", "04:00"), "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z");
        check(&sunday("01:00", "04:00"), "2026-03-29T02:00:00Z", "");
        // Spring: what begins in the hour that is left out begins where the clock goes on.
        check(&sunday("02:00", "04:00"), "2026-03-29T00:59:59Z", "");
        check(&sunday("02:00", "04:00"), "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z");
        check(&sunday("02:00", "03:00"), "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z");
        check(&sunday("02:00", "03:00"), "2026-03-29T02:00:00Z", "");
        check(&sunday("02:30", "02:45"), "2026-03-29T01:30:00Z", "2026-03-29T01:45:00Z");
        // Autumn: the hour that comes twice belongs to it both times.
        check(&sunday("02:00", "03:00"), "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z");
        check(&sunday("02:00", "02:30"), "2026-10-25T01:29:59Z", "2026-10-25T01:30:00Z");
        check(&sunday("02:00", "02:30"), "2026-10-25T01:30:00Z", "");
        // Over midnight, and over the change.
        let saturday = [weekly(&[Weekday::Saturday], "22:00", "04:00", "Europe/Berlin")];
        check(&saturday, "2026-10-24T20:00:00Z", "2026-10-25T03:00:00Z");
        check(&saturday, "2026-03-28T21:00:00Z", "2026-03-29T02:00:00Z");
    }

    #[test]
    fn windows_without_a_gap_are_one() {
        use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
        let weekend = [weekly(&[Saturday, Sunday], "00:00", "24:00", "UTC")];
        check(&weekend, "2026-11-28T12:00:00Z", "2026-11-30T00:00:00Z");
        let overlapping =
            [once("2026-12-01T00:00:00Z", "2026-12-01T02:00:00Z", None), weekly(&[Tuesday], "01:00", "03:00", "UTC")];
        check(&overlapping, "2026-12-01T00:30:00Z", "2026-12-01T03:00:00Z");
        // Always: it has to end somewhere.
        let days = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];
        check(&[weekly(&days, "00:00", "24:00", "UTC")], "2026-11-28T12:00:00Z", "2026-12-12T00:00:00Z");
    }

    #[test]
    fn the_first_reason_of_an_open_window_is_given() {
        let maintenance = Maintenance::new(vec![
            once("2026-12-01T00:00:00Z", "2026-12-01T01:00:00Z", Some("over")),
            once("2026-12-01T00:00:00Z", "2026-12-01T03:00:00Z", None),
            once("2026-12-01T00:00:00Z", "2026-12-01T03:00:00Z", Some("new disks")),
        ]);
        let at: Timestamp = "2026-12-01T02:00:00Z".parse().expect("a time");
        assert_eq!(maintenance.at(at.into()).and_then(|open| open.reason), Some("new disks"));
    }

    #[test]
    fn times_of_day() {
        for text in ["00:00", "09:05", "23:59", "24:00"] {
            assert!(text.parse::<ClockTime>().is_ok(), "{text}");
        }
        for text in ["", "2", "2:00", "24:01", "23:60", "-1:00", "+2:00", "02:00:00", "02.00", "0200", "aa:bb"] {
            assert_eq!(text.parse::<ClockTime>(), Err(ClockTimeError), "{text}");
        }
    }

    /// The container image has no zones of its own: the built-in ones must be there.
    #[test]
    fn zones_are_built_in() {
        assert!(jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").is_ok());
    }
}
