//! Metrics for Prometheus, encoded from a snapshot at every scrape. Labels come from closed sets of
//! our own names, never from a peer's bytes.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::app::App;
use super::error::Failure;
use super::peers::by_reason;
use crate::net::Traffic;
use crate::protocol::{Reason, Snapshot};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Encoded = Result<(), std::fmt::Error>;

/// Metrics for Prometheus.
#[utoipa::path(
    get, path = "/metrics",
    responses(
        (status = 200, body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (status = 503),
    )
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    let snapshot = app.snapshot().await?;
    let text = encode(Moment { snapshot, traffic: app.handle().traffic() });
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn encode(moment: Moment) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(moment));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// A node's counters at one moment.
#[derive(Debug)]
struct Moment {
    snapshot: Snapshot,
    traffic: Traffic,
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Encoded {
        self.messages(&mut encoder)?;
        self.links(&mut encoder)?;
        self.histograms(&mut encoder)
    }
}

impl Moment {
    fn messages(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let counters = &self.snapshot.counters;
        let total = "loyal_messages";
        counter(encoder, total, "published", "Messages published", counters.published)?;
        counter(encoder, total, "delivered", "Messages delivered", counters.delivered)?;
        counter(encoder, total, "duplicate", "Copies of known batches", counters.duplicates)?;
        let (counts, knocks) = by_reason(&counters.rejected, counters.copies);
        let rejections = Reason::ALL.into_iter().filter(|reason| *reason != Reason::Banned);
        let rejected = rejections.map(|reason| {
            let count = counts.get(reason.name()).copied().unwrap_or_default();
            ([("reason", reason.name())], count)
        });
        let what = "Rejections, without plain copies and knocks by banned peers";
        family(encoder, "loyal_messages_rejected", what, rejected)?;
        let what = "Copies in the rejection log: late ones, and those that one peer sent again";
        counter(encoder, "loyal", "copies", what, counters.copies)?;
        counter(encoder, "loyal", "knocks", "Links refused because the peer is banned", knocks)?;
        let dropped = self.dropped().into_iter().map(|(cause, count)| ([("cause", cause)], count));
        family(encoder, "loyal_dropped", "Frames not sent for lack of credit or room", dropped)
    }

    fn links(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let ready = self.snapshot.peers.iter().filter_map(|peer| peer.link.as_ref());
        let (out, inward): (Vec<_>, Vec<_>) =
            ready.filter(|link| link.ready).partition(|link| link.dialled);
        let mut links = encoder.encode_descriptor(
            "loyal_links",
            "Links that are ready",
            None,
            MetricType::Gauge,
        )?;
        for (direction, count) in [("inbound", inward.len()), ("outbound", out.len())] {
            let labels = [("direction", direction)];
            ConstGauge::new(wide(count)).encode(links.encode_family(&labels)?)?;
        }
        gauge(encoder, "loyal_bans", "Bans in force", wide(self.snapshot.bans()))?;
        let queue = i64::try_from(self.traffic.verify_queue).unwrap_or(i64::MAX);
        gauge(encoder, "loyal_verify_queue", "Signature checks that are waiting", queue)?;
        let (sent, received) = (self.traffic.bytes_sent, self.traffic.bytes_received);
        counter(encoder, "loyal_bytes", "sent", "Bytes written to links", sent)?;
        counter(encoder, "loyal_bytes", "received", "Bytes read from links", received)?;
        let frames = self.traffic.frames.iter().map(|((kind, direction), count)| {
            ([("kind", *kind), ("direction", direction.name())], *count)
        });
        family(encoder, "loyal_frames", "Frames on links", frames)
    }

    fn histograms(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let hops = &self.snapshot.counters.hops;
        let (mut sum, mut count, mut buckets) = (0.0, 0_u64, Vec::with_capacity(hops.len()));
        for (number, deliveries) in (0_u32..).zip(hops) {
            sum += f64::from(number) * *deliveries as f64;
            count = count.saturating_add(*deliveries);
            // The last counter also covers more hops, so its bucket has no upper bound.
            let last = number as usize + 1 == hops.len();
            buckets.push((if last { f64::INFINITY } else { f64::from(number) }, *deliveries));
        }
        let help = "Links crossed by delivered messages, as claimed";
        histogram(encoder, "loyal_delivery_hops", help, sum, count, &buckets)?;
        let verify = &self.traffic.verify;
        let bounds = verify.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(verify.counts.iter().copied()).collect();
        let help = "Duration of a signature check, in seconds";
        histogram(encoder, "loyal_verify_seconds", help, verify.sum, verify.count, &buckets)
    }

    /// Frames dropped by the node and by the links' queues, by class.
    fn dropped(&self) -> std::collections::BTreeMap<&'static str, u64> {
        let mut causes = self.traffic.dropped.clone();
        for (cause, count) in &self.snapshot.counters.dropped {
            let sum = causes.entry(cause).or_default();
            *sum = sum.saturating_add(*count);
        }
        causes
    }
}

fn counter(
    encoder: &mut DescriptorEncoder,
    prefix: &str,
    name: &str,
    help: &str,
    value: u64,
) -> Encoded {
    // The encoder adds `_total`.
    let name = format!("{prefix}_{name}");
    let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(metric)
}

fn family<const N: usize>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = ([(&'static str, &'static str); N], u64)>,
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: i64) -> Encoded {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

fn histogram(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    sum: f64,
    count: u64,
    buckets: &[(f64, u64)],
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
}

fn wide(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
