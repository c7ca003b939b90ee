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

    use super::*;
    use crate::model::{SHAPE_PATTERN, URL_MAX_CHARS};
    use crate::poll::Reason;
    use crate::publish::keys::PollType;

    #[test]
    fn the_document_agrees_with_the_code() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let schemas = &document["components"]["schemas"];
        let url = json!({"type": "string", "pattern": SHAPE_PATTERN, "maxLength": URL_MAX_CHARS});
        assert_eq!(schemas["url"], url);
        assert_eq!(schemas["type"]["enum"], json!(PollType::ALL.map(PollType::as_str)));
        assert_eq!(schemas["PollDecision"]["properties"]["reason"]["enum"], json!(Reason::ALL.map(Reason::as_str)));
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let limit = format!("{} bytes", super::super::MAX_BYTES);
        assert!(document["info"]["description"].as_str().unwrap().contains(&limit));
        let mut paths = super::super::PATHS;
        paths.sort_unstable();
        assert!(document["paths"].as_object().unwrap().keys().eq(paths));
    }
}
