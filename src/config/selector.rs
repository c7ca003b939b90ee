//! The grammar of label selectors, as the API server reads them. Pure. The text itself goes to the API server unchanged.
//!
//! Checked at the start, because a watch with a selector that cannot be read fails for ever, and looks like a fault of the API
//! server.

/// Checks a selector: requirements with commas between them, each one of `key`, `!key`, `key=value`, `key==value`,
/// `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key>1`, `key<1`. The empty text selects all.
///
/// # Errors
/// What is wrong, without the text.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Ok(());
    }
    parts(text)?.into_iter().try_for_each(requirement)
}

/// Splits at the commas outside of parentheses.
fn parts(text: &str) -> Result<Vec<&str>, &'static str> {
    const UNPAIRED: &str = "its parentheses do not pair";
    let (mut found, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' | ')' if inside == (c == '(') => return Err(UNPAIRED),
            '(' | ')' => inside = c == '(',
            ',' if !inside => {
                found.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[from..]);
    if inside { Err(UNPAIRED) } else { Ok(found) }
}

fn requirement(text: &str) -> Result<(), &'static str> {
    let text = text.trim();
    if let Some(absent) = text.strip_prefix('!') {
        return key(absent.trim());
    }
    if let Some(values) = text.strip_suffix(')') {
        let (head, values) = values.split_once('(').ok_or("its parentheses do not pair")?;
        let (name, operator) = head.trim_end().rsplit_once(char::is_whitespace).ok_or("write KEY in (VALUE,…)")?;
        if !matches!(operator, "in" | "notin") {
            return Err("before parentheses stands in or notin");
        }
        key(name.trim())?;
        return values.split(',').try_for_each(|one| value(one.trim()));
    }
    let Some(at) = text.find(['=', '!', '<', '>']) else { return key(text) };
    key(text[..at].trim())?;
    let rest = &text[at..];
    let after = |operator: &str| rest.strip_prefix(operator).map(str::trim);
    if let Some(given) = after("==").or_else(|| after("!=")).or_else(|| after("=")) {
        return value(given);
    }
    match after("<").or_else(|| after(">")) {
        Some(number) => number.parse::<i64>().map(|_| ()).map_err(|_| "a number stands after < and >"),
        None => Err("the operators are =, ==, !=, in, notin, < and >"),
    }
}

/// `[prefix/]name`.
fn key(text: &str) -> Result<(), &'static str> {
    const WRONG: &str = "a key is [PREFIX/]NAME, of at most 63 letters, digits, '-', '_' and '.'";
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label =
        |part: &str| !part.is_empty() && part.bytes().all(label) && !part.starts_with('-') && !part.ends_with('-');
    let prefix_fits = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(label));
    if prefix_fits && !name.is_empty() && is_name(name) { Ok(()) } else { Err(WRONG) }
}

fn value(text: &str) -> Result<(), &'static str> {
    let fits = text.is_empty() || is_name(text);
    if fits { Ok(()) } else { Err("a value is at most 63 letters, digits, '-', '_' and '.'") }
}

/// At most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let ends =
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    ends && text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_reads_passes() {
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
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn what_it_refuses_is_refused() {
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
            assert!(check(text).is_err(), "{text:?}");
        }
    }
}
