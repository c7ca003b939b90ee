//! docs/contract.md#reaching-the-api-server: kubeconfigs, proxies and tokens as `kubectl` takes them.

use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::cluster::{cluster, said};
use crate::support::operator::binary;

/// What `status` prints once the API server has answered.
const REACHED: &str = "there is no McpGatewayFleet";

/// The kubeconfig of the test cluster, with changes to its cluster and its user.
fn kubeconfig(change: impl FnOnce(&mut Value, &mut Value)) -> tempfile::NamedTempFile {
    let raw = cluster().kubectl_ok(&["config", "view", "--raw", "-o", "json"]);
    let mut kubeconfig: Value = serde_json::from_str(&raw).unwrap();
    let mut of_cluster = kubeconfig["clusters"][0]["cluster"].take();
    let mut user = kubeconfig["users"][0]["user"].take();
    change(&mut of_cluster, &mut user);
    kubeconfig["clusters"][0]["cluster"] = of_cluster;
    kubeconfig["users"][0]["user"] = user;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    file
}

/// Runs the program with this `KUBECONFIG` and these variables.
async fn run(kubeconfig: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = binary();
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    command.env("KUBECONFIG", kubeconfig).env_remove("KUBERNETES_SERVICE_HOST").args(arguments);
    command.envs(variables.iter().copied());
    tokio::process::Command::from(command).output().await.unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A proxy that connects every client with the API server, whatever host it asks for. Returns its address, and the heads
/// of the requests to it.
async fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let raw = cluster().kubectl_ok(&["config", "view", "--raw", "-o", "json"]);
    let kubeconfig: Value = serde_json::from_str(&raw).unwrap();
    let server =
        kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap().trim_start_matches("https://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (seen, server) = (Arc::clone(&seen), server.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                let mut server = TcpStream::connect(server).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (address, heads)
}

#[tokio::test]
async fn no_kubeconfig_aborts_the_program() {
    let servers = ["127.0.0.1:6443", "api.example", "", "/", "https://", "https://:6443", "ftp://api.example", "*"];
    let more =
        ["https://api.example/?a=b", "https://a b", "https://[::1", "https://h:99999", "//h", "unix:/x", "\u{e9}"];
    let mut files = Vec::new();
    for server in servers.into_iter().chain(more) {
        files.push((server, kubeconfig(|cluster, _| cluster["server"] = server.into())));
    }
    files.push(("no server", kubeconfig(|cluster, _| cluster["server"] = Value::Null)));
    files.push(("bad CA", kubeconfig(|cluster, _| cluster["certificate-authority-data"] = "%".into())));
    files.push(("tls-server-name", kubeconfig(|cluster, _| cluster["tls-server-name"] = "a b\n".into())));
    files.push(("user", kubeconfig(|_, user| *user = json!({"as": "a\nb"}))));
    files.push(("token", kubeconfig(|_, user| *user = json!({"token": "planted\nplanted"}))));
    files.push(("token file", kubeconfig(|_, user| *user = json!({"tokenFile": "/nonexistent"}))));
    files.push((
        "exec",
        kubeconfig(|_, user| {
            *user = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nonexistent"}});
        }),
    ));
    files.push((
        "exec token",
        kubeconfig(|_, user| {
            let status = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",
                "status":{"token":"planted\nplanted"}}"#;
            *user = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
                "command": "printf", "args": ["%s", status]}});
        }),
    ));
    for (what, bytes) in [("UTF-16", &b"\xff\xfea"[..]), ("binary", b"\x00\xff"), ("a list", b"[]"), ("empty", b"")] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        files.push((what, file));
    }
    for (what, file) in &files {
        for arguments in [&["status"][..], &["run", "--worker-endpoint", "http://127.0.0.1:1/"]] {
            if arguments[0] == "run" && !servers.contains(what) {
                continue;
            }
            let output = run(text(file.path()), &[], arguments).await;
            let said = said(&output);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{what}: {:?}: {said}", output.status);
            assert!(!said.contains("panicked") && !said.contains("planted"), "{what}: {said}");
            let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
            assert_eq!(errors, 1, "{what}: {said}");
        }
    }
}

#[tokio::test]
async fn missing_files_in_kubeconfig_are_passed_over() {
    let good = text(cluster().kubeconfig());
    for list in
        [format!("/nonexistent:{good}"), format!("{good}:/nonexistent"), format!(":/a::{good}:"), good.to_owned()]
    {
        let said = said(&run(&list, &[], &["status", "-n", "default"]).await);
        assert!(said.contains(REACHED), "{list}: {said}");
    }
    for (list, arguments) in [
        ("/nonexistent:/nor-this", &["status"][..]),
        (good, &["status", "--kubeconfig", "/nonexistent"]),
        (good, &["status", "--context", "nonexistent"]),
    ] {
        let output = run(list, &[("HOME", "/nonexistent")], arguments).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    }
}

#[tokio::test]
async fn a_line_break_at_the_end_of_a_token_file_is_left_out() {
    let cluster = cluster();
    let namespace = cluster.namespace("token-file").await;
    cluster.kubectl_ok(&["create", "serviceaccount", "reader", "-n", &namespace]);
    let token = cluster.kubectl_ok(&["create", "token", "reader", "-n", &namespace]);
    for end in ["\n", "\r\n", ""] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("{}{end}", token.trim())).unwrap();
        // The file wins over a token beside it.
        let users = json!({"tokenFile": text(file.path()), "token": "wrong"});
        let kubeconfig = kubeconfig(|_, user| *user = users);
        let said = said(&run(text(kubeconfig.path()), &[], &["status", "-n", "default"]).await);
        assert!(said.contains("not allowed to get"), "{end:?}: {said}");
    }
}

#[tokio::test]
async fn a_proxy_is_used_as_by_kubectl_and_its_password_never_printed() {
    let (address, heads) = proxy().await;
    let with_password = format!("http://user:planted@{address}");
    // The API server's certificate is for other names.
    let elsewhere = kubeconfig(|cluster, _| {
        cluster["server"] = "https://api.example:6443".into();
        cluster["tls-server-name"] = "127.0.0.1".into();
    });
    let by_url = kubeconfig(|cluster, _| cluster["proxy-url"] = with_password.clone().into());
    let bare = address.as_str();
    let name = "https://nobody:planted@127.0.0.1:1";
    for (kubeconfig, variables, through) in [
        (&by_url, &[][..], true),
        (&by_url, &[("NO_PROXY", "*")], true),
        (&by_url, &[("HTTPS_PROXY", name)], true),
        (&elsewhere, &[("HTTPS_PROXY", with_password.as_str())], true),
        (&elsewhere, &[("https_proxy", bare)], true),
        (&elsewhere, &[("HTTPS_PROXY", bare), ("NO_PROXY", "other.example,, .svc,10.0.0.0/8")], true),
        (&elsewhere, &[("HTTPS_PROXY", bare), ("NO_PROXY", "api.example")], false),
        (&elsewhere, &[("HTTPS_PROXY", bare), ("no_proxy", ".example:6443")], false),
        (&elsewhere, &[("HTTP_PROXY", bare)], false),
        (&elsewhere, &[("HTTPS_PROXY", name)], false),
        (&elsewhere, &[("HTTPS_PROXY", "ftp://u:planted@proxy")], false),
        (&elsewhere, &[("HTTPS_PROXY", "socks5://u:planted@proxy")], false),
    ] {
        heads.lock().unwrap().clear();
        let output = run(text(kubeconfig.path()), variables, &["status", "-n", "default"]).await;
        let said = said(&output);
        let asked = heads.lock().unwrap().clone();
        assert_eq!((!asked.is_empty(), said.contains(REACHED)), (through, through), "{variables:?}: {said}");
        assert!(!said.contains("planted") && !said.contains("panicked"), "{variables:?}: {said}");
        assert_eq!(output.status.code(), Some(1), "{variables:?}: {said}");
    }
    heads.lock().unwrap().clear();
    run(text(by_url.path()), &[], &["status", "-n", "default"]).await;
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.contains("proxy-authorization: basic dxnlcjpwbgfudgvk"), "{head}");
    // A local server is reached without the proxy of the environment.
    let good = text(cluster().kubeconfig());
    assert!(said(&run(good, &[("HTTPS_PROXY", name)], &["status", "-n", "default"]).await).contains(REACHED));
}

#[tokio::test]
async fn flags_that_select_a_cluster_may_come_before_the_subcommand() {
    let cluster = cluster();
    let good = text(cluster.kubeconfig());
    let context = cluster.kubectl_ok(&["config", "current-context"]);
    let (context, folder) = (context.trim(), tempfile::tempdir().unwrap());
    let plugin = folder.path().join("kubectl-mcpgw");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mcpgateway-operator"), &plugin).unwrap();
    let joined = [format!("--kubeconfig={good}"), format!("--context={context}")];
    for arguments in [
        &["--kubeconfig", good, "--context", context, "-n", "default", "status"][..],
        &[&joined[0], &joined[1], "--namespace=default", "status"],
        &["-n", "default", "--kubeconfig", good, "status", "-o", "json"],
        &["-ndefault", "--kubeconfig", good, "status"],
        &["--kubeconfig", good, "status", "-n", "default", "--context", context],
        &["--kubeconfig", good, "-n", "default", "explain", "no-such-object"],
        &["--kubeconfig", good, "--context", context, "-n", "default", "doctor"],
        &["doctor", "--kubeconfig", good, "--context", context, "-n", "default"],
    ] {
        let is_doctor = arguments.contains(&"doctor");
        let mut command = std::process::Command::new(&plugin);
        if is_doctor {
            command = binary();
        }
        let command = command.env("KUBECONFIG", "/nonexistent").args(arguments);
        let said = said(&command.output().unwrap());
        let reached = ["there is no McpGateway", "no-such-object", "there is no Lease default/"];
        assert!(reached.iter().any(|text| said.contains(text)), "{arguments:?}: {said}");
        assert!(!said.contains("unexpected argument") && !said.contains("NoCluster"), "{arguments:?}: {said}");
    }
}
