//! A real Redis for one test, with its own process, port and folder. It ends when the value is dropped.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::wall_clock::WallClock;

/// A running `redis-server` on a loopback port.
pub struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    clock: Option<WallClock>,
}

impl RedisServer {
    /// Starts a server with these further arguments and waits until it accepts connections.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_by(None, arguments)
    }

    /// Starts a server with a wall clock of its own.
    pub fn start_at(clock: WallClock) -> Self {
        Self::start_by(Some(clock), &[])
    }

    /// Sets its own wall clock to so many seconds ahead of the right time.
    pub fn step_clock(&self, ahead: i32) {
        self.clock.as_ref().expect("a clock of its own").step(ahead);
    }

    fn start_by(clock: Option<WallClock>, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // Another process may take the port before Redis binds it.
        for _ in 0..5 {
            let port = free_port();
            if let Some(child) = spawn(port, folder.path(), &arguments, clock.as_ref()) {
                return Self { child, port, folder, arguments, clock };
            }
        }
        panic!("redis-server does not start")
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection for the test. It has no timeouts, because a busy machine must not fail a test.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        let patient = redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&patient).await.expect("a connection")
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts it again on the same port, with the data it saved: none by default.
    pub fn restart(&mut self) {
        self.kill();
        let started = spawn(self.port, self.folder.path(), &self.arguments, self.clock.as_ref());
        self.child = started.expect("redis-server starts again");
    }

    /// Makes it hang: it accepts connections and never answers.
    pub fn suspend(&self) {
        self.signal("STOP");
    }

    /// Ends [`RedisServer::suspend`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn spawn(port: u16, folder: &Path, arguments: &[String], clock: Option<&WallClock>) -> Option<Child> {
    let mut command = Command::new("redis-server");
    if let Some(clock) = clock {
        clock.of(&mut command);
    }
    let mut child = command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--dir", &folder.display().to_string(), "--daemonize", "no"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if child.try_wait().expect("its state").is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().ok();
    child.wait().ok();
    None
}
