//! Loads an API server with writes of `McpGateway` objects, and measures them. `dev/measure` compares the operator with
//! it.
//!
//! Input: the kubeconfig of the environment, and an order. Output: one line with the number of objects and the time.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, ObjectList, Patch, PatchParams, PostParams};
use mcpgateway_operator::api::v1alpha1::McpGateway;
use mcpgateway_operator::clock;
use mcpgateway_operator::model::Monotonic;
use serde_json::{Map, Value, json};

/// Writes in flight at once: as many as the operator has.
const CONCURRENCY: usize = 16;
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// The longest that an edit may wait for its status.
const LIMIT: Duration = Duration::from_mins(5);

/// Writes many McpGateway objects of the namespace `default`, and prints how long that takes.
#[derive(Parser)]
#[command(name = "objects")]
struct Arguments {
    #[command(subcommand)]
    order: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Create the objects of a file: a List, in JSON
    Create { file: PathBuf },
    /// Write every status once more as it is, with another rank: what the operator's writes cost without the operator
    Write,
    /// Remove everything from every status but its term, which must not fall
    Clear,
    /// Change spec.polling.maxInterval of so many objects, the last ones by name, and wait for their statuses
    Edit { count: usize },
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    #[expect(clippy::disallowed_methods, reason = "a client that retries does no harm here")]
    let client = Client::try_default().await.context("reading the kubeconfig")?;
    let resource = kube::api::ApiResource::erase::<McpGateway>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
    match arguments.order {
        Order::Create { file } => create(&api, &file).await,
        Order::Write => write_statuses(&api).await,
        Order::Clear => clear_statuses(&api).await,
        Order::Edit { count } => edit(&api, count).await,
    }
}

async fn create(api: &Api<DynamicObject>, file: &Path) -> Result<()> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let ObjectList { items, .. } = serde_json::from_slice::<ObjectList<DynamicObject>>(&text)?;
    let begun = clock::monotonic();
    let parameters = PostParams::default();
    let creations = stream::iter(&items).map(|object| {
        let parameters = &parameters;
        async move { anyhow::Ok(api.create(parameters, object).await.map(drop)?) }
    });
    creations.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    report(items.len(), begun)
}

/// All objects, without the metadata that is not needed.
async fn list(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        objects.extend(page.items.into_iter().map(|mut object| {
            object.metadata.managed_fields = None;
            object
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

async fn write_statuses(api: &Api<DynamicObject>) -> Result<()> {
    patch_statuses(api, |object| {
        let mut status = object.data["status"].clone();
        let rank = status["rank"].as_i64().unwrap_or_default();
        status["rank"] = json!(rank % 100_000 + 1);
        json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": status})
    })
    .await
}

async fn clear_statuses(api: &Api<DynamicObject>) -> Result<()> {
    patch_statuses(api, |object| {
        let fields = object.data["status"].as_object().into_iter().flat_map(|status| status.keys());
        let nulls: Map<_, _> =
            fields.filter(|field| *field != "term").map(|field| (field.clone(), Value::Null)).collect();
        json!({"status": nulls})
    })
    .await
}

/// Patches all statuses, without the time that it takes to list them.
async fn patch_statuses(api: &Api<DynamicObject>, body: impl Fn(&DynamicObject) -> Value) -> Result<()> {
    let objects = list(api).await?;
    let begun = clock::monotonic();
    let parameters = PatchParams::default();
    let patches = stream::iter(&objects).map(|object| {
        let (body, parameters) = (body(object), &parameters);
        async move {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            anyhow::Ok(api.patch_status(name, parameters, &Patch::Merge(body)).await.map(drop)?)
        }
    });
    patches.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    report(objects.len(), begun)
}

async fn edit(api: &Api<DynamicObject>, count: usize) -> Result<()> {
    let mut names: Vec<_> = list(api).await?.into_iter().filter_map(|object| object.metadata.name).collect();
    names.sort_unstable();
    let begun = clock::monotonic();
    // Another one than before.
    let seconds = fastrand::u16(1_000..);
    let body = json!({"spec": {"polling": {"maxInterval": format!("{}s", 3_600 + u32::from(seconds))}}});
    let parameters = PatchParams::default();
    let edits = stream::iter(names.iter().rev().take(count)).map(|name| {
        let (body, parameters) = (&body, &parameters);
        async move { anyhow::Ok((name, api.patch(name, parameters, &Patch::Merge(body)).await?.metadata.generation)) }
    });
    let edited: Vec<_> = edits.buffer_unordered(CONCURRENCY).try_collect().await?;
    for (name, generation) in edited {
        answered(api, name, generation).await?;
    }
    report(count, begun)
}

/// Waits until the status is about this generation.
async fn answered(api: &Api<DynamicObject>, name: &str, generation: Option<i64>) -> Result<()> {
    let begun = clock::monotonic();
    while clock::monotonic().since(begun) < LIMIT {
        let found = api.get(name).await?;
        if found.data["status"]["observedGeneration"].as_i64() == generation {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the status of {name} is not about generation {generation:?} after {LIMIT:?}")
}

fn report(count: usize, begun: Monotonic) -> Result<()> {
    let seconds = clock::monotonic().since(begun).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "objects are counted in thousands")]
    let rate = count as f64 / seconds;
    Ok(writeln!(stdout(), "{count} objects in {seconds:.3} s, {rate:.1} a second")?)
}
