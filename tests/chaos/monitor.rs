//! Reads the stream of `MONITOR`, in which Redis lists what it has executed, as calls of our scripts.
//!
//! In: lines. Out: for each call its term and what it wrote. Redis lists a script's own commands directly after the
//! call and runs nothing in between. A write was therefore accepted if and only if it is in the stream.

/// One call of a script by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The term of the sender.
    pub term: i64,
    /// Whether it wrote anything.
    pub wrote: bool,
    /// The timestamp, if the call published one.
    pub published: Option<String>,
}

/// Reads line by line.
#[derive(Debug, Default)]
pub struct Reader {
    open: Option<Call>,
}

impl Reader {
    /// Takes a line. Returns the call before it once that is complete.
    pub fn line(&mut self, line: &str) -> Option<Call> {
        let tokens = tokens(line);
        let from_script = line.contains(" lua] ");
        if from_script {
            if let Some(call) = &mut self.open {
                let writes = ["SET", "PEXPIRE", "PEXPIREAT", "UNLINK", "RENAME", "SADD", "SREM", "PERSIST", "DEL"];
                let command = tokens.first().map(|name| name.to_uppercase()).unwrap_or_default();
                call.wrote |= writes.contains(&command.as_str());
                if command == "SET" && tokens.get(1).is_some_and(|key| key.ends_with(":timestamp")) {
                    call.published = tokens.get(2).cloned();
                }
            }
            return None;
        }
        let done = self.open.take();
        let is_call = tokens
            .first()
            .is_some_and(|name| name.eq_ignore_ascii_case("EVALSHA") || name.eq_ignore_ascii_case("EVAL"));
        if is_call && let Some(keys) = tokens.get(2).and_then(|count| count.parse::<usize>().ok()) {
            // After the keys: not-after moment, our lock value without its term, our term.
            let ours = tokens.get(3 + keys + 1).is_some_and(|owned| owned.starts_with("mcpgateway-operator/"));
            let term = tokens.get(3 + keys + 2).and_then(|term| term.parse().ok());
            self.open = term.filter(|_| ours).map(|term| Call { term, wrote: false, published: None });
        }
        done
    }
}

/// The quoted parts of a line.
fn tokens(line: &str) -> Vec<String> {
    let (mut found, mut open, mut escaped) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match &mut open {
            None if c == '"' => open = Some(String::new()),
            None => {}
            Some(text) if escaped => {
                text.push(c);
                escaped = false;
            }
            Some(_) if c == '\\' => escaped = true,
            Some(_) if c == '"' => found.extend(open.take()),
            Some(text) => text.push(c),
        }
    }
    found
}

#[test]
fn a_call_is_read_with_what_it_wrote() {
    let mut reader = Reader::default();
    let call = r#"1.5 [0 127.0.0.1:1] "EVALSHA" "abc" "1" "k" "99" "mcpgateway-operator/u/n/l/" "7" "1""#;
    assert_eq!(reader.line(call), None);
    assert_eq!(reader.line(r#"1.5 [0 lua] "TIME""#), None);
    assert_eq!(reader.line(call), Some(Call { term: 7, wrote: false, published: None }));
    assert_eq!(reader.line(r#"1.6 [0 lua] "SET" "p:timestamp" "12.5" "PXAT" "1""#), None);
    let done = reader.line(r#"1.7 [0 127.0.0.1:2] "GET" "x\"y""#);
    assert_eq!(done, Some(Call { term: 7, wrote: true, published: Some("12.5".into()) }));
    assert_eq!(tokens(r#""x\"y" "\xff""#), ["x\"y", "xff"]);
}
