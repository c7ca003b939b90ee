//! The bearer token that gateways must show (`--api-token-file`).
//!
//! In: the headers of a request. Out: whether it may go on. The file is read for every request that shows a token, so
//! that a rotated Secret counts at once and a withdrawn one no longer. The token must not be logged or kept.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::problem::ProblemDetails;

/// The file, and whether it was told that it cannot be used.
#[derive(Debug)]
pub(super) struct Token {
    file: PathBuf,
    told: Mutex<bool>,
}

impl Token {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, told: Mutex::new(false) }
    }

    /// Lets a request on that shows the token.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), ProblemDetails> {
        let shown = shown(headers).ok_or(ProblemDetails::TOKEN_MISSING)?;
        let token = self.read().await.ok_or(ProblemDetails::TOKEN_UNAVAILABLE)?;
        if same(shown, &token) { Ok(()) } else { Err(ProblemDetails::TOKEN_WRONG) }
    }

    async fn read(&self) -> Option<Vec<u8>> {
        let read = tokio::fs::read(&self.file).await;
        let fault = match &read {
            Ok(content) if content.trim_ascii().is_empty() => Some("it is empty".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.kind().to_string()),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match (&fault, std::mem::replace(&mut *told, fault.is_some())) {
            (Some(fault), false) => {
                warn!(file = %self.file.display(), fault, "--api-token-file cannot be used; nobody is let in until it can");
            }
            (None, true) => info!("--api-token-file can be used again"),
            _ => {}
        }
        let content = read.ok().filter(|_| fault.is_none())?;
        Some(content.trim_ascii().to_vec())
    }
}

/// What stands after `Bearer`; `None` unless there is exactly one such header.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = one.as_bytes().split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then(|| token.trim_ascii())
}

/// Compares in a time that says nothing of where they differ, nor of the token's length: digests are compared, and in full.
fn same(shown: &[u8], token: &[u8]) -> bool {
    let (shown, token) = (Sha256::digest(shown), Sha256::digest(token));
    shown.iter().zip(token.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
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
    async fn only_the_token_in_the_file_is_let_in_and_a_new_one_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let token = Token::new(file.clone());
        let ask = async |value| token.check(&headers(&[value])).await;
        assert_eq!(ask("Bearer first").await, Err(ProblemDetails::TOKEN_UNAVAILABLE), "there is no file yet");
        std::fs::write(&file, "first\n").unwrap();
        assert_eq!(ask("Bearer first").await, Ok(()));
        assert_eq!(ask("bearer first").await, Ok(()), "schemes have no case");
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
    async fn without_one_bearer_header_there_is_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "t").unwrap();
        let token = Token::new(file);
        for values in [&[][..], &["Basic dDp0"], &["t"], &["Bearer"], &["Bearer t", "Bearer t"]] {
            assert_eq!(token.check(&headers(values)).await, Err(ProblemDetails::TOKEN_MISSING), "{values:?}");
        }
    }
}
