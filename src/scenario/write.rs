//! Writes a scenario as a file that reads back as the same scenario.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::quantity::{rate, share, span};
use super::word::Word as _;
use super::{
    Expect, Fault, FaultKind, Group, Latency, Limit, Load, Net, Publishers, Scenario, Select, Who,
};

impl Scenario {
    /// Returns the scenario as a file with every value spelt out. [`Scenario::parse`] reads it back
    /// as the same scenario, provided that its values are within the bounds of the format.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "name = {}", quoted(&self.name))?;
        writeln!(out, "about = {}", quoted(&self.about))?;
        writeln!(out, "seed = {}", self.seed)?;
        writeln!(out, "duration = {}", time(self.duration))?;
        writeln!(out, "settle = {}", time(self.settle))?;
        writeln!(out, "verdict = \"{}\"", self.verdict.word())?;
        writeln!(out, "crypto = \"{}\"", self.crypto.word())?;
        writeln!(out, "\n[mesh]\nnodes = {}", self.mesh.nodes)?;
        if let Some(links) = self.mesh.links {
            writeln!(out, "links = {links}")?;
        }
        writeln!(out, "start = \"{}\"", self.mesh.start.word())?;
        net(out, &self.net)?;
        if let Some(bytes) = self.store.max_bytes {
            writeln!(out, "\n[store]\nmax_bytes = {bytes}")?;
        }
        if let Some(check) = self.cpu.check {
            writeln!(out, "\n[cpu]\ncheck = {}", time(check))?;
        }
        self.malicious.iter().try_for_each(|one| group(out, one))?;
        self.faults.iter().try_for_each(|one| fault(out, one))?;
        self.loads.iter().try_for_each(|one| load(out, one))?;
        self.expects.iter().try_for_each(|one| expect(out, one))
    }
}

fn net(out: &mut String, net: &Net) -> fmt::Result {
    writeln!(out, "\n[net]\nlatency = {}", latency(&net.latency))?;
    writeln!(out, "jitter = {}", time(net.jitter))?;
    writeln!(out, "loss = {}", share(net.loss))?;
    writeln!(out, "duplicate = {}", share(net.duplicate))?;
    writeln!(out, "reorder = {}", share(net.reorder))?;
    if let Some(bandwidth) = net.bandwidth {
        writeln!(out, "bandwidth = {bandwidth}")?;
    }
    Ok(())
}

fn latency(latency: &Latency) -> String {
    match latency {
        Latency::Constant(all) => time(*all),
        Latency::Uniform { min, max } => {
            format!("{{ kind = \"uniform\", min = {}, max = {} }}", time(*min), time(*max))
        }
        Latency::Normal { mean, sd } => {
            format!("{{ kind = \"normal\", mean = {}, sd = {} }}", time(*mean), time(*sd))
        }
        Latency::LongTailed { median, max } => {
            format!(
                "{{ kind = \"long-tailed\", median = {}, max = {} }}",
                time(*median),
                time(*max)
            )
        }
        Latency::Regions { names, matrix } => {
            let names = names.iter().map(|name| quoted(name));
            let rows = matrix.iter().map(|row| list(row.iter().map(|cell| time(*cell))));
            format!("{{ kind = \"regions\", names = {}, matrix = {} }}", list(names), list(rows))
        }
    }
}

fn group(out: &mut String, group: &Group) -> fmt::Result {
    writeln!(out, "\n[[malicious]]\n{}", who(&group.who))?;
    writeln!(out, "behave = {}", quoted(&group.behave.to_string()))
}

fn fault(out: &mut String, fault: &Fault) -> fmt::Result {
    let (kind, params) = match fault.kind {
        FaultKind::Partition => ("partition", String::new()),
        FaultKind::Isolate => ("isolate", String::new()),
        FaultKind::Loss(p) => ("loss", format!("p = {}\n", share(p))),
        FaultKind::Delay(by) => ("delay", format!("by = {}\n", time(by))),
        FaultKind::Cap(bandwidth) => ("cap", format!("bandwidth = {bandwidth}\n")),
        FaultKind::Kill => ("kill", String::new()),
        FaultKind::Restart(down) => ("restart", format!("down = {}\n", time(down))),
        FaultKind::Pause => ("pause", String::new()),
        FaultKind::DiskFull => ("disk-full", String::new()),
        FaultKind::Rot(rows) => ("rot", format!("rows = {rows}\n")),
        FaultKind::Wipe => ("wipe", String::new()),
        FaultKind::Churn { every, down } => {
            ("churn", format!("every = {}\ndown = {}\n", time(every), time(down)))
        }
    };
    writeln!(out, "\n[[fault]]\nkind = \"{kind}\"\nat = {}", time(fault.at))?;
    if let Some(until) = fault.until {
        writeln!(out, "until = {}", time(until))?;
    }
    write!(out, "{params}")?;
    writeln!(out, "select = {}", select(&fault.select))
}

fn select(select: &Select) -> String {
    let of = match &select.who {
        Who::Nodes(_) => String::new(),
        _ => format!(", of = \"{}\"", select.of.word()),
    };
    format!("{{ {}{of} }}", who(&select.who))
}

fn who(who: &Who) -> String {
    match who {
        Who::Count(count) => format!("count = {count}"),
        Who::Fraction(fraction) => format!("fraction = {}", share(*fraction)),
        Who::Nodes(nodes) => format!("nodes = {}", names(nodes)),
    }
}

fn load(out: &mut String, load: &Load) -> fmt::Result {
    writeln!(out, "\n[[load]]\nrate = {:?}", rate(load.every))?;
    if let Some(count) = load.count {
        writeln!(out, "count = {count}")?;
    }
    writeln!(out, "from = {}", time(load.from))?;
    if let Some(until) = load.until {
        writeln!(out, "until = {}", time(until))?;
    }
    let publishers = match &load.publishers {
        Publishers::Honest => "\"honest\"".to_owned(),
        Publishers::Count(count) => format!("{{ count = {count} }}"),
        Publishers::Nodes(nodes) => names(nodes),
    };
    writeln!(out, "size = {}\npublishers = {publishers}", load.size)
}

fn expect(out: &mut String, expect: &Expect) -> fmt::Result {
    let (key, limit) = match expect.limit {
        Limit::AtLeast(limit) => ("at_least", limit),
        Limit::AtMost(limit) => ("at_most", limit),
        Limit::Equals(limit) => ("equals", limit),
    };
    writeln!(out, "\n[[expect]]\nmetric = {}\n{key} = {limit:?}", quoted(&expect.metric))
}

fn names(nodes: &[usize]) -> String {
    list(nodes.iter().map(|number| format!("\"n{number}\"")))
}

fn list(entries: impl Iterator<Item = String>) -> String {
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

fn time(duration: Duration) -> String {
    format!("\"{}\"", span(duration))
}

/// Quotes text as a TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}
