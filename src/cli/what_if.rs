//! `plan`: how many refreshes refresh plans would need and how old lists would be, for recorded reports or the live
//! fleet. Only prints. See docs/what-if.md.

mod compare;
mod replay;
mod table;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Arg, Args, ValueEnum};

use super::classify::{read_report, warn_of_refused_objects, warn_of_rows};
use super::live::{Cycle, LiveArgs, LiveFleet, merged};
use super::{Output, manifests, print_to_stderr, runtime};
use crate::classify::Report;
use crate::config::values::{budget, choice, duration, file, percent};
use crate::config::{BadSetting, BadSettings, MAX_INTERVAL, PollIntervalArgs, RankingArgs, SECOND, condition, heading};
use crate::model::{UnixTime, WorkerId};
use crate::plan::{Budget, PlanSettings};
use crate::registry::RegistrySnapshot;
use compare::Earlier;
use replay::{Outcome, Replay};

/// At the end of `plan --help`.
pub(super) const EXAMPLES: &str = "\
Exits with 3 if --fail-above is exceeded. docs/what-if.md explains the figures.

Examples:
  mcpgateway-operator plan -f examples/fleet --usage examples/usage

  In CI, by how much a change of the manifests raises the number of refreshes:
    mcpgateway-operator plan -f main/ --usage recording/ --refresh-budget 0.33 -o json > main.json
    mcpgateway-operator plan -f pr/ --usage recording/ --refresh-budget 0.33 \\
      --compare main.json --fail-above 10

  The live fleet:
    mcpgateway-operator plan --from cluster --worker-service gateways/contextforge:usage \\
      --worker-token-file token";

/// The exit code if there are more refreshes than allowed.
const EXCEEDED: u8 = 3;
/// The recency resolution and the time for reports from the live fleet: the default interval of `run`.
const INTERVAL: Duration = Duration::from_mins(1);

/// Where objects and reports come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    Files,
    Cluster,
}

#[derive(Debug, Args)]
#[command(mut_arg("recency_resolution", with_the_default_of_run))]
pub(crate) struct WhatIfArgs {
    /// Where objects and reports come from
    #[arg(long, default_value = "files", value_parser = choice::<Source>(), value_name = "SOURCE")]
    from: Source,
    /// McpGateway manifests: files, or folders of YAML or JSON files
    #[arg(short, long = "filename", num_args = 1.., value_parser = file(), value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// Saved usage reports: files, or folders of JSON files
    #[arg(long, num_args = 1.., value_parser = file(), value_name = "PATH")]
    usage: Vec<PathBuf>,
    /// Shares of uniform polling that a plan may use
    #[arg(long, value_delimiter = ',', default_value = "0.2,0.25,0.33,0.5", value_parser = budget(),
        value_name = "0..1", help_heading = heading::POLLS)]
    refresh_budget: Vec<Budget>,
    /// Longest refresh intervals of a plan
    #[arg(long, value_delimiter = ',', default_value = "1h,4h",
        value_parser = duration(SECOND..=MAX_INTERVAL).and(condition::LONGEST), value_name = "DURATION",
        help_heading = heading::POLLS)]
    longest_refresh_interval: Vec<Duration>,
    #[command(flatten, next_help_heading = heading::POLLS)]
    polls: PollIntervalArgs,
    #[command(flatten, next_help_heading = heading::RANKING)]
    ranking: RankingArgs,
    #[command(flatten)]
    live: LiveArgs,
    /// JSON of an earlier run, to print by how much the number of refreshes has changed
    #[arg(long, value_parser = file(), value_name = "FILE", help_heading = None)]
    compare: Option<PathBuf>,
    /// Exit with 3 if a plan has more refreshes than in the earlier run, by more than so many percent
    #[arg(long, value_parser = percent().and(NEEDS_COMPARE), value_name = "PERCENT", help_heading = None)]
    fail_above: Option<f64>,
    /// Format of the output
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT",
        help_heading = None)]
    output: Output,
}

const NEEDS_COMPARE: &str = "needs --compare";

/// `plan` has no interval, so it takes the default one of `run`.
fn with_the_default_of_run(arg: Arg) -> Arg {
    arg.help("Precision of last-used times, smaller differences do not count; 60s by default")
}

impl WhatIfArgs {
    fn check(&self) -> Result<(), BadSettings> {
        let is_live = self.from == Source::Cluster;
        let paths = [("--filename", !self.filename.is_empty()), ("--usage", !self.usage.is_empty())];
        let mut conflicts = Vec::new();
        for (flag, given) in paths.into_iter().filter(|(_, given)| *given == is_live) {
            let reason = if given { "leave it out with --from cluster" } else { "needed without --from cluster" };
            conflicts.push(BadSetting::new(flag, reason));
        }
        if is_live {
            conflicts.extend(self.live.conflicts());
        }
        conflicts.extend(self.polls.conflicts());
        let hot = self.polls.hot_poll_interval;
        let too_short = self.longest_refresh_interval.iter().filter(|longest| **longest < hot);
        let flag = "--longest-refresh-interval";
        conflicts.extend(too_short.map(|longest| BadSetting::duration(flag, condition::LONGEST, *longest)));
        if self.fail_above.is_some() && self.compare.is_none() {
            conflicts.push(BadSetting::new("--fail-above", NEEDS_COMPARE));
        }
        BadSettings::check(conflicts)
    }

    /// Each budget with each longest interval.
    fn plans(&self) -> Vec<PlanSettings> {
        let hot = self.polls.hot_poll_interval;
        let plans = self.refresh_budget.iter().flat_map(|budget| {
            let longest = self.longest_refresh_interval.iter();
            longest.map(move |longest| PlanSettings::new(hot, *longest, *budget))
        });
        plans.collect()
    }
}

/// Replays, and returns what to print, and the exit code.
pub(super) fn what_if(args: WhatIfArgs) -> anyhow::Result<(String, ExitCode)> {
    args.check()?;
    let earlier = args.compare.as_deref().map(Earlier::read).transpose()?;
    let (output, fail_above) = (args.output, args.fail_above);
    let mut outcome = match args.from {
        Source::Files => from_files(&args)?,
        Source::Cluster => from_cluster(args)?,
    };
    let raised = earlier.map(|earlier| earlier.compare(&mut outcome, fail_above.is_some())).transpose()?;
    let exceeded = raised.zip(fail_above).filter(|(raised, limit)| raised > limit);
    let code = exceeded.map_or(ExitCode::SUCCESS, |(raised, limit)| {
        print_to_stderr(&format!("this raises refreshes by {raised} %, which is more than {limit} %"));
        ExitCode::from(EXCEEDED)
    });
    Ok((output.text(&outcome, || table::table(&outcome)), code))
}

fn from_files(args: &WhatIfArgs) -> anyhow::Result<Outcome> {
    let registry = manifests::registry(&args.filename)?;
    check(&registry, "--filename")?;
    // The reports are read twice instead of kept, because a long recording may not fit into memory.
    let mut files = Vec::new();
    let mut first: Option<UnixTime> = None;
    for file in manifests::files(&args.usage, &["json"])? {
        let parsed = read_report(&file, &registry)?;
        warn_of_rows(&file, &parsed);
        first = first.into_iter().chain([earliest(&parsed.report, parsed.generated_at)]).min();
        files.push((parsed.generated_at, file));
    }
    files.sort();
    let first = first.context("--usage: give at least one usage report")?;
    let begin = files[0].0;
    let mut now = begin;
    let (ranking, tiers) = (args.ranking.params(INTERVAL), args.polls.intervals());
    let mut replay = Replay::new(registry.clone(), begin, first, ranking, tiers, &args.plans());
    // A cycle is the longest run of files that name no process twice.
    let (mut cycle, mut processes): (Vec<Report>, HashSet<WorkerId>) = Default::default();
    for (generated_at, file) in files {
        let report = read_report(&file, &registry)?.report;
        if report.processes.iter().any(|process| processes.contains(&process.id)) {
            replay.absorb(merged(std::mem::take(&mut cycle)), now);
            processes.clear();
        }
        processes.extend(report.processes.iter().map(|process| process.id.clone()));
        cycle.push(report);
        now = generated_at;
    }
    replay.absorb(merged(cycle), now);
    replay.outcome().context(NO_USE)
}

/// The earliest time in a report.
fn earliest(report: &Report, generated_at: UnixTime) -> UnixTime {
    let rows = report.processes.iter().flat_map(|process| &process.rows);
    let uses = rows.filter_map(|row| row.last_used().filter(|used| *used > UnixTime::EPOCH));
    uses.fold(generated_at, UnixTime::min)
}

const NO_USE: &str = "no report shows a use of these servers: the operator would classify and plan nothing";

fn from_cluster(args: WhatIfArgs) -> anyhow::Result<Outcome> {
    let plans = args.plans();
    let WhatIfArgs { ranking, polls, live, .. } = args;
    let cycle = runtime()?.block_on(async { LiveFleet::new(live, None, INTERVAL)?.first_cycle().await })?;
    cycle.warn();
    check(&cycle.registry, "--from cluster")?;
    let Cycle { registry, report, now, .. } = cycle;
    let registry = RegistrySnapshot::clone(&registry);
    let first = earliest(&report, now);
    let mut replay = Replay::new(registry, now, first, ranking.params(INTERVAL), polls.intervals(), &plans);
    replay.absorb(report, now);
    replay.outcome().context(NO_USE)
}

/// Prints a warning for each refused object. Fails if there is nothing to plan.
fn check(registry: &RegistrySnapshot, source: &str) -> anyhow::Result<()> {
    warn_of_refused_objects(registry);
    ensure!(!registry.servers().is_empty(), "{source}: there is no McpGateway that is enabled and accepted");
    Ok(())
}
