//! The description of this API as an `OpenAPI` 3.1 document: served at `/openapi.json`, committed as `docs/openapi.json`.
//!
//! Pure. Paths, limits, reasons and types come from the code that they describe; that each path and status is real is
//! held against a running operator by `tests/it/polls/openapi.rs`.

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{CLASSIFICATION, FLEET, OPENAPI, POLLS_COMPLETED, POLLS_DUE};
use crate::model::{SHAPE_PATTERN, URL_MAX_CHARS};
use crate::poll::{PollReason, PollType};

/// The document as it is served and committed.
#[must_use]
pub fn page() -> String {
    format!("{:#}\n", document())
}

pub(super) async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], page())
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mcpgateway-operator",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Which MCP servers of a gateway fleet to poll, and when",
            "description": "Served on --api-bind-address by every replica of the operator. Fail open: poll on every answer but a \
                200 that says \"due\": false. A path that is not listed here is answered 404, a method that is not listed 405 with an \
                Allow header, both as problem documents. Query and body have at most 8192 bytes each.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": {
            CLASSIFICATION: {"get": classification()},
            POLLS_DUE: {"get": due()},
            POLLS_COMPLETED: {"post": completed()},
            FLEET: {"get": fleet()},
            OPENAPI: {"get": {
                "operationId": "getOpenApi",
                "summary": "This document",
                "security": [],
                "responses": {"200": {"description": "This document", "content": {"application/json": {"schema": {"type": "object"}}}}},
            }},
        },
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "The token in the operator's --api-token-file. Without that flag none is needed, and the \
                    operator listens on a loopback address only.",
            }},
            "parameters": {
                "url": parameter("url", true, "url", "The server, byte for byte as it is registered"),
                "type": parameter("type", true, "type", "What is polled"),
                "gatewayId": parameter("gatewayId", false, "gatewayId", "The gateway that polls: several that share a URL have their own schedules"),
            },
            "schemas": schemas(),
        },
    })
}

fn classification() -> Value {
    json!({
        "operationId": "getClassification",
        "summary": "The tier of a server, and whether it is registered",
        "parameters": [parameter_ref("url")],
        "responses": responses(ok("The server's tier; null if it is not classified", "Classification"), &[400, 401, 414, 503]),
    })
}

fn due() -> Value {
    json!({
        "operationId": "getPollDue",
        "summary": "Whether a server is to be polled now",
        "description": "A fault of Redis is no error here: then the poll is due, with the reason Error. 503 says only that the \
            operator's token file cannot be read.",
        "parameters": [parameter_ref("url"), parameter_ref("type"), parameter_ref("gatewayId")],
        "responses": responses(ok("Whether it is due, and why", "PollDecision"), &[400, 401, 414, 503]),
    })
}

fn completed() -> Value {
    json!({
        "operationId": "postPollCompleted",
        "summary": "Remember that a poll was completed now",
        "description": "It is remembered for twice the poll interval of the server's tier. For a URL that is not registered, and \
            without Redis, nothing is written.",
        "requestBody": {"required": true, "content": {"application/json": {"schema": reference("PollCompleted")}}},
        "responses": responses(
            ("204", json!({"description": "Remembered, if the server is registered"})),
            &[400, 401, 408, 413, 414, 415, 503],
        ),
    })
}

fn fleet() -> Value {
    json!({
        "operationId": "getFleet",
        "summary": "What is known of the fleet",
        "description": "For people and dashboards; asked of the API server at most once a second.",
        "responses": responses(ok("The status, and on the leader its last cycle", "Fleet"), &[400, 401, 414, 503]),
    })
}

fn ok(description: &str, schema: &str) -> (&'static str, Value) {
    ("200", json!({"description": description, "content": {"application/json": {"schema": reference(schema)}}}))
}

/// An answer, and the problems that there may be instead.
fn responses(answer: (&str, Value), problems: &[u16]) -> Value {
    let mut all = json!({});
    all[answer.0] = answer.1;
    for status in problems {
        let description = match status {
            400 => "What was asked cannot be read: see reason",
            401 => "The token is missing or wrong",
            408 => "The body did not come within 5 seconds",
            413 => "The body is too large",
            414 => "The query is too long",
            415 => "The body is not sent as application/json",
            _ => "This replica cannot answer now: see reason",
        };
        all[status.to_string()] = json!({
            "description": description,
            "content": {"application/problem+json": {"schema": reference("ProblemDetails")}},
        });
    }
    all
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn parameter_ref(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

fn parameter(name: &str, required: bool, schema: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "required": required, "description": description, "schema": reference(schema)})
}

fn schemas() -> Value {
    let time = json!({"type": ["string", "null"], "format": "date-time"});
    let tier = json!({"type": ["string", "null"], "enum": ["hot", "cold", null]});
    let reasons: Vec<&str> = PollReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let types: Vec<&str> = PollType::ALL.iter().map(|kind| kind.as_str()).collect();
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let count = json!({"type": "integer", "minimum": 0});
    json!({
        "url": {"type": "string", "pattern": SHAPE_PATTERN, "maxLength": URL_MAX_CHARS},
        "type": {"type": "string", "enum": types},
        "gatewayId": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "Classification": object(json!({"url": reference("url"), "tier": tier, "registered": {"type": "boolean"}}), &[]),
        "PollDecision": object(json!({
            "due": {"type": "boolean", "description": "False for the reason NotYetDue only"},
            "reason": {"type": "string", "enum": reasons},
            "tier": tier,
            "lastPoll": time,
            "nextDue": time,
        }), &[]),
        "PollCompleted": object(
            json!({"url": reference("url"), "type": reference("type"), "gatewayId": {"anyOf": [reference("gatewayId"), {"type": "null"}]}}),
            &["gatewayId"],
        ),
        "Fleet": object(json!({
            "fleet": {
                "type": ["object", "null"],
                "description": "The status of the McpGatewayFleet (kubectl explain mcpfleet.status); null before the first leader has written it",
            },
            "lastCycle": {"anyOf": [reference("Cycle"), {"type": "null"}], "description": "Null on a replica that does not lead"},
        }), &[]),
        "Cycle": object(json!({
            "endedAt": {"type": "string", "format": "date-time"},
            "durationSeconds": {"type": "number"},
            "outcome": {"type": "string"},
            "missing": {"type": ["string", "null"], "description": "Why nothing was classified"},
            "keptUntil": time,
            "endpoints": object(json!({"known": count, "silent": texts}), &[]),
            "statuses": object(json!({"written": count, "overtaken": count, "fenced": count, "failed": count}), &[]),
            "hot": texts,
            "cold": texts,
            "metadata": {"type": ["object", "null"], "description": "As in Redis"},
        }), &[]),
        "ProblemDetails": object(json!({
            "type": {"type": "string", "const": "about:blank"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What to do; for people"},
            "reason": {"type": "string", "description": "A stable word; for programs"},
            "fault": {"type": "string", "description": "What is wrong with Redis; a stable word"},
        }), &["fault"]),
    })
}

/// An object of which everything is there but the optional.
fn object(properties: Value, optional: &[&str]) -> Value {
    let names = properties.as_object().into_iter().flat_map(|all| all.keys());
    let required: Vec<&String> = names.filter(|name| !optional.contains(&name.as_str())).collect();
    let mut schema = json!({"type": "object", "required": required, "additionalProperties": false});
    schema["properties"] = properties;
    schema
}
