//! `poll due` and `poll completed`: poll decisions for gateways in any language. See docs/contract.md#poll-decisions.
//!
//! `due` exits with 0 when due and 1 when not. A gateway polls on every other code, too, so no error starves a server.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Output, print, print_to_stderr};
use crate::config::domain_values::{gateway_id, poll_type, server_url};
use crate::config::values::choice;
use crate::config::{PollIntervalArgs, PollSettings, RedisAccessArgs, heading};
use crate::model::{GatewayId, ServerUrl};
use crate::poll::{Poll, PollDecision, PollType, rounded_up, tier_word};
use crate::publish::{Completed, PollMetrics, Polls};

/// The subcommands of `poll`.
#[derive(Debug, Subcommand)]
pub enum PollCommand {
    /// Ask whether a poll is due. Exits with 0 if due, 1 if not; on any other code, poll.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Due(PollArgs),
    /// Record that a poll was completed just now.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Completed(PollArgs),
}

/// The flags of `poll due` and `poll completed`.
#[derive(Debug, Args)]
pub struct PollArgs {
    /// URL of the server, exactly as registered
    #[arg(long, required = true, value_parser = server_url(), value_name = "URL")]
    pub url: ServerUrl,
    /// Kind of the poll
    #[arg(long = "type", required = true, value_parser = poll_type(), value_name = "TYPE")]
    pub kind: PollType,
    /// Id of the gateway, if several share the URL
    #[arg(long, value_parser = gateway_id(), value_name = "ID")]
    pub gateway_id: Option<GatewayId>,
    /// Format of the output
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub output: Output,
    /// How to connect to Redis
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub redis: RedisAccessArgs,
    /// When a poll is due
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub intervals: PollIntervalArgs,
}

/// Runs `poll due` or `poll completed`.
///
/// # Errors
/// On bad usage. For `completed` also if the poll could not be stored in Redis.
pub(super) fn poll(command: PollCommand) -> anyhow::Result<ExitCode> {
    match command {
        PollCommand::Due(args) => {
            let (polls, poll, output) = prepare(args)?;
            let decision = due(&polls, &poll);
            let printed = print(&match output {
                Output::Json => format!("{:#}\n", json!(decision)),
                Output::Table => decision_table(&decision),
            });
            // The exit code is the answer, even if it could not be printed.
            if let Err(error) = printed {
                print_to_stderr(&format!("warning: {error}"));
            }
            Ok(if decision.due { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        PollCommand::Completed(args) => {
            let (polls, poll, output) = prepare(args)?;
            warn_without_redis(&polls, "nothing is stored");
            let stored = runtime()?.block_on(polls.completed(&poll))?;
            print(&match output {
                Output::Json => format!("{:#}\n", completed_json(stored)),
                Output::Table => completed_table(stored),
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Checks the settings against each other.
fn prepare(args: PollArgs) -> anyhow::Result<(Polls, Poll, Output)> {
    let PollArgs { url, kind, gateway_id: gateway, output, redis, intervals } = args;
    let PollSettings { access, intervals } = PollSettings::new(redis, intervals)?;
    let polls = Polls::new(access, intervals, PollMetrics::default());
    Ok((polls, Poll { url, gateway, kind }, output))
}

/// Decides. On any error, prints a warning and returns that the poll is due.
fn due(polls: &Polls, poll: &Poll) -> PollDecision {
    warn_without_redis(polls, "every poll is due");
    match runtime() {
        Err(error) => {
            print_to_stderr(&format!("warning: due because of an error: {error}"));
            PollDecision::FAILED
        }
        Ok(runtime) => {
            let (decision, fault) = runtime.block_on(polls.due(poll));
            if let Some(fault) = fault {
                print_to_stderr(&format!("warning: due because of an error: {fault}"));
            }
            decision
        }
    }
}

fn warn_without_redis(polls: &Polls, consequence: &str) {
    if !polls.has_store() {
        print_to_stderr(&format!("warning: --redis-url is not set: {consequence}"));
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn decision_table(decision: &PollDecision) -> String {
    let PollDecision { due, reason, tier, last_poll, next_due } = decision;
    let times = [*last_poll, next_due.map(rounded_up)];
    let [last, next] = times.map(|time| time.map_or_else(|| "-".to_owned(), |time| time.to_string()));
    let (due, tier) = (if *due { "yes" } else { "no" }, tier.map_or("-", tier_word));
    let mut text = format!("{:<4} {:<16} {:<5} {:<21} NEXT-DUE\n", "DUE", "REASON", "TIER", "LAST-POLL");
    let _ = writeln!(text, "{due:<4} {:<16} {tier:<5} {last:<21} {next}", <&str>::from(reason));
    text
}

fn completed_json(stored: Completed) -> serde_json::Value {
    let Completed { tier, expiry } = stored;
    let seconds = expiry.map(|expiry| expiry.as_secs());
    json!({"stored": expiry.is_some(), "tier": tier.map(tier_word), "expirySeconds": seconds})
}

fn completed_table(stored: Completed) -> String {
    let Completed { tier, expiry } = stored;
    let (word, tier) = (if expiry.is_some() { "yes" } else { "no" }, tier.map_or("-", tier_word));
    let expiry = expiry.map_or_else(|| "-".to_owned(), |expiry| format!("{}s", expiry.as_secs()));
    format!("{:<7} {:<5} EXPIRES-IN\n{word:<7} {tier:<5} {expiry}\n", "STORED", "TIER")
}
