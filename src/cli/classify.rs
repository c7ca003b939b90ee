//! `classify`: the ranking (docs/contract.md#ranking) alone, on files. Nothing is remembered, no server is held, and no
//! cluster is needed.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{anyhow, bail};
use serde_json::json;

use super::{ClassifyArgs, Output, manifests, print_to_stderr};
use crate::classify::memory::{Inheritance, MemorySettings, UsageMemory};
use crate::classify::{
    Answer, Classification, Collection, EndpointAnswer, PerServer, Placement, RankingInput, classify as decide,
};
use crate::model::{EndpointId, Monotonic, ServerUrl, Tier, UnixTime};
use crate::registry::{Registration, RegistrySnapshot};
use crate::workers::report::{self, Parsed, Timing};

/// The monotonic time at which the memory begins.
pub(super) const START: Monotonic = Monotonic::at(std::time::Duration::ZERO);

/// Classifies what the arguments name, and returns what to print.
pub(super) fn classify(args: &ClassifyArgs) -> anyhow::Result<String> {
    let registry = manifests::registry(&args.filename)?;
    warn_of_refused_objects(&registry);
    let (mut usage, now) = usage(args, &registry)?;
    let params = args.ranking_params();
    registry.pin(&mut usage, &params);
    let classification = decide(&usage, now, &params);
    match args.output {
        Output::Json => {
            let (hot, cold): (Vec<_>, Vec<_>) = (classification.hot().collect(), classification.cold().collect());
            let metadata = &classification.metadata;
            Ok(format!("{:#}\n", json!({"hot": hot, "cold": cold, "metadata": metadata})))
        }
        Output::Table => Ok(table(&classification, &usage, now)),
    }
}

/// Names refused objects on standard error. The others are classified.
pub(super) fn warn_of_refused_objects(registry: &RegistrySnapshot) {
    for gateway in registry.gateways() {
        if let Registration::Refused(refusal) = &gateway.registration {
            let reason = refusal.reason();
            let (name, message) = (&gateway.record.name, reason.message());
            print_to_stderr(&format!("warning: {name} is left out: {reason}: {message}"));
        }
    }
}

/// Reads a saved report.
pub(super) fn read_report(file: &Path, registry: &RegistrySnapshot) -> anyhow::Result<Parsed> {
    let body = manifests::read_report(file)?;
    let parsed = report::parse(&body, &Timing::saved(), registry);
    parsed.map_err(|error| anyhow!("{}: {}: {error}", file.display(), <&str>::from(error)))
}

/// Prints a warning for everything in a report that does not count.
pub(super) fn warn_of_rows(file: &Path, parsed: &Parsed) {
    for (reason, count) in &parsed.skipped {
        print_to_stderr(&format!("warning: {}: {count} rows skipped: {reason}", file.display()));
    }
    for conflict in parsed.identity_conflicts.clone().into_list() {
        print_to_stderr(&format!("warning: {}: {conflict}; its rows count for the latter", file.display()));
    }
}

/// A memory for reports from files: it never holds or gives up anything.
pub(super) fn memory(inheritance: Inheritance) -> UsageMemory {
    let settings =
        MemorySettings { interval: std::time::Duration::MAX / 4, quorum: 0.0, window: std::time::Duration::ZERO };
    UsageMemory::inherit(settings, inheritance, START)
}

/// The merged usage of all reports, and the newest of their times.
fn usage(args: &ClassifyArgs, registry: &RegistrySnapshot) -> anyhow::Result<(PerServer<RankingInput>, UnixTime)> {
    let mut answers = Vec::new();
    let mut now = None;
    for file in manifests::files(&args.usage, &["json"])? {
        let parsed = read_report(&file, registry)?;
        now = now.max(Some(parsed.generated_at));
        warn_of_rows(&file, &parsed);
        let answer = Answer::Report(parsed.report);
        answers.push(EndpointAnswer { endpoint: EndpointId::new(&file.display().to_string()), answer });
    }
    let Some(now) = now else { bail!("--usage: give at least one usage report") };
    // A memory that lasts for this command merges what several files report about one process.
    let mut memory = memory(Inheritance::default());
    let collection = Collection { answers, ..Collection::default() };
    memory.absorb(collection, registry.servers(), START, now);
    let view = memory.view(registry.servers(), START, now);
    Ok((view.fleet, now))
}

/// RANK TIER URL LAST-USED ACTIVE REASON: the hot servers by rank, then the cold ones by rank, then those never used in
/// the order of the registry.
fn table(classification: &Classification, usage: &PerServer<RankingInput>, now: UnixTime) -> String {
    let servers = classification.placements().iter().zip(usage.values());
    let mut rows: Vec<(&ServerUrl, Placement, &RankingInput)> =
        servers.filter_map(|((server, place), input)| Some((server, (*place)?, input))).collect();
    rows.sort_by_key(|(_, place, _)| (place.tier == Tier::Cold, place.rank.unwrap_or(NonZeroU32::MAX)));
    let width = rows.iter().map(|(server, ..)| server.expose().len()).max().unwrap_or(3);
    let mut text = format!("{:<5} {:<5} {:width$} {:<10} {:<7} REASON\n", "RANK", "TIER", "URL", "LAST-USED", "ACTIVE");
    for (server, place, RankingInput { usage, .. }) in rows {
        let rank = place.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string());
        let ago = usage.last_used.map_or_else(|| "never".to_owned(), |time| ago(now.since(time).as_secs()));
        let reason = place.reason.condition_reason();
        let (tier, url, active) = (place.tier, server.expose(), usage.active);
        let _ = writeln!(text, "{rank:<5} {tier:<5} {url:width$} {ago:<10} {active:<7} {reason}");
    }
    let metadata = &classification.metadata;
    let _ = writeln!(
        text,
        "\n{} servers, {} of at most {} hot, {} ever used (as of {now})",
        metadata.total_servers, metadata.hot_actual, metadata.hot_cap, metadata.eligible_count
    );
    text
}

/// An age in one unit, as kubectl prints it.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
