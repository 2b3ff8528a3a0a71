//! The numbers of the report that a scenario may limit.

use crate::adversary::KINDS;
use crate::protocol::Reason;

/// Dotted paths into `report.json` that need no expansion.
const PLAIN: [&str; 38] = [
    "nodes",
    "f",
    "quorum",
    "honest",
    "published",
    "refused_posts",
    "delivery.expected",
    "delivery.delivered",
    "delivery.ratio",
    "delivery.duplicates",
    "delivery.unpublished",
    "delivery.untraced",
    "delivery.copies_per_delivery",
    "delivery.bytes_per_payload_byte",
    "certified.expected",
    "certified.delivered",
    "certified.ratio",
    "rejections.total",
    "rejections.lies",
    "rejections.copies",
    "rejections.knocks",
    "rejections.by_behaviour.honest",
    "rejections.by_behaviour.other",
    "evidence.equivocations",
    "evidence.proofs",
    "bans.malicious",
    "bans.honest",
    "resources.cpu_s",
    "resources.peak_rss_mb",
    "resources.wall_s",
    "resources.sim_s",
    "resources.events",
    "resources.events_per_s",
    "resources.start_s",
    "delivery.hops.mean",
    "delivery.hops.p50",
    "delivery.hops.p99",
    "delivery.hops.max",
];
/// What a simulated run counts, below `counted`; always 0 on real processes.
const COUNTED: [&str; 21] = [
    "bytes_read",
    "crashes",
    "damaged_rows",
    "duplicated_segments",
    "failed_posts",
    "failed_writes",
    "frames_sent",
    "impairments",
    "links_broken",
    "lost_unsynced",
    "outbox_dropped",
    "prunings",
    "reads",
    "redelivered_after_crash",
    "reordered_segments",
    "restarts",
    "retransmissions",
    "rotted_rows",
    "signed_anew",
    "skipped",
    "wiped_disks",
];
const TRUE_HOPS: [&str; 4] = ["mean", "p50", "p99", "max"];
const LATENCIES: [&str; 3] =
    ["delivery.latency_ms", "certified.latency_ms", "evidence.detection_ms"];
const PERCENTILES: [&str; 4] = ["p50", "p90", "p99", "max"];
const ATTACK: [&str; 3] = ["attempted", "reached_honest", "accepted"];

/// Returns the name of every number that an `[[expect]]` may limit: dotted paths into
/// `report.json`, spelt out for each behaviour and each reason.
pub fn metrics() -> Vec<String> {
    let join = |one: &str, two: &str| format!("{one}.{two}");
    let mut names: Vec<String> = PLAIN.map(str::to_owned).into();
    names.extend(TRUE_HOPS.map(|which| join("delivery.true_hops", which)));
    names.extend(COUNTED.map(|what| join("counted", what)));
    for latency in LATENCIES {
        names.extend(PERCENTILES.map(|percentile| join(latency, percentile)));
    }
    for kind in KINDS {
        names.push(join("rejections.by_behaviour", kind));
        names.extend(ATTACK.map(|which| format!("attacks.{kind}.{which}")));
    }
    names.extend(Reason::ALL.map(|reason| join("rejections.by_reason", reason.name())));
    names
}
