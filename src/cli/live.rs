//! Shows a mesh in the foreground: its nodes, and once per second how they are doing.

use std::time::Duration;

use indicatif::ProgressDrawTarget;
use tokio::task::JoinSet;

use super::{output, screen, stderr};
use crate::client::Client;
use crate::http::StatusDto;
use crate::mesh::{Mesh, Stop};
use crate::report::escape;

/// Interval between two drawings of the table.
const EVERY: Duration = Duration::from_secs(1);
/// How long a node may take to answer before it is shown as silent.
const ANSWER: Duration = Duration::from_millis(800);

/// Lists the nodes and explains what to do with them.
pub(super) fn introduction(mesh: &Mesh) -> String {
    let mut table = output::table(&["name", "key", "role", "api", "gossip"]);
    for node in &mesh.nodes {
        table.add_row([
            node.entry.name.clone(),
            output::short(&node.entry.key).to_owned(),
            role(node.entry.malicious.as_deref()),
            node.entry.api.clone(),
            node.entry.gossip.clone(),
        ]);
    }
    let count = mesh.nodes.len();
    let took = mesh.start_time.unwrap_or_default().as_secs_f64();
    let api = mesh.nodes.first().map_or("", |node| &*node.entry.api);
    format!(
        "{}\n{count} processes, all honest nodes linked after {took:.1} s; f = {}, quorum {}; in {}\n  \
         curl -d 'hello, generals' {api}/v1/messages\n  loyal rejections --api {api} --summary\n\n",
        output::render(&table),
        mesh.network.f(),
        mesh.network.quorum(),
        mesh.dir.display()
    )
}

fn role(spec: Option<&str>) -> String {
    spec.map_or_else(|| "honest".into(), |spec| escape(spec, 40))
}

/// Shows the mesh until the process is told to stop. A node that dies is shown as dead, and is not
/// started again.
pub(super) async fn watch(mesh: &mut Mesh, stop: &Stop) -> anyhow::Result<()> {
    let screen = Some(screen::bar(0, "{msg}")).filter(|screen| !screen.is_hidden());
    let mut told = vec![false; mesh.nodes.len()];
    loop {
        if let Some(screen) = &screen {
            let answers = ask(mesh).await;
            screen.set_message(draw(mesh, &answers, height()));
        }
        for (node, told) in mesh.nodes.iter_mut().zip(&mut told) {
            if let (Some(status), false, None) = (node.process.ended(), *told, &screen) {
                stderr::note(format_args!("{} died: {status}", node.entry.name));
                *told = true;
            }
        }
        stop.sleep(EVERY).await;
        if stop.asked() {
            break;
        }
    }
    if let Some(screen) = screen {
        // Do not draw again: the terminal's `^C` has moved the cursor.
        screen.set_draw_target(ProgressDrawTarget::hidden());
        stderr::note("");
    }
    Ok(())
}

/// Lines of the terminal; unlimited if its size is unknown.
fn height() -> usize {
    screen::size().map_or(usize::MAX, |(lines, _)| lines.into())
}

async fn ask(mesh: &Mesh) -> Vec<Option<StatusDto>> {
    let mut asking = JoinSet::new();
    for (number, node) in mesh.nodes.iter().enumerate() {
        let client: Client = node.client.clone();
        asking.spawn(async move {
            let answer = tokio::time::timeout(ANSWER, client.status()).await;
            (number, answer.ok().and_then(Result::ok))
        });
    }
    let mut answers: Vec<Option<StatusDto>> = mesh.nodes.iter().map(|_| None).collect();
    while let Some(done) = asking.join_next().await {
        if let Ok((number, answer)) = done
            && let Some(place) = answers.get_mut(number)
        {
            *place = answer;
        }
    }
    answers
}

fn draw(mesh: &mut Mesh, answers: &[Option<StatusDto>], height: usize) -> String {
    let headings = ["name", "role", "state", "links", "published", "delivered", "rejected", "bans"];
    let mut rows = Vec::new();
    for (node, answer) in mesh.nodes.iter_mut().zip(answers) {
        let state = match (node.process.ended(), answer) {
            (Some(status), _) => format!("dead ({status})"),
            (None, None) => "silent".into(),
            (None, Some(status)) if status.ready => "linked".into(),
            (None, Some(status)) if status.trouble.is_some() => "in trouble".into(),
            (None, Some(_)) => "unlinked".into(),
        };
        let dull = node.entry.malicious.is_none() && state == "linked";
        let mut row = vec![node.entry.name.clone(), role(node.entry.malicious.as_deref()), state];
        match answer {
            None => row.extend(std::iter::repeat_n("-".to_owned(), 5)),
            Some(status) => row.extend([
                status.links.to_string(),
                status.published.to_string(),
                status.delivered.to_string(),
                status.rejected.values().sum::<u64>().to_string(),
                status.bans.to_string(),
            ]),
        }
        rows.push((dull, row));
    }
    // Leave room for the headings, the last line and the line that the cursor is on.
    let left_out = leave_out(&mut rows, height.saturating_sub(3));
    let mut table = output::table(&headings);
    table.add_rows(rows.into_iter().map(|(_, row)| row));
    let others = match left_out {
        0 => String::new(),
        count => format!("{count} more honest nodes linked; "),
    };
    format!("{}{others}Ctrl-C stops all nodes", output::render(&table))
}

/// Removes unremarkable rows, the last ones first, until `room` rows are left or none is
/// unremarkable. Returns how many were removed.
fn leave_out<T>(rows: &mut Vec<(bool, T)>, room: usize) -> usize {
    let before = rows.len();
    while rows.len() > room
        && let Some(last) = rows.iter().rposition(|(dull, _)| *dull)
    {
        rows.remove(last);
    }
    before - rows.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_terminal_still_shows_liars_and_the_dead() {
        let rows = || vec![(true, 0), (false, 1), (true, 2), (true, 3), (false, 4)];
        let left = |room| {
            let mut rows = rows();
            let count = leave_out(&mut rows, room);
            (count, rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>())
        };
        assert_eq!(left(5), (0, vec![0, 1, 2, 3, 4]));
        assert_eq!(left(3), (2, vec![0, 1, 4]));
        assert_eq!(left(0), (3, vec![1, 4]));
    }
}
