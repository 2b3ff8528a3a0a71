//! The JSON Schema of the file format.

use serde_json::Value;

/// The JSON Schema (draft 2020-12) that every scenario file meets.
pub fn schema() -> Value {
    // It is part of the program, and a test reads it.
    serde_json::from_str(include_str!("schema.json")).unwrap_or_default()
}
