//! `docs/contract.md` is the contract. Every reference to it, and every link between the pages, leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::support::cluster::root;

/// What is searched for references: source, pages and scripts. Everything else in the checkout is generated or a
/// tool's.
const SEARCHED: &[&str] = &[
    ".ci",
    "Makefile",
    "README.md",
    "benches",
    "charts",
    "crds",
    "dev",
    "docs",
    "examples",
    "fuzz",
    "integrations",
    "src",
    "tests",
];

/// Folders inside those that tools make.
const GENERATED: &[&str] = &["target", "node_modules", "__pycache__", "corpus", "artifacts", ".venv", ".pytest_cache"];

/// Pages whose links are checked.
const PAGES: &[&str] =
    &["README.md", "charts/mcpgateway-operator/README.md", "docs", "examples", "integrations/contextforge/README.md"];

const CONTRACT: &str = "docs/contract.md";

/// The anchors that other files may rely on, besides those of promises and faults.
const SECTIONS: &[&str] = &[
    "purpose-and-terms",
    "the-mcpgateway-resource",
    "conditions",
    "registration-in-contextforge",
    "status-writes",
    "the-fleet-object",
    "whether-it-is-old",
    "when-most-objects-are-gone",
    "suspending-a-fleet",
    "the-usage-report",
    "what-is-remembered",
    "when-usage-is-incomplete",
    "ranking",
    "redis-keys",
    "the-fence",
    "the-redis-lock",
    "publishing",
    "leadership",
    "terms",
    "poll-decisions",
    "http-api",
    "listeners",
    "command-line",
    "reaching-the-api-server",
    "metrics",
    "promises",
    "faults",
    "known-limits",
    "budgets",
];

static TAG: LazyLock<Regex> = LazyLock::new(|| pattern(r"<[^>]*>"));
static LABELLED: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[([^\]]*)\]\([^)]*\)"));
static HEADING: LazyLock<Regex> = LazyLock::new(|| pattern(r"^#{1,6} +(.*)$"));
static EXPLICIT_ID: LazyLock<Regex> = LazyLock::new(|| pattern(r#"<a id="([^"]+)""#));
static CODE: LazyLock<Regex> = LazyLock::new(|| pattern("`[^`]*`"));
static LINK: LazyLock<Regex> = LazyLock::new(|| pattern(r"\]\(<?([^)\s>]+)>?\)"));
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"contract\.md#([A-Za-z0-9_-]+)"));
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[PLRKWX][0-9]{1,2}\b"));
static ELSEWHERE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(SPEC|FAULTS)\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// The lines of a page that are prose: outside of fenced code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchor that GitHub gives to a heading, before it numbers repeated ones.
fn slug(heading: &str) -> String {
    let text = TAG.replace_all(heading, "");
    let text = LABELLED.replace_all(&text, "$1").to_lowercase();
    let kept = text.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Every anchor of a page: of its headings, and those set with `<a id="…">`.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut repeats: BTreeMap<String, usize> = BTreeMap::new();
    for line in prose(page) {
        anchors.extend(EXPLICIT_ID.captures_iter(line).map(|found| found[1].to_owned()));
        if let Some(found) = HEADING.captures(line) {
            let slug = slug(&found[1]);
            let count = repeats.entry(slug.clone()).or_default();
            anchors.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
            *count += 1;
        }
    }
    anchors
}

/// The targets of the links in a page, but for those that lead outside of the repository.
fn links(page: &str) -> Vec<String> {
    let inside = |target: &String| !target.contains("://") && !target.starts_with("mailto:");
    let targets = prose(page).flat_map(|line| {
        let plain = CODE.replace_all(line, "").into_owned();
        LINK.captures_iter(&plain).map(|found| found[1].to_owned()).collect::<Vec<_>>()
    });
    targets.filter(inside).collect()
}

/// The anchors of the contract that a text refers to.
fn references(text: &str) -> Vec<String> {
    REFERENCE.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The names of promises and of fault rows in a text, as anchors.
fn names(text: &str) -> BTreeSet<String> {
    NAME.find_iter(text).map(|found| found.as_str().to_lowercase()).collect()
}

/// Whether a text cites a document that is not in the repository.
fn cites_elsewhere(text: &str) -> bool {
    ELSEWHERE.is_match(text)
}

/// What is wrong with a link in a page, if anything is. `known`: the anchors of the pages that were read before.
fn dead(page: &Path, target: &str, known: &mut BTreeMap<PathBuf, BTreeSet<String>>) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.to_owned() } else { page.parent()?.join(file) };
    if !path.exists() {
        return Some(format!("{}: {target} is no file", page.display()));
    }
    if anchor.is_empty() || path.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let anchors = known.entry(path).or_insert_with_key(|path| anchors(&std::fs::read_to_string(path).unwrap()));
    (!anchors.contains(anchor)).then(|| format!("{}: {target} is no heading", page.display()))
}

/// All text files at or below a path.
fn texts(path: &Path, found: &mut Vec<(PathBuf, String)>) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        let named = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        entries.iter().filter(|entry| !GENERATED.contains(&&*named(entry))).for_each(|entry| texts(entry, found));
    } else if let Ok(text) = std::fs::read_to_string(path) {
        found.push((path.to_owned(), text));
    }
}

/// The text files of the repository in which references are searched, this one left out: it has bad examples.
fn searched() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    SEARCHED.iter().for_each(|path| texts(&root().join(path), &mut found));
    let lock = |path: &Path| path.extension().is_some_and(|end| end == "lock" || end == "sum" || end == "svg");
    found.retain(|(path, _)| !lock(path) && !path.ends_with("tests/it/contract.rs"));
    assert!(found.len() > 300, "{} files", found.len());
    found
}

fn contract() -> BTreeSet<String> {
    anchors(&std::fs::read_to_string(root().join(CONTRACT)).unwrap())
}

#[test]
fn the_contract_has_every_section_promise_and_fault() {
    let defined = contract();
    let missing: Vec<_> = SECTIONS.iter().filter(|section| !defined.contains(**section)).collect();
    assert!(missing.is_empty(), "{CONTRACT} has no {missing:?}");
    for promise in 1..=10 {
        assert!(defined.contains(&format!("p{promise}")), "{CONTRACT} has no P{promise}");
    }
    for (row, last) in [('l', 9), ('r', 9), ('k', 10), ('w', 7), ('x', 7)] {
        assert!((1..=last).all(|number| defined.contains(&format!("{row}{number}"))), "{CONTRACT} lacks a row {row}");
    }
}

#[test]
fn every_reference_to_the_contract_names_an_anchor() {
    let defined = contract();
    let mut dead = Vec::new();
    for (path, text) in searched() {
        let unknown = references(&text).into_iter().filter(|anchor| !defined.contains(anchor));
        dead.extend(unknown.map(|anchor| format!("{}: {CONTRACT}#{anchor}", path.display())));
    }
    assert!(dead.is_empty(), "no such anchor:\n{}", dead.join("\n"));
}

#[test]
fn every_link_between_the_pages_leads_to_a_file_and_a_heading() {
    let mut pages = Vec::new();
    PAGES.iter().for_each(|path| texts(&root().join(path), &mut pages));
    pages.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "md"));
    assert!(pages.len() > 15, "{} pages", pages.len());
    let mut known = BTreeMap::new();
    let mut found = Vec::new();
    for (path, text) in &pages {
        found.extend(links(text).iter().filter_map(|link| dead(path, link, &mut known)));
    }
    assert!(found.is_empty(), "dead links:\n{}", found.join("\n"));
}

#[test]
fn every_promise_and_fault_that_is_named_is_one_of_the_contract() {
    let defined = contract();
    let mut unknown = Vec::new();
    for (path, text) in searched() {
        let missing = names(&text).into_iter().filter(|name| !defined.contains(name));
        unknown.extend(missing.map(|name| format!("{}: {}", path.display(), name.to_uppercase())));
    }
    assert!(unknown.is_empty(), "{CONTRACT} does not define:\n{}", unknown.join("\n"));
}

#[test]
fn nothing_cites_a_document_outside_of_the_repository() {
    let citing: Vec<PathBuf> =
        searched().into_iter().filter(|(_, text)| cites_elsewhere(text)).map(|(path, _)| path).collect();
    assert!(citing.is_empty(), "cite {CONTRACT} with an anchor instead: {citing:#?}");
}

#[test]
fn the_page_of_faults_has_every_row_of_the_contract_and_no_other() {
    let row = pattern(r"(?m)^\| (?:<a id=[^>]*></a>|\[)?([LRKWX][0-9]+)(?:\]\([^)]*\))? \|");
    let rows = |page: &str| -> Vec<String> {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        row.captures_iter(&text).map(|found| found[1].to_owned()).collect()
    };
    let (contract, tests) = (rows(CONTRACT), rows("docs/faults.md"));
    let sorted = |rows: &[String]| rows.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&contract), sorted(&tests));
    assert_eq!((contract.len(), tests.len()), (42, 42));
}

#[test]
fn headings_become_the_anchors_that_github_makes() {
    for (heading, expected) in [
        ("The McpGateway resource", "the-mcpgateway-resource"),
        ("HTTP API", "http-api"),
        ("P1 One writer", "p1-one-writer"),
        ("`--recency-resolution`", "--recency-resolution"),
        ("What is [linked](page.md#x), and \"quoted\"?", "what-is-linked-and-quoted"),
        ("snake_case stays", "snake_case-stays"),
        ("Gateways (Redis)", "gateways-redis"),
    ] {
        assert_eq!(slug(heading), expected);
    }
    let page = "# One\n```\n# no heading\n```\n## One\n<a id=\"set\"></a>\n### Two\n    # nor this\n";
    let found: Vec<String> = anchors(page).into_iter().collect();
    assert_eq!(found, ["one", "one-1", "set", "two"]);
}

#[test]
fn bad_references_are_found() {
    assert_eq!(references("see docs/contract.md#no-such-thing."), ["no-such-thing"]);
    assert!(!contract().contains("no-such-thing"));
    assert_eq!(
        names("P4 holds, P11 and K99 do not exist, xP2y is no name").into_iter().collect::<Vec<_>>(),
        ["k99", "p11", "p4"]
    );
    assert!(!contract().contains("k99") && !contract().contains("p11"));
    assert!(cites_elsewhere("as SPEC section 4 says") && cites_elsewhere("(FAULTS K2)"));
    assert!(!cites_elsewhere("MODEL_FAULTS=2 and the specification"));

    let (page, mut known) = (root().join("docs/operations.md"), BTreeMap::new());
    let mut dead = |target| dead(&page, target, &mut known);
    assert_eq!(
        links("[a](x.md) `[b](c.md)` [d](https://e.example) ![f](g.svg)\n```\n[h](i.md)\n```\n"),
        ["x.md", "g.svg"]
    );
    assert!(dead("no-such-page.md").is_some_and(|what| what.ends_with("is no file")));
    assert!(dead("#no-such-heading").is_some_and(|what| what.ends_with("is no heading")));
    assert!(dead("contract.md#p11").is_some());
    assert_eq!(dead("contract.md#p10"), None);
}
