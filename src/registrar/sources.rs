//! Reads the Secrets and `ConfigMap`s that registrations refer to. IO: the API server, one object at a time, so that
//! the operator needs no permission to list them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ObjectMeta};
use tracing::debug;

use crate::model::Monotonic;
use crate::registration::credentials::{FoundSource, Source};
use crate::registration::wanted::SourceName;

/// Time for one.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Reads at the same time.
const CONCURRENCY: usize = 8;
/// Time for a batch: the leader does nothing else meanwhile. The rest is read in the next one.
const BATCH_TIMEOUT: Duration = Duration::from_secs(8);
/// How long it is believed that one is missing or denied.
const RETRY: Duration = Duration::from_secs(15);

type Key = (ArcStr, SourceName);

/// What was read of one, and when to read it again.
struct Known {
    /// `None` if the API server has never answered.
    found: Option<FoundSource>,
    due: Monotonic,
}

/// The sources that were read.
pub(super) struct Sources {
    client: Client,
    /// How long a value serves.
    lifetime: Duration,
    known: BTreeMap<Key, Known>,
}

impl Sources {
    pub(super) const fn new(client: Client, lifetime: Duration) -> Self {
        Self { client, lifetime, known: BTreeMap::new() }
    }

    /// Reads those that are due, and forgets those that nothing refers to. What the API server does not answer for
    /// stays as it was.
    pub(super) async fn read<'a>(
        &mut self,
        referenced: impl Iterator<Item = (&'a ArcStr, SourceName)>,
        now: Monotonic,
    ) {
        let mut before = std::mem::take(&mut self.known);
        for (namespace, source) in referenced {
            let key = (namespace.clone(), source);
            let known = before.remove(&key);
            self.known.entry(key).or_insert_with(|| known.unwrap_or(Known { found: None, due: now }));
        }
        let due = self.known.iter().filter(|(_, known)| known.due <= now).map(|(key, _)| key.clone());
        let client = &self.client;
        let reads = stream::iter(due.collect::<Vec<_>>()).map(async |key: Key| {
            let found = tokio::time::timeout(TIMEOUT, read(client, &key.0, &key.1)).await;
            (key, found)
        });
        let end = tokio::time::sleep(BATCH_TIMEOUT);
        let reads: Vec<_> = reads.buffer_unordered(CONCURRENCY).take_until(end).collect().await;
        for (key, found) in reads {
            let Some(known) = self.known.get_mut(&key) else { continue };
            known.due = now.after(match &found {
                Ok(Ok(FoundSource::Found(_))) => self.lifetime,
                _ => RETRY.min(self.lifetime),
            });
            match found {
                Ok(Ok(found)) => known.found = Some(found),
                Ok(Err(error)) => {
                    debug!(namespace = &*key.0, source = %key.1, %error, "cannot be read; will retry");
                }
                Err(_) => debug!(namespace = &*key.0, source = %key.1, "cannot be read in time; will retry"),
            }
        }
    }

    pub(super) fn found(&self, namespace: &str, source: &SourceName) -> Option<FoundSource> {
        self.known.get(&(ArcStr::from(namespace), source.clone()))?.found.clone()
    }

    /// When the first one is due.
    pub(super) fn due(&self) -> Option<Monotonic> {
        self.known.values().map(|known| known.due).min()
    }
}

async fn read(client: &Client, namespace: &str, source: &SourceName) -> Result<FoundSource, kube::Error> {
    let found = match source {
        SourceName::Secret(name) => {
            let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await.map(|found| found.map(of_secret))
        }
        SourceName::ConfigMap(name) => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await.map(|found| found.map(of_config_map))
        }
    };
    match found {
        Ok(Some(source)) => Ok(FoundSource::Found(Arc::new(source))),
        Ok(None) => Ok(FoundSource::Missing),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(FoundSource::Denied),
        Err(error) => Err(error),
    }
}

fn of_secret(secret: Secret) -> Source {
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    source(secret.metadata, data.collect())
}

fn of_config_map(map: ConfigMap) -> Source {
    let data = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    source(map.metadata, data.collect())
}

fn source(metadata: ObjectMeta, data: BTreeMap<String, Vec<u8>>) -> Source {
    let ObjectMeta { uid, resource_version, labels, annotations, .. } = metadata;
    Source {
        uid: uid.unwrap_or_default(),
        resource_version: resource_version.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        annotations: annotations.unwrap_or_default(),
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_hangs_does_not_hold_up_the_leader() {
        let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", hanging.local_addr().unwrap()).parse().unwrap();
        let client = Client::try_from(kube::Config::new(url)).unwrap();
        let mut sources = Sources::new(client, Duration::from_mins(5));
        let namespace: ArcStr = "a".into();
        let referenced = (0..1_000).map(|number| (&namespace, SourceName::Secret(format!("s{number}"))));
        let before = tokio::time::Instant::now();
        sources.read(referenced, Monotonic::at(Duration::from_secs(1))).await;
        assert!(before.elapsed() <= Duration::from_secs(10), "{:?}", before.elapsed());
    }
}
