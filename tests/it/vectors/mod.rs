//! Golden vectors: `tests/vectors/*.json` pin the wire format byte by byte.
//!
//! Each file is generated from fixed seeds and compared with the one in the repository. Then the
//! one in the repository is read back and tried, so that the published files are correct.

mod bad;
mod good;

use serde_json::{Value, json};

use crate::support::{blessing, root};

/// A file of vectors: a description, and one vector in each line.
struct File {
    name: &'static str,
    about: &'static str,
    vectors: Vec<Value>,
}

impl File {
    fn text(&self) -> String {
        let mut text = format!("{{\"about\": {},\n\"vectors\": [\n", json!(self.about));
        for (i, vector) in self.vectors.iter().enumerate() {
            let comma = if i + 1 < self.vectors.len() { "," } else { "" };
            text.push_str(&format!("{vector}{comma}\n"));
        }
        text.push_str("]}\n");
        text
    }
}

fn pin(file: &File) {
    let path = root().join("tests/vectors").join(file.name);
    if blessing() {
        std::fs::write(&path, file.text()).expect("the vectors can be written");
    }
    let found = std::fs::read_to_string(&path).expect("the vectors are there");
    assert!(found == file.text(), "{} differs: the wire changed", file.name);
}

/// The vectors of a file in the repository.
pub(crate) fn read(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/vectors").join(name)).expect("is there");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    file["vectors"].as_array().expect("a list").clone()
}

/// A text field of a vector.
pub(crate) fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} is missing in {vector}"))
}

/// A hex field of a vector, decoded.
pub(crate) fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    let digits = text(vector, field);
    loyal::crypto::unhex(digits).unwrap_or_else(|| panic!("{digits} is not hex"))
}
