//! The figures as a table. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::replay::{CallsFrom, Figures, Outcome, PlanFigures, RungFigures};
use crate::config::values::format_duration;

/// One line for each policy, and what the figures are based on.
pub(super) fn table(outcome: &Outcome) -> String {
    let Outcome { uniform, tiers, plans, servers, hot, ever_used, .. } = outcome;
    let old = format!("OLDER THAN {}", duration(2.0 * outcome.hot_interval_seconds));
    let mut rows =
        vec![["POLLING", "REFRESHES/H", "SHARE", "CHANGE", "MEAN AGE", &old, "SERVERS BY INTERVAL"].map(str::to_owned)];
    rows.push(row("full rate".to_owned(), uniform, String::new()));
    rows.push(row("tiers".to_owned(), tiers, String::new()));
    for plan in plans {
        let PlanFigures { budget, longest_interval_seconds, figures, rungs, .. } = plan;
        let rung = |rung: &RungFigures| format!("{}:{}", duration(rung.interval_seconds), rung.servers);
        let rungs: Vec<String> = rungs.iter().map(rung).collect();
        let name = format!("budget {budget}, up to {}", duration(*longest_interval_seconds));
        rows.push(row(name, figures, rungs.join(" ")));
    }
    // The column of changes is for a comparison only.
    let columns: Vec<usize> = (0..7).filter(|column| *column != 3 || uniform.change_percent.is_some()).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = columns.iter().map(|&column| {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            format!("{:<width$}", row[column])
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text.push('\n');
    for PlanFigures { budget, longest_interval_seconds, least_budget, .. } in plans {
        if let Some(least) = least_budget {
            let longest = duration(*longest_interval_seconds);
            let _ =
                writeln!(text, "A budget of {budget} does not suffice up to {longest}: at least {least} is needed.");
        }
    }
    let _ = writeln!(text, "{servers} servers, {hot} hot, {ever_used} ever used (as of {})", outcome.last_report);
    let cycles = outcome.cycles;
    let seen =
        if cycles == 1 { "1 cycle".to_owned() } else { format!("{cycles} cycles since {}", outcome.first_report) };
    let calls = outcome.calls.unwrap_or_default();
    let _ = match outcome.calls_from {
        CallsFrom::Increases => writeln!(text, "Ages are estimated from {calls} calls in {seen}."),
        CallsFrom::Counts => {
            writeln!(text, "Ages are estimated from the {calls} calls since the processes started ({seen}).")
        }
        CallsFrom::LastUses => {
            writeln!(text, "Ages are estimated from the times of the last uses, for lack of counts ({seen}).")
        }
    };
    text
}

fn row(name: String, figures: &Figures, rungs: String) -> [String; 7] {
    let Figures { refreshes_per_hour, share, mean_age_seconds, old_calls_share, change_percent } = figures;
    let change = change_percent.map(|percent| format!("{percent:+.1} %")).unwrap_or_default();
    let (share, old) = (format!("{:.1} %", share * 100.0), format!("{:.1} %", old_calls_share * 100.0));
    [name, format!("{refreshes_per_hour:.0}"), share, change, duration(*mean_age_seconds), old, rungs]
}

fn duration(seconds: f64) -> String {
    format_duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}
