//! The connection to a `ContextForge`: its requests, bounded in size and time. IO.
//!
//! In: where it is, and what an entry should be. Out: entries, and typed errors. Follows no redirect. Must not let the
//! token, a credential, or the query of a URL into an error.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::{Value, json};

use super::call_error::CallError;
use super::entry::Entry;
use super::error::Error;
use super::page::{Page, read_page};
use super::scope::{self, Scope, Validity};
use crate::http_client::{ClientError, FlagFile, Tls, body};
use crate::model::GatewayId;
use crate::registration::desired::{Credentials, DesiredGateway, SecretText};
use crate::registration::ownership::Creator;

/// The list. The path without a version is deprecated: releases with `LEGACY_API_ENABLED=false` do not serve it.
pub(super) const LIST: &str = "/v1/gateways";
/// Rows requested per page: below the default maximum of releases 1.0.7 to 1.1.0 (`PAGINATION_MAX_PAGE_SIZE`, 500).
pub(super) const PAGE: usize = 100;
/// The limit that means all rows in one page.
const ALL: usize = 0;
/// More than any fleet has.
const MOST_PAGES: usize = 2_000;
/// Size of one answer. A thousand rows with certificates and descriptions fit many times.
const MOST_BYTES: usize = 16 << 20;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The time for a change. `ContextForge` connects to the server first, and gives up one that hangs after 30 s.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(35);

/// How to reach a `ContextForge`.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its base URL: scheme, host, port, and the root path if it has one.
    pub url: Url,
    /// The file with a bearer token.
    pub token: FlagFile,
    /// The file with the only CAs trusted, in PEM; the system's if not given.
    pub ca: Option<FlagFile>,
    /// Time for one page of a list or one entry, from connecting to the last byte.
    pub timeout: Duration,
}

/// A connection with a token. The files are read when it is opened.
pub struct ContextForge {
    client: Client,
    url: Url,
    authorization: HeaderValue,
    /// What the token can see, according to its claims.
    pub scope: Scope,
    /// The user of the token, according to its claims.
    pub user: Option<String>,
    /// The team of entries that are for no other one. `ContextForge` gives entries without a team to its administrator
    /// when it starts, and then nobody else can change them.
    pub team: Option<String>,
    /// How long the token is valid and for what, according to its claims.
    pub validity: Validity,
}

/// All entries that the token can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryList {
    /// Each id once.
    pub entries: Vec<Entry>,
    /// The number of rows that are no entries.
    pub unreadable: usize,
}

/// Why a request failed.
pub(super) enum Failure {
    /// No answer, or one that cannot be read.
    Error(Error),
    /// A status other than that of a success.
    Status(u16, Option<String>, Vec<u8>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Error(error) => error,
            Failure::Status(status, ..) => Self::Status(status),
        }
    }
}

impl Failure {
    /// `secrets`: what was sent and must not be repeated.
    fn call_error(self, secrets: &[&str]) -> CallError {
        match self {
            Self::Status(status, retry_after, body) => {
                CallError::of_answer(status, retry_after.as_deref(), &body, secrets)
            }
            Self::Error(Error::Connect(why)) => CallError::Unreachable(why),
            Self::Error(Error::Client(error)) => CallError::Unreachable(error.to_string()),
            Self::Error(Error::TimedOut | Error::Broken(_)) => CallError::TimedOut,
            Self::Error(Error::Status(status)) => CallError::Unreadable(status),
            Self::Error(Error::NotContextForge(_) | Error::Unpaged | Error::EndlessPages | Error::TooLarge) => {
                CallError::Unreadable(200)
            }
        }
    }
}

impl ContextForge {
    /// Reads the files and makes a client. Nothing is sent.
    ///
    /// # Errors
    /// A file cannot be read or has the wrong content.
    pub async fn open(access: &Access) -> Result<Self, ClientError> {
        let token = access.token.bearer_token().await?;
        let tls = Tls { ca: access.ca.clone(), ..Tls::default() };
        let client =
            tls.client(&tls.read().await?, |client| client.connect_timeout(CONNECT_LIMIT).timeout(access.timeout))?;
        let (authorization, text) = (token.header()?, token.expose());
        let (scope, user, team, validity) =
            (Scope::of(text), scope::user(text), scope::team(text), scope::validity(text));
        Ok(Self { client, url: access.url.clone(), authorization, scope, user, team, validity })
    }

    /// All entries, including disabled ones: one request.
    ///
    /// # Errors
    /// Why not all of them could be listed. A part is never returned.
    pub async fn list(&self) -> Result<EntryList, CallError> {
        let rows = match self.rows(LIST, ALL).await {
            // A release or a proxy that wants a limit.
            Err(Failure::Status(400 | 422, ..)) => self.rows(LIST, PAGE).await,
            other => other,
        };
        let rows = rows.map_err(|failure| failure.call_error(&[]))?;
        let entries: Vec<Entry> = rows.iter().filter_map(Entry::read).collect();
        Ok(EntryList { unreadable: rows.len() - entries.len(), entries })
    }

    /// How many requests in a minute it allows, if it says so.
    pub async fn allowed_rate(&self) -> Option<u32> {
        let request = self.request(Method::GET, page_url(&self.url, LIST, 1, None));
        request.send().await.ok()?.headers().get("x-ratelimit-limit")?.to_str().ok()?.parse().ok()
    }

    /// One entry.
    ///
    /// # Errors
    /// [`CallError::NotFound`] proves that there is none, as far as the token can see.
    pub async fn get(&self, id: &GatewayId) -> Result<Entry, CallError> {
        let answer =
            self.send(self.request(Method::GET, self.entry_url(id)?)).await.map_err(|failure| match failure {
                Failure::Status(status, retry_after, body) => CallError::of_read(status, retry_after.as_deref(), &body),
                error @ Failure::Error(_) => error.call_error(&[]),
            })?;
        // It also looks for names.
        let entry = entry(&answer)?;
        if entry.id == *id { Ok(entry) } else { Err(CallError::NotFound) }
    }

    /// Creates an entry. `creator` becomes its `createdUserAgent`. While `ContextForge` connects later
    /// (`GATEWAY_ASYNC_LIFECYCLE_ENABLED`), the entry is pending, and may be one that somebody else has created.
    ///
    /// # Errors
    /// See [`CallError::outcome_is_unknown`].
    pub async fn create(&self, desired: &DesiredGateway, creator: &Creator) -> Result<Entry, CallError> {
        let request = self.request(Method::POST, self.path(LIST)).header(USER_AGENT, creator.to_string());
        self.send_content(request, desired, self.team.as_deref()).await
    }

    /// Sets everything that [`DesiredGateway`] has, and returns what came of it: `ContextForge` may have kept parts of
    /// the former state.
    ///
    /// # Errors
    /// See [`CallError::outcome_is_unknown`].
    pub async fn update(&self, id: &GatewayId, desired: &DesiredGateway) -> Result<Entry, CallError> {
        self.send_content(self.request(Method::PUT, self.entry_url(id)?), desired, None).await
    }

    /// Switches an entry on or off.
    ///
    /// # Errors
    /// Of an unknown id, some releases only say [`CallError::Rejected`].
    pub async fn set_enabled(&self, id: &GatewayId, enabled: bool) -> Result<(), CallError> {
        let mut url = self.entry_url(id)?;
        url.set_path(&format!("{}/state", url.path()));
        url.query_pairs_mut().append_pair("activate", if enabled { "true" } else { "false" });
        self.call(self.request(Method::POST, url).timeout(CHANGE_TIMEOUT), &[]).await.map(drop)
    }

    /// Deletes an entry with its tools.
    ///
    /// # Errors
    /// [`CallError::NotFound`] if there is none.
    pub async fn delete(&self, id: &GatewayId) -> Result<(), CallError> {
        let request = self.request(Method::DELETE, self.entry_url(id)?).timeout(CHANGE_TIMEOUT);
        self.call(request, &[]).await.map(drop)
    }

    /// `team`: for an entry that is for no other one; without it, an update keeps that of the entry.
    async fn send_content(
        &self,
        request: RequestBuilder,
        desired: &DesiredGateway,
        team: Option<&str>,
    ) -> Result<Entry, CallError> {
        let request = request.timeout(CHANGE_TIMEOUT).json(&content(desired, team));
        let entry = entry(&self.call(request, &desired.credentials.secrets()).await?)?;
        // Only lists and reads count them.
        Ok(Entry { tools: None, ..entry })
    }

    async fn call(&self, request: RequestBuilder, secrets: &[&str]) -> Result<Vec<u8>, CallError> {
        self.send(request).await.map_err(|failure| failure.call_error(secrets))
    }

    /// The rows of all pages. Pages shift when gateways come and go meanwhile, so a gateway may appear twice.
    pub(super) async fn rows(&self, list: &str, limit: usize) -> Result<Vec<Value>, Failure> {
        let (mut rows, mut cursors) = (Vec::<Value>::new(), Vec::<String>::new());
        let mut ids = std::collections::HashSet::new();
        loop {
            let url = page_url(&self.url, list, limit, cursors.last());
            let Page { rows: page, next } = read_page(&self.send(self.request(Method::GET, url)).await?, limit)?;
            let new = |row: &Value| row["id"].as_str().is_none_or(|id| id.is_empty() || ids.insert(id.to_owned()));
            rows.extend(page.into_iter().filter(new));
            let Some(next) = next else { return Ok(rows) };
            if cursors.contains(&next) || cursors.len() >= MOST_PAGES {
                return Err(Error::EndlessPages.into());
            }
            cursors.push(next);
        }
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url).header(ACCEPT, "application/json");
        request.header(AUTHORIZATION, self.authorization.clone())
    }

    /// The body of an answer with a status of success.
    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let response = request.send().await.map_err(Error::of_request)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let success = matches!(status, 200..=202);
        match read_body(response).await {
            Ok(body) if success => Ok(body),
            Err(error) if success => Err(error.into()),
            // The status says enough.
            body => Err(Failure::Status(status, retry_after, body.unwrap_or_default())),
        }
    }

    fn path(&self, path: &str) -> Url {
        with_path(&self.url, path)
    }

    fn entry_url(&self, id: &GatewayId) -> Result<Url, CallError> {
        // These would be another path.
        if matches!(&*id.text(), "." | "..") {
            return Err(CallError::NotFound);
        }
        Ok(self.path(&format!("{LIST}/{id}")))
    }
}

/// One page, as of releases 1.0.7 to 1.1.0: without `include_inactive` disabled gateways are left out, and without
/// `include_pagination` the answer does not say whether there are more pages.
pub(super) fn page_url(base: &Url, list: &str, limit: usize, cursor: Option<&String>) -> Url {
    let mut url = with_path(base, list);
    let limit = limit.to_string();
    let mut query = url.query_pairs_mut();
    query.extend_pairs([("include_inactive", "true"), ("include_pagination", "true"), ("limit", &limit)]);
    query.extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
    drop(query);
    url
}

fn with_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url
}

fn entry(body: &[u8]) -> Result<Entry, CallError> {
    let value = serde_json::from_slice(body).unwrap_or_default();
    Entry::read(&value).ok_or(CallError::Unreadable(200))
}

/// The body of a create or an update. Everything is always in it: an update without credentials would remove them, and
/// `null` would keep what is there.
fn content(desired: &DesiredGateway, team: Option<&str>) -> Value {
    let mut content = json!({
        "name": desired.name,
        "url": desired.url.expose(),
        "description": desired.description,
        "transport": desired.transport_name(),
        "tags": desired.tags,
        "visibility": desired.visibility_name(),
        "teamId": desired.team_id.as_deref().or(team),
        "passthroughHeaders": desired.passthrough_headers,
        "caCertificate": desired.ca_certificate,
        "authType": desired.credentials.auth_type().unwrap_or("none"),
    });
    let credentials = match &desired.credentials {
        Credentials::None => json!({}),
        Credentials::Bearer(token) => json!({"authToken": token.expose()}),
        Credentials::Basic { username, password } => {
            json!({"authUsername": username.expose(), "authPassword": password.expose()})
        }
        Credentials::Headers(headers) => {
            let header = |(name, value): &(String, _)| json!({"key": name, "value": SecretText::expose(value)});
            json!({"authHeaders": headers.iter().map(header).collect::<Vec<_>>()})
        }
        Credentials::QueryParameter { name, value } => {
            json!({"authQueryParamKey": name, "authQueryParamValue": value.expose()})
        }
        Credentials::OauthClientCredentials { token_url, client_id, client_secret, scopes } => json!({"oauthConfig": {
            "grant_type": "client_credentials",
            "token_url": token_url,
            "client_id": client_id.expose(),
            "client_secret": client_secret.expose(),
            "scopes": scopes,
        }}),
    };
    if let (Value::Object(content), Value::Object(credentials)) = (&mut content, credentials) {
        content.extend(credentials);
    }
    content
}

async fn read_body(response: Response) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let append = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    body::read(response, MOST_BYTES, append).await?;
    Ok(bytes)
}
