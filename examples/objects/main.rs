//! Loads an API server with writes of `McpGateway` objects, and measures them; counts the status writes of others.
//! `dev/measure` compares the operator with it, `dev/takeover` counts what two replicas write.
//!
//! Input: the kubeconfig of the environment, and an order. Output: one line with the number of objects and the time, or
//! with the counts.

mod count;

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectList, Patch, PatchParams, PostParams};
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

/// Writes the McpGateway objects of all namespaces, and prints how long that takes.
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
    /// Print `counting`, then count until SIGTERM how often the status of each object changes
    CountWrites,
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    #[expect(clippy::disallowed_methods, reason = "a client that retries does no harm here")]
    let client = Client::try_default().await.context("reading the kubeconfig")?;
    let resource = ApiResource::erase::<McpGateway>(&());
    let objects = Objects { all: Api::all_with(client.clone(), &resource), client, resource };
    match arguments.order {
        Order::Create { file } => create(&objects, &file).await,
        Order::Write => write_statuses(&objects).await,
        Order::Clear => clear_statuses(&objects).await,
        Order::Edit { count } => edit(&objects, count).await,
        Order::CountWrites => count::count_writes(&objects.all).await,
    }
}

/// The objects of all namespaces.
struct Objects {
    client: Client,
    resource: ApiResource,
    all: Api<DynamicObject>,
}

impl Objects {
    /// Those of the namespace of this one.
    fn beside(&self, object: &DynamicObject) -> Api<DynamicObject> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced_with(self.client.clone(), namespace, &self.resource)
    }
}

async fn create(all: &Objects, file: &Path) -> Result<()> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let ObjectList { items, .. } = serde_json::from_slice::<ObjectList<DynamicObject>>(&text)?;
    let begun = clock::monotonic();
    let parameters = PostParams::default();
    let creations = stream::iter(&items).map(|object| {
        let parameters = &parameters;
        async move { anyhow::Ok(all.beside(object).create(parameters, object).await.map(drop)?) }
    });
    creations.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    report(items.len(), begun)
}

/// All objects, without the metadata that is not needed, and the version of the list.
async fn list(api: &Api<DynamicObject>) -> Result<(Vec<DynamicObject>, String)> {
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
            None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
        }
    }
}

async fn write_statuses(all: &Objects) -> Result<()> {
    patch_statuses(all, |object| {
        let mut status = object.data["status"].clone();
        let rank = status["rank"].as_i64().unwrap_or_default();
        status["rank"] = json!(rank % 100_000 + 1);
        json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": status})
    })
    .await
}

async fn clear_statuses(all: &Objects) -> Result<()> {
    patch_statuses(all, |object| {
        let fields = object.data["status"].as_object().into_iter().flat_map(|status| status.keys());
        let nulls: Map<_, _> =
            fields.filter(|field| *field != "term").map(|field| (field.clone(), Value::Null)).collect();
        json!({"status": nulls})
    })
    .await
}

/// Patches all statuses, without the time that it takes to list them.
async fn patch_statuses(all: &Objects, body: impl Fn(&DynamicObject) -> Value) -> Result<()> {
    let (objects, _) = list(&all.all).await?;
    let begun = clock::monotonic();
    let parameters = PatchParams::default();
    let patches = stream::iter(&objects).map(|object| {
        let (body, parameters) = (body(object), &parameters);
        async move {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            anyhow::Ok(all.beside(object).patch_status(name, parameters, &Patch::Merge(body)).await.map(drop)?)
        }
    });
    patches.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    report(objects.len(), begun)
}

async fn edit(all: &Objects, count: usize) -> Result<()> {
    let (mut objects, _) = list(&all.all).await?;
    objects.sort_unstable_by(|one, other| other.metadata.name.cmp(&one.metadata.name));
    objects.truncate(count);
    let begun = clock::monotonic();
    // Another one than before.
    let seconds = fastrand::u16(1_000..);
    let body = json!({"spec": {"polling": {"maxInterval": format!("{}s", 3_600 + u32::from(seconds))}}});
    let parameters = PatchParams::default();
    let edits = stream::iter(&objects).map(|object| {
        let (body, parameters) = (&body, &parameters);
        async move {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let edited = all.beside(object).patch(name, parameters, &Patch::Merge(body)).await?;
            anyhow::Ok((object, name, edited.metadata.generation))
        }
    });
    let edited: Vec<_> = edits.buffer_unordered(CONCURRENCY).try_collect().await?;
    for (object, name, generation) in edited {
        answered(&all.beside(object), name, generation).await?;
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
