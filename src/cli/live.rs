//! A mesh in the foreground: who is where, and once a second how they do.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinSet;

use super::signals::{Stop, stopped};
use super::{escape, output};
use crate::client::Client;
use crate::http::StatusDto;
use crate::mesh::Mesh;

/// How often the table is drawn.
const EVERY: Duration = Duration::from_secs(1);
/// How long a node may take to answer before it is shown as silent.
const ANSWER: Duration = Duration::from_millis(800);

/// The nodes and what to do with them.
pub fn introduction(mesh: &Mesh) -> String {
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
    spec.map_or_else(|| "honest".into(), |spec| escape::escape(spec, 40))
}

/// Shows the mesh until it is told to stop. A node that dies is shown dead, and not started again.
pub async fn watch(mesh: &mut Mesh, stop: Stop) -> anyhow::Result<()> {
    let screen = std::io::stderr().is_terminal().then(screen);
    let mut told = vec![false; mesh.nodes.len()];
    loop {
        if let Some(screen) = &screen {
            let answers = ask(mesh).await;
            screen.set_message(draw(mesh, &answers));
        }
        for (node, told) in mesh.nodes.iter_mut().zip(&mut told) {
            if let (Some(status), false, None) = (node.process.ended(), *told, &screen) {
                let _ = writeln!(anstream::stderr(), "{} died: {status}", node.entry.name);
                *told = true;
            }
        }
        tokio::select! {
            () = stopped(stop.clone()) => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    if let Some(screen) = screen {
        screen.abandon();
    }
    Ok(())
}

/// A place on standard error that is drawn over; it knows how high the terminal is.
fn screen() -> ProgressBar {
    let screen = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        screen.set_style(style);
    }
    screen
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

fn draw(mesh: &mut Mesh, answers: &[Option<StatusDto>]) -> String {
    let headings = ["name", "role", "state", "links", "published", "delivered", "rejected", "bans"];
    let mut table = output::table(&headings);
    for (node, answer) in mesh.nodes.iter_mut().zip(answers) {
        let state = match (node.process.ended(), answer) {
            (Some(status), _) => format!("dead ({status})"),
            (None, None) => "silent".into(),
            (None, Some(status)) if status.ready => "linked".into(),
            (None, Some(_)) => "unlinked".into(),
        };
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
        table.add_row(row);
    }
    format!("{}Ctrl-C stops all of them", output::render(&table))
}
