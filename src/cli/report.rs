//! `loyal report`: shows the report of a run, or compares two. Also reads what else a run left in
//! its report folder.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Usage;
use super::output;
use crate::report::{
    BatchLine, NodesLine, RefusalLine, Report, Trace, changes, diff, escape, terminal,
};

/// Maximum size of a file, in bytes: far above what a run writes.
const MAX_FILE: u64 = 1 << 30;
/// Maximum number of rejections in one trace.
const MAX_REFUSED: usize = 10_000;

#[derive(Debug, clap::Args)]
#[allow(missing_docs)]
pub(super) struct Args {
    /// The report folder of a run
    pub dir: PathBuf,
    /// Compare it with this earlier run
    #[arg(long, value_name = "DIR")]
    pub diff: Option<PathBuf>,
    /// Print report.json; with --diff, one changed number per line
    #[arg(long)]
    pub json: bool,
}

/// Shows a report or compares two.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let after = report(&args.dir)?;
    match (&args.diff, args.json) {
        (None, true) => output::text(&after.to_json()?)?,
        (None, false) => output::text(&terminal(&after))?,
        (Some(before), true) => {
            for change in changes(&report(before)?, &after) {
                output::json(&change)?;
            }
        }
        (Some(before), false) => output::text(&diff(&report(before)?, &after))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the report of a run.
///
/// # Errors
/// If there is none, or the file is not such a report.
pub(super) fn report(dir: &Path) -> anyhow::Result<Report> {
    if dir.is_file() {
        let why = format!("{} is a file; give the report folder of a run", dir.display());
        return Err(Usage(why).into());
    }
    let path = dir.join("report.json");
    let mut text = String::new();
    let file = open(&path)?;
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    tame(&text).with_context(|| format!("{} is not a report", path.display()))
}

/// Parses JSON from an untrusted folder: characters that could move a terminal's cursor or reorder
/// a line are escaped.
fn tame<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    // Most lines have no such characters, and need not be parsed twice.
    let plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte) && byte != b'\\';
    if text.bytes().all(plain) {
        return serde_json::from_str(text);
    }
    let mut value = serde_json::from_str(text)?;
    escape_all(&mut value);
    serde_json::from_value(value)
}

fn escape_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = escape(text, usize::MAX),
        Value::Array(items) => items.iter_mut().for_each(escape_all),
        Value::Object(map) => {
            let old = std::mem::take(map);
            map.extend(old.into_iter().map(|(key, mut value)| {
                escape_all(&mut value);
                (escape(&key, usize::MAX), value)
            }));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the trace of the batch whose id begins with `id`; of the slowest batch if that is
/// `None`.
///
/// # Errors
/// If no batch matches, or several do, or the folder was not written by a run.
pub(super) fn trace(dir: &Path, id: Option<&str>) -> anyhow::Result<Trace> {
    let prefix = id.map(prefix).transpose()?;
    let path = dir.join("deliveries.ndjson");
    let mut lines = lines(&path)?;
    let no_run = || format!("{} was not written by a run", path.display());
    let head: NodesLine =
        tame(&lines.next().transpose()?.unwrap_or_default()).with_context(no_run)?;
    let mut found: Option<BatchLine> = None;
    for line in lines {
        let line: BatchLine = tame(&line?).with_context(no_run)?;
        match (&prefix, &found) {
            (None, Some(slowest)) if slowest.delay >= line.delay => {}
            (Some(prefix), _) if !line.id.starts_with(prefix) => {}
            (Some(prefix), Some(other)) if other.id != line.id => {
                let (one, two) = (&other.id, &line.id);
                bail!(Usage(format!("{prefix} matches both {one} and {two}; give more digits")));
            }
            // A forgery has the same id as a published batch: keep the genuine one.
            (Some(_), Some(other)) if !other.posted.is_empty() => {}
            _ => found = Some(line),
        }
    }
    let refused = refused(dir, found.as_ref().map(|line| &*line.id).or(prefix.as_deref()))?;
    let line = match (found, prefix, refused.first().and_then(|row| row.id.clone())) {
        (Some(line), _, _) => line,
        (None, Some(_), Some(id)) => unheard(id, &refused, &head),
        (None, Some(prefix), None) => bail!(
            "no batch of {} begins with {prefix} ({} of its {} batches are kept)",
            dir.display(),
            head.kept,
            head.batches
        ),
        (None, None, _) => bail!("nothing was delivered in {}", dir.display()),
    };
    Ok(Trace::from_lines(&head, &line, refused))
}

/// A batch that no node delivered, known only from rejections.
fn unheard(id: String, refused: &[RefusalLine], head: &NodesLine) -> BatchLine {
    let first = refused.first();
    let author = first.and_then(|row| row.author.as_ref()).and_then(|key| {
        let place = head.nodes.iter().position(|node| node.key == *key)?;
        u32::try_from(place).ok()
    });
    let seq = first.and_then(|row| row.seq).unwrap_or(0);
    BatchLine { id, author, seq, posted: vec![], delay: 0, steps: vec![] }
}

/// Returns the hex digits of an id, without a message's index.
fn prefix(id: &str) -> Result<String, Usage> {
    let digits = id.split_once('.').map_or(id, |(batch, _)| batch);
    let good = !digits.is_empty() && digits.len() <= 64;
    if good && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits.to_ascii_lowercase());
    }
    let text = escape(id, 80);
    Err(Usage(format!("`{text}` is not an id; an id is 64 hex digits, or the first few of them")))
}

/// Returns the rejections whose id begins with `id`; if several ids do, only those of the first.
fn refused(dir: &Path, id: Option<&str>) -> anyhow::Result<Vec<RefusalLine>> {
    let (path, mut found) = (dir.join("rejections.ndjson"), Vec::<RefusalLine>::new());
    let Some(id) = id.filter(|_| path.exists()) else { return Ok(found) };
    for line in lines(&path)? {
        let line = line?;
        // Searching for the digits is faster than parsing every line of a long log.
        if !line.contains(id) || found.len() >= MAX_REFUSED {
            continue;
        }
        let row: RefusalLine =
            tame(&line).with_context(|| format!("{} was not written by a run", path.display()))?;
        let named = row.id.as_ref().is_some_and(|other| other.starts_with(id));
        if named && found.first().is_none_or(|first| first.id == row.id) {
            found.push(row);
        }
    }
    found.sort_by_key(|row| row.time);
    Ok(found)
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow!("there is no {}; give a folder that a run wrote with --report", path.display())
        }
        _ => anyhow::Error::from(error).context(format!("cannot read {}", path.display())),
    })
}

fn lines(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<String>> + use<>> {
    let context = format!("cannot read {}", path.display());
    let file = open(path)?;
    let lines = BufReader::new(file.take(MAX_FILE)).lines();
    Ok(lines.map(move |line| line.with_context(|| context.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with two batches: `aa…`, and `ab…`, which is slower.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let node = |name: &str| {
            format!(r#"{{"name":"{name}","key":"K{name}","malicious":false,"dead":false}}"#)
        };
        let batch = |id: &str, delay: u64| {
            let id = id.repeat(32);
            format!(
                r#"{{"id":"{id}","author":0,"seq":1,"posted":[5],"delay":{delay},"steps":[[0,5,0,0,null],[1,9,1,1,0]]}}"#
            )
        };
        let (n0, n1) = (node("n0"), node("n1"));
        let nodes = format!(r#"{{"name":"x","batches":9,"kept":2,"nodes":[{n0},{n1}]}}"#);
        let text = format!("{nodes}\n{}\n{}\n", batch("aa", 4), batch("ab", 7));
        std::fs::write(dir.path().join("deliveries.ndjson"), text).expect("writes");
        dir
    }

    #[test]
    fn an_id_may_be_short_but_not_ambiguous() {
        let dir = folder();
        let of = |id: Option<&str>| trace(dir.path(), id);
        assert!(of(Some("aa")).expect("one").id.starts_with("aaaa"));
        assert!(of(Some("ABAB.0")).expect("one").id.starts_with("abab"));
        assert!(of(None).expect("the slowest").id.starts_with("abab"));
        let error = of(Some("a")).expect_err("two");
        assert!(error.is::<Usage>() && error.to_string().contains("both"), "{error}");
        let error = of(Some("ff")).expect_err("none").to_string();
        assert!(error.contains("2 of its 9"), "{error}");
        assert!(of(Some("zz")).expect_err("no digits").is::<Usage>());
        let told = of(Some("aa")).expect("one");
        assert_eq!((told.delivered.len(), told.delivered[1].from_name.as_deref()), (2, Some("n0")));
    }

    #[test]
    fn text_that_moves_a_terminal_is_escaped() {
        let (dir, evil) = (folder(), r"\u001b[2J\u009b31m\u202e\r");
        let path = dir.path().join("deliveries.ndjson");
        let text = std::fs::read_to_string(&path).expect("reads");
        let text = text.replace(r#""name":"n0""#, &format!(r#""name":"{evil}""#));
        std::fs::write(&path, text).expect("writes");
        let told = trace(dir.path(), Some("aa")).expect("one");
        assert_eq!(told.delivered[0].node, r"\u{1b}[2J\u{9b}31m\u{202e}\r");
        let tamed: Value = tame(&format!(r#"{{"{evil}":["{evil}"]}}"#)).expect("reads");
        assert!(!tamed.to_string().contains(char::is_control), "{tamed}");
        assert_eq!(tamed.to_string().matches("u{1b}").count(), 2);
    }

    #[test]
    fn a_folder_of_no_run_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = format!("{:#}", trace(dir.path(), None).expect_err("is empty"));
        assert!(error.contains("deliveries.ndjson"), "{error}");
        std::fs::write(dir.path().join("deliveries.ndjson"), "nonsense\n").expect("writes");
        assert!(trace(dir.path(), None).is_err());
        std::fs::write(dir.path().join("report.json"), "{}").expect("writes");
        let error = format!("{:#}", report(dir.path()).expect_err("is none"));
        assert!(error.contains("is not a report"), "{error}");
    }
}
