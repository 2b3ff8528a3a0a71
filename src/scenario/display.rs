//! Faults in words.

use super::{Fault, FaultKind};

impl Fault {
    /// The fault with its parameters and the number of nodes struck: `partition of 4 nodes`.
    pub fn words(&self, struck: usize) -> String {
        let plural = if struck == 1 { "" } else { "s" };
        format!("{} of {struck} node{plural}", self.kind.words())
    }
}

impl FaultKind {
    /// The kind in words, with its parameters.
    pub fn words(self) -> String {
        match self {
            Self::Partition => "partition".into(),
            Self::Isolate => "isolation".into(),
            Self::Loss(p) => format!("loss of {} %", f64::from(p.0) / 10_000.0),
            Self::Delay(by) => format!("delay by {} ms", by.as_millis()),
            Self::Cap(rate) => format!("cap at {rate} bytes a second"),
            Self::Kill => "kill".into(),
            Self::Restart(down) => format!("restart after {} ms", down.as_millis()),
            Self::Pause => "pause".into(),
            Self::DiskFull => "full disk".into(),
            Self::Rot(rows) => format!("rot of {rows} rows"),
            Self::Wipe => "loss of the disk".into(),
            Self::Churn { every, down } => {
                format!("churn every {} ms for {} ms", every.as_millis(), down.as_millis())
            }
        }
    }
}
