//! An explanation for people: one title and value per line. Pure text.

use std::fmt::Write;

use super::refresh::Place;
use super::registration::{EntryView, FieldView, RegistrationView};
use super::{CutOff, Explanation, FleetNumbers, NextPoll, PlannedRefresh, Usage};
use crate::poll::PollDecision;

/// The table, which ends with a line feed.
pub fn table(explanation: &Explanation) -> String {
    aligned(&lines(explanation))
}

/// A line for each title and value, with the values aligned. Consecutive values of one title print it once.
pub fn aligned<T: AsRef<str>>(lines: &[(T, String)]) -> String {
    let width = lines.iter().map(|(title, _)| title.as_ref().len() + 1).max().unwrap_or(0);
    let mut text = String::new();
    let mut previous = "";
    for (title, value) in lines {
        let title = title.as_ref();
        let shown = if title == previous { String::new() } else { format!("{title}:") };
        let _ = writeln!(text, "{shown:width$}  {value}");
        previous = title;
    }
    text
}

fn lines(explanation: &Explanation) -> Vec<(String, String)> {
    let Explanation { tier, reason, meaning, .. } = explanation;
    let mut lines = Vec::new();
    let mut add = |title: &str, value: String| lines.push((title.to_owned(), value));
    let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    add("Object", explanation.object.clone());
    add("Server", or_dash(&explanation.url));
    add("Gateway id", or_dash(&explanation.gateway_id));
    let since = explanation.tier_since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
    add("Tier", tier.map_or_else(|| "none: polled at the full rate".to_owned(), |tier| format!("{tier}{since}")));
    // The line above says the tier already.
    let meaning = ["Hot: ", "Cold: "].iter().find_map(|tier| meaning.strip_prefix(tier)).unwrap_or(meaning);
    add("Reason", format!("{reason}: {meaning}"));
    add("Rank", ranked(explanation.rank, explanation.fleet));
    explanation.cut_off.iter().for_each(|cut_off| add("Cut-off", cut(cut_off)));
    add("Usage", explanation.usage.as_ref().map_or_else(|| "none known".to_owned(), used));
    if let Some(refresh) = &explanation.refresh {
        add("Idle", refresh.idle_seconds.map_or_else(|| "unknown".to_owned(), short));
        add("Refreshed", planned(refresh));
    }
    let title = match (*reason, *tier) {
        ("AboveCut" | "Pinned" | "Held", _) => "To stay hot",
        (_, Some("Cold")) => "To become hot",
        _ => "To do",
    };
    add(title, explanation.next.clone());
    if !explanation.same_server.is_empty() {
        let others = explanation.same_server.join(", ");
        add("Same server", format!("{others}: they share the tier and are polled separately"));
    }
    explanation.id_kept_by.iter().for_each(|owner| add("Id kept by", owner.clone()));
    explanation.polls.iter().for_each(|poll| add(&format!("Next {}", poll.kind), due(poll)));
    let registration = explanation.registration.iter().flat_map(registered);
    registration.for_each(|line| add("Registration", line));
    add("Leader", explanation.leader.clone());
    explanation.notes.iter().for_each(|note| add("Note", note.clone()));
    lines
}

fn ranked(rank: Option<i64>, fleet: FleetNumbers) -> String {
    let FleetNumbers { servers, hot_cap, hot, ever_used } = fleet;
    let rank = rank.map_or_else(|| "none".to_owned(), |rank| rank.to_string());
    let of = ever_used.map(|used| format!(" of {used} ever used")).unwrap_or_default();
    let hot = match (hot, hot_cap) {
        (Some(hot), Some(cap)) => format!("; {hot} of at most {cap} are hot"),
        (Some(hot), None) => format!("; {hot} are hot"),
        (None, _) => String::new(),
    };
    let servers = servers.map(|servers| format!("; {servers} servers")).unwrap_or_default();
    format!("{rank}{of}{servers}{hot}")
}

fn cut(cut_off: &CutOff) -> String {
    let CutOff { object, url: _, rank, last_used } = cut_off;
    let rank = rank.map(|rank| format!("rank {rank}, ")).unwrap_or_default();
    format!(
        "{object}: {rank}last used {}",
        last_used.map_or_else(|| "at an unknown time".to_owned(), |time| time.to_string())
    )
}

fn used(usage: &Usage) -> String {
    let Usage { last_used, active, idle, use_count, observed } = usage;
    let last = last_used.as_ref().map_or_else(|| "never used".to_owned(), |time| format!("last used {time}"));
    let observed = observed.as_ref().map(|time| format!(" (as of {time})")).unwrap_or_default();
    format!("{last}; {active} active, {idle} idle, {use_count} requests{observed}")
}

fn planned(refresh: &PlannedRefresh) -> String {
    let PlannedRefresh { interval_seconds, place, idle_seconds: _, reason } = refresh;
    let place = place.map(|Place { rung, last_rung }| format!(", rung {rung} of {last_rung}")).unwrap_or_default();
    format!("every {}{place} ({}: {})", short(*interval_seconds), <&str>::from(reason), reason.meaning())
}

/// The state, the entry, and a row for each part; `!` marks those that differ.
fn registered(registration: &RegistrationView) -> Vec<String> {
    let RegistrationView { reason, entry, fields, not_observed } = registration;
    let mut lines = vec![entry.as_ref().map_or_else(
        || (*reason).to_owned(),
        |EntryView { id, version, tools, reachable, last_error }| {
            let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
            let tools = tools.map(|tools| format!(", {tools} tools")).unwrap_or_default();
            let reachable = if *reachable == Some(false) { ", not reachable" } else { "" };
            let error = last_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
            format!("{reason}: entry {id}{version}{tools}{reachable}{error}")
        },
    )];
    lines.extend(not_observed.iter().map(|why| format!("ContextForge was not compared: {why}")));
    let width = |text: fn(&FieldView) -> &str| fields.iter().map(|field| text(field).chars().count()).max();
    let (name, desired) = (width(|field| field.field).unwrap_or(0), width(|field| &field.desired).unwrap_or(0).max(7));
    if !fields.is_empty() {
        lines.push(format!("  {:name$}  {:desired$}  IN CONTEXTFORGE", "FIELD", "DESIRED"));
    }
    lines.extend(fields.iter().map(|field| {
        let mark = if field.differs { '!' } else { ' ' };
        format!("{mark} {:name$}  {:desired$}  {}", field.field, field.desired, field.observed)
    }));
    lines
}

/// A time in hours, minutes and seconds.
fn short(seconds: u64) -> String {
    format!("{:#}", jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

fn due(poll: &NextPoll) -> String {
    let PollDecision { due, reason, last_poll, next_due, interval, planned, .. } = &poll.decision;
    let by = if *planned { "by the refresh plan" } else { "by its tier" };
    let every = interval.map(|interval| format!(", every {} {by}", short(interval.as_secs()))).unwrap_or_default();
    let last = last_poll.map(|last| format!(", last polled {last}")).unwrap_or_default();
    let whose = if poll.by_gateway_id || last.is_empty() { "" } else { " by URL" };
    let next = next_due.filter(|_| !due).map_or_else(|| "due now".to_owned(), |next| next.rounded_up().to_string());
    format!("{next} ({}{last}{whose}{every})", <&str>::from(reason))
}
