//! Finds the API server, the credentials and the proxy as `kubectl` does. IO: the kubeconfig, the environment, and the
//! files that they name. See docs/contract.md#reaching-the-api-server.
//!
//! `kube` loads a kubeconfig too, but it stops at a missing file in `KUBECONFIG`, panics on a server without a scheme,
//! compares `NO_PROXY` with the proxy instead of the server, and sends a token with its line break. No error repeats a
//! URL of a proxy: it may hold a password.

mod proxy;
mod token_file;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use axum::http::header::DATE;
use axum::http::{HeaderValue, Request, Response, Uri};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::Client;
use kube::client::{Body, ClientBuilder};
use kube::config::{AuthInfo, Cluster, Config, ExecAuthCluster, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::util::{MapRequestLayer, MapResponseLayer, option_layer};

use crate::clock::monotonic;
use crate::clock::reference::ReferenceClock;
use token_file::TokenFile;

/// Where the API server is, and how to reach it.
pub(crate) struct ClusterAccess {
    config: Config,
    token: Option<Arc<TokenFile>>,
    /// Reads the clock of the API server from its answers.
    clock: Option<ReferenceClock>,
}

impl ClusterAccess {
    /// Finds the cluster, and sends no request. `kubeconfig`: a file instead of those in `KUBECONFIG` or
    /// `~/.kube/config`. Without any such file, it is the cluster of the pod.
    pub(crate) fn find(kubeconfig: Option<PathBuf>, context: Option<&str>) -> anyhow::Result<Self> {
        let found = match kubeconfig {
            Some(file) => Some(read(&file)?.with_context(|| format!("{}: no such file", file.display()))?),
            None => read_all(&default_files())?,
        };
        let is_empty =
            |found: &Kubeconfig| context.is_none() && found.current_context.as_deref().is_none_or(str::is_empty);
        let mut config = match found {
            Some(found) if !is_empty(&found) => from_kubeconfig(&found, context)?,
            Some(_) if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() => {
                bail!("the kubeconfig has no current context: choose one with --context or kubectl config use-context")
            }
            _ if context.is_some() => bail!("there is no kubeconfig with contexts"),
            _ => Config::incluster().context("there is no kubeconfig, and this is no pod with a service account")?,
        };
        if config.proxy_url.is_none() {
            config.proxy_url = proxy::from_environment(&config.cluster_url)?;
        }
        // The file wins over a token beside it, as in client-go.
        let token = config.auth_info.token_file.take().map(|file| TokenFile::open(file.into())).transpose()?;
        if token.is_some() {
            config.auth_info.token = None;
        }
        // kube panics on a token that is no header value.
        let inline = serde_json::to_value(&config.auth_info)?["token"].as_str().map(|token| token.trim().to_owned());
        if let Some(inline) = inline {
            ensure!(
                HeaderValue::from_str(&inline).is_ok(),
                "the token of the user in the kubeconfig is no bearer token"
            );
            config.auth_info.token = Some(inline.into());
        }
        config.default_retry = false;
        Ok(Self { config, token: token.map(Arc::new), clock: None })
    }

    /// The namespace of the context, or of the pod.
    pub(crate) fn namespace(&self) -> &str {
        &self.config.default_namespace
    }

    /// The clients read the API server's clock.
    pub(crate) fn read_clock(self, clock: ReferenceClock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// A client that does not retry on its own, with time limits for connecting and for each answer.
    pub(crate) fn client(&self, connect: Duration, read: Duration) -> anyhow::Result<Client> {
        let mut config = self.config.clone();
        config.connect_timeout = Some(connect);
        config.read_timeout = Some(read);
        let builder = if config.auth_info.exec.is_some() {
            run_exec_plugin(|| ClientBuilder::try_from(config))
        } else {
            ClientBuilder::try_from(config)
        };
        let builder = builder.context("making a client of the API server")?;
        let token = self.token.clone();
        let authorize = token.map(|token| MapRequestLayer::new(move |request: Request<Body>| token.authorize(request)));
        let clock = self.clock.clone();
        let read_date = clock.map(|clock| MapResponseLayer::new(move |response| read_date(response, &clock)));
        Ok(builder.with_layer(&option_layer(authorize)).with_layer(&option_layer(read_date)).build())
    }
}

/// kube runs an exec plugin while it makes the client, and panics on a token that is no header value. The program could
/// not go on after that: a release build aborts. So it ends in order instead.
#[expect(clippy::exit, clippy::disallowed_methods, reason = "a panic that aborts cannot become an error")]
fn run_exec_plugin<T>(make: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {
        let _ = writeln!(std::io::stderr(), "error: the exec plugin of the kubeconfig printed no bearer token");
        std::process::exit(1);
    }));
    let made = make();
    std::panic::set_hook(hook);
    made
}

/// Reads the clock of the API server.
fn read_date<B>(response: Response<B>, clock: &ReferenceClock) -> Response<B> {
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    if let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
        clock.read_api_server(date.timestamp().into(), monotonic());
    }
    response
}

/// The files of `KUBECONFIG`, or else the one in the home directory.
fn default_files() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if listed.is_empty() {
        std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect()
    } else {
        listed
    }
}

/// Reads and merges the files that exist; `None` if there is none.
fn read_all(files: &[PathBuf]) -> anyhow::Result<Option<Kubeconfig>> {
    let mut merged = None;
    for file in files {
        let Some(next) = read(file)? else { continue };
        let all = match merged.take() {
            None => next,
            Some(first) => Kubeconfig::merge(first, next).with_context(|| file.display().to_string())?,
        };
        merged = Some(all);
    }
    Ok(merged)
}

/// Reads a kubeconfig; `None` if there is no such file.
fn read(file: &Path) -> anyhow::Result<Option<Kubeconfig>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| file.display().to_string())?,
    };
    // kube panics on half a character.
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    ensure!(!is_utf16 || bytes.len() % 2 == 0, "{}: the UTF-16 is cut off", file.display());
    // Its own message may repeat a line with a credential.
    let read = Kubeconfig::read_from(file).map_err(|_| anyhow!("{}: this is no kubeconfig", file.display()))?;
    Ok(Some(read))
}

/// The configuration of a context.
fn from_kubeconfig(kubeconfig: &Kubeconfig, context: Option<&str>) -> anyhow::Result<Config> {
    let name = context.or(kubeconfig.current_context.as_deref()).unwrap_or_default();
    let contexts = &kubeconfig.contexts;
    let context = contexts.iter().find(|named| named.name == name).and_then(|named| named.context.as_ref());
    let context = context.with_context(|| format!("the kubeconfig has no context {name}"))?;
    let clusters = &kubeconfig.clusters;
    let cluster = clusters.iter().find(|named| named.name == context.cluster).and_then(|named| named.cluster.as_ref());
    let cluster = cluster.with_context(|| format!("the kubeconfig has no cluster {}", context.cluster))?;
    let users = &kubeconfig.auth_infos;
    let user = users.iter().find(|named| Some(&named.name) == context.user.as_ref());
    let mut user: AuthInfo = user.and_then(|named| named.auth_info.clone()).unwrap_or_default();
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some(ExecAuthCluster::try_from(cluster)?);
    }

    let url = server_url(cluster).with_context(|| format!("the server of the cluster {}", context.cluster))?;
    let proxy = cluster.proxy_url.as_deref().filter(|proxy| !proxy.is_empty());
    let mut config = Config::new(url);
    config.proxy_url = proxy.map(|url| proxy::parse("proxy-url of the kubeconfig", url)).transpose()?;
    config.root_cert = authorities(cluster).context("certificate-authority of the kubeconfig")?;
    if let Some(namespace) = context.namespace.clone().filter(|namespace| !namespace.is_empty()) {
        config.default_namespace = namespace;
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    config.auth_info = user;
    Ok(config)
}

fn server_url(cluster: &Cluster) -> anyhow::Result<Uri> {
    let url: Option<Uri> = cluster.server.as_deref().and_then(|server| server.parse().ok());
    let fits = |url: &Uri| {
        let scheme = matches!(url.scheme_str(), Some("http" | "https"));
        scheme && url.query().is_none() && url.host().is_some_and(|host| !host.is_empty())
    };
    url.filter(fits).context("use https:// or http://, a host, and no query")
}

/// The certificates that the server's must be signed by, in DER; `None` for those of the system.
fn authorities(cluster: &Cluster) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    let data = cluster.certificate_authority_data.as_deref().filter(|data| !data.is_empty());
    let file = cluster.certificate_authority.as_deref().filter(|file| !file.is_empty());
    let pem = match (data, file) {
        (Some(data), _) => BASE64_STANDARD.decode(data.trim())?,
        (None, Some(file)) => fs::read(file).with_context(|| file.to_owned())?,
        (None, None) => return Ok(None),
    };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem).map(|certificate| certificate.map(|der| der.to_vec())).collect();
    Ok(Some(certificates.map_err(|error| anyhow!("no certificates in PEM: {error}"))?))
}
