//! Formats an error with its causes. Pure.

use std::error::Error;

/// Longer text is cut off, because a library's error may contain text from outside.
const MAX_CHARS: usize = 300;

/// An error and its causes, outermost first, each once; on one line, at most 300 characters. The caller removes
/// whatever may contain a secret, such as the URL of a request.
pub fn causes(error: &dyn Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    causes.join(": ").chars().filter(|char| !char.is_control()).take(MAX_CHARS).collect()
}
