//! `loyal rejections`: shows the rejection log of a running node, or of a data folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::api_client::{block_on, client};
use super::error::Usage;
use super::{api_client, keys, output, rejection, show};
use crate::api;
use crate::client::{RejectionFilter, StreamEvent};
use crate::clock;
use crate::crypto::PublicKey;
use crate::http::{RejectionDto, SummaryRow};
use crate::protocol::{CountsAs, Network, Reason, Time};
use crate::report::escape;
use crate::store::{Reader, RejectionQuery};

/// Rows per request.
const PAGE: usize = 500;
/// Characters of the detail that a table shows.
const SHOWN: usize = 60;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    pub client: api_client::Api,
    /// Read this data folder instead; its node may be running or not
    #[arg(long, value_name = "DIR", conflicts_with = "follow")]
    pub data: Option<PathBuf>,
    /// The network file, to name keys, with --data
    #[arg(long, value_name = "FILE", requires = "data")]
    pub network: Option<PathBuf>,
    /// For this reason only, as in bad_signature
    #[arg(long)]
    pub reason: Option<String>,
    /// Sent by this peer only: a key or a name
    #[arg(long, value_name = "KEY")]
    pub peer: Option<String>,
    /// Naming this author only: a key or a name
    #[arg(long, value_name = "KEY")]
    pub author: Option<String>,
    /// Since this time: `5m` for five minutes ago, or a time like 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Keep printing new rejections
    #[arg(long, conflicts_with = "summary")]
    pub follow: bool,
    /// Count by reason and link
    #[arg(long)]
    pub summary: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show one rejection: its frame field by field, and the node's checks repeated
    #[command(
        after_help = "Examples: loyal rejections show 12\n          loyal rejections show 12 \
                            --data data/n0 --network net/network.toml"
    )]
    Show(rejection::Args),
}

/// Prints the rejection log, or with `show` one rejection.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(Verb::Show(args)) = &args.verb {
        return rejection::run(args);
    }
    if let Some(reason) = &args.reason {
        check_reason(reason)?;
    }
    if let Some(since) = &args.since {
        moment(since, clock::wall())?;
    }
    match &args.data {
        Some(dir) => stopped(args, dir)?,
        None if args.follow => block_on(follow(args))?,
        None => block_on(running(args))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check_reason(reason: &str) -> Result<Reason, Usage> {
    Reason::from_name(reason).ok_or_else(|| {
        let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        let reason = escape(reason, 40);
        Usage(format!("--reason: `{reason}` is not a reason; choose from {}", names.join(", ")))
    })
}

fn filter(args: &Args) -> RejectionFilter {
    RejectionFilter {
        reason: args.reason.clone(),
        peer: args.peer.clone(),
        author: args.author.clone(),
        since: args.since.clone(),
        frames: false,
    }
}

async fn running(args: &Args) -> anyhow::Result<()> {
    let (client, filter) = (client(&args.client)?, filter(args));
    if args.summary {
        return print_summary(&client.rejection_summary(&filter).await?, args.client.json);
    }
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = client.rejections(&filter, after.as_deref(), PAGE).await?;
        show::warn_of_gap(page.gap.as_deref());
        if page.items.is_empty() {
            break;
        }
        after = Some(page.next);
        if args.client.json {
            page.items.iter().try_for_each(output::json)?;
        } else {
            rows.extend(page.items);
        }
    }
    if args.client.json { Ok(()) } else { Ok(output::text(&table(&rows))?) }
}

async fn follow(args: &Args) -> anyhow::Result<()> {
    let mut stream = client(&args.client)?.rejection_stream(&filter(args), None).await?;
    loop {
        match stream.next().await? {
            StreamEvent::Gap(gap) => show::warn_of_gap(Some(&gap.why)),
            StreamEvent::Item(row) if args.client.json => output::json(&row)?,
            StreamEvent::Item(row) => output::line(&one_line(&row))?,
        }
    }
}

fn stopped(args: &Args, dir: &Path) -> anyhow::Result<()> {
    let network = args.network.as_deref().map(keys::network).transpose()?;
    // Check the arguments before opening the data folder.
    let reason = args.reason.as_deref().map(check_reason).transpose()?;
    let peer = key(args.peer.as_deref(), network.as_ref(), "--peer")?;
    let author = key(args.author.as_deref(), network.as_ref(), "--author")?;
    let reader = Reader::open_stopped(dir)?;
    let now = reader.node_time(clock::wall())?;
    let since = args.since.as_deref().map(|since| moment(since, now)).transpose()?;
    let mut query =
        RejectionQuery { reason, peer, author, since, after: None, limit: PAGE, frames: false };
    let name = |key: &str| Some(network.as_ref()?.get(&PublicKey::from_hex(key)?)?.name.clone());
    if args.summary {
        let rows = reader.rejection_summary(&query)?;
        let mut rows: Vec<SummaryRow> = rows.into_iter().map(api::summary_dto).collect();
        for row in &mut rows {
            row.link_name = row.link_name.take().or_else(|| name(row.link.as_deref()?));
        }
        return print_summary(&rows, args.client.json);
    }
    let mut rows = Vec::new();
    loop {
        let page = reader.rejections(&query)?;
        if page.rows.is_empty() {
            break;
        }
        query.after = Some(page.next);
        let mut page: Vec<_> = page.rows.into_iter().map(api::rejection_dto).collect();
        for row in &mut page {
            row.link_name = row.link_name.take().or_else(|| name(row.link.as_deref()?));
        }
        if args.client.json {
            page.iter().try_for_each(output::json)?;
        } else {
            rows.extend(page);
        }
    }
    if args.client.json { Ok(()) } else { Ok(output::text(&table(&rows))?) }
}

/// Resolves a key in hex, or a name from the network file.
fn key(
    text: Option<&str>,
    network: Option<&Network>,
    flag: &str,
) -> anyhow::Result<Option<PublicKey>> {
    let Some(text) = text else { return Ok(None) };
    let named = || network?.keys().iter().find(|key| key.name == text).map(|key| key.key);
    let found = PublicKey::from_hex(text).or_else(named);
    let why = || {
        let text = escape(text, 70);
        Usage(format!("{flag}: `{text}` is not a key of 64 hex digits; a name needs --network"))
    };
    Ok(Some(found.ok_or_else(why)?))
}

/// Parses a duration before now, such as `5m`, or a time as in RFC 3339.
fn moment(text: &str, now: Time) -> anyhow::Result<Time> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = u64::try_from(Duration::as_micros(&ago)).unwrap_or(u64::MAX);
        return Ok(Time(now.0.saturating_sub(ago)));
    }
    let stamp: Result<jiff::Timestamp, _> = text.parse();
    let micros = stamp.ok().and_then(|stamp| u64::try_from(stamp.as_microsecond()).ok());
    micros.map(Time).ok_or_else(|| {
        let negative = text.starts_with('-');
        let number = !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit());
        let text = escape(text, 40);
        anyhow!(Usage(match number {
            _ if negative => format!("--since: `{text}` is negative: write how long ago, as in 5m"),
            true => format!("--since: `{text}` has no unit: write {text}s, {text}m or {text}h"),
            false => format!("--since: `{text}` is neither like 5m nor like 2026-11-22T10:00:00Z"),
        }))
    })
}

fn sender(link: Option<&str>, name: Option<&str>) -> String {
    match (name, link) {
        (Some(name), _) => escape(name, 16),
        (None, Some(key)) => output::short(key).to_owned(),
        (None, None) => "(own api)".into(),
    }
}

/// The author that a row names, with a question mark unless its part in it is proven.
fn author(row: &RejectionDto) -> String {
    let doubt = if row.proven { "" } else { "?" };
    row.author.as_deref().map_or_else(|| "-".into(), |key| format!("{}{doubt}", output::short(key)))
}

/// The first digits of the frame's hash; `-` if no frame came.
fn frame(row: &RejectionDto) -> String {
    let none = row.frame.bytes().all(|digit| digit == b'0');
    if none { "-".into() } else { escape(output::short(&row.frame), 12) }
}

/// The class of a row. An older node does not state it; then it follows from the reason.
fn counts_as(said: &str, reason: &str, proven: bool) -> CountsAs {
    let of = || Reason::from_name(reason).map(|reason| CountsAs::of(reason, proven));
    CountsAs::from_name(said).or_else(of).unwrap_or(CountsAs::Refusal)
}

/// Tables by class, rows in the order of time: proven lies come first, knocks last.
fn table(rows: &[RejectionDto]) -> String {
    let kind = |row: &RejectionDto| counts_as(&row.counts_as, &row.reason, row.proven);
    let mut text = String::new();
    for one in CountsAs::ALL {
        let these: Vec<&RejectionDto> = rows.iter().filter(|row| kind(row) == one).collect();
        if these.is_empty() {
            continue;
        }
        let heading = match one {
            CountsAs::Lie => "Lies, proven by what was sent",
            CountsAs::Refusal => "Refusals that prove no lie",
            CountsAs::Copy => "Counted separately: plain copies of known batches",
            CountsAs::Knock => "Counted separately: knocks by banned peers",
        };
        let space = if text.is_empty() { "" } else { "\n" };
        text += &format!("{space}{heading}:\n{}", one_table(&these));
    }
    if text.is_empty() { one_table(&[]) } else { text }
}

fn one_table(rows: &[&RejectionDto]) -> String {
    let mut table = output::table(&[
        "row",
        "time",
        "reason",
        "from",
        "author (? claimed)",
        "slot",
        "count",
        "frame",
        "detail",
    ]);
    for row in rows {
        table.add_row([
            row.row.to_string(),
            output::time(row.time),
            row.reason.clone(),
            sender(row.link.as_deref(), row.link_name.as_deref()),
            author(row),
            row.seq.map_or_else(|| "-".into(), |seq| seq.to_string()),
            row.count.to_string(),
            frame(row),
            escape(&row.detail, SHOWN),
        ]);
    }
    output::render(&table)
}

fn one_line(row: &RejectionDto) -> String {
    format!(
        "{}  {}  \x1b[31m{}\x1b[0m  from {}  author {}  ×{}  frame {}  {}",
        row.row,
        output::time(row.time),
        escape(&row.reason, 32),
        sender(row.link.as_deref(), row.link_name.as_deref()),
        author(row),
        row.count,
        frame(row),
        escape(&row.detail, 200)
    )
}

fn print_summary(rows: &[SummaryRow], json: bool) -> anyhow::Result<()> {
    if json {
        return rows.iter().try_for_each(output::json);
    }
    output::text(&summary(rows)).context("cannot print")
}

/// Lies first, knocks last, and a line with totals.
fn summary(rows: &[SummaryRow]) -> String {
    let kind = |row: &SummaryRow| counts_as(&row.counts_as, &row.reason, row.proven == row.count);
    let mut sorted: Vec<&SummaryRow> = rows.iter().collect();
    sorted.sort_by_key(|row| kind(row));
    let mut table =
        output::table(&["counts as", "reason", "from", "count", "proven", "first", "last"]);
    for row in sorted {
        table.add_row([
            kind(row).name().to_owned(),
            escape(&row.reason, 32),
            sender(row.link.as_deref(), row.link_name.as_deref()),
            row.count.to_string(),
            row.proven.to_string(),
            output::time(row.first),
            output::time(row.last),
        ]);
    }
    let sum = |one: CountsAs| {
        let these = rows.iter().filter(|row| kind(row) == one);
        these.fold(0u64, |sum, row| sum.saturating_add(row.count))
    };
    let lies = sum(CountsAs::Lie);
    let all = lies.saturating_add(sum(CountsAs::Refusal));
    let (copies, knocks) = (sum(CountsAs::Copy), sum(CountsAs::Knock));
    format!(
        "{}{all} rejections, {lies} of them prove a lie; counted separately: {copies} plain \
         copies, {knocks} knocks by banned peers\n",
        output::render(&table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_while_ago_or_a_time() {
        let now = Time(1_000_000_000_000);
        assert_eq!(moment("5m", now).expect("reads"), Time(now.0 - 300_000_000));
        assert_eq!(moment("1970-01-01T00:00:02Z", now).expect("reads"), Time(2_000_000));
        for bad in ["", "yesterday", "-5m", "1960-01-01T00:00:00Z"] {
            assert!(moment(bad, now).expect_err(bad).is::<Usage>(), "{bad}");
        }
    }

    #[test]
    fn an_author_that_nothing_proves_is_marked_as_claimed() {
        let json = |proven: &str| {
            format!(
                r#"{{"row":1,"time":2,"reason":"equivocation","link":null,"link_name":null,
                "author":"{}",{proven}"seq":3,"id":null,"topic":null,"hops":null,"size":4,
                "detail":"","frame":"","head":"","count":1,"cursor":""}}"#,
                "0a".repeat(32)
            )
        };
        // An older node says nothing of it: then it is a claim.
        for (proven, shown) in [("", "0a0a0a0a0a0a?"), (r#""proven":true,"#, "0a0a0a0a0a0a")] {
            let row: RejectionDto = serde_json::from_str(&json(proven)).expect("a row");
            assert_eq!(author(&row), shown);
            assert!(one_line(&row).contains(&format!("author {shown}  ")));
        }
    }

    #[test]
    fn reasons_and_keys_are_checked_before_anybody_is_asked() {
        assert!(check_reason("bad_signature").is_ok());
        let error = check_reason("bad signature").expect_err("is none").to_string();
        assert!(error.contains("credit_overrun"), "{error}");
        assert!(key(Some("n0"), None, "--peer").expect_err("is none").is::<Usage>());
        assert!(key(Some(&"0a".repeat(32)), None, "--peer").expect("is one").is_some());
        assert_eq!(key(None, None, "--peer").expect("is none"), None);
    }

    #[test]
    fn lies_come_first_and_copies_and_knocks_are_counted_apart() {
        let row = |reason: &str, counts_as: &str, count: u64, proven: u64| SummaryRow {
            reason: reason.into(),
            link: None,
            link_name: Some(format!("by-{reason}")),
            counts_as: counts_as.into(),
            count,
            proven,
            first: 1,
            last: 2,
        };
        let rows = [
            row("banned", "knock", 900, 0),
            row("replayed", "copy", 50, 0),
            row("pruned", "refusal", 3, 0),
            row("bad_signature", "lie", 4, 0),
            row("equivocation", "", 2, 2), // of an older node
        ];
        let text = summary(&rows);
        let order: Vec<_> =
            text.lines().skip(1).filter_map(|l| l.split_whitespace().nth(1)).collect();
        let named = ["bad_signature", "equivocation", "pruned", "replayed", "banned"];
        assert_eq!(order[..5], named, "{text}");
        let sums = "9 rejections, 6 of them prove a lie; counted separately: 50 plain copies, 900 knocks by banned peers\n";
        assert!(text.ends_with(sums), "{text}");
    }
}
