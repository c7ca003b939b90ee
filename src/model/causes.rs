//! The causes of an error, in words. Pure.

use std::error::Error;

/// What is kept of them: a library's text may hold a stranger's.
const MOST_CHARS: usize = 300;

/// An error and what caused it, outermost first, each once; on one line, at most 300 characters. What may hold a secret (the URL of
/// a request) has to be taken out before.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    causes.join(": ").chars().filter(|char| !char.is_control()).take(MOST_CHARS).collect()
}
