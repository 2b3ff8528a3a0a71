//! Completes the OpenAPI description with what operations share: security, common errors, names,
//! and bounds that the types do not express.

use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use super::input::{MAX_LIMIT, USUAL_LIMIT};
use super::lab::MAX_LATE_MS;
use crate::wire::limits::MAX_PAYLOAD;

/// Operations that need no token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// Answers that each operation may give besides those it describes itself.
const SHARED: [(&str, &str); 5] = [
    ("400", "Invalid parameter, body or `Host`"),
    ("403", "Foreign `Origin`"),
    ("421", "Foreign `Host`"),
    ("500", "Cannot read the store"),
    ("503", "Too many requests at once, or the node is stopping; see `Retry-After` if it is given"),
];
/// Descriptions of statuses for which an operation gives none.
const WORDS: [(&str, &str); 6] = [
    ("200", "Success"),
    ("400", "Invalid parameter or body"),
    ("404", "Not found on this node"),
    ("413", "Body too long"),
    ("415", "Body is not `application/json`"),
    ("503", "The node is busy or stopping"),
];

/// The complete description, valid OpenAPI 3.1.
pub(super) fn complete(description: &OpenApi) -> Value {
    // Cannot fail: every part of the description has a JSON form.
    let mut all = serde_json::to_value(description).unwrap_or_default();
    all["components"]["securitySchemes"] = json!({
        "api_token": {
            "type": "http", "scheme": "bearer",
            "description":
                "The token in --api-token-file. A node that listens on loopback may have no token; \
                 then none is required."
        },
        "lab_token": {
            "type": "http", "scheme": "bearer",
            "description":
                "The token in --lab-token-file. A node without this token does not have this \
                 route."
        }
    });
    for (path, operations) in object(&mut all["paths"]) {
        for (method, operation) in object(operations) {
            finish(&path, &method, operation);
        }
    }
    bound(&mut all["components"]["schemas"]);
    all
}

fn object(value: &mut Value) -> Vec<(String, &mut Value)> {
    value.as_object_mut().map_or_else(Vec::new, |map| {
        map.iter_mut().map(|(key, value)| (key.clone(), value)).collect()
    })
}

fn finish(path: &str, method: &str, operation: &mut Value) {
    operation["operationId"] = json!(name(path, method));
    let security = match path {
        _ if OPEN.contains(&path) => json!([]),
        _ if path.starts_with("/v1/lab/") => json!([{ "lab_token": [] }]),
        // Either is enough, as a node without a token asks for none.
        _ => json!([{ "api_token": [] }, {}]),
    };
    operation["security"] = security;
    answers(path, operation);
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    for parameter in &mut parameters {
        if parameter["name"] == "limit" {
            parameter["schema"] = json!({
                "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": USUAL_LIMIT
            });
        }
        if parameter["in"] == "path" && parameter["name"] == "id" {
            parameter["schema"] =
                json!({ "type": "string", "pattern": "^[0-9a-f]{64}\\.[0-9]{1,3}$" });
        }
    }
    if path.ends_with("/stream") {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description":
                "The id of the last event that was received; takes precedence over `cursor`.",
            "schema": { "type": "string" }
        }));
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    // A payload may be empty, so a POST without a body publishes an empty one.
    if path == "/v1/messages" && method == "post" {
        operation["requestBody"]["required"] = json!(false);
        let content = &mut operation["requestBody"]["content"];
        let bytes = json!({ "type": "string", "format": "binary", "maxLength": MAX_PAYLOAD });
        content["application/octet-stream"] = json!({ "schema": bytes });
    }
}

/// A unique name for each operation, like `get_v1_messages_id`.
fn name(path: &str, method: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |name, word| format!("{name}_{word}"))
}

/// Gives every answer a description, and every error its body.
fn answers(path: &str, operation: &mut Value) {
    let body = json!({
        "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } }
    });
    let problem = |why: &str| json!({ "description": why });
    let mut answers = operation["responses"].as_object().cloned().unwrap_or_default();
    for (status, why) in SHARED {
        answers.entry(status).or_insert_with(|| problem(why));
    }
    if !OPEN.contains(&path) {
        answers.entry("401").or_insert_with(|| problem("Token missing or wrong"));
    }
    if operation.get("requestBody").is_some() {
        answers.entry("408").or_insert_with(|| problem("The body took too long"));
    }
    for (status, answer) in &mut answers {
        let silent = answer["description"].as_str().is_none_or(str::is_empty);
        if silent {
            let word = WORDS.iter().find(|(known, _)| known == status);
            answer["description"] = json!(word.map_or("See the schema", |(_, why)| why));
        }
        if status.as_str() >= "400" {
            answer["content"] = body.clone();
        }
        if ["429", "503"].contains(&status.as_str()) {
            answer["headers"] = json!({ "Retry-After": {
                "description": "Seconds to wait before the next attempt.", "required": false,
                "schema": { "type": "integer", "minimum": 1 }
            } });
        }
        if status == "401" {
            answer["headers"] = json!({ "WWW-Authenticate": {
                "description": "`Bearer`.", "schema": { "type": "string" }
            } });
        }
    }
    operation["responses"] = Value::Object(answers);
}

/// Adds the bounds and formats that the types do not express.
fn bound(schemas: &mut Value) {
    let message = &mut schemas["PostMessage"];
    message["oneOf"] = json!([{ "required": ["payload"] }, { "required": ["payload_base64"] }]);
    message["properties"]["topic"]["maxLength"] = json!(64);
    for name in ["payload", "payload_base64"] {
        message["properties"][name]["type"] = json!("string");
    }
    message["properties"]["payload"]["maxLength"] = json!(MAX_PAYLOAD);
    message["properties"]["payload_base64"]["contentEncoding"] = json!("base64");
    let signed = &mut schemas["SignedDto"]["properties"];
    for (name, digits) in
        [("network", 64), ("author", 64), ("prev", 64), ("content", 64), ("signature", 128)]
    {
        signed[name]["pattern"] = json!(format!("^[0-9a-f]{{{digits}}}$"));
    }
    signed["body_base64"]["contentEncoding"] = json!("base64");
    for name in ["delay_ms", "jitter_ms"] {
        let field = schemas.pointer_mut(&format!("/ImpairmentDto/properties/{name}"));
        if let Some(field) = field {
            field["maximum"] = json!(MAX_LATE_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::lab;
    use crate::api::router::described;

    #[test]
    fn a_payload_is_left_out_or_text_as_the_schema_says() {
        let read = serde_json::from_str::<crate::http::PostMessage>;
        assert!(read(r#"{"payload":"x"}"#).is_ok());
        assert!(read(r#"{"payload":"x","payload_base64":null}"#).is_err());
    }

    #[test]
    fn every_operation_says_all_that_a_client_may_meet() {
        let (_, mut description) = described().split_for_parts();
        description.merge(lab::described().split_for_parts().1);
        let mut all = complete(&description);
        let schemes = &all["components"]["securitySchemes"];
        assert!(schemes["api_token"].is_object() && schemes["lab_token"].is_object());
        assert_eq!(
            all["components"]["schemas"]["ImpairmentDto"]["properties"]["delay_ms"]["maximum"],
            MAX_LATE_MS
        );
        let mut names = BTreeSet::new();
        for (path, operations) in object(&mut all["paths"]) {
            for (method, operation) in object(operations) {
                let what = format!("{method} {path}");
                assert!(names.insert(operation["operationId"].to_string()), "{what}");
                assert!(operation["summary"].is_string(), "{what}");
                assert!(operation["security"].is_array(), "{what}");
                let stream = operation["parameters"].to_string().contains("Last-Event-ID");
                assert_eq!(stream, path.ends_with("/stream"), "{what}");
                let answers = operation["responses"].as_object().expect("an object");
                for status in ["400", "403", "421", "500", "503"] {
                    assert!(answers.contains_key(status), "{what}: {status}");
                }
                assert_eq!(answers.contains_key("401"), !OPEN.contains(&path.as_str()), "{what}");
                for (status, answer) in answers {
                    let described = answer["description"].as_str().is_some_and(|it| !it.is_empty());
                    assert!(described && answer["content"].is_object(), "{what}: {status}");
                }
            }
        }
        let publish = &all["paths"]["/v1/messages"]["post"]["requestBody"];
        assert_eq!(publish["required"], false);
        let bytes = &publish["content"]["application/octet-stream"]["schema"];
        assert_eq!((&bytes["type"], &bytes["format"]), (&json!("string"), &json!("binary")));
    }
}
