//! Numbers for people.

/// A count with thin spaces between thousands.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A time in microseconds, in a unit that fits.
pub(super) fn time(micros: f64) -> String {
    match micros.abs() {
        0.0 => "0".into(),
        us if us < 1000.0 => format!("{} µs", figure(micros)),
        us if us < 1e6 => format!("{} ms", figure(micros / 1e3)),
        us if us < 1.2e8 => format!("{} s", figure(micros / 1e6)),
        _ => format!("{} min", figure(micros / 6e7)),
    }
}

/// A number with about three digits.
pub(super) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// A share in percent, never rounded up to 100 %.
pub(super) fn percent(share: f64) -> String {
    if share >= 1.0 { "100 %".into() } else { format!("{:.2} %", (share * 1e4).floor() / 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((count(0), count(999)), ("0".into(), "999".into()));
        assert_eq!((time(1500.0), time(2.5e6)), ("1.5 ms".into(), "2.5 s".into()));
        assert_eq!(
            (figure(0.05), figure(123.4), figure(12.0)),
            ("0.05".into(), "123".into(), "12".into())
        );
        assert_eq!((percent(1.0), percent(0.999_999)), ("100 %".into(), "99.99 %".into()));
    }
}
