//! No file of the crate imports a file that imports it, directly or through others: what two files
//! need lies in a third file below both.
//!
//! A path counts as an import of the file that defines what it names: re-exports are followed.
//! Tests are not checked, and neither are method calls, which no path shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::root;
use crate::tidy::{code_only, rust_files};

/// A module, as the names on the path to it from the root of the crate.
type Module = Vec<String>;

/// The files of a crate by module.
struct Crate {
    code: BTreeMap<Module, String>,
    /// What a module brings in from elsewhere, by its name there: its re-exports and, in a
    /// `mod.rs`, its imports, which the files below it see as well.
    brought: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    /// Reads a crate from pairs of a path below `src/` and the text of that file.
    fn of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = Self { code: BTreeMap::new(), brought: BTreeMap::new() };
        let mut parents = BTreeSet::new();
        for (path, text) in files.filter(|(path, _)| !is_test(path)) {
            let code = code_only(text);
            let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let module = module_of(path);
            if path.ends_with("mod.rs") || path == "lib.rs" {
                parents.insert(module.clone());
            }
            all.code.insert(module, code.to_owned());
        }
        for (module, code) in &all.code {
            let uses = uses(code).filter(|(public, _)| *public || parents.contains(module));
            let named = uses.flat_map(|(_, tree)| leaves(tree));
            let named = named.map(|path| absolute(module, &path)).filter(|path| !path.is_empty());
            let named = named.map(|path| (path[path.len() - 1].clone(), path)).collect();
            all.brought.insert(module.clone(), named);
        }
        all
    }

    /// The file that defines what a path names; `None` for a path outside of the crate.
    fn defines(&self, path: &[String], depth: usize) -> Option<&Module> {
        let module = (1..=path.len()).rev().find(|length| self.code.contains_key(&path[..*length]));
        let (module, rest) = path.split_at(module?);
        let brought = rest.first().and_then(|name| self.brought[module].get(name));
        match brought.filter(|elsewhere| depth < 8 && elsewhere.as_slice() != path) {
            Some(elsewhere) => {
                let path: Module = elsewhere.iter().chain(&rest[1..]).cloned().collect();
                self.defines(&path, depth + 1)
            }
            None => self.code.get_key_value(module).map(|(module, _)| module),
        }
    }

    /// The files that each file imports.
    fn imports(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let of = |module: &Module, code: &str| -> BTreeSet<&Module> {
            let private = uses(code).filter(|(public, _)| !public);
            let used = private.flat_map(|(_, tree)| leaves(tree));
            let paths = used.chain(inline(code)).map(|path| absolute(module, &path));
            let files = paths.filter_map(|path| self.defines(&path, 0));
            files.filter(|file| *file != module).collect()
        };
        self.code.iter().map(|(module, code)| (module, of(module, code))).collect()
    }

    /// Groups of files that import one another, directly or not; each group once.
    fn circles(&self) -> Vec<Vec<String>> {
        let imports = self.imports();
        let reached = |from| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(module) = open.pop() {
                open.extend(imports[module].iter().filter(|next| seen.insert(**next)));
            }
            seen
        };
        let reached: BTreeMap<_, _> =
            self.code.keys().map(|module| (module, reached(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, below) in &reached {
            let circle = below.iter().filter(|other| reached[**other].contains(module));
            let circle: Vec<String> = circle.map(|module| module.join("::")).collect();
            circles.insert(circle);
        }
        circles.into_iter().filter(|circle| !circle.is_empty()).collect()
    }
}

fn is_test(path: &str) -> bool {
    let stems = ["tests", "testing", "attacks", "mutations"];
    path.trim_end_matches(".rs").split('/').any(|part| stems.contains(&part))
}

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// The trees of `use` items, and whether each item is public.
fn uses(code: &str) -> impl Iterator<Item = (bool, &str)> {
    code.split(';').filter_map(|item| {
        let start = item.rfind("use ").filter(|at| {
            let before = item[..*at].trim_end();
            before.is_empty() || before.ends_with(['\n', ']', '}', ')']) || before.ends_with("pub")
        })?;
        let line = item[..start].rfind('\n').map_or(0, |at| at + 1);
        let visibility = item[line..start].trim();
        let fits = visibility.is_empty() || visibility.starts_with("pub");
        fits.then(|| (visibility.starts_with("pub"), &item[start + 4..]))
    })
}

/// The paths of a `use` tree, without renames.
fn leaves(tree: &str) -> Vec<Module> {
    let tree = tree.trim();
    let names = |path: &str| -> Module {
        let path = path.split(" as ").next().unwrap_or_default();
        path.split("::")
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    };
    let Some((before, list)) = tree.split_once('{') else { return vec![names(tree)] };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one at least").push(c);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    let below = parts.flat_map(|part| leaves(part));
    below.map(|path| names(before).into_iter().chain(path).collect()).collect()
}

/// Paths in code that begin with `crate` or `super`.
fn inline(code: &str) -> impl Iterator<Item = Module> {
    let name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let paths = code.split(move |c| !name(c)).filter(|path| !path.ends_with("::"));
    let paths = paths.filter(|path| path.starts_with("crate::") || path.starts_with("super::"));
    paths.map(|path| path.split("::").map(str::to_owned).collect())
}

/// Resolves a path of a module to one from the root of the crate.
fn absolute(module: &[String], path: &[String]) -> Module {
    let above = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match path.first().map(String::as_str) {
        Some("crate") => (&module[..0], &path[1..]),
        Some("self") => (module, &path[1..]),
        _ => (&module[..module.len().saturating_sub(above)], &path[above..]),
    };
    base.iter().chain(rest).cloned().collect()
}

#[test]
fn no_file_imports_a_file_that_imports_it() {
    let (mut found, source) = (Vec::new(), root().join("src"));
    rust_files(&source, &mut found);
    let name = |file: &Path| file.strip_prefix(&source).expect("inside").display().to_string();
    let files: Vec<(String, String)> = found
        .iter()
        .map(|file| (name(file), std::fs::read_to_string(file).expect("readable")))
        .collect();
    let all = Crate::of(files.iter().map(|(path, text)| (&**path, &**text)));
    let edges: usize = all.imports().values().map(BTreeSet::len).sum();
    assert!(edges > 500, "the imports were found: {edges}");
    for circle in all.circles() {
        for (module, below) in all.imports() {
            let names = below.iter().map(|other| other.join("::"));
            let inside: Vec<String> = names.filter(|name| circle.contains(name)).collect();
            if circle.contains(&module.join("::")) {
                eprintln!("{} imports {}", module.join("::"), inside.join(", "));
            }
        }
    }
    assert!(all.circles().is_empty(), "the files above import one another");
}

#[test]
fn circles_are_found_round_corners_and_through_re_exports() {
    let one = ["a::one".to_owned(), "a::two".to_owned()];
    for (two, expected) in [
        ("//! x\nuse super::one::A;\n", Some(&one[..])),
        ("//! x\nuse super::{one::A as B, three};\n", Some(&one)),
        ("//! x\nfn f() -> crate::a::A { g() }\n", Some(&one)),
        ("//! x\nuse crate::a::{self, A};\n", Some(&one)),
        ("//! x\nuse super::three::C;\n", None),
        ("//! use super::one::A;\nconst S: &str = \"crate::a::one::A\";\n", None),
        ("//! x\n#[cfg(test)]\nmod tests {\n    use crate::a::one::A;\n}\n", None),
    ] {
        let files = [
            ("lib.rs", "pub mod a;\n"),
            ("a/mod.rs", "mod one;\nmod three;\nmod two;\npub use one::A;\npub use two::B;\n"),
            ("a/one.rs", "use super::two::B;\npub struct A(B);\n"),
            ("a/two.rs", two),
            ("a/three.rs", "pub struct C;\n"),
        ];
        let circles = Crate::of(files.into_iter()).circles();
        let expected: Vec<Vec<String>> = expected.iter().map(|names| names.to_vec()).collect();
        assert_eq!(circles, expected, "{two}");
    }
}
