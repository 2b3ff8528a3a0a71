//! The plots of a run.

use super::super::escape::cut;
use super::super::numbers::{count, percent, time};
use super::super::tally::Tally;
use super::super::{Hops, Recording, Report};
use super::chart::{Chart, Unit, legend};

/// Number of points per curve.
const STEPS: usize = 240;
/// Maximum hop count with a bar of its own; higher ones share one bar.
const MOST_HOPS: u64 = 24;
/// Maximum number of faults and violations that are marked.
const MOST_MARKS: usize = 200;

/// Published and delivered messages over time; faults as bands, violations as lines.
pub(super) fn over_time(run: &Recording, tally: &Tally) -> Option<String> {
    let posts = run.posts.iter().filter(|post| post.taken.is_some()).map(|post| post.at);
    let faults = run.faults.iter().map(|fault| fault.until.unwrap_or(fault.at));
    let end = tally.times.iter().copied().chain(posts.clone()).chain(faults).max()?.max(1);
    let mut chart = Chart::new((0.0, end as f64 * 1.02), (0.0, 1.02));
    for fault in run.faults.iter().take(MOST_MARKS) {
        let until = fault.until.unwrap_or(end);
        chart.band((fault.at as f64, until as f64), "fault", &fault.what);
    }
    for one in run.violations.iter().take(MOST_MARKS) {
        let hint = format!("{}: {}", one.invariant, one.what);
        chart.band((one.at as f64, one.at as f64), "violation", &hint);
    }
    chart.axes((Unit::Time, "time in the run"), (Unit::Share, "share of all"), false);
    let published = tally.published.max(1);
    chart.line(&cumulated(tally.times.iter().copied(), end, tally.expected.max(1)), "one");
    chart.line(&cumulated(posts, end, published), "two");
    let mut series = vec![("one", "delivered, of all that are expected"), ("two", "published")];
    if !run.faults.is_empty() {
        series.push(("fault", "a fault is active"));
    }
    if !run.violations.is_empty() {
        series.push(("violation", "an invariant was violated"));
    }
    Some(chart.svg("Messages published and delivered over time") + &legend(&series))
}

fn cumulated(times: impl Iterator<Item = u64>, end: u64, all: u64) -> Vec<(f64, f64)> {
    let mut buckets = vec![0u64; STEPS + 1];
    for at in times {
        let place = u128::from(at) * STEPS as u128 / u128::from(end.max(1));
        buckets[usize::try_from(place).unwrap_or(STEPS).min(STEPS)] += 1;
    }
    let (mut sum, mut points) = (0u64, vec![(0.0, 0.0)]);
    for (place, count) in buckets.into_iter().enumerate() {
        sum += count;
        let at = (place + 1) as f64 * end as f64 / STEPS as f64;
        points.push((at.min(end as f64 * 1.02), sum as f64 / all as f64));
    }
    points
}

/// The share of deliveries within a given time.
pub(super) fn latency(tally: &Tally) -> Option<String> {
    let sorted = &tally.latencies;
    let (least, most) = (*sorted.first()? as f64, (*sorted.last()?).max(1) as f64);
    let median = sorted[sorted.len() / 2] as f64;
    let wide = most > 20.0 * median && median > 0.0;
    // An author delivers its own message at once, which says nothing about the mesh.
    let from = if wide { least.max(median / 100.0).max(1.0) } else { 0.0 };
    let mut chart = Chart::new((from, most * 1.02), (0.0, 1.02));
    if wide {
        chart = chart.logarithmic();
    }
    chart.axes((Unit::Time, "from post to delivery"), (Unit::Share, "share of deliveries"), false);
    let at = |step: usize| sorted[(step * (sorted.len() - 1)) / STEPS] as f64;
    let points: Vec<_> = (0..=STEPS).map(|step| (at(step), step as f64 / STEPS as f64)).collect();
    chart.line(&points, "one");
    let marks: Vec<_> = [0.5, 0.9, 0.99, 1.0]
        .map(|share: f64| {
            let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize - 1;
            (sorted[rank.min(sorted.len() - 1)] as f64, share)
        })
        .to_vec();
    chart.dots(&marks, "one", |at, share| format!("{} within {}", percent(share), time(at)));
    Some(chart.svg("Cumulative distribution of latency"))
}

/// Relayed deliveries by hops: claimed, true, and as the model of push alone predicts.
pub(super) fn hops(report: &Report) -> Option<String> {
    let delivery = &report.delivery;
    let claimed = delivery.hops.as_ref()?;
    let total = |hops: &Hops| hops.histogram.values().sum::<u64>().max(1);
    let truly = delivery.true_hops.as_ref();
    let last = truly.map_or(claimed.max, |truly| truly.max.max(claimed.max));
    let shown = last.min(MOST_HOPS);
    let share = |hops: &Hops, at: u64| {
        let fits = |hop: u64| if at == MOST_HOPS { hop >= at } else { hop == at };
        let sum: u64 = hops.histogram.iter().filter(|(hop, _)| fits(**hop)).map(|(_, n)| n).sum();
        (sum, sum as f64 / total(hops) as f64)
    };
    let expected: Vec<(f64, f64)> = delivery
        .theory
        .iter()
        .flat_map(|theory| {
            (1..=shown).map(|hop| (hop as f64, theory.at(usize::try_from(hop).unwrap_or(0))))
        })
        .collect();
    let all = [Some(claimed), truly].into_iter().flatten();
    let highest = all.flat_map(|hops| (0..=shown).map(|at| share(hops, at).1));
    let highest = highest.chain(expected.iter().map(|(_, y)| *y)).fold(0.0, f64::max);
    let mut chart = Chart::new((0.4, shown as f64 + 0.6), (0.0, highest * 1.08));
    chart.axes((Unit::Count, "links crossed"), (Unit::Share, "share of deliveries"), true);
    let mut series = vec![("one", "claimed by the last sender")];
    for at in 1..=shown {
        let x = at as f64;
        let more = if at == MOST_HOPS { " or more" } else { "" };
        let (number, y) = share(claimed, at);
        let hint = |number| format!("{} deliveries, {at}{more} hops", count(number));
        let right = if truly.is_some() { x } else { x + 0.36 };
        chart.bar((x - 0.36, right - 0.02), y, "one", &format!("{} claimed", hint(number)));
        if let Some(truly) = truly {
            let (number, y) = share(truly, at);
            chart.bar((x + 0.02, x + 0.36), y, "three", &format!("{} in truth", hint(number)));
        }
    }
    if truly.is_some() {
        series.push(("three", "true"));
    }
    if !expected.is_empty() {
        chart.line(&expected, "theory");
        chart.dots(&expected, "theory", |hop, y| {
            format!("push alone: {} at {hop} hops", percent(y))
        });
        series.push(("theory", "push alone, in theory"));
    }
    Some(chart.svg("Deliveries by hops") + &legend(&series))
}

/// The share of nodes that a batch has reached after a number of hops, beside the model.
pub(super) fn reached(report: &Report) -> Option<String> {
    let (delivery, nodes) = (&report.delivery, report.nodes.max(1) as f64);
    let theory = delivery.theory.as_ref()?;
    let measured = delivery.true_hops.as_ref().or(delivery.hops.as_ref())?;
    let relayed: u64 = measured.histogram.values().sum();
    let last = measured.max.clamp(1, MOST_HOPS);
    let mut chart = Chart::new((0.0, last as f64 + 0.2), (0.0, 1.04));
    chart.axes((Unit::Count, "links crossed, at most"), (Unit::Share, "share of nodes"), true);
    // The author has it after 0 hops.
    let (mut sum, mut points) = (0u64, vec![(0.0, 1.0 / nodes)]);
    for hop in 1..=last {
        sum += measured.histogram.get(&hop).copied().unwrap_or(0);
        points
            .push((hop as f64, (1.0 + (nodes - 1.0) * sum as f64 / relayed.max(1) as f64) / nodes));
    }
    let model = |hop: u64| {
        let place = usize::try_from(hop).unwrap_or(usize::MAX).min(theory.reached.len() - 1);
        (hop as f64, theory.reached[place])
    };
    if !theory.reached.is_empty() {
        let model: Vec<_> = (0..=last).map(model).collect();
        chart.line(&model, "theory");
        chart.dots(&model, "theory", |hop, y| format!("push alone: {} by {hop} hops", percent(y)));
    }
    chart.line(&points, "three");
    chart.dots(&points, "three", |hop, y| format!("{} by {hop} hops", percent(y)));
    let legend = legend(&[("three", "measured"), ("theory", "push alone, in theory")]);
    Some(chart.svg("Share of nodes reached by hops") + &legend)
}

/// Faults on a timeline, one row each.
pub(super) fn faults(run: &Recording) -> Option<String> {
    const ROW: usize = 26;
    const MOST: usize = 24;
    let end = run.faults.iter().map(|fault| fault.until.unwrap_or(fault.at)).max()?;
    let end = run.arrivals.iter().map(|one| one.at).max().unwrap_or(0).max(end).max(1) as f64;
    let shown = run.faults.len().min(MOST);
    let height = shown * ROW + 30;
    let at = |micros: u64| 10.0 + micros as f64 / end * 620.0;
    let mut out = format!("<svg viewBox=\"0 0 640 {height}\" role=\"img\" aria-label=\"Faults\">");
    for (row, fault) in run.faults.iter().take(MOST).enumerate() {
        let (left, right) = (at(fault.at), fault.until.map_or(630.0, at));
        let (y, what) = (row * ROW + 4, cut(&fault.what, 80));
        let nodes: Vec<&str> =
            fault.nodes.iter().take(12).map(|node| run.node_name(*node)).collect();
        let until = fault.until.map_or("the end".into(), |until| time(until as f64));
        let hint = format!("{} to {until}: {}", time(fault.at as f64), nodes.join(", "));
        let anchor = if left > 380.0 { "end" } else { "start" };
        let text = if left > 380.0 { left.max(right) } else { left };
        out += &format!(
            "<rect class=\"span\" x=\"{left:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"18\" rx=\"4\">\
             <title>{}</title></rect><text class=\"tick strong\" x=\"{:.1}\" y=\"{}\" \
             text-anchor=\"{anchor}\">{what}</text>",
            (right - left).max(3.0),
            cut(&hint, 300),
            if anchor == "end" { text - 6.0 } else { text + 6.0 },
            y + 13
        );
    }
    out += &format!(
        "<path class=\"axis\" d=\"M10 {0}H630\"/><text class=\"tick\" x=\"10\" y=\"{1}\">0</text>\
         <text class=\"tick\" x=\"630\" y=\"{1}\" text-anchor=\"end\">{2}</text></svg>",
        height - 20,
        height - 5,
        time(end)
    );
    if run.faults.len() > shown {
        out += &format!("<p class=\"note\">and {} more</p>", run.faults.len() - shown);
    }
    Some(out)
}
