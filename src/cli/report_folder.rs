//! The folder that a run leaves: its report for people and for programs, and the data that
//! `explain` needs.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::report::{Recording, Report, delivery_lines, html, junit, rejection_lines};
use crate::store::Made;

/// Creates the report's folder, if one is requested, before the run rather than after minutes of
/// it. Folders that were created and are still empty at the end are removed when the returned value
/// is dropped.
///
/// # Errors
/// Names the folder that cannot be created.
pub(super) fn prepare(dir: Option<&Path>) -> anyhow::Result<Option<Made>> {
    let made = |dir: &Path| {
        Made::writable(dir).with_context(|| format!("cannot write a report into {}", dir.display()))
    };
    dir.map(made).transpose()
}

/// Writes the files of a run into a folder, which is created if necessary; `scenario.toml` is left
/// out if its text is empty. Files of an earlier run are replaced atomically, so that a reader
/// never sees half of one; other files are left alone. `report.json` exists only while all files
/// belong to one run.
///
/// # Errors
/// Names the file or folder that cannot be written.
pub(super) fn write(
    dir: &Path,
    scenario_toml: &str,
    recording: &Recording,
    report: &Report,
) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // That of an earlier run would seem to belong to this one.
    remove(&dir.join("report.json"))?;
    if scenario_toml.is_empty() {
        remove(&dir.join("scenario.toml"))?;
    } else {
        file(dir, "scenario.toml", [scenario_toml])?;
    }
    lines(dir, "rejections.ndjson", rejection_lines(recording))?;
    lines(dir, "deliveries.ndjson", delivery_lines(recording))?;
    file(dir, "junit.xml", [junit(report)])?;
    file(dir, "report.html", [html(recording, report)])?;
    // Written last: if it exists, the other files are of the same run.
    file(dir, "report.json", [report.to_json()?])
}

/// Removes a file of an earlier run, if it exists.
///
/// # Errors
/// Names the file that cannot be removed.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn lines(dir: &Path, name: &str, lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
    file(dir, name, lines.map(|line| line + "\n"))
}

/// Writes a temporary file and renames it.
fn file<T: AsRef<str>>(
    dir: &Path,
    name: &str,
    parts: impl IntoIterator<Item = T>,
) -> anyhow::Result<()> {
    let (path, beside) = (dir.join(name), dir.join(format!(".{name}.{}", std::process::id())));
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(&beside)?);
        for part in parts {
            out.write_all(part.as_ref().as_bytes())?;
        }
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        fs::rename(&beside, &path)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&beside)))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::report as saved;
    use crate::crypto::{Digest, PublicKey};
    use crate::report::{Arrival, Backend, BatchRecord, NodeRecord, Post, Refused, judge};
    use crate::scenario::Verdict;

    /// Two honest nodes and one message, and a frame that one refused.
    fn recording() -> Recording {
        let node = |number: u8| NodeRecord {
            name: format!("n{number}"),
            key: PublicKey([number; 32]),
            spec: None,
            kinds: vec![],
            dead: false,
            duplicates: 0,
            bytes_received: 9,
            bans: vec![],
            rejections: vec![],
            attempts: None,
        };
        let mut nodes = vec![node(0), node(1)];
        nodes[1].rejections.push(Refused {
            row: Some(1),
            bytes: None,
            counts_as: crate::protocol::CountsAs::Lie,
            at: 3,
            reason: "replayed".into(),
            link: Some(0),
            author: None,
            proven: false,
            seq: Some(1),
            id: Some(Digest([0xab; 32])),
            hops: Some(1),
            size: 300,
            detail: "</script><script>alert(1)</script>".into(),
            frame: Digest([1; 32]),
            count: 2,
        });
        let arrival = |node, at, from| Arrival { node, batch: 0, at, hops: 1, from };
        Recording {
            name: "folder".into(),
            backend: Backend::Simulated,
            seed: Some(1),
            digest: Some("00".repeat(32)),
            reproduce: "loyal sim folder --seed 1".into(),
            f: 0,
            nodes,
            posts: vec![Post { author: 0, at: 1, size: 9, taken: Some((0, 0)), excused: false }],
            batches: vec![BatchRecord {
                id: Digest([0xab; 32]),
                author: Some(0),
                seq: 1,
                posts: vec![0],
            }],
            arrivals: vec![arrival(0, 1, None), arrival(1, 2001, Some(0))],
            links: vec![(0, 1)],
            violations: vec![],
            counted: BTreeMap::new(),
            faults: vec![],
            not_modelled: vec![],
            skipped: vec![],
            expects: vec![],
            expected_verdict: Verdict::Pass,
            settle_us: None,
            real_crypto: true,
            resources: Default::default(),
            clock_steps: vec![],
            interrupted: false,
        }
    }

    #[test]
    fn a_folder_has_everything_and_is_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let (run, path) = (recording(), dir.path().join("deep/run"));
        let report = judge(&run);
        write(&path, "name = \"folder\"\n", &run, &report).expect("writes");
        fs::write(path.join("notes.txt"), "mine").expect("writes");
        write(&path, "name = \"folder\"\n", &run, &report).expect("writes again");
        let mut names: Vec<_> = fs::read_dir(&path)
            .expect("lists")
            .map(|entry| entry.expect("reads").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        let expected = "deliveries.ndjson junit.xml notes.txt rejections.ndjson report.html \
                        report.json scenario.toml";
        assert_eq!(names.join(" "), expected);
        assert_eq!(saved::report(&path).expect("reads"), report);
        let trace = saved::trace(&path, Some("ab")).expect("tells");
        assert_eq!((trace.delivered.len(), trace.refused.len()), (2, 1));
        assert_eq!(Some(trace), crate::report::trace(&run, "abab"));
        // Without a scenario, that of the run before is none of this one.
        write(&path, "", &run, &report).expect("writes");
        assert!(!path.join("scenario.toml").exists());
        assert_eq!(fs::read_to_string(path.join("notes.txt")).expect("is there"), "mine");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let (run, path) = (recording(), dir.path().join("run"));
        write(&path, "", &run, &judge(&run)).expect("writes");
        fs::remove_file(path.join("junit.xml")).expect("was written");
        fs::create_dir_all(path.join("junit.xml/in the way")).expect("makes");
        let error = write(&path, "", &run, &judge(&run)).expect_err("is a folder");
        assert!(format!("{error:#}").contains("junit.xml"), "{error:#}");
        assert!(!path.join("report.json").exists(), "the rest is not of one run");
        let left = fs::read_dir(&path).expect("lists").flatten();
        assert!(!left.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(".junit")));
        fs::write(dir.path().join("file"), "").expect("writes");
        let error = write(&dir.path().join("file"), "", &run, &judge(&run)).expect_err("a file");
        assert!(format!("{error:#}").contains("file"), "{error:#}");
    }
}
