//! Processors and boxes: modelled work takes its time, and queues stay within their limits.

use super::{counted, latency, recording, run, scenario, whole};
use crate::report::judge;
use crate::scenario::{Group, Who};

fn cpu(check: &str) -> String {
    format!("[cpu]\ncheck = \"{check}\"\n")
}

#[test]
fn checks_take_as_long_as_the_scenario_says() {
    let (_, usual) = run("");
    let (_, ours) = run(&cpu("45us"));
    let (_, slow) = run(&cpu("20ms"));
    for report in [&usual, &ours, &slow] {
        whole(report);
    }
    // About two hops, each with a check, which takes 60 µs if no processors are modelled.
    let (usual, ours, slow) = (latency(&usual).0, latency(&ours).0, latency(&slow).0);
    assert!((ours - usual).abs() < 2.0, "{ours} {usual}");
    assert!(slow > usual + 19.0, "{slow} {usual}");
}

#[test]
fn a_busy_node_answers_later_and_nobody_is_forgotten() {
    // Two workers check 400 signatures of 5 ms a second; a node is asked for 150 or more.
    let slow = |size: usize| {
        let mut scenario = scenario(7, &format!("settle = \"30s\"\n{}", cpu("5ms")));
        scenario.loads[0].every = std::time::Duration::from_millis(5);
        scenario.loads[0].size = size;
        scenario.loads[0].count = Some(400);
        judge(&recording(&scenario, 1))
    };
    let (short, long) = (slow(16), slow(100_000));
    whole(&short);
    whole(&long);
    // Handling a body of 100 kB takes a node 100 µs.
    assert!(latency(&long).0 > latency(&short).0);
}

#[test]
fn floods_keep_processors_busy_and_delay_nobody_for_long() {
    for what in ["valid", "duplicate", "garbage", "request", "announce"] {
        let mut scenario = scenario(7, &format!("[net]\nlatency = \"10ms\"\n{}", cpu("45us")));
        let behave = format!("flood:what={what}").parse().expect("a sound SPEC");
        scenario.malicious = vec![Group { who: Who::Nodes(vec![5, 6]), behave }];
        let recording = recording(&scenario, 1);
        let report = judge(&recording);
        whole(&report);
        assert!(latency(&report).0 < 60.0, "{what}: {:?} ms", latency(&report));
        assert_eq!(counted(&recording, "outbox_dropped"), 0, "{what}");
    }
}

#[test]
fn who_stands_still_holds_up_nobody_else() {
    // The outboxes of its peers fill as far as its credit allows, and everything arrives in the
    // end.
    let pause = "[[fault]]\nkind = \"pause\"\nat = \"500ms\"\nuntil = \"2500ms\"\n\
                 select = { nodes = [\"n5\"] }\n";
    for cpu in ["", &cpu("45us")] {
        let mut scenario = scenario(7, &format!("settle = \"30s\"\n{pause}{cpu}"));
        scenario.loads[0].size = 200_000;
        let recording = recording(&scenario, 1);
        let report = judge(&recording);
        whole(&report);
        let others = recording.arrivals.iter().filter(|arrival| arrival.node != 5);
        let slow = others.filter(|arrival| {
            let batch = &recording.batches[arrival.batch as usize];
            let post = &recording.posts[batch.posts[0] as usize];
            arrival.at > post.at + 500_000
        });
        assert_eq!(slow.count(), 0);
    }
}
