//! What a rejection keeps of the frame that was refused.

use std::process::Stdio;
use std::sync::Arc;

use loyal::api::{ApiOptions, bind, serve};
use loyal::crypto::Digest;
use loyal::protocol::{CountsAs, Reason, Rejection};
use loyal::wire::{Batch, limits::MAX_FRAME};
use serde_json::Value;

use crate::hostile::{Rig, run};
use crate::language::{Mesh, alone};
use crate::support::{batch, entry, flipped, identity, push};

const RAW: usize = 3;

/// The rejections that node 0 writes down when member 3 acts as `say` after the hello.
fn refused(say: impl FnOnce(&mut Mesh, loyal::protocol::LinkId)) -> Vec<Rejection> {
    let mut mesh = alone().up();
    let link = mesh.join(RAW, 0);
    say(&mut mesh, link);
    mesh.pass(1500);
    mesh.sim.rejections(0).cloned().collect()
}

/// A batch of member 1 with a payload of `length` bytes and a wrong signature.
fn forged(mesh: &Mesh, length: usize) -> Batch {
    let entries = [entry("t", &vec![7; length])];
    let network = mesh.sim.network().id();
    let signed = Batch::sign(&identity(2), network, 1, Digest::ZERO, 1, &entries).expect("fits");
    Batch { signature: flipped(signed.signature), ..signed }
}

#[test]
fn a_rejection_keeps_the_frame_and_of_a_long_one_the_beginning() {
    for (length, kept) in [(0, None), (3000, None), (100_000, Some(Rejection::MOST_BYTES))] {
        let mut sent = vec![];
        let rows = refused(|mesh, link| {
            sent = push(forged(mesh, length)).encode();
            mesh.sim.say(link, &sent);
        });
        let row = &rows[0];
        assert_eq!((row.reason, row.size), (Reason::BadSignature, sent.len() as u64));
        assert_eq!(row.frame, Digest::of(&[&sent]), "the hash is of all of it");
        let bytes = row.bytes.as_deref().expect("a frame");
        assert_eq!(bytes, &sent[..kept.unwrap_or(sent.len())]);
    }
}

#[test]
fn where_no_frame_came_none_is_kept() {
    let rows = refused(|mesh, link| mesh.sim.write(link, &(MAX_FRAME as u32 + 1).to_be_bytes()));
    assert_eq!((rows[0].reason, &rows[0].bytes), (Reason::Oversize, &None::<Arc<[u8]>>));
    let knocks = refused(|mesh, link| {
        mesh.sim.say(link, &[9, 9, 9]);
        mesh.pass(50);
        mesh.join(RAW, 0);
    });
    let knock = knocks.iter().find(|row| row.reason == Reason::Banned).expect("it is banned");
    assert_eq!(knock.bytes, None);
    assert!(knocks.iter().any(|row| row.bytes.as_deref() == Some(&[9, 9, 9])));
}

async fn loyal(arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_loyal"));
    let ran = command.args(arguments).stdin(Stdio::null()).output().await.expect("it runs");
    let (out, err) = (String::from_utf8(ran.stdout), String::from_utf8(ran.stderr));
    (out.expect("text") + &err.expect("text"), ran.status.code())
}

/// The line of one check in the output of `rejections show`.
fn line<'a>(shown: &'a str, check: &str) -> &'a str {
    let named = |line: &&str| line.split_whitespace().nth(1) == Some(check);
    shown.lines().find(named).unwrap_or_else(|| panic!("no {check} in {shown}"))
}

fn expect_shown(shown: &str, forged: &Batch) {
    let signature = line(shown, "signature");
    assert!(signature.contains("FAILS"), "{shown}");
    assert!(signature.ends_with("<- refused here: bad_signature"), "{shown}");
    assert_eq!(shown.matches("<- refused here").count(), 1, "{shown}");
    assert!(line(shown, "network").contains("ok") && line(shown, "content").contains("ok"));
    assert!(line(shown, "link").contains('?'), "the credit is not in the frame: {shown}");
    assert!(shown.contains("claimed, not proven"), "{shown}");
    assert!(shown.contains(&forged.signature.to_string()), "{shown}");
    assert!(shown.ends_with("refuse it for the same reason.\n"), "{shown}");
}

#[test]
fn a_forged_frame_is_shown_field_by_field_and_its_check_done_again() {
    run(async {
        let mut rig = Rig::start().await;
        let good = batch(&identity(2), rig.network.id(), 1, Digest::ZERO, "genuine \u{1b}[2J");
        let signature = identity(9).sign(&good.header.statement());
        let forged = Batch { signature, ..good };
        let frame = push(forged.clone()).encode();
        rig.expect_refused(&frame, Reason::BadSignature).await;

        let options =
            ApiOptions { listen: ([127, 0, 0, 1], 0).into(), token: None, lab_token: None };
        let listener = bind(&options).await.expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let serving = tokio::spawn(serve(listener, options, rig.handle.clone(), shutdown));

        // The list names the row, the frame, and the author that the frame claims.
        let (list, _) = loyal(&["rejections", "--api", &url, "--reason", "bad_signature"]).await;
        let hash = Digest::of(&[&frame]).to_string();
        let row = list.lines().find(|line| line.contains(&hash[..12])).expect("the row");
        let claimed = format!("{}?", &identity(2).public().to_string()[..12]);
        assert!(row.contains(&claimed), "{list}");
        let row = row.split_whitespace().next().expect("its number");

        let (shown, code) = loyal(&["rejections", "show", row, "--api", &url]).await;
        assert_eq!(code, Some(0), "{shown}");
        expect_shown(&shown, &forged);
        assert!(line(&shown, "authors").contains("ok"), "the node told its keys: {shown}");
        assert!(!shown.contains('\u{1b}'), "a payload moves no cursor");
        let dir = rig.dir.path().to_str().expect("UTF-8");
        let (stopped, code) = loyal(&["rejections", "show", row, "--data", dir]).await;
        assert_eq!(code, Some(0), "{stopped}");
        expect_shown(&stopped, &forged);
        assert!(line(&stopped, "authors").contains('?'), "no network file: {stopped}");

        let (json, _) = loyal(&["rejections", "show", row, "--api", &url, "--json"]).await;
        let json: Value = serde_json::from_str(&json).expect("an object");
        let checks = json["checks"].as_array().expect("a list");
        let refused: Vec<_> = checks.iter().filter(|check| check["refused"] == true).collect();
        assert_eq!((refused.len(), &refused[0]["outcome"]), (1, &Value::from("failed")));
        assert_eq!((&json["agrees"], &json["hash_fits"]), (&true.into(), &true.into()));
        assert_eq!(json["rejection"]["frame_kept"], frame.len());

        let (none, code) = loyal(&["rejections", "show", "999", "--api", &url]).await;
        assert_eq!(code, Some(1), "{none}");
        assert!(none.contains("no row 999"), "{none}");
        let (bad, code) = loyal(&["rejections", "show", "0", "--api", &url]).await;
        assert_eq!(code, Some(2), "{bad}");
        drop(stop);
        serving.await.expect("ends").expect("served");
        rig.stop().await;
    });
}

#[test]
fn copies_and_knocks_count_as_such_and_lies_as_lies() {
    let rows = refused(|mesh, link| {
        let good = batch(&identity(2), mesh.sim.network().id(), 1, Digest::ZERO, "once");
        let copy = push(good).encode();
        for _ in 0..3 {
            mesh.sim.say(link, &copy);
            mesh.pass(50);
        }
        let other = push(batch(&identity(2), mesh.sim.network().id(), 1, Digest::ZERO, "or twice"));
        mesh.sim.say(link, &other.encode());
        mesh.pass(50);
        mesh.sim.say(link, &[9, 9, 9]);
        mesh.pass(50);
        mesh.join(RAW, 0);
    });
    let counted = |reason| {
        let of = rows.iter().filter(|row| row.reason == reason);
        of.map(|row| row.counts_as).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(counted(Reason::Replayed), [CountsAs::Copy].into());
    assert_eq!(counted(Reason::Equivocation), [CountsAs::Lie].into(), "signed by its author");
    assert_eq!(counted(Reason::WrongVersion), [CountsAs::Lie].into());
    assert_eq!(counted(Reason::Banned), [CountsAs::Knock].into());
}
