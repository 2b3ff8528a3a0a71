//! House rules that a compiler does not check: which module imports which, and how long things may
//! be.
//!
//! Every rule is a function of a file's path and text, so each one is also tried on a bad snippet.

use std::path::{Path, PathBuf};

use crate::support::root;

/// Which modules each module of the crate may import; docs/ARCHITECTURE.md has the picture.
const IMPORTS: [(&str, &[&str]); 18] = [
    ("crypto", &[]),
    ("wire", &["crypto"]),
    ("protocol", &["crypto", "wire"]),
    ("adversary", &["crypto", "wire", "protocol"]),
    ("scenario", &["crypto", "wire", "protocol", "adversary"]),
    ("report", &["crypto", "wire", "protocol", "scenario"]),
    ("sim", &["crypto", "wire", "protocol", "adversary", "scenario", "report"]),
    (
        "campaign",
        &["crypto", "wire", "protocol", "adversary", "scenario", "report", "sim", "diagnostics"],
    ),
    ("diagnostics", &[]),
    ("clock", &["crypto", "wire", "protocol"]),
    ("store", &["crypto", "wire", "protocol", "diagnostics"]),
    ("net", &["crypto", "wire", "protocol", "store", "adversary", "diagnostics", "clock"]),
    ("http", &["crypto", "wire"]),
    ("api", &["crypto", "wire", "protocol", "adversary", "store", "net", "http", "diagnostics"]),
    ("client", &["crypto", "wire", "http"]),
    (
        "mesh",
        &[
            "crypto",
            "wire",
            "protocol",
            "adversary",
            "clock",
            "diagnostics",
            "store",
            "http",
            "client",
            "report",
            "scenario",
        ],
    ),
    (
        "cli",
        &[
            "crypto",
            "wire",
            "protocol",
            "adversary",
            "scenario",
            "report",
            "store",
            "net",
            "http",
            "api",
            "client",
            "mesh",
            "sim",
            "campaign",
            "clock",
        ],
    ),
    ("main", &["cli"]),
];
const PURE: [&str; 7] = ["crypto", "wire", "protocol", "adversary", "scenario", "report", "sim"];
const PARTS: [&str; 8] =
    ["links", "lanes", "relay", "repair", "recovery", "standing", "quotas", "publisher"];
const IMPURE: [&str; 12] = [
    "HashMap",
    "HashSet",
    "Instant",
    "SystemTime",
    "thread",
    "tokio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ThreadRng",
    "OnceLock",
];
const FORBIDDEN: [&str; 3] = ["todo!", "unimplemented!", "unsafe"];
const COLUMNS: usize = 100;
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

/// The text with comments and the contents of strings and characters blanked out. Lines are kept.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (chars[i], chars.get(i + 1)) {
            ('/', Some('/')) => (i..chars.len()).find(|&j| chars[j] == '\n').unwrap_or(chars.len()),
            ('/', Some('*')) => find(&chars, i + 2, "*/"),
            ('r', Some('"' | '#')) if !word(&chars, i) => raw_string(&chars, i),
            ('"', _) => quoted(&chars, i),
            ('\'', _) => character(&chars, i),
            _ => i,
        };
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            let blank = |c: &char| if *c == '\n' { '\n' } else { ' ' };
            out.extend(chars[i..end.min(chars.len())].iter().map(blank));
            i = end;
        }
    }
    out
}

fn word(chars: &[char], i: usize) -> bool {
    i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_')
}

fn find(chars: &[char], from: usize, what: &str) -> usize {
    let what: Vec<char> = what.chars().collect();
    let place = (from..chars.len()).find(|&j| chars[j..].starts_with(&what));
    place.map_or(chars.len(), |j| j + what.len())
}

fn raw_string(chars: &[char], i: usize) -> usize {
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(i + 1 + hashes) != Some(&'"') {
        return i;
    }
    find(chars, i + 2 + hashes, &format!("\"{}", "#".repeat(hashes)))
}

fn quoted(chars: &[char], i: usize) -> usize {
    let mut j = i + 1;
    while j < chars.len() && chars[j] != '"' {
        j += if chars[j] == '\\' { 2 } else { 1 };
    }
    j + 1
}

/// The length of a character literal at `i`; a lifetime is left alone.
fn character(chars: &[char], i: usize) -> usize {
    match (chars.get(i + 1), chars.get(i + 2)) {
        (Some('\\'), _) => find(chars, i + 3, "'"),
        (_, Some('\'')) => i + 3,
        _ => i,
    }
}

/// The code of a file before its tests.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or_default()
}

fn has_word(code: &str, wanted: &str) -> bool {
    code.match_indices(wanted).any(|(at, _)| {
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        let before = code[..at].chars().next_back().is_some_and(inside);
        let after = code[at + wanted.len()..].chars().next().is_some_and(inside);
        !before && !after
    })
}

/// The names that follow a path such as `crate::`: one name, or a braced list.
fn names_after(code: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(path) {
        if code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        let name = |text: &str| -> String {
            let text = text.trim_start();
            text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut starts = vec![0];
            for (i, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => starts.push(i + 1),
                    _ => {}
                }
            }
            names.extend(starts.into_iter().map(|start| name(&list[start..])));
        } else {
            names.push(name(rest));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The top-level module of a file under `src/`.
fn module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    Some(inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs"))
}

fn imports(path: &str, code: &str, found: &mut Vec<String>) {
    let Some(module) = module(path).filter(|module| *module != "lib") else { return };
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        found.push(format!("{path}: {module} is not in the import table"));
        return;
    };
    let crate_name = if module == "main" { "loyal::" } else { "crate::" };
    for name in names_after(code, crate_name) {
        let known = IMPORTS.iter().any(|(known, _)| *known == name);
        if known && name != module && !allowed.contains(&name.as_str()) {
            found.push(format!("{path}: {module} must not import {name}"));
        }
    }
}

/// The part of the protocol that a file belongs to.
fn part(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/protocol/")?;
    let name = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    PARTS.into_iter().find(|part| *part == name)
}

fn parts(path: &str, code: &str, found: &mut Vec<String>) {
    let Some(own) = part(path) else { return };
    let mut names = names_after(code, "super::");
    names.extend(names_after(code, "crate::protocol::"));
    for other in PARTS.iter().filter(|other| **other != own) {
        if names.iter().any(|name| name == other) || has_word(code, "super::super") {
            found.push(format!("{path}: {own} must not import {other}"));
        }
    }
}

fn purity(path: &str, code: &str, found: &mut Vec<String>) {
    if let Some(module) = module(path).filter(|module| PURE.contains(module)) {
        let lints = "#![deny(clippy::disallowed_types, clippy::disallowed_methods)]";
        if path == format!("src/{module}/mod.rs") && !code.contains(lints) {
            found.push(format!("{path}: a pure module must say {lints}"));
        }
        for word in IMPURE.iter().filter(|word| has_word(code, word)) {
            found.push(format!("{path}: {word} in a pure module"));
        }
    }
}

/// Columns of a line. The contents of strings do not count: rustfmt cannot break them, and a
/// message to people or a line of SQL is easier to search for in one piece.
fn width(line: &str, blanked: &str) -> usize {
    let comment = line.trim_start().starts_with("//");
    let in_strings = if comment { 0 } else { blanked_in_strings(line, blanked) };
    line.chars().count() - in_strings
}

fn blanked_in_strings(line: &str, blanked: &str) -> usize {
    let pairs = line.chars().zip(blanked.chars());
    pairs.filter(|(was, is)| !was.is_whitespace() && is.is_whitespace()).count()
}

fn shape(path: &str, text: &str, code: &str, found: &mut Vec<String>) {
    if !text.starts_with("//!") {
        found.push(format!("{path}: the first line is not //!"));
    }
    for (number, (line, blanked)) in text.lines().zip(code.lines()).enumerate() {
        if width(line, blanked) > COLUMNS {
            found.push(format!("{path}:{}: more than {COLUMNS} columns", number + 1));
        }
    }
    let name = Path::new(path).file_stem().and_then(|stem| stem.to_str());
    if matches!(name, Some("utils" | "util" | "helpers" | "misc")) {
        found.push(format!("{path}: a file of that name says nothing"));
    }
    let lines = without_tests(code).lines().filter(|line| !line.trim().is_empty()).count();
    if path.starts_with("src/") && lines > FILE_LINES {
        found.push(format!("{path}: {lines} lines of code"));
    }
    for word in FORBIDDEN.iter().filter(|word| has_word(code, word)) {
        found.push(format!("{path}: {word}"));
    }
}

fn functions(path: &str, code: &str, found: &mut Vec<String>) {
    let code = without_tests(code);
    for (at, _) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(char::is_alphanumeric) {
            continue;
        }
        let (mut depth, mut lines) = (0, 1);
        for c in code[at..].chars() {
            match c {
                '\n' => lines += 1,
                '{' => depth += 1,
                ';' if depth == 0 => break,
                '}' => {
                    depth -= 1;
                    if depth <= 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        if lines > FUNCTION_LINES {
            let name: String = code[at + 3..].chars().take_while(|c| *c != '(').collect();
            found.push(format!("{path}: {name} has {lines} lines"));
        }
    }
}

/// Returns everything that is wrong with a file.
fn check(path: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let mut found = Vec::new();
    imports(path, &code, &mut found);
    parts(path, &code, &mut found);
    purity(path, &code, &mut found);
    shape(path, text, &code, &mut found);
    functions(path, &code, &mut found);
    found
}

pub(crate) fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_house_is_tidy() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/targets"] {
        rust_files(&root().join(folder), &mut files);
    }
    assert!(files.len() > 20, "the files were found");
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let path = file.strip_prefix(root()).expect("inside").to_str().expect("ASCII").to_owned();
        found.extend(check(&path, &text));
    }
    assert!(found.is_empty(), "{} things to tidy:\n{}", found.len(), found.join("\n"));
}

#[test]
fn each_rule_catches_a_bad_snippet() {
    let long_function = format!("//! x\nfn long() {{\n{}}}\n", "    f();\n".repeat(70));
    let long_file = format!("//! x\n{}", "const A: u8 = 1;\n".repeat(401));
    let wide = format!("//! x\n// {}\n", "x".repeat(98));
    let bad = [
        ("src/wire/a.rs", "//! x\nuse crate::protocol::Node;\n", "must not import protocol"),
        ("src/crypto/a.rs", "//! x\nuse crate::{wire::Frame};\n", "must not import wire"),
        ("src/mesh/a.rs", "//! x\nuse crate::{client::C, net::N};\n", "must not import net"),
        ("src/net/a.rs", "//! x\nfn f() { crate::api::g() }\n", "must not import api"),
        ("src/main.rs", "//! x\nuse loyal::net;\n", "must not import net"),
        ("src/other/a.rs", "//! x\n", "not in the import table"),
        ("src/protocol/lanes.rs", "//! x\nuse super::repair::Range;\n", "must not import repair"),
        ("src/protocol/relay/a.rs", "//! x\nuse crate::protocol::lanes::A;\n", "import lanes"),
        ("src/protocol/links.rs", "//! x\nuse super::{Time, quotas::A};\n", "import quotas"),
        ("src/protocol/a.rs", "//! x\nuse std::collections::HashMap;\n", "HashMap"),
        ("src/wire/a.rs", "//! x\nuse std::collections::HashSet;\n", "HashSet"),
        ("src/adversary/a.rs", "//! x\nuse std::time::Instant;\n", "Instant"),
        ("src/report/a.rs", "//! x\nuse std::time::SystemTime;\n", "SystemTime"),
        ("src/scenario/a.rs", "//! x\nuse std::thread;\n", "thread"),
        ("src/protocol/a.rs", "//! x\nuse tokio::time;\n", "tokio"),
        ("src/sim/mod.rs", "//! x\nmod a;\n", "must say #![deny"),
        ("src/protocol/a.rs", "//! x\nuse std::net::TcpStream;\n", "TcpStream"),
        ("src/net/a.rs", "use std::fmt;\n//! x\n", "first line"),
        ("src/net/a.rs", &wide, "columns"),
        ("src/net/utils.rs", "//! x\n", "says nothing"),
        ("src/net/a.rs", &long_file, "lines of code"),
        ("src/net/a.rs", &long_function, "long has"),
        ("src/net/a.rs", "//! x\nfn f() { todo!() }\n", "todo!"),
        ("src/net/a.rs", "//! x\nfn f() { unimplemented!() }\n", "unimplemented!"),
        ("src/net/a.rs", "//! x\nfn f() { unsafe {} }\n", "unsafe"),
    ];
    for (path, text, expected) in bad {
        let found = check(path, text);
        assert!(found.iter().any(|line| line.contains(expected)), "{path} {text}: {found:?}");
    }
}

#[test]
fn good_snippets_pass() {
    for (path, text) in [
        ("src/wire/a.rs", "//! No HashMap.\nuse crate::crypto::{Digest};\n// todo!\n"),
        (
            "src/protocol/a.rs",
            "//! x\nfn f<'a>(i: &'a Instance) { g(\"tokio \\\" unsafe\", '\"') }\n",
        ),
        ("src/protocol/lanes.rs", "//! x\nuse super::{Time, lanes::Lane};\n"),
        ("src/net/a.rs", "//! x\nconst A: &str = r#\"todo!\"#;\n"),
        ("src/main.rs", "//! x\nfn main() { loyal::cli::run() }\n"),
        ("src/store/a.rs", "//! x\nuse std::collections::HashMap;\n/* unsafe */\n"),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}");
    }
}
