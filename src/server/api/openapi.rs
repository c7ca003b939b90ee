//! The description of this API, an `OpenAPI` 3.1 document. It is written by hand in `docs/openapi.json` and served as
//! it is.
//!
//! The tests below compare its limits, names and reasons with the code; `tests/it/polls/openapi.rs` compares every
//! path, status and answer with a running operator. A generator (`utoipa`, `aide`) would still need the text of each
//! path, status and field, as annotations, and another macro dependency; JSON is the simpler place for them.

use axum::http::header;
use axum::response::IntoResponse;

/// The document.
pub const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

pub(super) async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use strum::VariantArray;

    use super::*;
    use crate::api::v1alpha1::FleetStatus;
    use crate::model::{SHAPE_PATTERN, URL_MAX_CHARS};
    use crate::poll::{PollReason, PollType};

    #[test]
    fn the_document_agrees_with_the_code() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let schemas = &document["components"]["schemas"];
        let url = json!({"type": "string", "pattern": SHAPE_PATTERN, "maxLength": URL_MAX_CHARS});
        assert_eq!(schemas["url"], url);
        assert_eq!(schemas["type"]["enum"], json!(PollType::VARIANTS.iter().map(<&str>::from).collect::<Vec<_>>()));
        assert_eq!(
            schemas["PollDecision"]["properties"]["reason"]["enum"],
            json!(PollReason::VARIANTS.iter().map(<&str>::from).collect::<Vec<_>>())
        );
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let limit = format!("{} bytes", super::super::MAX_BYTES);
        assert!(document["info"]["description"].as_str().unwrap().contains(&limit));
        // FleetStatus and the types in it have the same fields in both; Condition is described by Kubernetes.
        let mut fleet = serde_json::to_value(schemars::schema_for!(FleetStatus)).unwrap();
        let mut types = fleet["$defs"].take();
        types["FleetStatus"] = fleet;
        for (name, schema) in types.as_object().unwrap().iter().filter(|(name, _)| !name.contains('.')) {
            let Some(fields) = schema["properties"].as_object() else { continue };
            let described = schemas[name]["properties"].as_object().unwrap_or_else(|| panic!("{name} is missing"));
            assert!(described.keys().eq(fields.keys()), "{name}");
        }
        let mut paths = super::super::PATHS;
        paths.sort_unstable();
        assert!(document["paths"].as_object().unwrap().keys().eq(paths));
    }
}
