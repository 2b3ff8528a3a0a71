//! Faults of a swarm. All of them are over by the end of the duration.

use std::time::Duration;

use super::random::Random;
use crate::protocol::millis;
use crate::scenario::{Among, Fault, FaultKind, Select, Who, fault_kinds};

/// Longest fault, in milliseconds: clients retry for 20 s.
const LONGEST: u64 = 15_000;

/// No faults in a third of the seeds, else up to four, of the kinds that the seed may use.
pub(super) fn faults(
    random: &mut Random,
    nodes: usize,
    liars: usize,
    duration: Duration,
) -> Vec<Fault> {
    if random.one_in(3) {
        return Vec::new();
    }
    let kinds = random.subset(&fault_kinds());
    let count = random.count(1..=4);
    let mut one =
        || random.pick(&kinds).copied().map(|kind| fault(random, kind, (nodes, liars), duration));
    let mut drawn: Vec<Fault> = (0..count).filter_map(|_| one()).collect();
    let mut lost = 0;
    drawn.retain(|fault| {
        lost += usize::from(fault.kind == FaultKind::Wipe);
        fault.kind != FaultKind::Wipe || lost == 1
    });
    let mut kept: Vec<Fault> = Vec::new();
    for fault in drawn {
        if !lasts_too_long(&kept, &fault) {
            kept.push(fault);
        }
    }
    kept
}

/// Whether a node struck by both may be down for longer than a client retries, as one outage runs
/// into the other.
fn lasts_too_long(kept: &[Fault], fault: &Fault) -> bool {
    let down = |fault: &Fault| match fault.kind {
        FaultKind::Kill | FaultKind::Wipe | FaultKind::Pause => fault.until,
        _ => None,
    };
    let Some(until) = down(fault) else { return false };
    kept.iter().any(|other| {
        down(other).is_some_and(|end| {
            let meets = fault.at <= end && other.at <= until;
            let span = until.max(end).saturating_sub(fault.at.min(other.at));
            meets && span > Duration::from_millis(LONGEST)
        })
    })
}

fn fault(random: &mut Random, kind: &str, of: (usize, usize), duration: Duration) -> Fault {
    let whole = millis(duration);
    let at = random.range(0..=whole * 6 / 10);
    let until = Duration::from_millis(random.range(at + 100..=whole.min(at + LONGEST)));
    let at = Duration::from_millis(at);
    let down = random.ms(50..=800);
    let (kind, until) = match kind {
        "partition" => (FaultKind::Partition, Some(until)),
        "isolate" => (FaultKind::Isolate, Some(until)),
        "loss" => (FaultKind::Loss(random.share(10..=500)), Some(until)),
        "delay" => (FaultKind::Delay(random.ms(10..=1000)), Some(until)),
        "cap" => (FaultKind::Cap(random.range(16..=512) * 1024), Some(until)),
        "kill" => (FaultKind::Kill, Some(until)),
        "restart" => (FaultKind::Restart(down), None),
        "pause" => (FaultKind::Pause, Some(until)),
        "disk-full" => (FaultKind::DiskFull, Some(until)),
        "rot" => (FaultKind::Rot(u32::try_from(random.range(1..=50)).unwrap_or(1)), None),
        "wipe" => (FaultKind::Wipe, Some(until)),
        _ => (FaultKind::Churn { every: random.ms(150..=1000), down }, Some(until)),
    };
    let mut select = select(random, of);
    if kind == FaultKind::Wipe {
        // Wiped disks could hold the only copies of a message: at most one is wiped.
        select = Select { who: Who::Count(1), of: Among::All };
    }
    Fault { kind, at, until, select }
}

fn select(random: &mut Random, (nodes, liars): (usize, usize)) -> Select {
    let (of, among) = match random.range(0..=3) {
        0 if liars > 0 => (Among::Malicious, liars),
        1 => (Among::Honest, nodes - liars),
        _ => (Among::All, nodes),
    };
    // At least one node, and at most half of them: a partition needs two sides.
    let most = among.div_ceil(2);
    let who = match random.range(0..=2) {
        0 => {
            let share = (1000_u32).div_ceil(u32::try_from(among).unwrap_or(1).max(1));
            Who::Fraction(random.share(share..=share.max(700)))
        }
        1 if of == Among::All => {
            let all: Vec<usize> = (0..nodes).collect();
            let wanted = random.count(1..=most);
            Who::Nodes(random.some(&all, wanted))
        }
        _ => Who::Count(random.count(1..=most)),
    };
    Select { who, of }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_every_fault_ends_in_time() {
        let duration = Duration::from_secs(3);
        let mut seen = [0; 12];
        for seed in 0..400 {
            for fault in faults(&mut Random::new(seed), 10, 3, duration) {
                let kind = match fault.kind {
                    FaultKind::Partition => 0,
                    FaultKind::Isolate => 1,
                    FaultKind::Loss(_) => 2,
                    FaultKind::Delay(_) => 3,
                    FaultKind::Cap(_) => 4,
                    FaultKind::Kill => 5,
                    FaultKind::Restart(_) => 6,
                    FaultKind::Pause => 7,
                    FaultKind::Churn { .. } => 8,
                    FaultKind::DiskFull => 9,
                    FaultKind::Rot(_) => 10,
                    FaultKind::Wipe => 11,
                };
                seen[kind] += 1;
                let sudden = matches!(fault.kind, FaultKind::Restart(_) | FaultKind::Rot(_));
                assert_eq!(fault.until.is_none(), sudden, "{fault:?}");
                assert!(fault.at < duration && fault.until.is_none_or(|until| until <= duration));
                assert!(fault.until.is_none_or(|until| until > fault.at), "{fault:?}");
            }
        }
        assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    }

    #[test]
    fn no_two_outages_make_one_that_is_longer_than_a_client_tries() {
        let (mut several, minute) = (0, Duration::from_secs(60));
        for seed in 0..2000 {
            let all = faults(&mut Random::new(seed), 10, 3, minute);
            for (place, fault) in all.iter().enumerate() {
                assert!(!lasts_too_long(&all[..place], fault), "{seed}: {all:?}");
            }
            let kills = all.iter().filter(|fault| fault.kind == FaultKind::Kill).count();
            several += usize::from(kills > 1);
        }
        assert!(several > 20, "{several}");
        let (mut one, mut two) = (None, None);
        for seed in 0..2000 {
            let all = faults(&mut Random::new(seed), 10, 3, minute);
            let kill = all.into_iter().find(|fault| fault.kind == FaultKind::Kill);
            (one, two) = (kill.clone().or(one), two.or(kill));
        }
        let (mut one, mut two) = (one.expect("a kill"), two.expect("another"));
        (one.at, one.until) = (Duration::from_secs(4), Some(Duration::from_secs(17)));
        (two.at, two.until) = (Duration::from_secs(15), Some(Duration::from_secs(29)));
        assert!(lasts_too_long(&[one], &two), "25 seconds");
    }
}
