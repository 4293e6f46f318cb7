//! The API's reference as people read it: made from the OpenAPI document on the server, so that it
//! cannot say another thing than the document, and needs no script and nothing from another host.

pub mod pages;

use crate::openapi::{PREFIX, document};
use serde_json::Value;
use std::sync::LazyLock;

/// How deep a body's fields are told; what lies deeper is in the document.
const DEEPEST: usize = 3;

/// A piece of text; words of code stand apart.
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether it is code.
    pub code: bool,
}

/// A value that is sent or comes back.
pub struct Field {
    /// Its name, with those it lies in: `unique.key`, `items[].id`.
    pub name: String,
    /// `string`, `list of integer`, …
    pub kind: String,
    /// Whether it must be there.
    pub required: bool,
    /// What it means.
    pub text: Vec<Piece>,
}

/// What comes back.
pub struct Answer {
    /// `200`, `4XX`.
    pub status: String,
    /// What it means.
    pub text: Vec<Piece>,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// One call.
pub struct Operation {
    /// Its name in the document; also the anchor on the page.
    pub id: String,
    /// `GET`, …
    pub method: String,
    /// `/api/v1/projects/{project}/jobs`.
    pub path: String,
    /// In one line.
    pub summary: Vec<Piece>,
    /// More.
    pub text: Vec<Piece>,
    /// The right it takes, if one.
    pub right: Option<String>,
    /// What stands in the path, the query and the headers.
    pub parameters: Vec<Field>,
    /// The body's fields.
    pub body: Vec<Field>,
    /// What comes back.
    pub answers: Vec<Answer>,
}

/// Calls about one thing.
pub struct Group {
    /// `jobs`.
    pub name: String,
    /// In the document's order.
    pub operations: Vec<Operation>,
}

static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| groups(document()));

/// All calls by what they are about.
pub fn reference() -> &'static [Group] {
    &GROUPS
}

fn groups(document: &Value) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let name = about(path);
        let operations = item.as_object().into_iter().flatten().filter(|(_, o)| o["responses"].is_object());
        for (method, described) in operations {
            let operation = operation(document, path, method, described);
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.operations.push(operation),
                None => groups.push(Group { name: name.clone(), operations: vec![operation] }),
            }
        }
    }
    groups
}

/// What a path is about: its first part after the project.
fn about(path: &str) -> String {
    let rest = path.strip_prefix(PREFIX).unwrap_or(path).trim_start_matches('/');
    let rest = rest.strip_prefix("projects/{project}/").unwrap_or(rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

fn operation(document: &Value, path: &str, method: &str, described: &Value) -> Operation {
    let parameters = described["parameters"].as_array().into_iter().flatten();
    let parameter = |p: &Value| Field {
        name: p["name"].as_str().unwrap_or_default().to_owned(),
        kind: format!("{} in the {}", kind(document, &p["schema"]), p["in"].as_str().unwrap_or_default()),
        required: p["required"] == true,
        text: words(&p["description"]),
    };
    let answers = described["responses"].as_object().into_iter().flatten();
    let answer = |(status, answer): (&String, &Value)| Answer {
        status: status.clone(),
        text: words(&answer["description"]),
        fields: fields(document, &answer["content"]["application/json"]["schema"]),
    };
    Operation {
        id: described["operationId"].as_str().unwrap_or_default().to_owned(),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: words(&described["summary"]),
        text: words(&described["description"]),
        right: described["security"][0]["key"][0].as_str().map(str::to_owned),
        parameters: parameters.map(parameter).collect(),
        body: fields(document, &described["requestBody"]["content"]["application/json"]["schema"]),
        answers: answers.map(answer).collect(),
    }
}

fn words(text: &Value) -> Vec<Piece> {
    let text = text.as_str().unwrap_or_default();
    let pieces = text.split('`').enumerate().filter(|(_, piece)| !piece.is_empty());
    pieces.map(|(n, piece)| Piece { text: piece.to_owned(), code: n % 2 == 1 }).collect()
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let named = schema["$ref"].as_str().and_then(|to| document.pointer(to.strip_prefix('#')?));
    // "That, or nothing".
    let ways = schema["oneOf"].as_array().into_iter().flatten();
    let way = ways.filter(|way| way["type"] != "null").collect::<Vec<_>>();
    match (named, way.as_slice()) {
        (Some(named), _) => named,
        (None, [only]) => resolve(document, only),
        _ => schema,
    }
}

fn kind(document: &Value, schema: &Value) -> String {
    let schema = resolve(document, schema);
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> =
            words.iter().map(|w| w.as_str().map_or(w.to_string(), str::to_owned)).collect();
        return format!("one of {}", words.join(", "));
    }
    let name = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "any JSON".to_owned(),
    };
    match (name.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("list of {}", kind(document, &schema["items"])),
        ("string", Some("date-time")) => "instant (RFC 3339)".to_owned(),
        _ => name,
    }
}

fn fields(document: &Value, schema: &Value) -> Vec<Field> {
    let mut out = Vec::new();
    collect(document, schema, "", 0, &mut out);
    out
}

fn collect(document: &Value, schema: &Value, inside: &str, depth: usize, out: &mut Vec<Field>) {
    let schema = resolve(document, schema);
    if depth > DEEPEST {
        return;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(document, part, inside, depth, out);
    }
    if schema["type"] == "array" {
        return collect(document, &schema["items"], &format!("{inside}[]"), depth, out);
    }
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if inside.is_empty() { "" } else { "." };
        let whole = format!("{inside}{dot}{name}");
        let told = if field["description"].is_string() { field } else { resolve(document, field) };
        out.push(Field {
            name: whole.clone(),
            kind: kind(document, field),
            required: required.iter().any(|r| r == name),
            text: words(&told["description"]),
        });
        collect(document, field, &whole, depth + 1, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_document_is_in_a_group_with_what_it_takes() {
        let calls: usize = reference().iter().map(|group| group.operations.len()).sum();
        let described = document()["paths"].as_object().unwrap().values();
        assert_eq!(calls, described.map(|item| item.as_object().unwrap().len()).sum::<usize>());
        let all = || reference().iter().flat_map(|group| &group.operations);
        let enqueue = all().find(|o| o.id == "enqueue_job").unwrap();
        assert_eq!((enqueue.method.as_str(), enqueue.right.as_deref()), ("POST", Some("run")));
        let kind = enqueue.body.iter().find(|f| f.name == "kind").unwrap();
        assert!(kind.required && kind.kind == "string" && kind.text[0].text.contains("handler"));
        let deep: Vec<&str> = enqueue.body.iter().map(|f| f.name.as_str()).collect();
        assert!(deep.contains(&"unique.key"), "{deep:?}");
        let list = all().find(|o| o.id == "list_jobs").unwrap();
        let items: Vec<&str> = list.answers[0].fields.iter().map(|f| f.name.as_str()).collect();
        assert!(items.contains(&"items[].id") && items.contains(&"next"), "{items:?}");
    }

    #[test]
    fn words_of_code_stand_apart() {
        let pieces = words(&Value::from("Wait `30s` or `1m`."));
        let told: Vec<(&str, bool)> = pieces.iter().map(|p| (p.text.as_str(), p.code)).collect();
        assert_eq!(told, [("Wait ", false), ("30s", true), (" or ", false), ("1m", true), (".", false)]);
    }
}
