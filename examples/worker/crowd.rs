//! All workers of this process, each at its own address. They may leave and come back.
//!
//! Input: their traffic, and orders under `/workers` on a separate listener. Output: the listeners. A worker that
//! leaves refuses connections. When it comes back, it is a new process with new ids and its initial rows.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::http::{self, Outcome, Worker, answer};
use super::meter::{Meter, Metered};
use super::query::Query;

/// One worker, whether it listens or not.
pub struct Member {
    /// Its address.
    pub address: SocketAddr,
    pub worker: Worker,
    /// Stops its listener and its connections. `None` while it is away.
    leaving: Option<CancellationToken>,
}

/// All workers.
#[derive(Clone)]
pub struct Crowd(Arc<Shared>);

struct Shared {
    members: Mutex<Vec<Member>>,
    serving: Mutex<JoinSet<()>>,
    meter: Arc<Meter>,
    /// Stops all workers.
    ending: CancellationToken,
}

impl Crowd {
    /// Without workers.
    pub fn new(meter: Arc<Meter>, ending: CancellationToken) -> Self {
        Self(Arc::new(Shared { members: Mutex::default(), serving: Mutex::default(), meter, ending }))
    }

    /// Adds a worker, which starts to listen. Returns its address.
    pub async fn join(&self, address: SocketAddr, worker: Worker) -> Result<SocketAddr> {
        let listener = listen(address).await?;
        let address = listener.local_addr()?;
        let leaving = Some(self.serve(listener, worker.clone()));
        self.members().push(Member { address, worker, leaving });
        Ok(address)
    }

    /// Advances the traffic of all workers to now, and forgets connections of those that have left.
    pub fn tick(&self) {
        self.members().iter().for_each(|member| member.worker.tick());
        while self.serving().try_join_next().is_some() {}
    }

    /// Waits until all workers have left.
    pub async fn ended(&self) {
        let mut serving = std::mem::take(&mut *self.serving());
        while serving.join_next().await.is_some() {}
    }

    /// Serves the orders.
    pub async fn oversee(&self, address: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("--overseer: cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/workers/leave", post(leave))
            .route("/workers/come", post(come))
            .route("/workers/pause", post(pause))
            .route("/workers/resume", post(resume))
            .route("/workers/state", get(state))
            .with_state(self.clone());
        let ending = self.0.ending.clone().cancelled_owned();
        self.serving().spawn(async move {
            // It never fails by itself.
            let _ = axum::serve(listener, router).with_graceful_shutdown(ending).await;
        });
        Ok(address)
    }

    /// Makes these workers refuse connections. Returns how many of them did not already.
    pub fn leave(&self, range: Range<usize>) -> Result<usize> {
        let mut members = self.members();
        let some = slice(&mut members, range)?;
        Ok(some.iter_mut().filter_map(|member| member.leaving.take()).map(|leaving| leaving.cancel()).count())
    }

    /// Makes these workers listen again, as new processes.
    pub async fn come(&self, range: Range<usize>) -> Result<usize> {
        let away = |member: &Member| member.leaving.is_none().then(|| (member.address, member.worker.clone()));
        let away: Vec<_> = slice(&mut self.members(), range.clone())?.iter().map(away).collect();
        let mut come = 0;
        for (place, (address, worker)) in range.zip(away).filter_map(|(place, away)| Some((place, away?))) {
            worker.restart();
            let leaving = self.serve(listen(address).await?, worker);
            if let Some(member) = self.members().get_mut(place) {
                member.leaving = Some(leaving);
                come += 1;
            }
        }
        Ok(come)
    }

    fn serve(&self, listener: TcpListener, worker: Worker) -> CancellationToken {
        let leaving = self.0.ending.child_token();
        let gone = leaving.clone().cancelled_owned();
        let listener = Metered { listener, meter: Arc::clone(&self.0.meter) };
        self.serving().spawn(async move {
            // It never fails by itself.
            let _ = axum::serve(listener, http::router(worker)).with_graceful_shutdown(gone).await;
        });
        leaving
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serving(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("--listen: cannot listen on {address}"))
}

fn slice(members: &mut [Member], range: Range<usize>) -> Result<&mut [Member]> {
    let count = members.len();
    members.get_mut(range).ok_or_else(|| anyhow!("there are only workers 0 to {}", count.saturating_sub(1)))
}

/// `first=K&count=N`.
fn range(query: Option<String>) -> Result<Range<usize>, (StatusCode, String)> {
    let query = Query::new(query);
    let whole = |key| query.count(key).map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    let first = whole("first")?;
    Ok(first..first.saturating_add(whole("count")?))
}

async fn leave(State(crowd): State<Crowd>, RawQuery(query): RawQuery) -> Response {
    let left = range(query).and_then(|range| crowd.leave(range).map_err(http::unknown));
    answer(left.map(|count| format!("{count} workers have left")))
}

async fn come(State(crowd): State<Crowd>, RawQuery(query): RawQuery) -> Response {
    let range = match range(query) {
        Ok(range) => range,
        Err(refusal) => return answer(Err(refusal)),
    };
    let come: Outcome =
        crowd.come(range).await.map_err(http::unknown).map(|count| format!("{count} workers have come"));
    answer(come)
}

async fn pause(State(crowd): State<Crowd>) -> Response {
    crowd.members().iter().for_each(|member| member.worker.pause());
    answer(Ok("the simulated traffic of all workers is paused".into()))
}

async fn resume(State(crowd): State<Crowd>) -> Response {
    crowd.members().iter().for_each(|member| member.worker.resume());
    answer(Ok("the simulated traffic of all workers goes on".into()))
}

async fn state(State(crowd): State<Crowd>) -> Response {
    let mut figures = crowd.0.meter.figures();
    let members = crowd.members();
    figures["workers"] = json!(members.len());
    figures["listening"] = json!(members.iter().filter(|member| member.leaving.is_some()).count());
    ([(header::CONTENT_TYPE, "application/json")], format!("{figures}\n")).into_response()
}
