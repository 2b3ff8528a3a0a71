//! The JSON Schema of scenario files, made of the tables of keys.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, TableKind, Takes, Without};

/// The JSON Schema (draft 2020-12) of scenario files. Rules that a schema cannot express, such as
/// at least one node being honest, are checked by [`super::Scenario::parse`] only.
pub fn schema() -> Value {
    let mut schema = table(keys::TOP);
    for (key, value) in parsed(include_str!("schema.json")).as_object().into_iter().flatten() {
        schema[key] = value.clone();
    }
    for shared in [keys::COUNT, keys::BANDWIDTH] {
        if let Takes::Shared(name, least, most) = shared {
            schema["$defs"][name] = takes(Takes::Whole(least, most));
        }
    }
    schema
}

/// Text that is compiled in, and that a test parses.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn table(keys: &[Key]) -> Value {
    if let Some(Key { takes: Takes::Kind(kinds), .. }) = keys.iter().find(|key| key.name == "kind")
    {
        return json!({ "type": "object", "required": ["kind"], "oneOf": of_kinds(keys, kinds) });
    }
    let properties: Map<String, Value> = keys.iter().map(property).collect();
    let mut table =
        json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let required: Vec<&str> =
        keys.iter().filter(|key| key.required()).map(|key| key.name).collect();
    if !required.is_empty() {
        table["required"] = required.into();
    }
    let either = keys.iter().filter(|key| key.excludes());
    let either: Vec<Value> = either.map(|key| json!({ "required": [key.name] })).collect();
    if !either.is_empty() {
        table["oneOf"] = either.into();
    }
    table
}

/// A table for each kind; one for several that say the same of themselves.
fn of_kinds(keys: &[Key], kinds: &[TableKind]) -> Vec<Value> {
    let mut tables: Vec<Value> = Vec::new();
    for kind in kinds {
        let alike = |table: &&mut Value| table["description"] == kind.about;
        if let Some(table) = tables.iter_mut().find(alike) {
            let name = &mut table["properties"]["kind"];
            let first = name["const"].clone();
            *name = json!({ "enum": [first, kind.name] });
            continue;
        }
        let has = |key: &&Key| key.name == "at" || kind.params(&[]).contains(&key.name);
        let mut properties: Map<String, Value> = keys.iter().filter(has).map(property).collect();
        properties.insert("kind".into(), json!({ "const": kind.name }));
        let mut table = json!({ "additionalProperties": false, "required": kind.required });
        table["properties"] = properties.into();
        if !kind.about.is_empty() {
            table["description"] = kind.about.into();
        }
        tables.push(table);
    }
    tables
}

fn property(key: &Key) -> (String, Value) {
    let mut schema = takes(key.takes);
    if !key.about.is_empty() {
        schema["description"] = key.about.into();
    }
    if let Without::Default(default) = key.without {
        schema["default"] = default.parse::<u64>().map_or_else(|_| default.into(), Value::from);
    }
    (key.name.to_owned(), schema)
}

fn takes(takes: Takes) -> Value {
    let defined = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    match takes {
        Takes::Whole(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Takes::Shared(name, ..) | Takes::Defined(name) => defined(name),
        Takes::Span(..) => defined("duration"),
        Takes::Chance => defined("chance"),
        Takes::Number => json!({ "type": "number" }),
        Takes::Words(words) => json!({ "enum": words() }),
        Takes::Kind(_) => Value::Null,
        Takes::Table(keys) => table(keys),
        Takes::Tables(keys, most) => {
            json!({ "type": "array", "maxItems": most, "items": table(keys) })
        }
        Takes::Latency => {
            let mut all = vec![defined("duration")];
            for mut table in of_kinds(keys::LATENCY, keys::LATENCIES) {
                table["type"] = "object".into();
                if let Some(required) = table["required"].as_array_mut() {
                    required.insert(0, "kind".into());
                }
                all.push(table);
            }
            json!({ "oneOf": all })
        }
        Takes::Publishers => {
            let all = [json!({ "const": "honest" }), table(keys::PUBLISHERS), defined("names")];
            json!({ "oneOf": all })
        }
        Takes::Json(text) => parsed(text),
    }
}

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
        let tables: [(&[Option<&str>], &[Key]); 12] = [
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
            let taken: BTreeSet<String> = keys.iter().map(|key| key.name.to_owned()).collect();
            assert_eq!(described(path), taken, "{path:?}");
        }
        const METRIC: &str = "/properties/expect/items/properties/metric/enum";
        assert!(schema().pointer(METRIC).and_then(Value::as_array).is_some_and(|m| m.len() > 50));
    }
}
