//! The bearer token that gateways must send (`--api-token-file`).
//!
//! The file is read for every request with a token, so that a rotated or withdrawn Secret takes effect at once. The
//! token is never logged or kept.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::problem::ProblemDetails;

/// Checks requests against the token in a file.
#[derive(Debug)]
pub(super) struct Token {
    file: PathBuf,
    /// Whether the log says that the file cannot be used.
    failing: AtomicBool,
}

impl Token {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, failing: AtomicBool::new(false) }
    }

    /// Refuses a request without the token.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), ProblemDetails> {
        let sent = bearer_token(headers).ok_or(ProblemDetails::TOKEN_MISSING)?;
        let token = self.read().await.ok_or(ProblemDetails::TOKEN_UNAVAILABLE)?;
        if is_same(sent, &token) { Ok(()) } else { Err(ProblemDetails::TOKEN_WRONG) }
    }

    async fn read(&self) -> Option<Vec<u8>> {
        let read = tokio::fs::read(&self.file).await;
        let error = match &read {
            Ok(content) if content.trim_ascii().is_empty() => Some("it is empty".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.kind().to_string()),
        };
        match (&error, self.failing.swap(error.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => {
                let file = self.file.display();
                warn!(%file, error, "--api-token-file cannot be read; requests are refused until it can");
            }
            (None, true) => info!("--api-token-file recovered"),
            _ => {}
        }
        let content = read.ok().filter(|_| error.is_none())?;
        Some(content.trim_ascii().to_vec())
    }
}

/// The token in the `Authorization` header; `None` unless there is exactly one such header.
fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = one.as_bytes().split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then(|| token.trim_ascii())
}

/// Compares digests in full, so that the time reveals neither where the tokens differ nor how long they are.
fn is_same(sent: &[u8], token: &[u8]) -> bool {
    let (sent, token) = (Sha256::digest(sent), Sha256::digest(token));
    sent.iter().zip(token.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, axum::http::HeaderValue::from_static(value));
        }
        headers
    }

    #[tokio::test]
    async fn only_the_token_in_the_file_is_accepted_and_a_new_one_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let token = Token::new(file.clone());
        let ask = async |value| token.check(&headers(&[value])).await;
        assert_eq!(ask("Bearer first").await, Err(ProblemDetails::TOKEN_UNAVAILABLE), "no file yet");
        std::fs::write(&file, "first\n").unwrap();
        assert_eq!(ask("Bearer first").await, Ok(()));
        assert_eq!(ask("bearer first").await, Ok(()), "the scheme is case-insensitive");
        for wrong in ["Bearer firs", "Bearer firstly", "Bearer First", "Bearer first first"] {
            assert_eq!(ask(wrong).await, Err(ProblemDetails::TOKEN_WRONG), "{wrong}");
        }
        std::fs::write(&file, "second").unwrap();
        assert_eq!((ask("Bearer first").await, ask("Bearer second").await), (Err(ProblemDetails::TOKEN_WRONG), Ok(())));
        std::fs::write(&file, " \n").unwrap();
        assert_eq!(ask("Bearer second").await, Err(ProblemDetails::TOKEN_UNAVAILABLE), "an empty file is no token");
        assert_eq!(ask("Bearer ").await, Err(ProblemDetails::TOKEN_MISSING));
    }

    #[tokio::test]
    async fn a_request_needs_exactly_one_bearer_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "t").unwrap();
        let token = Token::new(file);
        for values in [&[][..], &["Basic dDp0"], &["t"], &["Bearer"], &["Bearer t", "Bearer t"]] {
            assert_eq!(token.check(&headers(values)).await, Err(ProblemDetails::TOKEN_MISSING), "{values:?}");
        }
    }
}
