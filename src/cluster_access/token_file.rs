//! A bearer token in a file, such as that of the pod. IO: the file.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::http::{HeaderValue, Request, header};
use kube::client::Body;

use crate::clock;
use crate::http_client::bearer_header;
use crate::model::Monotonic;

/// How long a token is used before the file is read again: it is replaced while the program runs.
const MAX_AGE: Duration = Duration::from_mins(1);

pub(super) struct TokenFile {
    path: PathBuf,
    /// The header with the last good token, and when the file was last read.
    last: Mutex<(HeaderValue, Monotonic)>,
}

impl TokenFile {
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(&path).with_context(|| format!("the token file {}", path.display()))?;
        let header = header(&text).with_context(|| format!("the file {} holds no bearer token", path.display()))?;
        Ok(Self { path, last: Mutex::new((header, clock::monotonic())) })
    }

    /// Adds the token to a request. The last good token is kept while the file cannot be used.
    pub(super) fn authorize(&self, mut request: Request<Body>) -> Request<Body> {
        let now = clock::monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(last.1) >= MAX_AGE {
            let header = std::fs::read_to_string(&self.path).ok().and_then(|text| header(&text));
            *last = (header.unwrap_or_else(|| last.0.clone()), now);
        }
        request.headers_mut().insert(header::AUTHORIZATION, last.0.clone());
        request
    }
}

/// The header of a token, without the blanks and line breaks around it.
fn header(text: &str) -> Option<HeaderValue> {
    let token = text.trim();
    bearer_header(token).ok().filter(|_| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_blanks_around_a_token_are_left_out() {
        for text in ["x", "x\n", "x\r\n", "\nx\n\n", " x ", "\tx"] {
            assert_eq!(header(text).unwrap(), "Bearer x", "{text:?}");
        }
        assert!(["", "\n", "x\ny", "x\0"].into_iter().all(|text| header(text).is_none()));
    }
}
