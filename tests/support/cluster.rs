//! The control plane: one for the whole test process. `dev/cluster` starts and ends it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long a CRD may take to be served.
const SERVED: Duration = Duration::from_secs(30);

/// A running control plane with the CRD installed.
pub struct Cluster {
    kubeconfig: PathBuf,
    programs: String,
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The control plane that all tests share. Each test has namespaces of its own.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start("it");
        cluster.install_crd();
        cluster
    })
}

impl Cluster {
    /// Starts a control plane without the CRD. It ends with this process.
    pub fn start(name: &str) -> Self {
        let process = std::process::id().to_string();
        let name = format!("{name}-{process}");
        let kubeconfig = dev_cluster(&["up", "--name", &name, "--while-pid", &process]).into();
        Self { kubeconfig, programs: dev_cluster(&["binaries"]) }
    }

    /// Installs the committed CRDs and waits until they are served.
    pub fn install_crd(&self) {
        let crd = root().join("crds");
        self.kubectl_ok(&["apply", "--server-side", "-f", &crd.display().to_string()]);
        self.crd_is_served();
    }

    /// Installs the committed CRD over one that another manager applied.
    pub fn install_crd_over(&self) {
        let crd = root().join("crds");
        self.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", &crd.display().to_string()]);
        self.crd_is_served();
    }

    /// Waits until objects of both kinds can be created and listed.
    pub fn crd_is_served(&self) {
        self.crds_are_served(&["mcpgateways", "mcpgatewayfleets"]);
    }

    /// The same for these plurals. `kubectl wait` fails while a new CRD has no conditions at all, and after a change of a
    /// CRD the API server answers 429 for a moment, so this asks until it gets a list.
    pub fn crds_are_served(&self, plurals: &[&str]) {
        let deadline = Instant::now() + SERVED;
        for plural in plurals {
            loop {
                let answer = self.kubectl(&["get", plural, "-A"]).output().expect("kubectl runs");
                if answer.status.success() {
                    break;
                }
                let error = String::from_utf8_lossy(&answer.stderr);
                assert!(Instant::now() < deadline, "{plural} is not served: {error}");
            }
        }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `kubectl` with these arguments, for this cluster.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(&self.programs).join("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `kubectl`, which must succeed. Returns what it printed.
    pub fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).output().expect("kubectl runs");
        assert!(output.status.success(), "kubectl {arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// A kubeconfig for this cluster that impersonates another user.
    pub fn kubeconfig_as(&self, user: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let raw = self.kubectl_ok(&["config", "view", "--raw", "-o", "json"]);
        let mut kubeconfig: serde_json::Value = serde_json::from_str(&raw).expect("JSON");
        kubeconfig["users"][0]["user"]["as"] = user.into();
        std::fs::write(&file, kubeconfig.to_string()).expect("written");
        file
    }

    /// Installs the committed admission policy with the Lease in this namespace. `shared_user`: it applies to this user
    /// instead of service accounts, and to this namespace only.
    pub fn install_admission_policy(&self, namespace: &str, shared_user: Option<&str>) {
        let service_accounts =
            "request.userInfo.username.startsWith('system:serviceaccount:' + params.metadata.namespace + ':')";
        let user = shared_user.map(|user| format!("request.userInfo.username == '{user}'"));
        let selector = format!("{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}");
        let manifest = include_str!("../../charts/mcpgateway-operator/files/admission-policy.yaml")
            .replace(service_accounts, user.as_deref().unwrap_or(service_accounts))
            .replace("namespace: mcpgateway-system", &format!("namespace: {namespace}"))
            .replace("  name: mcpgateway-operator\n  labels", &format!("  name: {namespace}\n  labels"))
            .replace("policyName: mcpgateway-operator", &format!("policyName: {namespace}"))
            .replace(
                "  validationActions",
                &if shared_user.is_some() {
                    format!("  matchResources: {selector}\n  validationActions")
                } else {
                    "  validationActions".into()
                },
            );
        let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
        std::fs::write(&file, manifest).expect("written");
        let said = self.kubectl_ok(&["apply", "-f", &file.path().display().to_string()]);
        assert!(!said.to_lowercase().contains("warning"), "{said}");
        let said = self.kubectl_ok(&["get", "validatingadmissionpolicy", namespace, "-o", "jsonpath={.status}"]);
        assert!(!said.contains("expressionWarnings"), "{said}");
    }

    pub async fn config(&self) -> Config {
        self.config_of(&self.kubeconfig).await
    }

    /// The client configuration of a kubeconfig.
    pub async fn config_of(&self, kubeconfig: &Path) -> Config {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
        config.default_retry = false;
        config
    }

    pub async fn client(&self) -> Client {
        Client::try_from(self.config().await).expect("a client")
    }

    /// Creates a namespace for one test.
    pub async fn namespace(&self, test: &str) -> String {
        let name = format!("{test}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let api: Api<Namespace> = Api::all(self.client().await);
        let object = serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).expect("a namespace");
        api.create(&PostParams::default(), &object).await.expect("created");
        name
    }
}

/// Standard output and standard error of a command.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn dev_cluster(arguments: &[&str]) -> String {
    let output = Command::new(root().join("dev/cluster"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("dev/cluster runs");
    assert!(output.status.success(), "dev/cluster {arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
