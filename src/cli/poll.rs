//! `poll due` and `poll completed`: poll decisions for gateways in any language. See docs/contract.md#poll-decisions.
//!
//! `due` exits with 0 when due and 1 when not. A gateway polls on every other code, too, so no error starves a server.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Output, print, print_to_stderr, runtime};
use crate::config::domain_values::{gateway_id, poll_type, server_url};
use crate::config::values::choice;
use crate::config::{BadSettings, PollIntervalArgs, RedisAccessArgs, heading};
use crate::model::{GatewayId, ServerUrl, UnixTime};
use crate::poll::{Poll, PollDecision, PollType, tier_word};
use crate::publish::{Completed, PollMetrics, Polls};

#[derive(Debug, Subcommand)]
pub(crate) enum PollCommand {
    /// Ask whether a poll is due. Exits with 0 if due, 1 if not; on any other code, poll.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Due(PollArgs),
    /// Record that a poll was completed just now.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Completed(PollArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PollArgs {
    /// URL of the server, exactly as registered
    #[arg(long, required = true, value_parser = server_url(), value_name = "URL")]
    pub(super) url: ServerUrl,
    /// Kind of the poll
    #[arg(long = "type", required = true, value_parser = poll_type(), value_name = "TYPE")]
    pub(super) kind: PollType,
    /// Id of the gateway, if several share the URL
    #[arg(long, value_parser = gateway_id(), value_name = "ID")]
    pub(super) gateway_id: Option<GatewayId>,
    /// Format of the output
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub(super) output: Output,
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub(super) redis: RedisAccessArgs,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(super) intervals: PollIntervalArgs,
}

/// Runs `poll due` or `poll completed`. The latter fails if the poll could not be stored in Redis.
pub(super) fn poll(command: &PollCommand) -> anyhow::Result<ExitCode> {
    let (PollCommand::Due(args) | PollCommand::Completed(args)) = command;
    BadSettings::check([args.redis.conflicts(), args.intervals.conflicts()].concat())?;
    let polls = Polls::new(args.redis.access(), args.intervals.intervals(), PollMetrics::default());
    let poll = Poll { url: args.url.clone(), gateway: args.gateway_id.clone(), kind: args.kind };
    let consequence = match command {
        PollCommand::Due(_) => "every poll is due",
        PollCommand::Completed(_) => "nothing is stored",
    };
    if !polls.has_store() {
        print_to_stderr(&format!("warning: --redis-url is not set: {consequence}"));
    }
    match command {
        PollCommand::Due(PollArgs { output, .. }) => {
            let decision = due(&polls, &poll);
            // The exit code is the answer, even if it could not be printed.
            if let Err(error) = print(&output.text(&decision, || decision_table(&decision))) {
                print_to_stderr(&format!("warning: {error}"));
            }
            Ok(if decision.due { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        PollCommand::Completed(PollArgs { output, .. }) => {
            let Completed { tier, expiry } = runtime()?.block_on(polls.completed(&poll))?;
            let (stored, tier, expiry) = (expiry.is_some(), tier.map(tier_word), expiry.map(|expiry| expiry.as_secs()));
            print(&output.text(&json!({"stored": stored, "tier": tier, "expirySeconds": expiry}), || {
                let (stored, tier) = (if stored { "yes" } else { "no" }, tier.unwrap_or("-"));
                let expiry = expiry.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s"));
                format!("{:<7} {:<5} EXPIRES-IN\n{stored:<7} {tier:<5} {expiry}\n", "STORED", "TIER")
            }))?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
    let (due, tier) = (if *due { "yes" } else { "no" }, tier.map_or("-", tier_word));
    let interval = interval.map_or_else(|| "-".to_owned(), |interval| format!("{}s", interval.as_secs()));
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
