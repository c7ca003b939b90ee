//! The log and the registry of metrics. Each module registers its own metrics. See docs/contract.md#metrics.
//!
//! The `process_` metrics are read from `/proc` here: the maintained crate for them, `kubert-prometheus-process`, needs
//! an older `prometheus-client` and exports more than the contract names.

use std::io::IsTerminal;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::clock;
use crate::config::LogFormat;

/// The prefix of all metrics except the `process_` ones.
pub(crate) const PREFIX: &str = "mcpgateway_operator";

/// Starts logging to standard error. `level` has passed the check of `--log-level`.
pub(crate) fn init(format: LogFormat, level: &str) {
    // kube logs every failed attempt, several a second while the API server is down. The modules that use it log each
    // problem once, with what to do. The user's directives come last and win.
    let filter = EnvFilter::new(format!("kube_client=off,kube_runtime=error,{level}"));
    let has_colors = std::io::stderr().is_terminal();
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(has_colors);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// A registry with the metrics of the process. The modules add theirs.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let started = ConstGauge::new(clock::now().whole_seconds());
    registry.register_with_unit("process_start_time", "Start since the epoch", Unit::Seconds, started);
    registry.register_collector(Box::new(Process));
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.sub_registry_with_prefix(PREFIX).register("build", "The running build", build);
    registry
}

/// The conventional `process_` metrics, read at each scrape.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauges = [
            ("process_resident_memory", "Resident memory", Some(Unit::Bytes), resident_bytes()),
            ("process_open_fds", "Open file descriptors", None, open_descriptors()),
        ];
        for (name, help, unit, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
            }
        }
        let cpu = ConstCounter::new(cpu_seconds());
        cpu.encode(encoder.encode_descriptor("process_cpu", "CPU time", Some(&Unit::Seconds), cpu.metric_type())?)
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

#[expect(clippy::disallowed_methods, reason = "a clock of CPU time, not of the time of day")]
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "CPU seconds are small")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_metrics_have_the_conventional_names() {
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
