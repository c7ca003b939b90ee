//! Names of objects, made of the names that other programs use.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The longest name: that of a DNS label, which is valid wherever a name is used.
const MAX_CHARS: usize = 63;

/// A text as a DNS label: in lower case, with hyphens for other characters; empty if nothing is left.
pub(crate) fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c.to_ascii_lowercase());
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(MAX_CHARS);
    label.trim_end_matches('-').to_owned()
}

/// A label that ends in digits of the hash of an id, so that it is unique and always the same. `start`: a label,
/// which is cut to fit; `gateway` if it is empty. At most 56 digits.
pub(crate) fn label_with_hash(start: &str, id: &str, digits: usize) -> String {
    let start = if start.is_empty() { "gateway" } else { start };
    let start: String = start.chars().take(MAX_CHARS - 1 - digits).collect();
    format!("{}-{}", start.trim_end_matches('-'), hash_digits(id, digits))
}

/// The first hexadecimal digits of the hash of an id, at most 64.
pub(crate) fn hash_digits(id: &str, digits: usize) -> String {
    let mut hash = Sha256::digest(id).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    hash.truncate(digits);
    hash
}
