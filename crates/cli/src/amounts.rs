//! Sizes, spans and moments as people read them.

use dockless_model::Timestamp;
use std::time::Duration;

/// `512 B`, `1.5 KiB`, `23.4 MiB`.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    // Tenths of the unit, in integers: no rounding surprise at any size.
    let mut unit = 0;
    let mut scale: u64 = 1;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    let whole = bytes / scale;
    let tenth = (bytes % scale).saturating_mul(10) / scale;
    if unit == 0 || whole >= 100 || tenth == 0 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{tenth} {}", UNITS[unit])
    }
}

/// `420ms`, `3.2s`, `4m 5s`, `2h 3m`, `5d 1h`.
#[must_use]
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 => format!("{seconds}.{}s", duration.subsec_millis() / 100),
        10..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Reads `90s`, `10m`, `12h`, `30d`, `8w`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let bad = || "expected a time like 90s, 10m, 12h, 30d or 8w".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(bad()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(seconds * u64::from(number)))
}

/// How long ago, coarsely: `now`, `12s`, `5m`, `3h`, `2d`.
#[must_use]
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    match now.since(then).as_secs() {
        0 => "now".to_owned(),
        seconds @ 1..=59 => format!("{seconds}s"),
        seconds @ 60..=3599 => format!("{}m", seconds / 60),
        seconds @ 3600..=86_399 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// `1 file`, `2 files`.
#[must_use]
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_said() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400)] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "d", "-1d", "1", "1y", "99999999999d", "1.5h", "ü"] {
            assert!(parse_span(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_read_naturally() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (150 * 1024 + 900, "150 KiB"),
            (5 * 1024 * 1024, "5 MiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn spans_and_ages_read_naturally() {
        for (ms, long, short) in [
            (20, "20ms", "now"),
            (3_250, "3.2s", "3s"),
            (59_000, "59s", "59s"),
            (245_000, "4m 5s", "4m"),
            (7_400_000, "2h 3m", "2h"),
            (435_600_000, "5d 1h", "5d"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), long);
            let then = Timestamp(1_000);
            assert_eq!(age(then.plus(Duration::from_millis(ms)), then), short);
        }
    }
}
