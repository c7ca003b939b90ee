//! The grammar of label selectors, as the API server reads them. The text itself goes to the API server unchanged.
//!
//! It is checked at start because a watch with a malformed selector fails forever and looks like a fault of the API
//! server. `kube` can build selectors but cannot parse them.

use std::sync::LazyLock;

use regex::Regex;

/// Requirements separated by commas: `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)`,
/// `key notin (a,b)`, `key>1` or `key<1`. A key is `[PREFIX/]NAME`; the empty selector selects everything.
#[expect(clippy::unwrap_used, reason = "a constant pattern, compiled by the tests")]
static SELECTOR: LazyLock<Regex> = LazyLock::new(|| {
    let name = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?";
    let label = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?";
    let key = format!(r"(?:{label}(?:\.{label})*/)?{name}");
    let value = format!("(?:{name})?");
    let values = format!(r"\(\s*{value}(?:\s*,\s*{value})*\s*\)");
    let condition = format!(r"\s*(?:==?|!=)\s*{value}|\s+(?:not)?in\s*{values}|\s*[<>]\s*-?[0-9]+");
    let requirement = format!(r"\s*(?:!\s*{key}|{key}(?:{condition})?)\s*");
    Regex::new(&format!(r"\A(?:\s*|{requirement}(?:,{requirement})*)\z")).unwrap()
});

/// Whether the API server can read this selector.
pub(super) fn is_valid(text: &str) -> bool {
    SELECTOR.is_match(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_that_the_api_server_reads_are_valid() {
        for text in [
            "",
            " ",
            "a",
            "!a",
            "! a",
            "a=b",
            "a==b",
            "a = b , c != d",
            "a=",
            "a!=",
            "example.com/team in (x, y),tier notin (z)",
            "a in (x,)",
            "a>1,b<22",
            "A_b.c-d=E_f.g-h",
            "in=notin",
        ] {
            assert!(is_valid(text), "{text:?}");
        }
    }

    #[test]
    fn selectors_that_the_api_server_refuses_are_invalid() {
        let long = format!("a={}", "b".repeat(64));
        for text in [
            "a==b==c",
            "=b",
            "a=b,",
            ",",
            "a=b,,c",
            "a b",
            "a in x",
            "a in (x",
            "a in x)",
            "a of (x)",
            "(a)",
            "a=b=c",
            "-a=b",
            "a=-b",
            "a=b c",
            "a/b/c=d",
            "/a",
            "a>b",
            "a in ((x))",
            "a=b;c=d",
            "é=1",
            "UPPER.com/a",
            "a!b",
            "!",
            "!a=b",
            &long,
        ] {
            assert!(!is_valid(text), "{text:?}");
        }
    }
}
