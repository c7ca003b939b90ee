//! docs/contract.md#x1: too little memory, too few file descriptors, too little CPU.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::row::{Row, SETTLED, SETTLED_AFTER_LEASE};
use crate::support::fleet::{Fleet, used};
use crate::support::operator::Operator;
use crate::support::worker::Row as Usage;
use crate::support::{SOON, eventually};

const PAIRS: [[&str; 2]; 3] = [["b", "c"], ["d", "e"], ["f", "g"]];

/// Address space in use, in bytes.
fn address_space(operator: &Operator) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/statm", operator.pid())).unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// Seconds of CPU time used so far.
fn processor_seconds(operator: &Operator) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", operator.pid())).unwrap();
    let after_name: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|&index: &usize| after_name[index].parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x1_out_of_memory_dies_or_survives_and_recovers_after_a_restart() {
    let row =
        Row::begin("X1.5", "out of memory: RLIMIT_AS at the address space in use, and 4 and 16 MiB above, under load")
            .await;
    let mut became = Vec::new();
    let mut operator = row.fleet.operator();
    row.fleet.settled().await;
    for (round, spare) in [0, 4 << 20, 16 << 20].into_iter().enumerate() {
        let limit = (address_space(&operator) + spare).to_string();
        let set =
            Command::new("prlimit").args(["--pid", &operator.pid().to_string(), &format!("--as={limit}")]).status();
        assert!(set.unwrap().success());
        for number in 0..150 {
            row.fleet.create(&format!("extra-{number}"), &format!("http://extra-{number}.example/mcp")).await;
        }
        // A body of some MiB.
        let noise = (0..60_000).map(|number| Usage {
            id: Some(format!("unknown-{round}-{number}")),
            url: Some(format!("http://unknown-{number}.example/{}", "p".repeat(60))),
            last_used: 1.0,
            active: 0,
            use_count: 1,
        });
        let mut rows: Vec<Usage> = noise.collect();
        rows.extend(PAIRS[round].iter().map(|name| used(name, 1.0)));
        row.fleet.workers[0].report(rows);
        let asked = row.fleet.workers[0].asked();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10)
            && !operator.has_ended()
            && row.fleet.workers[0].asked() < asked + 3
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let died = operator.has_ended();
        became.push(if died { "died" } else { "survived" });
        for number in 0..150 {
            row.fleet.delete(&format!("extra-{number}")).await;
        }
        row.use_servers(PAIRS[round]);
        // Restart, as the kubelet does.
        operator.kill();
        operator = row.fleet.operator();
        row.shows_hot(PAIRS[round], SETTLED_AFTER_LEASE + Duration::from_secs(3)).await;
    }
    row.end(&format!("P2, P9: the process {}", became.join(", "))).await;
}

const ENDPOINTS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x1_sixty_four_file_descriptors_and_a_hundred_endpoints() {
    let fleet = Fleet::new("chaos-x1-6", ENDPOINTS).await;
    for name in crate::row::NAMES {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    let row = Row::begin_with("X1.6", "64 file descriptors, 100 endpoints; then no descriptor left", fleet).await;
    row.use_servers(PAIRS[0]);
    let operator = row.fleet.operator_limited(&["--nofile=64:64"], &["--redis-url", &row.fleet.redis.url()]);
    row.fleet.settled().await;
    row.shows_hot(PAIRS[0], SOON).await;
    eventually("all endpoints have answered", SOON, || async {
        (row.fleet.status().await.endpoints.summary == "100/100").then_some(())
    })
    .await;
    assert_eq!(operator.log().matches("few file descriptors").count(), 1, "{}", operator.log());
    let term = row.term().await;
    let (begun, before) = (Instant::now(), processor_seconds(&operator));
    operator.cycles(4).await;
    let normal = (processor_seconds(&operator) - before) / begun.elapsed().as_secs_f64();
    assert!(operator.metric("process_open_fds").await < 64.0);

    // Clients of the metrics listener cannot use up the descriptors.
    let address = operator.address("serving /metrics").await;
    let idle: Vec<TcpStream> = (0..70).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    operator.cycles(2).await;
    assert!(operator.descriptors() < 60, "{} descriptors", operator.descriptors());
    drop(idle);

    // A lower limit leaves none.
    let limit = |limit: usize| {
        let pid = operator.pid().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:64")]).status();
        assert!(set.unwrap().success());
    };
    limit(operator.descriptors());
    let held: Vec<TcpStream> = (0..4).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    eventually("the log names the cause", SOON, || async {
        operator.log().contains("Too many open files").then_some(())
    })
    .await;
    let (begun, before) = (Instant::now(), processor_seconds(&operator));
    // The fault itself lasts this long: more than the lease duration.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let starved = (processor_seconds(&operator) - before) / begun.elapsed().as_secs_f64();
    assert!(starved < 0.6, "it is busy: {starved:.2} of a CPU, normally {normal:.2}");
    assert_eq!(row.term().await, term, "the Lease was kept");
    drop(held);
    limit(64);
    row.use_servers(PAIRS[1]);
    row.shows_hot(PAIRS[1], SETTLED + Duration::from_secs(1)).await;
    assert_eq!(row.term().await, term);
    row.end(&format!(
        "all 100 answered; one line in the log at the start; with no descriptor left the Lease was kept at {starved:.2} \
         of a CPU (normally {normal:.2}); recovered afterwards"
    ))
    .await;
}

/// Limits a process to 5 % of a CPU: with a cgroup where this machine allows it, otherwise by stopping it for 95 of
/// every 100 ms.
enum Throttle {
    Group(PathBuf),
    Duty(tokio::task::JoinHandle<()>, u32),
}

impl Throttle {
    fn of(operator: &Operator) -> Self {
        let pid = operator.pid();
        let group = PathBuf::from(format!("/sys/fs/cgroup/cpu/mcpgateway-test-{pid}"));
        if fs::create_dir(&group).is_ok() {
            // 5 ms in each 100 ms.
            let limited = fs::write(group.join("cpu.cfs_quota_us"), "5000").is_ok()
                && fs::write(group.join("cgroup.procs"), pid.to_string()).is_ok();
            if limited {
                return Self::Group(group);
            }
            fs::remove_dir(&group).ok();
        }
        let duty = tokio::spawn(async move {
            let signal = |name: &str| Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().ok();
            loop {
                signal("STOP");
                tokio::time::sleep(Duration::from_millis(95)).await;
                signal("CONT");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self::Duty(duty, pid)
    }

    fn how(&self) -> &'static str {
        match self {
            Self::Group(_) => "cgroup",
            Self::Duty(..) => "stopped and continued",
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        match self {
            Self::Group(group) => {
                fs::write(group.join("cpu.cfs_quota_us"), "-1").ok();
                let all = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                all.lines().for_each(|pid| _ = fs::write("/sys/fs/cgroup/cpu/cgroup.procs", pid));
                fs::remove_dir(group).ok();
            }
            Self::Duty(task, pid) => {
                task.abort();
                Command::new("kill").args(["-CONT", &pid.to_string()]).status().ok();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x1_five_percent_of_a_cpu() {
    let row = Row::begin("X1.7", "the leader gets 5 % of a CPU for 25 s").await;
    let (first, _second) = row.two().await;
    row.use_servers(PAIRS[0]);
    row.shows_hot(PAIRS[0], SETTLED).await;
    let term = row.term().await;
    let throttle = Throttle::of(&first);
    let how = throttle.how();
    for pair in [1, 2, 0, 1, 2] {
        row.use_servers(PAIRS[pair]);
        // The fault itself lasts this long.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let kept = row.term().await == term;
    drop(throttle);
    row.use_servers(PAIRS[1]);
    row.shows_hot(PAIRS[1], SETTLED_AFTER_LEASE).await;
    row.end(&format!("P1, P2 ({how}): the Lease was {}", if kept { "kept" } else { "handed over" })).await;
}
