//! What the command prints when it is used wrongly, kept as golden files under
//! `tests/golden/usage/`: for each case the command, its exit code and its standard error.
//! `LOYAL_BLESS=1` rewrites them. A refused command must leave nothing behind.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{blessing, identity, lay_out, root};

/// Time limit: no refusal takes as long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Name, and arguments separated by spaces. `''` is an empty argument, and `\xff` a byte that is
/// not UTF-8. `SILENT`, `WEB` and `SSH` stand for the addresses of servers that are not nodes.
const CASES: &[(&str, &str)] = &[
    ("no-verb", ""),
    ("unknown-verb", "frobnicate"),
    ("verb-misspelt", "meshes up"),
    ("mesh-without-verb", "mesh"),
    ("keygen-over-a-key", "keygen --out n0.pem"),
    ("keygen-no-folder", "keygen --out none/x.pem"),
    ("keygen-encrypt-no-terminal", "keygen --encrypt --out x.pem"),
    ("keygen-passphrase-file-missing", "keygen --out x.pem --passphrase-file none"),
    ("network-new-none", "network new --nodes 0 --dir x"),
    ("network-new-negative", "network new --nodes 3 --authors -1 --dir x"),
    ("network-new-no-dir", "network new --nodes 3"),
    ("network-new-over-a-network", "network new --nodes 3 --dir ."),
    ("network-new-in-a-file", "network new --nodes 3 --dir lat.toml/x"),
    ("network-check-missing", "network check none.toml"),
    ("network-check-scenario", "network check lat.toml"),
    ("network-check-folder", "network check ."),
    ("node-arguments-missing", "node --network network.toml"),
    ("node-network-missing", "node --network none --key n0.pem --data x"),
    ("node-key-missing", "node --network network.toml --key none --data x"),
    ("node-key-of-nobody", "node --network network.toml --key k.pem --data x"),
    ("node-data-is-a-file", "node --network network.toml --key n0.pem --data lat.toml"),
    ("node-api-name", "node --network network.toml --key n0.pem --data x --api localhost:7700"),
    ("node-api-url", "node --network network.toml --key n0.pem --data x --api http://127.0.0.1:1"),
    ("node-api-port", "node --network network.toml --key n0.pem --data x --api 127.0.0.1:99999"),
    ("node-api-open", "node --network network.toml --key n0.pem --data x --api 0.0.0.0:7700"),
    (
        "node-gossip-elsewhere",
        "node --network network.toml --key n0.pem --data x --gossip 192.0.2.1:9",
    ),
    (
        "node-malicious-misspelt",
        "node --network network.toml --key n0.pem --data x --malicious frge",
    ),
    (
        "node-malicious-twice",
        "node --network network.toml --key n0.pem --data x --malicious drop+drop",
    ),
    (
        "node-malicious-list",
        "node --network network.toml --key n0.pem --data x --malicious drop,forge",
    ),
    (
        "node-malicious-stall",
        "node --network network.toml --key n0.pem --data x --malicious stall+forge",
    ),
    (
        "node-decoys-missing",
        "node --network network.toml --key n0.pem --data x --malicious forge --decoys none",
    ),
    (
        "node-token-missing",
        "node --network network.toml --key n0.pem --data x --api-token-file none",
    ),
    ("node-links-none", "node --network network.toml --key n0.pem --data x --links 0"),
    ("mesh-up-none", "mesh up --nodes 0"),
    ("mesh-up-nodes-and-f", "mesh up --nodes 4 --f 1"),
    ("mesh-up-all-lie", "mesh up --nodes 3 --malicious 3 --messages 1 --report x"),
    ("mesh-up-misspelt", "mesh up --malicious frge --messages 1 --report x --dir y"),
    ("mesh-up-twice", "mesh up --malicious drop+drop --messages 1"),
    ("mesh-up-twice-and-differently", "mesh up --malicious drop+drop:p=0.5 --messages 1"),
    ("mesh-up-delay-negative", "mesh up --malicious delay:by=-5s --messages 1"),
    ("mesh-up-delay-no-unit", "mesh up --malicious delay:by=20 --messages 1"),
    ("mesh-up-between-backwards", "mesh up --malicious forge@between=5s..2s --messages 1"),
    ("mesh-up-nobody", "mesh up --malicious censor:author=n9 --messages 1"),
    ("mesh-up-report-alone", "mesh up --report x"),
    ("mesh-up-report-is-a-file", "mesh up --messages 1 --report lat.toml"),
    ("mesh-up-dir-not-empty", "mesh up --messages 1 --dir . --report x/y"),
    ("mesh-up-dir-no-text", "mesh up --messages 1 --dir m\\xff --report x"),
    ("mesh-up-rate-negative", "mesh up --messages 1 --rate -5"),
    ("mesh-run-too-many", "mesh run three-liars --set mesh.nodes=300 --report x"),
    ("mesh-run-dir-not-empty", "mesh run three-liars --dir . --report x"),
    ("mesh-run-misspelt", "mesh run three-lairs --report x"),
    ("sim-no-scenario", "sim"),
    ("sim-misspelt", "sim three-lairs"),
    ("sim-no-text", "sim b\\xffd.toml"),
    ("sim-file-missing", "sim none/x.toml"),
    ("sim-no-mesh", "sim bare.toml"),
    ("sim-latency-no-unit", "sim lat.toml --report x"),
    ("sim-duration-negative", "sim neg.toml"),
    ("sim-behave-twice", "sim twice.toml"),
    ("sim-behave-stalls", "sim three-liars --set malicious.0.behave=stall+forge"),
    ("sim-not-text", "sim latin1.toml"),
    ("sim-set-misspelt", "sim three-liars --set mesh.nods=3 --report x"),
    ("sim-set-no-value", "sim three-liars --set mesh.nodes"),
    ("sim-set-no-number", "sim three-liars --set mesh.nodes=many"),
    ("sim-nodes-negative", "sim three-liars --nodes -1"),
    ("sim-seeds-backwards", "sim three-liars --seeds 9..1"),
    ("sim-seeds-one", "sim three-liars --seeds 5"),
    ("sim-seed-and-seeds", "sim three-liars --seed 1 --seeds 1..2"),
    ("sim-profile", "sim three-liars --profile long"),
    ("sim-report-is-a-file", "sim three-liars --report lat.toml"),
    ("swarm-set-misspelt", "sim swarm --set mesh.nods=3 --report x"),
    ("swarm-seeds-set-misspelt", "sim swarm --seeds 1..2 --set mesh.nods=3 --report x"),
    ("post-nothing", "post"),
    ("post-file-missing", "post --file none"),
    ("post-file-and-text", "post --file lat.toml text"),
    (
        "post-topic-long",
        "post --topic aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa x",
    ),
    ("post-key-alone", "post --key k.pem x"),
    ("post-key-of-a-member", "post --key n0.pem --network network.toml x"),
    ("post-key-of-nobody", "post --key k.pem --network network.toml x"),
    ("post-nobody-there", "post --api http://127.0.0.1:1 x"),
    ("api-without-scheme", "status --api 127.0.0.1:7700"),
    ("api-https", "status --api https://127.0.0.1:7700"),
    ("api-silent", "status --api http://SILENT"),
    ("api-silent-follow", "rejections --follow --api http://SILENT"),
    ("api-of-a-web-server", "status --api http://WEB"),
    ("api-of-a-web-server-post", "post --api http://WEB x"),
    ("api-no-http", "peers --api http://SSH"),
    ("messages-limit-none", "messages --limit 0"),
    ("rejections-since-negative", "rejections --since -5m"),
    ("rejections-since-negative-joined", "rejections --since=-5m"),
    ("rejections-since-no-unit", "rejections --since 5"),
    ("rejections-reason", "rejections --reason bad-signature"),
    ("rejections-data-missing", "rejections --data none"),
    ("rejections-data-follow", "rejections --data none --follow"),
    ("rejections-peer-name", "rejections --peer n0 --data ."),
    ("explain-nothing", "explain"),
    ("explain-no-id", "explain zz"),
    (
        "explain-mesh-missing",
        "explain aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa --mesh none",
    ),
    ("explain-report-missing", "explain --report none"),
    ("report-missing", "report none"),
    ("scenarios-show-misspelt", "scenarios show threeliars"),
    ("completions-misspelt", "completions zhs"),
];

/// Writes the files that the cases name.
fn stage(dir: &Path) {
    lay_out(dir, &[([127, 0, 0, 1], 1).into()]);
    loyal::store::keys::write(&dir.join("k.pem"), &identity(7), None).expect("written");
    let mesh = "name = \"x\"\n[mesh]\nnodes = 4\n";
    let after = |rest: &str| format!("{mesh}{rest}").into_bytes();
    for (name, text) in [
        ("bare.toml", b"name = \"x\"\n".to_vec()),
        ("lat.toml", after("[net]\nlatency = 20\n")),
        ("neg.toml", b"name = \"x\"\nduration = \"-5s\"\n[mesh]\nnodes = 4\n".to_vec()),
        ("twice.toml", after("[[malicious]]\ncount = 1\nbehave = \"drop+drop\"\n")),
        ("latin1.toml", b"name = \"caf\xe9\"\n".to_vec()),
    ] {
        std::fs::write(dir.join(name), text).expect("written");
    }
}

/// Starts a server that sends `says`, or nothing if it is empty, to each client. The server ends
/// with the test process.
fn server(says: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if !says.is_empty() {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head);
                let _ = stream.write_all(says.as_bytes());
            }
            open.push(stream);
        }
    });
    address
}

fn argument(text: &str, servers: &[(&str, String)]) -> OsString {
    let text = if text == "''" { "" } else { text };
    let text = servers.iter().fold(text.to_owned(), |text, (name, at)| text.replace(name, at));
    let mut parts = text.split("\\xff").map(|part| part.as_bytes().to_vec());
    let first = parts.next().unwrap_or_default();
    OsString::from_vec(parts.fold(first, |before, after| [before, vec![0xff], after].concat()))
}

fn listing(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(listing(&path));
        }
        found.insert(path);
    }
    found
}

fn run(dir: &Path, line: &str, servers: &[(&str, String)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loyal"));
    command.current_dir(dir).env("TMPDIR", dir).stdin(Stdio::null());
    for variable in ["LOYAL_API", "LOYAL_PASSPHRASE", "LOYAL_LOG", "LOYAL_LAB_TOKEN"] {
        command.env_remove(variable);
    }
    command.args(line.split(' ').filter(|part| !part.is_empty()).map(|it| argument(it, servers)));
    let ran = command.output().expect("it runs");
    let mut errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    // The folder's name differs from run to run.
    errors = errors.replace(&*dir.to_string_lossy(), "DIR");
    for (name, at) in servers {
        errors = errors.replace(at, name);
    }
    let code = ran.status.code().map_or_else(|| "none".into(), |code| code.to_string());
    format!("$ loyal {line}\nexit code {code}\n{errors}")
}

#[test]
fn wrong_usage_is_told_as_ever_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    stage(folder.path());
    let web = "HTTP/1.1 404 Not Found\r\nServer: web/1\r\nContent-Type: text/html\r\n\
               Content-Length: 13\r\n\r\n<html>no such";
    let servers =
        [("SILENT", server("")), ("WEB", server(web)), ("SSH", server("SSH-2.0-there\r\n"))];
    let golden = root().join("tests/golden/usage");
    let before = listing(folder.path());
    let mut wrong = Vec::new();
    for (name, line) in CASES {
        let begun = Instant::now();
        let told = run(folder.path(), line, &servers);
        assert!(begun.elapsed() < PATIENCE, "{name} took {:?}", begun.elapsed());
        assert_eq!(listing(folder.path()), before, "{name} leaves something");
        let path = golden.join(format!("{name}.txt"));
        if blessing() {
            std::fs::create_dir_all(&golden).expect("makes");
            std::fs::write(&path, told).expect("written");
        } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&told) {
            wrong.push(format!("{name}:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "not as in tests/golden/usage:\n{}", wrong.join("\n"));
    let names: BTreeSet<String> = CASES.iter().map(|(name, _)| format!("{name}.txt")).collect();
    let kept = std::fs::read_dir(&golden).expect("a folder").flatten();
    let kept: BTreeSet<_> = kept.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    assert_eq!(kept, names, "a file for each case, and none beside them");
}
