//! `classify`: section 3 alone, on files. Nothing is remembered and nothing held, and no cluster is needed.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde_json::json;

use super::{ClassifyArgs, Output, manifests, print_to_stderr};
use crate::classify::memory::{Inheritance, MemorySettings, UsageMemory};
use crate::classify::{
    Answer, Classification, Collection, EndpointAnswer, PerServer, Placement, RankingInput, classify as decide,
};
use crate::config;
use crate::model::{EndpointId, Monotonic, ServerUrl, Tier, UnixTime};
use crate::registry::{Registration, RegistrySnapshot};
use crate::workers::report::{self, Timing};

/// Classifies what the arguments name, and returns what to print.
///
/// # Errors
/// If a file cannot be read, or is neither manifest nor report.
pub(super) fn classify(args: &ClassifyArgs) -> anyhow::Result<String> {
    let ranking = config::ranking(&args.ranking);
    let registry = manifests::registry(&args.filename)?;
    tell_refused(&registry);
    let (known, now) = usage(args, &registry)?;
    let found = decide(&known, now, &ranking);
    match args.output {
        Output::Json => {
            let (hot, cold): (Vec<_>, Vec<_>) = (found.hot().collect(), found.cold().collect());
            let metadata = &found.metadata;
            Ok(format!("{:#}\n", json!({"hot": hot, "cold": cold, "metadata": metadata})))
        }
        Output::Table => Ok(table(&found, &known, now)),
    }
}

/// Objects that would be refused are named on standard error; the others go on.
fn tell_refused(registry: &RegistrySnapshot) {
    for gateway in registry.gateways() {
        if let Registration::Refused(refusal) = &gateway.registration {
            let reason = refusal.reason();
            print_to_stderr(&format!(
                "warning: {} is left out: {}: {}",
                gateway.record.name,
                reason.as_str(),
                reason.message()
            ));
        }
    }
}

/// The merged use of all reports, and the newest of their times.
fn usage(args: &ClassifyArgs, registry: &RegistrySnapshot) -> anyhow::Result<(PerServer<RankingInput>, UnixTime)> {
    let mut answers = Vec::new();
    let mut now = None;
    for file in manifests::files(&args.usage, &["json"])? {
        let body = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let parsed = report::parse(&body, &Timing::saved(), registry);
        let parsed = parsed.map_err(|error| anyhow!("{}: {}: {error}", file.display(), error.reason()))?;
        now = now.max(Some(parsed.generated_at));
        tell_skipped(&file, &parsed.skipped);
        let endpoint = EndpointId::new(&file.display().to_string());
        answers.push(EndpointAnswer { endpoint, answer: Answer::Report(parsed.report) });
    }
    let Some(now) = now else { bail!("--usage: give at least one usage report") };
    // The memory of a fleet that begins and ends here: it merges what several files say of one process.
    let settings =
        MemorySettings { interval: std::time::Duration::MAX / 4, quorum: 0.0, window: std::time::Duration::ZERO };
    let start = Monotonic::at(std::time::Duration::ZERO);
    let mut memory = UsageMemory::inherit(settings, Inheritance::default(), start);
    let collection = Collection { answers, ..Collection::default() };
    memory.absorb(collection, registry.servers(), start, now);
    Ok((memory.view(registry.servers(), start, now).fleet, now))
}

fn tell_skipped(file: &Path, skipped: &report::Skipped) {
    for (reason, count) in skipped.iter() {
        print_to_stderr(&format!("warning: {}: {count} rows left out: {reason}", file.display()));
    }
}

/// RANK TIER URL LAST-USED ACTIVE REASON: the hot servers in rank order, then the others in rank order, then the never
/// used in registry order.
fn table(found: &Classification, known: &PerServer<RankingInput>, now: UnixTime) -> String {
    let told = found.placements().iter().zip(known.values());
    let mut rows: Vec<(&ServerUrl, Placement, &RankingInput)> =
        told.filter_map(|((server, place), known)| Some((server, (*place)?, known))).collect();
    rows.sort_by_key(|(_, place, _)| (place.tier == Tier::Cold, place.rank.unwrap_or(u32::MAX)));
    let width = rows.iter().map(|(server, ..)| server.expose().len()).max().unwrap_or(3);
    let mut text = format!("{:<5} {:<5} {:width$} {:<10} {:<7} REASON\n", "RANK", "TIER", "URL", "LAST-USED", "ACTIVE");
    for (server, place, RankingInput { usage: used, .. }) in rows {
        let rank = place.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string());
        let ago = used.last_used.map_or_else(|| "never".to_owned(), |time| ago(now.since(time).as_secs()));
        let reason = place.reason.condition_reason().as_str();
        let (tier, url, active) = (place.tier, server.expose(), used.active);
        let _ = writeln!(text, "{rank:<5} {tier:<5} {url:width$} {ago:<10} {active:<7} {reason}");
    }
    let facts = &found.metadata;
    let _ = writeln!(
        text,
        "\n{} servers, {} of at most {} hot, {} ever used (as of {now})",
        facts.total_servers, facts.hot_actual, facts.hot_cap, facts.eligible_count
    );
    text
}

/// An age in one or two units, as kubectl prints it.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
