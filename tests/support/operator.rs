//! Operator processes: the real binary, with its log in a file. Each ends when its value is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::wall_clock::WallClock;
use super::{SOON, eventually};

/// A running replica.
pub struct Operator {
    child: Child,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// The program under test: of this build, or the one that `OPERATOR` names, such as a release build.
fn program() -> PathBuf {
    std::env::var_os("OPERATOR").map_or_else(|| env!("CARGO_BIN_EXE_mcpgateway-operator").into(), PathBuf::from)
}

/// The binary under test.
pub fn binary() -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MCPGW_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Operator {
    /// Starts a replica for objects and Lease in `namespace`, on ports of its own.
    pub fn start(kubeconfig: &Path, namespace: &str, flags: &[&str]) -> Self {
        Self::start_by(binary(), kubeconfig, namespace, flags)
    }

    /// Starts a replica of another release, which is this program.
    pub fn start_release(program: &Path, kubeconfig: &Path, namespace: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self::start_by(command, kubeconfig, namespace, flags)
    }

    /// Starts a replica under limits of `prlimit`, such as `--nofile=64:64`.
    pub fn start_limited(limits: &[&str], kubeconfig: &Path, namespace: &str, flags: &[&str]) -> Self {
        // `prlimit` executes the operator in the same process.
        let mut command = Command::new("prlimit");
        command.args(limits).arg("--").arg(program()).stdin(Stdio::null());
        Self::start_by(command, kubeconfig, namespace, flags)
    }

    /// Starts a replica with a wall clock of its own.
    pub fn start_at(clock: &WallClock, kubeconfig: &Path, namespace: &str, flags: &[&str]) -> Self {
        let mut command = binary();
        clock.of(&mut command);
        Self::start_by(command, kubeconfig, namespace, flags)
    }

    /// Starts a replica with exactly these arguments, `run` included.
    pub fn start_with(kubeconfig: &Path, arguments: &[String]) -> Self {
        let mut command = binary();
        command.args(arguments);
        Self::spawn(command, kubeconfig)
    }

    fn start_by(mut command: Command, kubeconfig: &Path, namespace: &str, flags: &[&str]) -> Self {
        command
            .args(["run", "--watch-namespace", namespace, "--leader-elect-resource-namespace", namespace])
            .args(["--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0"])
            .args(["--log-level", "info,mcpgateway_operator=debug"].iter().filter(|_| !flags.contains(&"--log-level")))
            .args(flags);
        Self::spawn(command, kubeconfig)
    }

    fn spawn(mut command: Command, kubeconfig: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let child = command
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the operator starts");
        Self { child, log, _folder: folder }
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("its memory");
        text.split(' ').nth(1).expect("a number").parse::<u64>().expect("a number") * 4096
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("its descriptors").count()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Sends SIGTERM and waits for the end of the process.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let child = &mut self.child;
        let mut ended = || child.try_wait().expect("its state");
        eventually("the operator ends", SOON, || std::future::ready(ended())).await
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// The address of a listener, found in the log by what it serves.
    pub async fn address(&self, served: &str) -> String {
        eventually("the operator serves", SOON, || async {
            let log = self.log();
            let line = log.lines().find(|line| line.contains(served))?;
            Some(line.split("address=").nth(1)?.split_whitespace().next()?.to_owned())
        })
        .await
    }

    /// Gets a path: `/metrics` from the metrics listener, everything else from the probe listener.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let address = self.address(if path == "/metrics" { "serving /metrics" } else { "serving /livez" }).await;
        let answer = reqwest::get(format!("http://{address}{path}")).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// A metric by its name and labels as printed; 0 if it is absent.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self) {
        eventually("the operator is ready", SOON, || async { (self.get("/readyz").await.0 == 200).then_some(()) })
            .await;
    }

    /// Waits until it has completed `count` further cycles.
    pub async fn cycles(&self, count: u32) {
        let name = "mcpgateway_operator_cycle_duration_seconds_count";
        let begun = self.metric(name).await;
        let limit = SOON.max(Duration::from_secs(10) * count);
        eventually("further cycles", limit, || async {
            (self.metric(name).await >= begun + f64::from(count)).then_some(())
        })
        .await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of operator {} ---\n{}", self.pid(), self.log());
        }
    }
}
