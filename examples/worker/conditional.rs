//! Conditional and compressed answers: the request headers `If-None-Match` and `Accept-Encoding`. Pure.
//!
//! Input: the two headers, as in RFC 9110, sections 13.1.2 and 12.5.3. Output: yes or no. An invalid header is ignored:
//! the answer is then the whole report, uncompressed.

/// Whether one of these values of `If-None-Match` names this entity tag (given with its quotes), or is `*`.
///
/// Tags are compared byte for byte. A `W/` in front is ignored, as the RFC requires for this header: a proxy that
/// compresses the answer adds it.
pub fn none_match<'a>(values: impl IntoIterator<Item = &'a str>, tag: &str) -> bool {
    values.into_iter().any(|value| value.trim_matches(BLANKS) == "*" || Tags(value).any(|listed| listed == tag))
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The tags of a list, with their quotes, up to the first invalid one. A tag may contain a comma, so splitting at
/// commas is not enough.
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches([' ', '\t', ',']);
        let rest = rest.strip_prefix("W/").unwrap_or(rest);
        let end = rest.strip_prefix('"')?.find('"')? + 2;
        let (tag, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        // A tag is followed by a comma or the end.
        let rest = rest.trim_start_matches(BLANKS);
        if !rest.is_empty() && !rest.starts_with(',') {
            self.0 = "";
        }
        Some(tag)
    }
}

/// Whether these values of `Accept-Encoding` allow gzip, by name or by `*`, with a weight above 0.
pub fn accepts_gzip<'a>(values: impl IntoIterator<Item = &'a str>) -> bool {
    let (mut named, mut any) = (None, None);
    for item in values.into_iter().flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f64| weight > 0.0));
        match &*coding {
            "gzip" | "x-gzip" => named = Some(wanted),
            "*" => any = Some(wanted),
            _ => {}
        }
    }
    named.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_wherever_it_stands_in_a_list() {
        for value in [
            "\"a\"",
            " \"a\" ",
            "\"b\", \"a\"",
            "\"b\",\"a\",\"c\"",
            ", ,\"a\"",
            "W/\"a\"",
            "\"b,\" , W/\"a\"",
            "*",
            " * ",
        ] {
            assert!(none_match([value], "\"a\""), "{value}");
        }
        assert!(none_match(["\"b\"", "\"a\""], "\"a\""), "a header given twice is one list");
    }

    #[test]
    fn nothing_else_is_the_tag() {
        for value in [
            "",
            "a",
            "\"A\"",
            "\"aa\"",
            "\"a",
            "a\"",
            "\"b\" \"a\"",
            "w/\"a\"",
            "\"b,\"a\"",
            "'a'",
            "\"*\"",
            "*, \"b\"",
            "\"b\", x, \"a\"",
        ] {
            assert!(!none_match([value], "\"a\""), "{value}");
        }
        assert!(!none_match([], "\"a\""));
    }

    #[test]
    fn gzip_is_given_to_who_asks_for_it() {
        for value in ["gzip", "GZIP", "br, gzip", "gzip;q=0.5", "*", "identity;q=0.1, *;q=0.2", "x-gzip"] {
            assert!(accepts_gzip([value]), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "gzipped", "gzip;q=x"] {
            assert!(!accepts_gzip([value]), "{value}");
        }
        assert!(accepts_gzip(["br", "gzip"]), "a header given twice is one list");
        assert!(!accepts_gzip([]));
    }
}
