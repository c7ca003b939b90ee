//! Counts how often the status of each object changes. In: a watch. Out: the numbers of objects.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Write, stdout};
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Result, bail};
use futures::{Stream, StreamExt};
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::list;

/// After the signal, it ends when nothing has changed for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Seconds for which one watch is open.
const WATCH: u32 = 290;

type Event = kube::Result<WatchEvent<DynamicObject>>;

/// What became of one object: the hash of its status, and how often that has changed.
#[derive(Clone, Copy)]
struct Seen {
    status: u64,
    changes: u32,
}

/// The objects, by uid.
#[derive(Default)]
struct Counts(HashMap<String, Seen>);

impl Counts {
    /// Adds an object that is there at the beginning, or new.
    fn add(&mut self, object: &DynamicObject) {
        let seen = Seen { status: hash_of_status(object), changes: 0 };
        self.0.insert(object.metadata.uid.clone().unwrap_or_default(), seen);
    }

    fn change(&mut self, object: &DynamicObject) {
        let Some(seen) = object.metadata.uid.as_ref().and_then(|uid| self.0.get_mut(uid)) else { return };
        let status = hash_of_status(object);
        seen.changes += u32::from(status != seen.status);
        seen.status = status;
    }

    fn report(&self) -> Result<()> {
        let count = |wanted: &dyn Fn(u32) -> bool| self.0.values().filter(|seen| wanted(seen.changes)).count();
        let [never, once, twice] = [0, 1, 2].map(|changes| count(&|seen| seen == changes));
        let often = count(&|changes| changes > 2);
        Ok(writeln!(stdout(), "never {never}, once {once}, twice {twice}, more often {often}")?)
    }
}

fn hash_of_status(object: &DynamicObject) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.data["status"].to_string().hash(&mut hasher);
    hasher.finish()
}

/// Counts the changes of statuses until SIGTERM. Fails if the API server no longer has all of them.
pub async fn count_writes(api: &Api<DynamicObject>) -> Result<()> {
    let mut ending = signal(SignalKind::terminate())?;
    let (objects, mut version) = list(api).await?;
    let mut counts = Counts::default();
    objects.iter().for_each(|object| counts.add(object));
    drop(objects);
    writeln!(stdout(), "counting")?;
    let mut ended = false;
    loop {
        let parameters = WatchParams::default().timeout(WATCH);
        let mut events = pin!(api.watch(&parameters, &version).await?);
        loop {
            match next(events.as_mut(), &mut ending, &mut ended).await {
                Ok(Some(Ok(WatchEvent::Added(object)))) => {
                    counts.add(&object);
                    version = object.metadata.resource_version.unwrap_or(version);
                }
                Ok(Some(Ok(WatchEvent::Modified(object)))) => {
                    counts.change(&object);
                    version = object.metadata.resource_version.unwrap_or(version);
                }
                Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => version = bookmark.metadata.resource_version,
                Ok(Some(Ok(WatchEvent::Deleted(_)))) => {}
                Ok(Some(Ok(WatchEvent::Error(error)))) => bail!("changes were missed: {}", error.message),
                // Goes on from the last version.
                Ok(Some(Err(_)) | None) => break,
                Err(_) => return counts.report(),
            }
        }
    }
}

/// The next event; `None` at the end of the watch. An error: the signal has come, and nothing has changed since.
async fn next(
    mut events: Pin<&mut impl Stream<Item = Event>>,
    ending: &mut Signal,
    ended: &mut bool,
) -> Result<Option<Event>, Elapsed> {
    if !*ended {
        tokio::select! {
            event = events.next() => return Ok(event),
            _ = ending.recv() => *ended = true,
        }
    }
    timeout(QUIET, events.next()).await
}
