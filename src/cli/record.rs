//! `record`: writes what the workers report, for `plan` and `classify`. IO: the cluster and the workers, reading only,
//! and the files of the recording. See docs/what-if.md.
//!
//! A recording has only the parsed parts of a report, never the body: the times and counts of each process and server,
//! under the registered URL.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::MissedTickBehavior;

use super::classify::warn_of_refused_objects;
use super::live::{Cycle, LiveArgs, LiveFleet};
use super::{manifests, print, runtime};
use crate::classify::{ProcessReport, Row};
use crate::config::values::{bytes, duration, file, whole};
use crate::config::{BadSettings, SECOND};
use crate::model::{ObjectName, UnixTime};
use crate::publish::keys::first_half;
use crate::registry::RegistrySnapshot;
use crate::workers::report::{API_VERSION, KIND, MOST_ROWS, MOST_WORKERS};

/// At the end of `record --help`.
pub(super) const EXAMPLES: &str = "\
docs/what-if.md says which rights it needs.

Examples:
  mcpgateway-operator record --worker-service gateways/contextforge:usage \\
    --worker-token-file token --output recording --cycles 1440

  Without a cluster:
    mcpgateway-operator record -f examples/fleet \\
      --worker-endpoint http://127.0.0.1:9101/mcpgateway/usage --output -";

const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Folder for the recording, which is made if it is missing; - prints one report a line
    #[arg(long, required = true, value_parser = file(), value_name = "FOLDER")]
    output: PathBuf,
    /// Number of cycles
    #[arg(long, default_value = "1", value_parser = whole::<usize>(1..=1_000_000), value_name = "N")]
    cycles: usize,
    /// Time between two cycles
    #[arg(long, default_value = "60s", value_parser = duration(SECOND..=DAY), value_name = "DURATION")]
    interval: Duration,
    /// Size at which the recording ends
    #[arg(long, default_value = "1Gi", value_parser = bytes(), value_name = "BYTES")]
    max_bytes: usize,
    /// McpGateway manifests instead of the objects in the cluster: files, or folders of YAML or JSON files
    #[arg(short, long = "filename", num_args = 1.., value_parser = file(), value_name = "PATH")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    live: LiveArgs,
}

/// Records.
pub(super) fn record(args: RecordArgs) -> anyhow::Result<()> {
    BadSettings::check(args.live.conflicts())?;
    let RecordArgs { output, cycles, interval, max_bytes, filename, live } = args;
    let objects = if filename.is_empty() { None } else { Some(manifests::registry(&filename)?) };
    objects.iter().for_each(warn_of_refused_objects);
    let folder = Some(output).filter(|output| output.as_os_str() != "-");
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).with_context(|| format!("making folder {}", folder.display()))?;
    }
    runtime()?.block_on(async {
        let fleet = LiveFleet::new(live, objects, interval)?;
        let (mut written, mut reported) = (0, false);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for number in 0..cycles {
            ticks.tick().await;
            let cycle = if number == 0 { fleet.first_cycle().await? } else { fleet.cycle().await? };
            cycle.warn();
            reported |= !cycle.report.processes.is_empty();
            for (part, report) in (1..).zip(recorded(&cycle)) {
                let text = format!("{}\n", serde_json::to_string(&report)?);
                written += text.len();
                ensure!(written <= max_bytes, "the recording ends here: it would be larger than --max-bytes");
                match &folder {
                    None => print(&text)?,
                    Some(folder) => save(folder, &report, part, &text)?,
                }
            }
        }
        ensure!(reported, "no worker has reported, so the recording is empty: see the warnings");
        Ok(())
    })
}

/// Writes a file and renames it, so that no reader sees an incomplete one.
fn save(folder: &Path, report: &Recorded<'_>, part: usize, text: &str) -> anyhow::Result<()> {
    let name = format!("usage-{:.3}-{part}.json", report.generated_at);
    let (file, unfinished) = (folder.join(&name), folder.join(format!("{name}.unfinished")));
    let saved = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, &file));
    saved.with_context(|| format!("writing {}", file.display()))
}

/// The parsed parts of a usage report.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recorded<'a> {
    api_version: &'static str,
    kind: &'static str,
    generated_at: f64,
    expected_workers: usize,
    workers: Vec<RecordedProcess<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordedProcess<'a> {
    id: String,
    observed_at: f64,
    servers: Vec<RecordedRow<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordedRow<'a> {
    /// The first object of the server, so that the row finds it where the manifests have another URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<f64>,
    active: u64,
    idle: u64,
    use_count: u64,
}

/// The reports of a cycle: one, or several if one would exceed the limits of a report. All of them are partial if an
/// endpoint has sent no complete report.
fn recorded(cycle: &Cycle) -> Vec<Recorded<'_>> {
    let names = names(&cycle.registry);
    let missing = usize::from(!cycle.report.complete);
    let generated_at = cycle.report.processes.iter().map(|process| process.observed_at).fold(cycle.now, UnixTime::max);
    let (mut all, mut workers, mut rows) = (Vec::new(), Vec::new(), 0);
    for process in &cycle.report.processes {
        let process = recorded_process(process, &names);
        if workers.len() == MOST_WORKERS || rows + process.servers.len() > MOST_ROWS {
            all.push(std::mem::take(&mut workers));
            rows = 0;
        }
        rows += process.servers.len();
        workers.push(process);
    }
    all.push(workers);
    let report = |workers: Vec<_>| Recorded {
        api_version: API_VERSION,
        kind: KIND,
        generated_at: generated_at.seconds(),
        expected_workers: workers.len() + missing,
        workers,
    };
    all.into_iter().map(report).collect()
}

fn recorded_process<'a>(process: &'a ProcessReport, names: &HashMap<usize, &ObjectName>) -> RecordedProcess<'a> {
    let mut rows = process.rows.to_vec();
    Row::fold(&mut rows);
    let servers = rows.iter().filter_map(|row| {
        Some(RecordedRow {
            name: names.get(&row.server()).map(ToString::to_string),
            url: process.servers.get(row.server())?.expose(),
            last_used: row.last_used().map(UnixTime::seconds),
            active: row.active(),
            idle: row.idle(),
            use_count: row.use_count(),
        })
    });
    RecordedProcess {
        id: id(process.id.as_str()),
        observed_at: process.observed_at.seconds(),
        servers: servers.collect(),
    }
}

/// The first object of each server, by place.
fn names(registry: &RegistrySnapshot) -> HashMap<usize, &ObjectName> {
    let mut names = HashMap::new();
    for (record, place) in registry.registered() {
        names.entry(place).or_insert(&record.name);
    }
    names
}

/// The id of a process if it is a UUID; otherwise a UUID made of its hash, because any other id may hold anything.
fn id(id: &str) -> String {
    if uuid::Uuid::try_parse(id).is_ok() {
        return id.to_owned();
    }
    uuid::Uuid::from_u128(first_half(Sha256::new_with_prefix(id))).to_string()
}
