//! `poll due`, `poll completed` and `poll changed`: poll decisions for gateways in any language. See
//! docs/contract.md#poll-decisions.
//!
//! `due` exits with 0 when due and 1 when not. A gateway polls on every other code, too, so no error starves a server.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Output, print, print_to_stderr, runtime};
use crate::config::domain_values::{gateway_id, poll_type, server_url, ttl_seconds};
use crate::config::values::choice;
use crate::config::{BadSetting, BadSettings, LongestIntervalArgs, PollIntervalArgs, RedisAccessArgs, heading};
use crate::model::{GatewayId, ServerUrl, UnixTime};
use crate::poll::{Intervals, Poll, PollDecision, PollType, tier_word};
use crate::publish::{Completed, PollMetrics, Polls};

#[derive(Debug, Subcommand)]
pub(crate) enum PollCommand {
    /// Ask whether a poll is due. Exits with 0 if due, 1 if not; on any other code, poll.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Due(PollArgs),
    /// Record that a poll was completed just now.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Completed(CompletedArgs),
    /// Record that the server has signalled a change of its lists: the next tool discovery is due.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Changed(ServerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// URL of the server, exactly as registered
    #[arg(long, required = true, value_parser = server_url(), value_name = "URL")]
    pub(super) url: ServerUrl,
    /// Id of the gateway, if several share the URL
    #[arg(long, value_parser = gateway_id(), value_name = "ID")]
    pub(super) gateway_id: Option<GatewayId>,
    /// Format of the output
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub(super) output: Output,
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub(super) redis: RedisAccessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PollArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Kind of the poll
    #[arg(long = "type", required = true, value_parser = poll_type(), value_name = "TYPE", help_heading = None)]
    pub(super) kind: PollType,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(super) intervals: PollIntervalArgs,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(super) longest: LongestIntervalArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompletedArgs {
    #[command(flatten)]
    pub(super) poll: PollArgs,
    /// How long the list is valid, by the server (ttlMs / 1000); at most --longest-refresh-interval counts
    #[arg(long, value_parser = ttl_seconds(), value_name = "SECONDS", help_heading = None)]
    pub(super) ttl_seconds: Option<f64>,
}

impl ServerArgs {
    /// Warns if there is no Redis.
    fn polls(&self, intervals: Intervals, consequence: &str) -> Polls {
        let polls = Polls::new(self.redis.access(), intervals, PollMetrics::default());
        if !polls.has_store() {
            print_to_stderr(&format!("warning: --redis-url is not set: {consequence}"));
        }
        polls
    }
}

impl PollArgs {
    fn conflicts(&self) -> Vec<BadSetting> {
        [self.server.redis.conflicts(), self.intervals.conflicts()].concat()
    }

    fn poll(&self) -> Poll {
        Poll { url: self.server.url.clone(), gateway: self.server.gateway_id.clone(), kind: self.kind }
    }
}

/// Runs one of the commands. `completed` and `changed` fail if Redis did not store it.
pub(super) fn poll(command: &PollCommand) -> anyhow::Result<ExitCode> {
    match command {
        PollCommand::Due(args) => {
            BadSettings::check(args.conflicts())?;
            let polls = args.server.polls(args.longest.with(args.intervals), "every poll is due");
            let decision = due(&polls, &args.poll());
            // The exit code is the answer, even if it could not be printed.
            if let Err(error) = print(&args.server.output.text(&decision, || decision_table(&decision))) {
                print_to_stderr(&format!("warning: {error}"));
            }
            return Ok(if decision.due { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        PollCommand::Completed(CompletedArgs { ttl_seconds, poll: args }) => {
            let mut conflicts = args.conflicts();
            if ttl_seconds.is_some() && args.kind != PollType::ToolDiscovery {
                conflicts.push(BadSetting::new("--ttl-seconds", "leave it out unless --type is tool_discovery"));
            }
            BadSettings::check(conflicts)?;
            let polls = args.server.polls(args.longest.with(args.intervals), NOTHING_STORED);
            let (poll, seconds) = (args.poll(), ttl_seconds.unwrap_or_default());
            let Completed { tier, expiry, ttl } = runtime()?.block_on(polls.completed_with_ttl(&poll, seconds))?;
            let (stored, tier) = (expiry.is_some(), tier.map(tier_word));
            let [expiry, ttl] = [expiry, ttl].map(|time| time.map(|time| time.as_secs()));
            let answer = json!({"stored": stored, "tier": tier, "expirySeconds": expiry, "ttlSeconds": ttl});
            print(&args.server.output.text(&answer, || {
                let (stored, tier) = (yes_or_no(stored), tier.unwrap_or("-"));
                let [expiry, ttl] = [expiry, ttl].map(or_dash);
                let titles = format!("{:<7} {:<5} {:<11} VALID-FOR", "STORED", "TIER", "EXPIRES-IN");
                format!("{titles}\n{stored:<7} {tier:<5} {expiry:<11} {ttl}\n")
            }))?;
        }
        PollCommand::Changed(args) => {
            BadSettings::check(args.redis.conflicts())?;
            let polls = args.polls(Intervals::default(), NOTHING_STORED);
            runtime()?.block_on(polls.changed(&args.url, args.gateway_id.as_ref()))?;
            let stored = polls.has_store();
            print(&args.output.text(&json!({"stored": stored}), || format!("STORED\n{}\n", yes_or_no(stored))))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

const NOTHING_STORED: &str = "nothing is stored";

const fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn or_dash(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s"))
}

/// Decides. On any error, prints a warning and returns that the poll is due.
fn due(polls: &Polls, poll: &Poll) -> PollDecision {
    let decided = runtime().map(|runtime| runtime.block_on(polls.due(poll)));
    let (decision, error) = match decided {
        Ok((decision, fault)) => (decision, fault.map(|fault| fault.to_string())),
        Err(error) => (PollDecision::FAILED, Some(error.to_string())),
    };
    if let Some(error) = error {
        print_to_stderr(&format!("warning: due because of an error: {error}"));
    }
    decision
}

fn decision_table(decision: &PollDecision) -> String {
    let PollDecision { due, reason, tier, interval, planned: _, last_poll, next_due } = decision;
    let times = [*last_poll, next_due.map(UnixTime::rounded_up)];
    let [last, next] = times.map(|time| time.map_or_else(|| "-".to_owned(), |time| time.to_string()));
    let (due, tier) = (yes_or_no(*due), tier.map_or("-", tier_word));
    let interval = or_dash(interval.map(|interval| interval.as_secs()));
    format!(
        "{:<4} {:<16} {:<5} {:<9} {:<21} NEXT-DUE\n{due:<4} {:<16} {tier:<5} {interval:<9} {last:<21} {next}\n",
        "DUE",
        "REASON",
        "TIER",
        "INTERVAL",
        "LAST-POLL",
        <&str>::from(reason)
    )
}
