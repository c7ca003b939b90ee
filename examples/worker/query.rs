//! The query parameters of `/control`. Pure: parses text into checked values, or a refusal.

use axum::http::StatusCode;

/// A refusal: the status, and one line that says what is expected.
type Refusal = (StatusCode, String);

/// The query of one request.
pub struct Query(String);

impl Query {
    /// The query of a request that may have none.
    pub fn new(query: Option<String>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// `name=NAMESPACE/NAME`.
    pub fn name(&self) -> Result<String, Refusal> {
        self.text("name").filter(|name| !name.is_empty()).ok_or_else(|| refuse("name=NAMESPACE/NAME is needed"))
    }

    /// `KEY=SECONDS`.
    pub fn seconds(&self, key: &str) -> Result<f64, Refusal> {
        let seconds: Option<f64> = self.text(key).and_then(|text| text.parse().ok());
        let usable = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        usable.ok_or_else(|| refuse(&format!("{key}=SECONDS is needed, zero or more")))
    }

    /// `KEY=N`.
    pub fn count(&self, key: &str) -> Result<u64, Refusal> {
        let count = self.text(key).and_then(|text| text.parse().ok());
        count.ok_or_else(|| refuse(&format!("{key}=N is needed, a whole number, zero or more")))
    }

    /// Values are names and numbers, so only the slash needs decoding.
    fn text(&self, key: &str) -> Option<String> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.into_iter().find(|(found, _)| *found == key).map(|(_, value)| value)?;
        Some(value.replace("%2F", "/").replace("%2f", "/"))
    }
}

fn refuse(what: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, what.to_owned())
}
