//! Every key of the file format: what the reader accepts and the JSON Schema describes.

use serde_json::Value;

use super::metrics;

/// Keys at the top level of the file.
pub(super) const TOP: &[&str] = &[
    "name",
    "about",
    "seed",
    "duration",
    "settle",
    "verdict",
    "crypto",
    "mesh",
    "net",
    "store",
    "cpu",
    "malicious",
    "fault",
    "load",
    "expect",
];
pub(super) const MESH: &[&str] = &["nodes", "f", "links", "start"];
pub(super) const NET: &[&str] = &["latency", "jitter", "loss", "duplicate", "reorder", "bandwidth"];
pub(super) const STORE: &[&str] = &["max_bytes"];
pub(super) const CPU: &[&str] = &["check"];
/// Keys of a latency table, with the parameters of every kind.
pub(super) const LATENCY: &[&str] =
    &["kind", "min", "max", "mean", "sd", "median", "names", "matrix"];
pub(super) const MALICIOUS: &[&str] = &["count", "fraction", "nodes", "behave"];
/// Keys of a fault, with the parameters of every kind.
pub(super) const FAULT: &[&str] =
    &["kind", "at", "until", "select", "p", "by", "bandwidth", "every", "down", "rows"];
pub(super) const SELECT: &[&str] = &["count", "fraction", "nodes", "of"];
pub(super) const LOAD: &[&str] = &["rate", "count", "from", "until", "size", "publishers"];
pub(super) const PUBLISHERS: &[&str] = &["count"];
pub(super) const EXPECT: &[&str] = &["metric", "at_least", "at_most", "equals"];

/// The parameters of each kind of latency, all of them required.
pub(super) const LATENCIES: [(&str, &[&str]); 4] = [
    ("uniform", &["min", "max"]),
    ("normal", &["mean", "sd"]),
    ("long-tailed", &["median", "max"]),
    ("regions", &["names", "matrix"]),
];

/// The parameters of each kind of fault besides `kind`, `at` and `select`.
pub(super) const FAULTS: [(&str, &[&str]); 12] = [
    ("partition", &["until"]),
    ("isolate", &["until"]),
    ("loss", &["until", "p"]),
    ("delay", &["until", "by"]),
    ("cap", &["until", "bandwidth"]),
    ("kill", &["until"]),
    ("restart", &["down"]),
    ("pause", &["until"]),
    ("churn", &["until", "every", "down"]),
    ("disk-full", &["until"]),
    ("rot", &["rows"]),
    ("wipe", &["until"]),
];

/// The JSON Schema (draft 2020-12) of scenario files. Rules that a schema cannot express, such as
/// at least one node being honest, are checked by [`super::Scenario::parse`] only.
pub fn schema() -> Value {
    // The text is compiled in, and a test parses it.
    let mut schema: Value = serde_json::from_str(include_str!("schema.json")).unwrap_or_default();
    if let Some(names) = schema.pointer_mut(METRIC) {
        *names = metrics().into();
    }
    schema
}

/// Path of the list of metric names.
const METRIC: &str = "/properties/expect/items/properties/metric/enum";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::{Scenario, builtins, keys};

    /// Every schema that may describe a value: itself, what it refers to, its alternatives.
    fn unfold<'a>(root: &'a Value, schema: &'a Value, into: &mut Vec<&'a Value>) {
        into.push(schema);
        if let Some(path) = schema["$ref"].as_str() {
            let target = root.pointer(path.trim_start_matches('#'));
            unfold(root, target.unwrap_or_else(|| panic!("{path} is there")), into);
        }
        for one in schema["oneOf"].as_array().into_iter().flatten() {
            unfold(root, one, into);
        }
    }

    /// The schemas of a key, or of the entries of a list.
    fn inside<'a>(root: &'a Value, schemas: &[&'a Value], key: Option<&str>) -> Vec<&'a Value> {
        let mut found = Vec::new();
        for schema in schemas {
            let next = key.map_or(&schema["items"], |key| &schema["properties"][key]);
            if !next.is_null() {
                unfold(root, next, &mut found);
            }
        }
        found
    }

    /// Whatever of a file the schema does not know, or knows as another type.
    fn strange(root: &Value, schemas: &[&Value], value: &toml::Value, path: &str) -> Vec<String> {
        let types = |name: &str| {
            schemas.iter().any(|schema| {
                let words = schema["enum"].as_array().into_iter().flatten();
                let constant = words.chain([&schema["const"]]).any(|word| word.as_str().is_some());
                schema["type"] == name || (name == "string" && constant)
            })
        };
        let (fits, mut found) = match value {
            toml::Value::Table(table) => {
                let of = |(key, value): (&String, &toml::Value)| {
                    let path = format!("{path}.{key}");
                    strange(root, &inside(root, schemas, Some(key)), value, &path)
                };
                (types("object"), table.iter().flat_map(of).collect())
            }
            toml::Value::Array(list) => {
                let schemas = inside(root, schemas, None);
                let of = |value| strange(root, &schemas, value, path);
                (types("array"), list.iter().flat_map(of).collect())
            }
            toml::Value::Integer(_) => (types("integer") || types("number"), Vec::new()),
            toml::Value::Float(_) => (types("number"), Vec::new()),
            toml::Value::String(_) => (types("string"), Vec::new()),
            _ => (false, Vec::new()),
        };
        if !fits {
            found.push(path.to_owned());
        }
        found
    }

    fn unknown(text: &str) -> Vec<String> {
        let root = schema();
        let mut top = Vec::new();
        unfold(&root, &root, &mut top);
        strange(&root, &top, &toml::from_str(text).expect("TOML"), "")
    }

    #[test]
    fn it_knows_all_that_the_built_in_scenarios_use() {
        for (name, text) in builtins() {
            assert_eq!(unknown(text), Vec::<String>::new(), "{name}");
            let resolved = Scenario::parse(text, &[]).expect(name).to_toml();
            assert_eq!(unknown(&resolved), Vec::<String>::new(), "{name}, resolved");
        }
        let bad = "nmae = 'x'\nseed = '7'\n[mesh]\nnodse = 1\n[[fault]]\nq = 1\nat = 5\n";
        assert_eq!(unknown(bad), [".fault.at", ".fault.q", ".mesh.nodse", ".nmae", ".seed"]);
    }

    /// The keys of a table that the schema describes there.
    fn described(path: &[Option<&str>]) -> BTreeSet<String> {
        let root = schema();
        let mut schemas = Vec::new();
        unfold(&root, &root, &mut schemas);
        for key in path {
            schemas = inside(&root, &schemas, *key);
        }
        let tables = schemas.iter().filter_map(|schema| schema["properties"].as_object());
        tables.flat_map(|table| table.keys().cloned()).collect()
    }

    #[test]
    fn it_describes_the_keys_that_the_reader_takes_and_no_others() {
        let tables: [(&[Option<&str>], &[&str]); 12] = [
            (&[], keys::TOP),
            (&[Some("mesh")], keys::MESH),
            (&[Some("net")], keys::NET),
            (&[Some("store")], keys::STORE),
            (&[Some("cpu")], keys::CPU),
            (&[Some("net"), Some("latency")], keys::LATENCY),
            (&[Some("malicious"), None], keys::MALICIOUS),
            (&[Some("fault"), None], keys::FAULT),
            (&[Some("fault"), None, Some("select")], keys::SELECT),
            (&[Some("load"), None], keys::LOAD),
            (&[Some("load"), None, Some("publishers")], keys::PUBLISHERS),
            (&[Some("expect"), None], keys::EXPECT),
        ];
        for (path, keys) in tables {
            let taken: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(described(path), taken, "{path:?}");
        }
        assert!(schema().pointer(METRIC).and_then(Value::as_array).is_some_and(|m| m.len() > 50));
    }
}
