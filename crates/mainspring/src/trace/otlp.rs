//! Spans as OTLP writes them in JSON (opentelemetry-proto 1.x, `ExportTraceServiceRequest`): numbers of
//! traces and spans in hex, 64-bit numbers as texts.

use super::{Span, Value};
use serde_json::{Map, Value as Json, json};

/// Who sends.
pub(super) struct Resource<'a> {
    pub instance: &'a str,
}

/// One message.
pub(super) fn body(resource: &Resource<'_>, spans: &[Span]) -> String {
    let attributes = [
        ("service.name", "mainspring"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", resource.instance),
    ];
    let attributes: Vec<Json> = attributes.iter().map(|(k, v)| attribute(k, &Value::from(*v))).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes },
        "scopeSpans": [{
            "scope": { "name": "mainspring", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span).collect::<Vec<Json>>(),
        }],
    }] })
    .to_string()
}

fn span(span: &Span) -> Json {
    let mut out = Map::new();
    let mut put = |name: &str, value: Json| drop(out.insert(name.to_owned(), value));
    put("traceId", format!("{:032x}", span.place.trace).into());
    put("spanId", format!("{:016x}", span.place.span).into());
    if span.parent != 0 {
        put("parentSpanId", format!("{:016x}", span.parent).into());
    }
    put("name", span.name.as_str().into());
    put("kind", (span.role as u8).into());
    put("startTimeUnixNano", span.start.as_nanosecond().to_string().into());
    put("endTimeUnixNano", span.end.max(span.start).as_nanosecond().to_string().into());
    put("attributes", span.attributes.iter().map(|(name, value)| attribute(name, value)).collect());
    if !span.links.is_empty() {
        let link = |place: &super::Place| json!({ "traceId": format!("{:032x}", place.trace), "spanId": format!("{:016x}", place.span) });
        put("links", span.links.iter().map(link).collect());
    }
    if let Some(error) = &span.error {
        put("status", json!({ "code": 2, "message": error }));
    }
    Json::Object(out)
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}
