//! Figures in the words of people: short, with units, and no more digits than anybody reads.

use std::time::{Duration, SystemTime};

/// `340 µs`, `1.6 ms`, `4.2 s`, `12 min`, `3 h 20 min`, `5 d 3 h`.
pub(super) fn duration(time: Duration) -> String {
    let micros = time.as_micros();
    let seconds = time.as_secs();
    match seconds {
        0 if micros < 1_000 => format!("{micros} µs"),
        0 if micros < 10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        0 => format!("{} ms", micros / 1_000),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// The second unit only where there is something of it.
fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {smaller}") }
}

/// Seconds that a server states; they may be more than a [`Duration`] holds.
pub(super) fn seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| format!("{seconds} s"), duration)
}

/// From then to now, in whole seconds; `0 s` for a moment to come.
pub(super) fn since(then: SystemTime, now: SystemTime) -> String {
    match now.duration_since(then).map_or(0, |time| time.as_secs()) {
        few @ 0..10 => format!("{few} s"),
        more => duration(Duration::from_secs(more)),
    }
}

/// `2026-11-26T21:03:12Z`, for machines; empty for a time that no calendar has.
pub(super) fn iso(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.0}")).unwrap_or_default()
}

/// `Nov 26, 21:03:12 UTC`.
pub(super) fn clock(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).map(|time| time.to_zoned(jiff::tz::TimeZone::UTC));
    time.map(|time| time.strftime("%b %-d, %H:%M:%S UTC").to_string()).unwrap_or_default()
}

/// `87%`; never `100%` or `0%` for what is only nearly so.
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    match percent.round() {
        0.0 if percent > 0.0 => "<1%".to_owned(),
        100.0 if percent < 100.0 => ">99%".to_owned(),
        whole => format!("{whole}%"),
    }
}

/// `512 MiB`.
pub(super) fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1_024.0 {
            return if value < 10.0 && unit != "B" {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
        value /= 1_024.0;
    }
    format!("{value:.1} TiB")
}

/// `1 server`, `3 servers`.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(micros: u64, expected: &str) {
        assert_eq!(duration(Duration::from_micros(micros)), expected);
    }

    #[test]
    fn durations() {
        check(0, "0 µs");
        check(340, "340 µs");
        check(1_640, "1.6 ms");
        check(120_570, "120 ms");
        check(4_200_000, "4.2 s");
        check(59_900_000, "59 s");
        check(60_000_000, "1 min");
        check(12_000_000_000, "3 h 20 min");
        check(7_200_000_000, "2 h");
        check(442_800_000_000, "5 d 3 h");
        assert_eq!((seconds(0.1205), seconds(1e300)), ("120 ms".into(), format!("{} s", 1e300)));
    }

    #[test]
    fn moments() {
        let then = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_000_000_500);
        assert_eq!((iso(then), clock(then)), ("2026-11-18T11:06:40Z".into(), "Nov 18, 11:06:40 UTC".into()));
        assert_eq!(since(then, then + Duration::from_millis(3_900)), "3 s");
        assert_eq!(since(then, then + Duration::from_secs(75)), "1 min");
        assert_eq!(since(then, SystemTime::UNIX_EPOCH), "0 s");
    }

    #[test]
    fn shares_and_sizes() {
        let shares = [0.0, 0.001, 0.254, 0.875, 0.9999, 1.0].map(percent);
        assert_eq!(shares, ["0%", "<1%", "25%", "88%", ">99%", "100%"]);
        let sizes = [0.0, 900.0, 1_536.0, 536_870_912.0, 1e15].map(bytes);
        assert_eq!(sizes, ["0 B", "900 B", "1.5 KiB", "512 MiB", "909.5 TiB"]);
        assert_eq!((count(1, "server"), count(3, "server")), ("1 server".into(), "3 servers".into()));
    }
}
