//! `loyal rejections show`: shows one rejection, its frame field by field, and repeats its checks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api_client::{block_on, client};
use super::error::Usage;
use super::{api_client, keys, output};
use crate::api;
use crate::client::Client;
use crate::crypto::{Digest, PublicKey, hex};
use crate::http::RejectionDto;
use crate::protocol::{
    Check, CountsAs, Examination, Known, Outcome, Reason, Rejection, Time, examine,
};
use crate::report::escape;
use crate::store::Reader;
use crate::wire::{Field, Shown, fields};

/// Maximum bytes of text or of trailing data that are shown.
const SHOWN: usize = 64;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The number of its row, as `loyal rejections` lists it
    #[arg(value_name = "ROW", value_parser = clap::value_parser!(i64).range(1..))]
    pub row: i64,
    #[command(flatten)]
    pub client: api_client::Api,
    /// Read this data folder instead; its node may be running or not
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The network file, to check against its keys, with --data
    #[arg(long, value_name = "FILE", requires = "data")]
    pub network: Option<PathBuf>,
}

/// A row, and what is known about its network without a node.
struct Logged {
    row: RejectionDto,
    known: Known,
    names: BTreeMap<String, String>,
}

/// Shows one rejection.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let logged = match &args.data {
        Some(dir) => stopped(args, dir)?,
        None => block_on(async { running(&client(&args.client)?, args.row).await })?,
    };
    let bytes = logged.row.frame_base64.as_deref().map(|text| STANDARD.decode(text)).transpose();
    let bytes = bytes.context("the frame is not base64")?;
    let row = rejection(&logged.row)?;
    let examined = bytes.as_deref().map(|bytes| examine(&row, bytes, &logged.known));
    if args.client.json {
        output::json(&as_json(&logged, bytes.as_deref(), examined.as_ref()))?;
    } else {
        output::text(&as_text(&logged, bytes.as_deref(), examined.as_ref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn running(client: &Client, number: i64) -> anyhow::Result<Logged> {
    let Some(row) = client.rejection(number).await? else {
        bail!("the log has no row {number}, or has deleted it; `loyal rejections` lists the rows")
    };
    let network = client.network().await?;
    let keys = network.keys.iter().filter_map(|key| PublicKey::from_hex(&key.key)).collect();
    let known = Known { network: Digest::from_hex(&network.id), keys: Some(keys) };
    let names = network.keys.into_iter().map(|key| (key.key, key.name)).collect();
    Ok(Logged { row, known, names })
}

fn stopped(args: &Args, dir: &std::path::Path) -> anyhow::Result<Logged> {
    let network = args.network.as_deref().map(keys::network).transpose()?;
    let reader = Reader::open_stopped(dir)?;
    if network.as_ref().is_some_and(|network| network.id() != reader.network()) {
        bail!(Usage(format!("--network: {} is of another network", dir.display())));
    }
    let number = args.row;
    let Some(row) = reader.rejection(number)? else {
        bail!("the log of {} has no row {number}, or has deleted it", dir.display())
    };
    let keys = network.as_ref().map(|network| network.keys());
    let names = keys.iter().flat_map(|keys| keys.iter());
    let names = names.map(|key| (key.key.to_string(), key.name.clone())).collect();
    let keys = keys.map(|keys| keys.iter().map(|key| key.key).collect());
    let known = Known { network: Some(reader.network()), keys };
    Ok(Logged { row: api::rejection_dto(row), known, names })
}

/// Converts a row, as far as the checks need it.
fn rejection(row: &RejectionDto) -> anyhow::Result<Rejection> {
    let reason = Reason::from_name(&row.reason).with_context(|| {
        format!("this version of loyal knows no reason `{}`", escape(&row.reason, 40))
    })?;
    Ok(Rejection {
        at: Time(row.time),
        reason,
        link: row.link.as_deref().and_then(PublicKey::from_hex),
        author: row.author.as_deref().and_then(PublicKey::from_hex),
        proven: row.proven,
        seq: row.seq,
        id: row.id.as_deref().and_then(Digest::from_hex),
        topic: row.topic.clone(),
        hops: row.hops,
        size: row.size,
        detail: row.detail.clone(),
        frame: Digest::from_hex(&row.frame).unwrap_or(Digest::ZERO),
        head: vec![],
        bytes: None::<Arc<[u8]>>,
        counts_as: CountsAs::of(reason, row.proven),
        count: row.count,
    })
}

/// Formats the value of a field, safe for a terminal.
fn value(field: &Field, bytes: &[u8], names: &BTreeMap<String, String>) -> String {
    let bytes = bytes.get(field.at..field.at + field.length).unwrap_or_default();
    let number = || bytes.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    match field.shown {
        Shown::Number => number().to_string(),
        Shown::Word(word) => format!("{} ({word})", number()),
        Shown::Hex => {
            let digits = hex(bytes);
            match names.get(&digits) {
                Some(name) => format!("{digits} ({})", escape(name, 32)),
                None => digits,
            }
        }
        Shown::Text => output::payload(bytes, SHOWN),
        Shown::Rest => {
            let cut = bytes.get(..SHOWN / 2).unwrap_or(bytes);
            format!("0x{}{}", hex(cut), if cut.len() < bytes.len() { "…" } else { "" })
        }
    }
}

fn outcome(check: &Check) -> &'static str {
    match check.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Unknown => "unknown",
    }
}

fn as_json(logged: &Logged, bytes: Option<&[u8]>, examined: Option<&Examination>) -> Value {
    let fields = bytes.map(|bytes| {
        let field = |field: Field| {
            let value = value(&field, bytes, &BTreeMap::new());
            json!({"at": field.at, "length": field.length, "name": field.name, "value": value})
        };
        fields(bytes).into_iter().map(field).collect::<Vec<_>>()
    });
    let checks = examined.map(|examined| {
        let check = |(number, check): (usize, &Check)| {
            let reasons: Vec<_> = check.reasons.iter().map(|reason| reason.name()).collect();
            json!({
                "name": check.name, "reasons": reasons, "outcome": outcome(check),
                "words": check.words, "refused": examined.refused == Some(number),
            })
        };
        examined.checks.iter().enumerate().map(check).collect::<Vec<_>>()
    });
    json!({
        "rejection": logged.row, "fields": fields, "checks": checks,
        "hash_fits": examined.and_then(|examined| examined.hash_fits),
        "agrees": examined.map(Examination::agrees),
    })
}

fn as_text(logged: &Logged, bytes: Option<&[u8]>, examined: Option<&Examination>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = head(&mut out, logged);
    let (Some(bytes), Some(examined)) = (bytes, examined) else {
        return out + "\nNo frame is stored: there was none, or it was deleted for newer ones.\n";
    };
    let mut table = output::table(&["byte", "length", "field", "value"]);
    for field in fields(bytes) {
        let value = value(&field, bytes, &logged.names);
        table.add_row([field.at.to_string(), field.length.to_string(), field.name, value]);
    }
    out += "\n";
    out += &output::render(&table);
    let _ = checks(&mut out, &logged.row, examined);
    out
}

fn head(out: &mut String, logged: &Logged) -> std::fmt::Result {
    let row = &logged.row;
    let named = |key: &str, name: Option<&String>| match name.or_else(|| logged.names.get(key)) {
        Some(name) => format!("{} ({})", escape(name, 32), escape(key, 64)),
        None => escape(key, 64),
    };
    let link = row.link.as_deref().map(|key| named(key, row.link_name.as_ref()));
    let link = link.unwrap_or_else(|| "this node's API".into());
    let times = if row.count == 1 { String::new() } else { format!(", {} times", row.count) };
    let reason = escape(&row.reason, 32);
    writeln!(out, "row {}  {}  \x1b[31m{reason}\x1b[0m{times}", row.row, output::time(row.time))?;
    writeln!(out, "  from     {link}")?;
    if let Some(author) = &row.author {
        let claim = if row.proven { "proven by its signature" } else { "claimed, not proven" };
        writeln!(out, "  author   {}, {claim}", named(author, None))?;
    }
    let claims = [
        ("slot", row.seq.map(|seq| seq.to_string())),
        ("id", row.id.as_ref().map(|id| escape(id, 64))),
        ("topic", row.topic.as_ref().map(|topic| format!("\"{}\"", escape(topic, SHOWN)))),
        ("hops", row.hops.map(|hops| hops.to_string())),
    ];
    let claims = claims.into_iter().filter_map(|(what, claim)| Some(format!("{what} {}", claim?)));
    let claims: Vec<String> = claims.collect();
    if !claims.is_empty() {
        let word = if row.proven { "says" } else { "claims" };
        writeln!(out, "  {word:<8} {}", claims.join(", "))?;
    }
    writeln!(out, "  detail   {}", escape(&row.detail, 512))?;
    let kept = match row.frame_kept {
        None => "none of them stored".to_owned(),
        Some(kept) if kept == row.size => "all stored".to_owned(),
        Some(kept) => format!("the first {kept} stored"),
    };
    let hash = escape(&row.frame, 64);
    writeln!(out, "  frame    {} bytes, {kept}; SHA-256 {hash}", row.size)
}

fn checks(out: &mut String, row: &RejectionDto, examined: &Examination) -> std::fmt::Result {
    let reason = escape(&row.reason, 32);
    writeln!(out, "\nThe node's checks, repeated in their order:")?;
    for (number, check) in examined.checks.iter().enumerate() {
        let (colour, word) = match check.outcome {
            Outcome::Passed => ("\x1b[32m", "ok"),
            Outcome::Failed => ("\x1b[31m", "FAILS"),
            Outcome::Unknown => ("\x1b[2m", "?"),
        };
        let words = escape(&check.words, 300);
        let words = match check.outcome {
            Outcome::Unknown => format!("not in the frame: {words}"),
            Outcome::Passed | Outcome::Failed => words,
        };
        let mark = match examined.refused == Some(number) {
            true => format!("  \x1b[1m<- refused here: {reason}\x1b[0m"),
            false => String::new(),
        };
        writeln!(out, "  {colour}{word:<5}\x1b[0m {:<18} {words}{mark}", check.name)?;
    }
    let fails = |at: usize| examined.checks.get(at).map(|check| check.outcome);
    let verdict = match examined.refused.and_then(fails) {
        _ if examined.hash_fits == Some(false) => {
            "The frame does not have the hash that the row names."
        }
        _ if !examined.agrees() => "The repeated checks do not agree with the row.",
        Some(Outcome::Failed) => "The repeated checks refuse it for the same reason.",
        _ => "Refused because of what the node knew then; no check before it fails.",
    };
    writeln!(out, "{verdict}")
}
