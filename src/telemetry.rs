//! Logs and the registry of metrics. Shell: anything below may log; each component registers its own metrics.

use std::io::IsTerminal;

use anyhow::Context;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::process::getpid;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// The prefix of all metrics but the `process_` ones (SPEC section 8).
pub const PREFIX: &str = "mcpgateway_operator";

/// Starts logging to standard error.
///
/// # Errors
/// If `level` is neither a level nor filter directives.
pub fn init(format: LogFormat, level: &str) -> anyhow::Result<()> {
    // kube tells of each try that fails, several a second while the API server is away; the rooms say it once, with what to
    // do. What is asked for comes last and wins.
    let filter = EnvFilter::try_new(format!("kube_client=off,kube_runtime=error,{level}"));
    let filter = filter.context("--log-level: write error, warn, info, debug or trace")?;
    let colours = std::io::stderr().is_terminal();
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A registry with what belongs to the process, to which the components add theirs.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.sub_registry_with_prefix(PREFIX).register("build", "The running build", build);
    registry
}

/// The conventional `process_` metrics, read when scraped.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauges = [
            ("process_resident_memory", "Resident memory", Some(Unit::Bytes), resident_bytes()),
            ("process_open_fds", "Open file descriptors", None, open_descriptors()),
            ("process_start_time", "Start since the epoch", Some(Unit::Seconds), start_time()),
        ];
        for (name, help, unit, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
            }
        }
        let counter = ConstCounter::new(cpu_seconds());
        counter.encode(encoder.encode_descriptor(
            "process_cpu",
            "CPU time",
            Some(&Unit::Seconds),
            counter.metric_type(),
        )?)
    }
}

fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}

fn open_descriptors() -> Option<i64> {
    i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

/// The modification time of the process' folder in `/proc` is when it started.
fn start_time() -> Option<i64> {
    let started = std::fs::metadata(format!("/proc/{}", getpid())).ok()?.modified().ok()?;
    i64::try_from(started.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
}

#[expect(clippy::disallowed_methods, reason = "the clock of CPU time, which is no time of day")]
fn cpu_seconds() -> f64 {
    let read = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "CPU seconds are small")]
    let seconds = read.tv_sec as f64 + read.tv_nsec as f64 / 1e9;
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_described_in_the_conventional_names() {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry()).unwrap();
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_cpu_seconds_total ",
            "process_start_time_seconds ",
            "mcpgateway_operator_build_info{version=",
        ] {
            assert!(text.contains(name), "{name} is missing in:\n{text}");
        }
    }
}
