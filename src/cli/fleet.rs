//! `status`: the facts of a running fleet, from the ConfigMap that its leader keeps.

use std::fmt::Write;

use super::cluster::Found;
use super::{Output, StatusArgs};
use crate::status::fleet::{Facts, KEYS, UNREGISTERED};

/// Reads the facts, and returns what to print.
///
/// # Errors
/// If the API server cannot be asked, or no leader has written any facts.
pub(super) fn status(args: &StatusArgs) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let StatusArgs { leader_elect_resource_name: lease, leader_elect_resource_namespace: given, cluster, output } =
        args;
    let read = async { cluster.connect().await?.facts(given.as_deref(), lease).await };
    let Found { facts, .. } = runtime.block_on(read)?;
    Ok(match output {
        Output::Json => format!("{:#}\n", serde_json::json!(facts.as_map())),
        Output::Table => table(&facts),
    })
}

fn table(facts: &Facts) -> String {
    let width = KEYS.iter().map(|(_, title)| title.len() + 1).max().unwrap_or(0);
    let mut text = String::new();
    for (key, title) in KEYS {
        let fact = facts.get(key).unwrap_or("unknown");
        // One server a line; everything else is one line of words.
        let lines = if key == UNREGISTERED { fact.split(' ').collect() } else { vec![fact] };
        for (number, line) in lines.into_iter().enumerate() {
            let title = if number == 0 { format!("{title}:") } else { String::new() };
            let _ = writeln!(text, "{title:width$}  {line}");
        }
    }
    text
}
