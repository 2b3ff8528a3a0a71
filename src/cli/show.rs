//! `loyal messages`, `loyal peers`, `loyal status`: show what a node reports.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::api_client::{block_on, client};
use super::{api_client, output};
use crate::http::{MessageDto, PeerDto, StatusDto};
use crate::report::escape;

/// Rows per request.
const PAGE: usize = 500;
/// Characters of a payload that a table shows.
const SHOWN: usize = 60;

#[derive(Debug, clap::Args)]
pub(super) struct Messages {
    #[command(flatten)]
    pub client: api_client::Api,
    /// Of this topic only
    #[arg(long)]
    pub topic: Option<String>,
    /// Of this author only: a key or a name
    #[arg(long, value_name = "KEY")]
    pub author: Option<String>,
    /// After this cursor
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// Lists the messages that a node holds.
pub(super) fn messages(args: &Messages) -> anyhow::Result<ExitCode> {
    let client = client(&args.client)?;
    let rows = block_on(async {
        let (mut rows, mut after) = (Vec::new(), args.after.clone());
        let mut left = usize::try_from(args.limit)?;
        while left > 0 {
            let limit = PAGE.min(left);
            let (topic, author) = (args.topic.as_deref(), args.author.as_deref());
            let page = client.messages(topic, author, after.as_deref(), limit).await?;
            warn_of_gap(page.gap.as_deref());
            page.gaps.iter().for_each(|gap| warn_of_gap(Some(&gap.why)));
            if page.items.is_empty() {
                break;
            }
            after = Some(page.next);
            left = left.saturating_sub(page.items.len());
            if args.client.json {
                page.items.iter().try_for_each(output::json)?;
            } else {
                rows.extend(page.items);
            }
        }
        Ok(rows)
    })?;
    if !args.client.json {
        output::text(&message_table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns on standard error that rows may be missing.
pub(super) fn warn_of_gap(gap: Option<&str>) {
    use std::io::Write as _;
    if let Some(why) = gap {
        let why = escape(why, 200);
        let _ = writeln!(anstream::stderr(), "\x1b[33mgap:\x1b[0m {why}");
    }
}

fn message_table(rows: &[MessageDto]) -> String {
    let mut table =
        output::table(&["delivered", "author", "slot", "hops", "topic", "payload", "id"]);
    for row in rows {
        let payload = match row.payload_base64.as_deref().map(|text| STANDARD.decode(text)) {
            None => "(pruned)".into(),
            Some(Err(_)) => "(not base64)".into(),
            Some(Ok(bytes)) => output::payload(&bytes, SHOWN),
        };
        table.add_row([
            output::time(row.delivered_at),
            format!("{} {}", escape(&row.author_name, 16), output::short(&row.author)),
            row.seq.to_string(),
            row.hops.to_string(),
            escape(&row.topic, 16),
            payload,
            row.id.clone(),
        ]);
    }
    output::render(&table)
}

/// Lists the other members.
pub(super) fn peers(args: &api_client::Api) -> anyhow::Result<ExitCode> {
    let client = client(args)?;
    let rows = block_on(async { Ok(client.peers().await?) })?;
    if args.json {
        rows.iter().try_for_each(output::json)?;
    } else {
        output::text(&peer_table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn peer_table(rows: &[PeerDto]) -> String {
    let headings =
        ["name", "key", "state", "link", "in", "out", "first", "copies", "rejected", "bans"];
    let mut table = output::table(&headings);
    for row in rows {
        let mut cells = vec![escape(&row.name, 16), output::short(&row.key).to_owned(), state(row)];
        match &row.link {
            None => cells.extend(std::iter::repeat_n("-".to_owned(), 5)),
            Some(link) => cells.extend([
                if link.chosen { "chosen" } else { "theirs" }.to_owned(),
                output::size(link.bytes_in),
                output::size(link.bytes_out),
                link.first_deliveries.to_string(),
                link.duplicates.to_string(),
            ]),
        }
        cells.push(row.rejected.values().sum::<u64>().to_string());
        cells.push(row.strikes.to_string());
        table.add_row(cells);
    }
    output::render(&table)
}

fn state(row: &PeerDto) -> String {
    let reason = row.ban_reason.as_deref().unwrap_or("?");
    match row.banned_until {
        Some(until) if row.state == "banned" => {
            format!("banned until {} for {}", output::time(until), escape(reason, 32))
        }
        _ => escape(&row.state, 16),
    }
}

/// Shows a node's state.
pub(super) fn status(args: &api_client::Api) -> anyhow::Result<ExitCode> {
    let client = client(args)?;
    let status = block_on(async { Ok(client.status().await?) })?;
    if args.json {
        output::json(&status)?;
    } else {
        output::text(&status_text(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status_text(s: &StatusDto) -> String {
    let ready = match &s.trouble {
        Some(why) => format!("not ready: {}", escape(why, 200)),
        None if s.ready => "ready".into(),
        None => "not linked".into(),
    };
    let rejected: Vec<String> = s.rejected.iter().map(|(why, n)| format!("{why} {n}")).collect();
    let rejected = if rejected.is_empty() { "none".into() } else { rejected.join(", ") };
    let apart = format!("{} plain copies, {} knocks by banned peers", s.copies, s.knocks);
    let liar = s
        .malicious
        .as_ref()
        .map_or_else(String::new, |spec| format!("malicious  {}\n", escape(spec, 200)));
    format!(
        "{} {} ({ready}, version {})\n{liar}\
         network    {}: {} members, f = {}, quorum {}\n\
         since      {}\n\
         links      {}, bans {}\n\
         store      {} damaged rows in quarantine\n\
         messages   {} published, {} delivered, {} copies, {} waiting\n\
         rejected   {rejected}\n\
         separate   {apart}\n\
         bytes      {} sent, {} received\n",
        escape(&s.name, 64),
        s.key,
        escape(&s.version, 32),
        s.network,
        s.nodes,
        s.f,
        s.quorum,
        output::time(s.started_at),
        s.links,
        s.bans,
        s.quarantined,
        s.published,
        s.delivered,
        s.duplicates,
        s.waiting,
        output::size(s.bytes_sent),
        output::size(s.bytes_received),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_are_shown_by_name_and_key() {
        let row = serde_json::json!({
            "id": "ab.0", "author": "0a".repeat(32), "author_name": "n1", "seq": 7, "index": 0,
            "topic": "t", "payload_base64": "eA==", "created_at": 1, "delivered_at": 2, "hops": 1,
            "from": null, "cursor": "c",
        });
        let table = message_table(&[serde_json::from_value(row).expect("a row")]);
        assert!(table.contains("SLOT") && table.contains("n1 0a0a0a0a0a0a"), "{table}");
    }
}
