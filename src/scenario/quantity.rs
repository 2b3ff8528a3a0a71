//! Durations, shares and rates in text form: read and printed without loss.

use std::time::Duration;

use crate::wire::limits::MAX_KEYS;

use super::Ppm;

/// The maximum number of nodes: as many as a network may list.
pub(super) const MAX_NODES: usize = MAX_KEYS;
/// The longest duration in a scenario.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];
/// Maximum digits on each side of the point in a duration, so that no product overflows 128 bits.
const MAX_DIGITS: usize = 18;
const NANOS: f64 = 1e9;

/// Reads durations such as `250ms`, `1.5s` or `10m`; `None` for anything else.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if [whole, part].iter().any(|digits| digits.is_empty() || digits.len() > MAX_DIGITS) {
        return None;
    }
    let parts = u32::try_from(part.len()).ok()?;
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(scale);
    let part = u128::from(part.parse::<u64>().ok()?) * u128::from(scale) / 10_u128.pow(parts);
    u64::try_from(whole + part).ok().map(Duration::from_nanos)
}

/// Prints a duration in the largest unit that represents it exactly.
pub(super) fn span(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".to_owned();
    }
    let fits = UNITS.iter().find(|(_, scale)| nanos.is_multiple_of(*scale));
    fits.map_or_else(String::new, |(unit, scale)| format!("{}{unit}", nanos / scale))
}

/// Converts a number from 0 to 1 to the nearest millionth; `None` if it is out of range.
pub(super) fn ppm(number: f64) -> Option<Ppm> {
    let millionths = (number * f64::from(Ppm::ONE.0)).round();
    // The check below ensures that the cast is exact.
    (0.0..=1.0).contains(&number).then_some(Ppm(millionths as u32))
}

/// Prints a share so that [`ppm`] reads it back.
pub(super) fn share(ppm: Ppm) -> String {
    let (whole, part) = (ppm.0 / Ppm::ONE.0, ppm.0 % Ppm::ONE.0);
    let places = format!("{part:06}");
    let places = places.trim_end_matches('0');
    format!("{whole}.{}", if places.is_empty() { "0" } else { places })
}

/// Returns the time between two events at `rate` per second, to the nearest nanosecond; `None` if
/// it is not between a nanosecond and a day.
pub(super) fn every(rate: f64) -> Option<Duration> {
    let nanos = (NANOS / rate).round();
    let sound = rate.is_finite() && rate > 0.0 && (1.0..=DAY.as_nanos() as f64).contains(&nanos);
    sound.then(|| Duration::from_nanos(nanos as u64))
}

/// Returns the rate that [`every`] converts back to `every`. Exact up to a day, which fits in 53
/// bits of nanoseconds.
pub(super) fn rate(every: Duration) -> f64 {
    NANOS / (every.as_nanos() as f64)
}

/// Converts a bounded number to a size.
pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let read = |text| duration(text).map(|d| d.as_nanos());
        assert_eq!(read("250ms"), Some(250_000_000));
        assert_eq!(read("1.5s"), Some(1_500_000_000));
        assert_eq!(read("10m"), Some(600_000_000_000));
        assert_eq!(read("0.001ms"), Some(1000));
        assert_eq!(read("24h"), Some(DAY.as_nanos()));
        for bad in ["", "5", "s", "-1s", "1 s", "1S", "1e3s", ".5s", "1.s", "1.2.3s", "1d"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read("99999999999999999999s"), None);
        assert_eq!(read("999999999999999999h"), None);
    }

    #[test]
    fn shares_are_between_nothing_and_all() {
        assert_eq!(ppm(0.4), Some(Ppm(400_000)));
        assert_eq!(ppm(1.0), Some(Ppm::ONE));
        assert_eq!(ppm(1.0 / 3.0), Some(Ppm(333_333)));
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(ppm(bad), None, "{bad}");
        }
        assert_eq!([share(Ppm(0)), share(Ppm::ONE), share(Ppm(50))], ["0.0", "1.0", "0.00005"]);
    }

    #[test]
    fn rates_are_above_nothing() {
        assert_eq!(every(50.0), Some(Duration::from_millis(20)));
        assert_eq!(every(3.0), Some(Duration::from_nanos(333_333_333)));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e300] {
            assert_eq!(every(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos in 0..=86_400_000_000_000_u64, p in 0..=1_000_000_u32) {
            let exact = Duration::from_nanos(nanos);
            prop_assert_eq!(duration(&span(exact)), Some(exact));
            prop_assert_eq!(share(Ppm(p)).parse().ok().and_then(ppm), Some(Ppm(p)));
            if nanos > 0 {
                prop_assert_eq!(every(rate(exact)), Some(exact));
            }
        }
    }
}
