//! Running Helm, and reading what it renders.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::cluster::{root, said};

/// The release and the namespace of rendered objects.
pub const RELEASE: &str = "mcpgateway-operator";
pub const NAMESPACE: &str = "mcpgateway-system";

/// The values files of the chart.
pub const FILES: [&str; 5] = [
    "ci/minimal-values.yaml",
    "ci/plugin-values.yaml",
    "ci/namespaces-values.yaml",
    "ci/everything-values.yaml",
    "examples/contextforge-values.yaml",
];

pub fn chart() -> PathBuf {
    root().join("charts/mcpgateway-operator")
}

/// `helm`, built if necessary. It has no cluster unless the caller sets one.
pub fn helm() -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let output = Command::new(root().join("dev/tools")).arg("helm").output().expect("dev/tools runs");
        assert!(output.status.success(), "dev/tools helm: {}", said(&output));
        String::from_utf8(output.stdout).expect("text").trim().into()
    });
    let mut command = Command::new(folder.join("helm"));
    command.env("KUBECONFIG", "/nonexistent").stdin(Stdio::null());
    command
}

/// Writes values to a file.
pub fn file(values: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    std::fs::write(&file, values.to_string()).expect("written");
    file
}

/// These values on top of the required ones.
pub fn least_and(values: &Value) -> Value {
    let mut all = json!({"workers": {"services": ["gateways/usage:usage"]}, "redis": {"url": "redis://redis:6379/0"}});
    put_over(&mut all, values);
    all
}

fn put_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                put_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// Runs `helm template` with exactly these values.
pub fn template(values: &Path) -> Output {
    template_as(RELEASE, NAMESPACE, values)
}

pub fn template_as(release: &str, namespace: &str, values: &Path) -> Output {
    let mut command = helm();
    command.args(["template", release, "--namespace", namespace, "--values"]).arg(values).arg(chart());
    if values.ends_with("examples/contextforge-values.yaml") {
        // Its users pass the file that ContextForge has.
        command.args(["--set-string", "contextForge.plugin.pluginsFile=plugins: []"]);
    }
    command.output().expect("helm runs")
}

/// Renders these values on top of the required ones.
pub fn render(values: &Value) -> Rendered {
    Rendered::of(&template(file(&least_and(values)).path()))
}

/// Renders a file of `ci/` or `examples/`.
pub fn render_file(path: &str) -> Rendered {
    Rendered::of(&template(&chart().join(path)))
}

/// The objects of a release.
pub struct Rendered {
    pub text: String,
    pub objects: Vec<Value>,
}

impl Rendered {
    pub fn of(output: &Output) -> Self {
        assert!(output.status.success(), "{}", said(output));
        let text = String::from_utf8(output.stdout.clone()).expect("text");
        let options = serde_saphyr::options! { budget: None };
        let objects: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options).expect("YAML");
        Self { text, objects: objects.into_iter().filter(|object| !object.is_null()).collect() }
    }

    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The only object of a kind.
    pub fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}: {}", self.kinds().join(", "));
        all[0]
    }

    pub fn named(&self, kind: &str, name: &str) -> &Value {
        let all = self.all(kind);
        let found = all.iter().find(|object| object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name} in {}", self.kinds().join(", ")))
    }

    /// `Kind/name` of each object.
    pub fn kinds(&self) -> Vec<String> {
        let name = |object: &Value| format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
        self.objects.iter().map(name).collect()
    }

    /// The pod template of the operator.
    pub fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]
    }

    /// The arguments of the operator.
    pub fn arguments(&self) -> Vec<String> {
        strings(&self.pod()["spec"]["containers"][0]["args"])
    }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

pub fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(|item| text(item).to_owned()).collect()
}

/// A list; empty if the value is absent.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
