//! Holds every import in `src` against the table of layers in the crate docs. Tests may import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::support::cluster::root;

/// Modules of layer 1 that the others of that layer may import.
const SHARED_ADAPTERS: [&str; 3] = ["clock", "http_client", "kube_error"];

/// Paths of other crates that a module of layer 0 must not use.
const IMPURE: [&str; 10] = [
    "kube::Api",
    "kube::Client",
    "kube::api::Api",
    "kube::runtime",
    "redis",
    "reqwest",
    "std::env",
    "std::fs",
    "tokio",
    "tracing",
];

/// The number of a layer, as in the crate docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Layer(u8);

const PURE: Layer = Layer(0);
const ADAPTER: Layer = Layer(1);
const LOOP: Layer = Layer(2);

type Segments = Vec<String>;

fn segments(path: &str) -> Segments {
    path.split("::").map(str::to_owned).collect()
}

/// The layers by module. A path belongs to the longest prefix.
struct Layers(BTreeMap<String, Layer>);

impl Layers {
    /// Reads the rows `| layer | modules | may import |` of the crate docs.
    fn read() -> Self {
        let docs = std::fs::read_to_string(root().join("src/lib.rs")).expect("text");
        let mut layers = BTreeMap::new();
        for line in docs.lines() {
            let Some([layer, modules, _]) = line.strip_prefix("//! | ").map(cells) else { continue };
            let Some(number) = layer.split(' ').next().and_then(|number| number.parse().ok()) else { continue };
            for name in modules.split('`').skip(1).step_by(2) {
                let (parent, children) = name.split_once('{').map_or((name, ""), |(parent, rest)| (parent, rest));
                let expand = |child: &str| format!("{parent}{}", child.trim());
                let names = children.trim_end_matches('}').split(',').map(expand);
                layers.extend(names.map(|name| (name, Layer(number))));
            }
        }
        Self(layers)
    }

    fn of(&self, path: &[String]) -> Layer {
        let prefixes = (1..=path.len()).rev().map(|length| path[..length].join("::"));
        let found = prefixes.into_iter().find_map(|prefix| self.0.get(&prefix));
        *found.unwrap_or_else(|| panic!("{} has no layer: add it to the table in src/lib.rs", path.join("::")))
    }

    fn allow(&self, from: &[String], to: &[String]) -> bool {
        let (own, other) = (self.of(from), self.of(to));
        match own {
            PURE => other == PURE,
            ADAPTER => other == PURE || from[0] == to[0] || SHARED_ADAPTERS.contains(&to[0].as_str()),
            LOOP => other <= LOOP,
            _ => true,
        }
    }
}

fn cells(row: &str) -> [&str; 3] {
    let mut cells = row.split('|').map(str::trim);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

/// The Rust files in a folder and its subfolders.
pub fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Identifiers, `::` and single characters; without comments, literals and items for tests.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let ident = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if matches!(&rest[..ident], "r" | "br") && rest[ident..].trim_start_matches('#').starts_with('"') {
            let hashes = rest[ident..].find('"').unwrap_or_default();
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = ident + hashes + 1;
            rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
        } else if rest.starts_with("'\\") {
            rest[3..].find('\'').map_or(rest.len(), |end| end + 4)
        } else if first == '\'' && rest.chars().nth(2) == Some('\'') {
            rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at)
        } else {
            let length = if ident > 0 {
                ident
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    without_tests(&tokens)
}

/// Leaves out the items after `#[cfg(test)]`: up to a semicolon or the end of the braces.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut left = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().take(TEST.len()).eq(TEST.iter()) {
            left.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        for token in &tokens[at..] {
            at += 1;
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && (token == "}" || token == ";") {
                break;
            }
        }
    }
    left
}

/// The paths of a path or `use` tree that begins at a token, each with the name under which a `use` imports it.
fn tree(tokens: &[String], at: &mut usize, prefix: &Segments, found: &mut Vec<(Segments, String)>) {
    let mut path = prefix.clone();
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    loop {
        match token(*at) {
            "{" => {
                *at += 1;
                while !matches!(token(*at), "}" | "") {
                    tree(tokens, at, &path, found);
                    *at += usize::from(token(*at) == ",");
                }
                *at += 1;
                return;
            }
            "self" if !path.is_empty() => {}
            name if name.starts_with(|c: char| c.is_alphanumeric() || c == '_') => path.push(name.to_owned()),
            // A glob, or what follows in an expression.
            _ => {
                *at += 1;
                found.push((path, String::new()));
                return;
            }
        }
        *at += 1;
        if token(*at) == "::" {
            *at += 1;
            continue;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if token(*at) == "as" {
            token(*at + 1).clone_into(&mut name);
            *at += 2;
        }
        found.push((path, name));
        return;
    }
}

/// What a file refers to.
struct Source {
    module: Segments,
    /// Paths in this crate, from its root.
    own: BTreeSet<Segments>,
    /// Paths in other crates, as written.
    foreign: BTreeSet<Segments>,
    /// Names that `use` brings in, for modules that import them from here.
    names: BTreeMap<String, Segments>,
    uses_async: bool,
}

impl Source {
    fn read(module: Segments, text: &str) -> Self {
        let tokens = tokens(text);
        let declared = tokens.windows(3).filter(|three| three[0] == "mod" && three[2] == ";");
        let children: BTreeSet<&String> = declared.map(|three| &three[1]).collect();
        let uses_async = tokens.iter().any(|token| matches!(token.as_str(), "async" | "await"));
        let mut source =
            Self { own: BTreeSet::new(), foreign: BTreeSet::new(), names: BTreeMap::new(), uses_async, module };
        let mut at = 0;
        while at < tokens.len() {
            let (before, after) = (at.checked_sub(1).map(|at| tokens[at].as_str()), tokens.get(at + 1));
            let starts = before == Some("use") || (after.is_some_and(|next| next == "::") && before != Some("::"));
            if !starts {
                at += 1;
                continue;
            }
            let mut found = Vec::new();
            tree(&tokens, &mut at, &Vec::new(), &mut found);
            for (path, name) in found {
                match source.resolve(&path, &children) {
                    Some(path) => {
                        if before == Some("use") {
                            source.names.insert(name, path.clone());
                        }
                        source.own.insert(path);
                    }
                    None => {
                        source.foreign.insert(path);
                    }
                }
            }
        }
        source
    }

    /// Resolves `crate`, `self`, `super` and child modules; `None` for a path of another crate, a type or an import.
    fn resolve(&self, path: &[String], children: &BTreeSet<&String>) -> Option<Segments> {
        let supers = path.iter().take_while(|segment| *segment == "super").count();
        let (base, rest) = match path.first()?.as_str() {
            "crate" => (&[][..], &path[1..]),
            "self" => (&self.module[..], &path[1..]),
            "super" => (&self.module[..self.module.len().saturating_sub(supers)], &path[supers..]),
            _ if children.contains(&path[0]) => (&self.module[..], path),
            _ => return None,
        };
        Some([base, rest].concat())
    }
}

/// All modules of `src`, without those of tests.
fn crate_sources() -> BTreeMap<Segments, Source> {
    let folder = root().join("src");
    let mut files = Vec::new();
    sources(&folder, &mut files);
    let source = |file: &PathBuf| {
        let relative = file.strip_prefix(&folder).expect("inside").with_extension("");
        let module: Segments = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let left_out = module == ["lib"] || module.iter().any(|part| part == "tests");
        let text = std::fs::read_to_string(file).expect("text");
        (!left_out).then(|| (module.clone(), Source::read(module, &text)))
    };
    files.iter().filter_map(source).collect()
}

/// Where the item of a path is defined: follows the names that modules import and re-export.
fn defined_at(path: &Segments, sources: &BTreeMap<Segments, Source>) -> Segments {
    let mut path = path.clone();
    for _ in 0..8 {
        let module = (1..path.len()).rev().find_map(|length| Some((length, sources.get(&path[..length])?)));
        let Some((length, source)) = module else { break };
        let Some(target) = source.names.get(&path[length]).filter(|target| **target != path[..=length]) else { break };
        path = [target, &path[length + 1..]].concat();
    }
    path
}

#[test]
fn every_module_imports_only_what_its_layer_may() {
    let (layers, sources) = (Layers::read(), crate_sources());
    assert!(sources.len() > 40);
    let mut wrong = Vec::new();
    for Source { module, own, .. } in sources.values() {
        for path in own.iter().filter(|path| !path.is_empty()) {
            let target = defined_at(path, &sources);
            if !layers.allow(module, &target) {
                wrong.push(format!("{} imports {}", module.join("::"), target.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "against the table of layers in src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_use_no_client_no_async_and_no_environment() {
    let layers = Layers::read();
    let mut wrong = Vec::new();
    for Source { module, foreign, uses_async, .. } in crate_sources().values() {
        if layers.of(module) != PURE {
            continue;
        }
        let name = module.join("::");
        let impure = |path: &&Segments| IMPURE.iter().any(|impure| path.starts_with(&segments(impure)));
        wrong.extend(foreign.iter().filter(impure).map(|path| format!("{name} uses {}", path.join("::"))));
        wrong.extend(uses_async.then(|| format!("{name} is async")));
    }
    assert!(wrong.is_empty(), "against the table of layers in src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn forbidden_imports_are_found() {
    let layers = Layers::read();
    let allow = |from: &str, to: &str| layers.allow(&segments(from), &segments(to));
    assert!(!allow("classify::rank", "clock"));
    assert!(!allow("workers::request", "publish::Store"));
    assert!(!allow("publish::store", "controller::ControllerSettings"));
    assert!(!allow("status", "status::writer::StatusWriter"));
    assert!(allow("publish::store", "leadership::token::LeadershipToken"));
    assert!(!allow("publish::store", "leadership::Elector"));
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let text = r##"
        use crate::{a, b::{c, self}, d as e};
        use crate::model::{X, Y}; // crate::no
        pub use super::super::up::Z;
        mod child;
        const TEXT: &str = "crate::no::no \" crate::no";
        const RAW: &str = r#"crate::no "quoted" crate::no"#;
        #[cfg(test)]
        mod tests { use crate::no::{No}; fn f() { crate::no::f() } }
        fn f<'a>(c: char) -> bool { c == '"' || c == '\'' || crate::clock::now() > child::g() || super::h::<'a>() }
        #[cfg(test)]
        use crate::no;
        use std::{env, fmt::{self, Write}};
    "##;
    let source = Source::read(segments("m::n"), text);
    let own: Vec<String> = source.own.iter().map(|path| path.join("::")).collect();
    let expected = ["a", "b", "b::c", "clock::now", "d", "m::h", "m::n::child::g", "model::X", "model::Y", "up::Z"];
    assert_eq!(own, expected);
    let foreign: Vec<String> = source.foreign.iter().map(|path| path.join("::")).collect();
    assert_eq!(foreign, ["std::env", "std::fmt", "std::fmt::Write"]);
    assert_eq!(source.names["e"], segments("d"));
}

#[test]
fn a_re_export_leads_to_the_definition() {
    let read = |module: &str, text: &str| (segments(module), Source::read(segments(module), text));
    let sources = [read("a", "mod b; pub use b::Item as Name;"), read("a::b", "use super::c::Item;")].into();
    assert_eq!(defined_at(&segments("a::Name::new"), &sources), segments("a::c::Item::new"));
}
