//! `poll due` and `poll completed`: poll decisions for gateways in any language (SPEC section 6).
//!
//! `due` exits with 0 when due and 1 when not, so that whatever else goes wrong reads as *poll it*.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Output, complain, print};
use crate::config::parts::{gateway_id, poll_type, server_url};
use crate::config::values::choice;
use crate::config::{PollIntervalArgs, PollSettings, RedisAccessArgs, heading};
use crate::model::{GatewayId, ServerUrl};
use crate::poll::{Poll, PollDecision, PollType, tier_word};
use crate::publish::{Completed, PollMetrics, Polls};

/// `poll`.
#[derive(Debug, Subcommand)]
pub enum PollCommand {
    /// Is this poll due now? Exits with 0 if it is and with 1 if not; poll on any other code, too.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Due(PollArgs),
    /// Remember that this poll was completed now.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Completed(PollArgs),
}

/// Which poll, and where to look.
#[derive(Debug, Args)]
pub struct PollArgs {
    /// URL of the server, as it is registered
    #[arg(long, required = true, value_parser = server_url(), value_name = "URL")]
    pub url: ServerUrl,
    /// What is polled
    #[arg(long = "type", required = true, value_parser = poll_type(), value_name = "TYPE")]
    pub kind: PollType,
    /// The gateway that polls, if several share a URL
    #[arg(long, value_parser = gateway_id(), value_name = "ID")]
    pub gateway_id: Option<GatewayId>,
    /// How to print
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub output: Output,
    /// Where the tiers and the completed polls stand
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub redis: RedisAccessArgs,
    /// How often to poll
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub intervals: PollIntervalArgs,
}

/// Answers, prints, and says how to exit.
///
/// # Errors
/// On bad usage, and for `completed` if Redis does not take it.
pub(super) fn poll(command: PollCommand) -> anyhow::Result<ExitCode> {
    match command {
        PollCommand::Due(args) => {
            let (polls, poll, output) = prepare(args)?;
            let decision = due(&polls, &poll);
            let printed = print(&match output {
                Output::Json => format!("{:#}\n", json!(decision)),
                Output::Table => decision_table(&decision),
            });
            // The exit code is the answer, also for whoever could not be shown it.
            if let Err(error) = printed {
                complain(&format!("warning: {error}"));
            }
            Ok(if decision.due { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        PollCommand::Completed(args) => {
            let (polls, poll, output) = prepare(args)?;
            tell_without_store(&polls, "nothing is remembered");
            let stored = runtime()?.block_on(polls.completed(&poll))?;
            print(&match output {
                Output::Json => format!("{:#}\n", completed_json(stored)),
                Output::Table => completed_table(stored),
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The settings, held against each other, before anything is asked.
fn prepare(args: PollArgs) -> anyhow::Result<(Polls, Poll, Output)> {
    let PollArgs { url, kind, gateway_id: gateway, output, redis, intervals } = args;
    let PollSettings { access, intervals } = PollSettings::new(redis, intervals)?;
    let polls = Polls::new(access, intervals, PollMetrics::default());
    Ok((polls, Poll { url, gateway, kind }, output))
}

/// Asks; whatever goes wrong is told and makes it due.
fn due(polls: &Polls, poll: &Poll) -> PollDecision {
    tell_without_store(polls, "everything is due");
    match runtime() {
        Err(error) => {
            complain(&format!("warning: due, because it could not be found out: {error}"));
            PollDecision::FAILED
        }
        Ok(runtime) => {
            let (decision, fault) = runtime.block_on(polls.due(poll));
            if let Some(fault) = fault {
                complain(&format!("warning: due, because it could not be found out: {fault}"));
            }
            decision
        }
    }
}

fn tell_without_store(polls: &Polls, consequence: &str) {
    if !polls.has_store() {
        complain(&format!("warning: no --redis-url is given: {consequence}"));
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn decision_table(decision: &PollDecision) -> String {
    let PollDecision { due, reason, tier, last_poll: _, next_due: _ } = decision;
    let answer = json!(decision);
    let time = |name: &str| answer[name].as_str().unwrap_or("-").to_owned();
    let (last, next) = (time("lastPoll"), time("nextDue"));
    let (due, tier) = (if *due { "yes" } else { "no" }, tier.map_or("-", tier_word));
    let mut text = format!("{:<4} {:<16} {:<5} {:<21} NEXT-DUE\n", "DUE", "REASON", "TIER", "LAST-POLL");
    let _ = writeln!(text, "{due:<4} {:<16} {tier:<5} {last:<21} {next}", reason.as_str());
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
