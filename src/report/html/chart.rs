//! Axes, lines, bars and bands as SVG. Colours are set by the classes of the page's style sheet.

use std::fmt::Write as _;

use super::super::escape::cut;
use super::super::numbers::{count, figure, percent, time};

/// The unit of an axis, which determines its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A plain number.
    Count,
    /// A share from 0 to 1, shown in percent.
    Share,
    /// A time in microseconds.
    Time,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Count if value >= 1000.0 => count(value as u64),
            Self::Count => figure(value),
            Self::Share => percent(value).replace(".00", ""),
            Self::Time => time(value),
        }
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

pub(super) struct Chart {
    x: (f64, f64),
    y: (f64, f64),
    logarithmic: bool,
    body: String,
    marks: String,
}

impl Chart {
    /// Creates a chart with these ranges of x and y; an empty range is widened by 1.
    pub(super) fn new(x: (f64, f64), y: (f64, f64)) -> Self {
        let wide = |(from, to): (f64, f64)| (from, if to > from { to } else { from + 1.0 });
        let (x, y) = (wide(x), wide(y));
        Self { x, y, logarithmic: false, body: String::new(), marks: String::new() }
    }

    /// Makes the x axis logarithmic; without effect unless its range is above 0.
    pub(super) fn logarithmic(mut self) -> Self {
        self.logarithmic = self.x.0 > 0.0;
        self
    }

    fn at_x(&self, x: f64) -> f64 {
        let (from, to) = self.x;
        let part = if self.logarithmic {
            (x.max(from) / from).ln() / (to / from).ln()
        } else {
            (x - from) / (to - from)
        };
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, y: f64) -> f64 {
        let part = ((y - self.y.0) / (self.y.1 - self.y.0)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    /// Draws the grid and the labels. With `whole`, the x axis has labels at whole numbers only.
    pub(super) fn axes(
        &mut self,
        (x, x_name): (Unit, &str),
        (y, y_name): (Unit, &str),
        whole: bool,
    ) {
        let floor = HEIGHT - BOTTOM;
        for value in ticks(self.y, 5, y == Unit::Count) {
            let at = self.at_y(value);
            let _ = write!(
                self.body,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                y.show(value)
            );
        }
        let marks = if self.logarithmic { decades(self.x) } else { ticks(self.x, 8, whole) };
        for value in marks {
            let at = self.at_x(value);
            let _ = write!(
                self.body,
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                floor + 16.0,
                x.show(value)
            );
        }
        let _ = write!(
            self.body,
            "<path class=\"axis\" d=\"M{LEFT} {floor}H{:.1}\"/>\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{x_name}</text>\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 {:.1} {:.1})\">{y_name}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT,
            HEIGHT - 8.0,
            13.0,
            floor / 2.0,
            13.0,
            floor / 2.0
        );
    }

    /// Draws a line through points in the order of x; `class` sets its colour.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let mut path = String::new();
        for (place, (x, y)) in points.iter().enumerate() {
            let letter = if place == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.at_x(*x), self.at_y(*y));
        }
        let _ = write!(self.marks, "<path class=\"line {class}\" d=\"{path}\"/>");
    }

    /// Draws points, each with a tooltip.
    pub(super) fn dots(
        &mut self,
        points: &[(f64, f64)],
        class: &str,
        hint: impl Fn(f64, f64) -> String,
    ) {
        for (x, y) in points {
            let _ = write!(
                self.marks,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}</title>\
                 </circle>",
                self.at_x(*x),
                self.at_y(*y),
                cut(&hint(*x, *y), 200)
            );
        }
    }

    /// Draws a bar of height `y` from `from` to `to` on the x axis.
    pub(super) fn bar(&mut self, (from, to): (f64, f64), y: f64, class: &str, hint: &str) {
        let (left, right, top) = (self.at_x(from), self.at_x(to), self.at_y(y));
        let _ = write!(
            self.marks,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\" rx=\"2\"><title>{}</title></rect>",
            (right - left).max(0.5),
            (HEIGHT - BOTTOM - top).max(0.0),
            cut(hint, 200)
        );
    }

    /// Shades a range of x.
    pub(super) fn band(&mut self, (from, to): (f64, f64), class: &str, hint: &str) {
        let (left, right) = (self.at_x(from), self.at_x(to));
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" \
             height=\"{:.1}\"><title>{}</title></rect>",
            (right - left).max(2.0),
            HEIGHT - TOP - BOTTOM,
            cut(hint, 200)
        );
    }

    /// Returns the SVG; `what` describes it for screen readers.
    pub(super) fn svg(self, what: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\
             <title>{0}</title>{1}{2}</svg>",
            cut(what, 200),
            self.body,
            self.marks
        )
    }
}

/// About `about` round values in a range; whole numbers only if `whole`.
fn ticks((from, to): (f64, f64), about: u32, whole: bool) -> Vec<f64> {
    let rough = (to - from) / f64::from(about.max(1));
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|part| part * magnitude);
    let fits = |step: &f64| *step >= rough * 0.999 && (!whole || step.fract() == 0.0);
    let step = step.into_iter().find(fits).unwrap_or(rough).max(if whole { 1.0 } else { 0.0 });
    if step <= 0.0 || !step.is_finite() {
        return vec![from];
    }
    let first = (from / step).ceil();
    (0..=2 * about)
        .map(|n| (first + f64::from(n)) * step)
        .take_while(|v| *v <= to * 1.0001)
        .collect()
}

/// Powers of ten in a range above 0; in a narrow range also 2 and 5 times those.
fn decades((from, to): (f64, f64)) -> Vec<f64> {
    let parts: &[f64] = if to / from > 300.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = (-3..13).flat_map(|power| parts.iter().map(move |p| p * 10f64.powi(power)));
    decades.filter(|value| *value >= from * 0.999 && *value <= to * 1.001).collect()
}

/// A legend with the class and the name of each series.
pub(super) fn legend(series: &[(&str, &str)]) -> String {
    let one =
        |(class, name): &(&str, &str)| format!("<span><i class=\"key {class}\"></i>{name}</span>");
    format!("<p class=\"legend\">{}</p>", series.iter().map(one).collect::<String>())
}

/// Horizontal bars, one per line: label, value, class.
pub(super) fn rows(rows: &[(String, u64, &str)]) -> String {
    let most = rows.iter().map(|(_, value, _)| *value).max().unwrap_or(1).max(1);
    let mut out = String::from("<div class=\"rows\">");
    for (label, value, class) in rows {
        let share = *value as f64 * 100.0 / most as f64;
        let _ = write!(
            out,
            "<span class=\"label\" title=\"{0}\">{0}</span><span class=\"track\"><i class=\"{class}\" \
             style=\"width:{share:.2}%\"></i></span><span class=\"value\">{1}</span>",
            cut(label, 60),
            count(*value)
        );
    }
    out + "</div>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks((0.0, 1.0), 5, false), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((0.0, 3.0), 8, true), [0.0, 1.0, 2.0, 3.0]);
        assert!(ticks((0.0, 1e9), 5, true).len() <= 11);
        assert_eq!(decades((1.0, 10.0)), [1.0, 2.0, 5.0, 10.0]);
        assert!(ticks((5.0, 5.0), 5, false).len() <= 11);
    }

    #[test]
    fn nothing_leaves_the_frame() {
        let mut chart = Chart::new((0.0, 0.0), (0.0, 0.0));
        chart.axes((Unit::Time, "time"), (Unit::Share, "share"), false);
        chart.line(&[(-5.0, -5.0), (9.0, 9.0)], "one");
        let svg = chart.svg("a <b>");
        assert!(svg.contains("M58.0 226.0L626.0 12.0"), "{svg}");
        assert!(svg.contains("a &lt;b&gt;") && !svg.contains("NaN"), "{svg}");
    }
}
