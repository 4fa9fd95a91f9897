//! A cluster of nodes that have joined each other with tokens, each as on a machine of its own: programs run
//! on it as they do without it, and who must not get in does not.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use banyan_tests::compile::{self, Link};
use banyan_tests::launch::{End, How, excerpt};
use banyan_tests::processes;
use banyan_tests::scratch::Scratch;
use banyan_tests::{Case, Running, compare, gate, input, workspace};
use rustix::process::Signal;
use serde_json::Value;

/// What a run may take to notice a lost node.
const NOTICE: Duration = Duration::from_secs(7);
const SIGKILL: i32 = Signal::KILL.as_raw();
/// No test has more.
const NODES_MAX: usize = 10;

/// Some nodes on this machine, each with a state of its own; the first has begun it.
pub(crate) struct Cluster {
    scratch: Scratch,
    address: String,
    pub(crate) token: String,
}

impl Cluster {
    /// A cluster of that many nodes; `None` where only native runs are wanted.
    pub(crate) fn start(nodes: usize) -> Option<Self> {
        if workspace::native_only() {
            return None;
        }
        let mut cluster =
            Self { scratch: Scratch::new().unwrap(), address: String::new(), token: String::new() };
        let up = cluster.up(0);
        let text = |field: &str| up[field].as_str().unwrap_or_else(|| panic!("{up}")).to_owned();
        (cluster.address, cluster.token) = (text("address"), text("token"));
        (1..nodes).for_each(|node| cluster.add(node));
        Some(cluster)
    }

    pub(crate) fn state(&self, node: usize) -> PathBuf {
        self.scratch.work().join(format!("state-{node}"))
    }

    /// A command on the machine of a node.
    pub(crate) fn command(&self, node: usize, words: &[&str]) -> Output {
        Command::new(workspace::banyan().unwrap())
            .args(words)
            .current_dir(self.scratch.work())
            .env("BANYAN_STATE", self.state(node))
            .env("BANYAN_RUN_ID", &self.scratch.run)
            .env_remove("BANYAN_TOKEN")
            .output()
            .unwrap()
    }

    pub(crate) fn up(&self, node: usize) -> Value {
        json(&self.command(node, &["up", "--listen", "127.0.0.1:0", "--json"]))
    }

    pub(crate) fn join(&self, node: usize, address: &str, token: &str, more: &[&str]) -> Output {
        let words = ["join", address, token, "--listen", "127.0.0.1:0"];
        self.command(node, &[&words, more].concat())
    }

    pub(crate) fn status(&self, node: usize) -> Value {
        let output = self.command(node, &["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", excerpt(&output.stderr)))
    }

    /// The process of a node.
    pub(crate) fn process(&self, node: usize) -> i32 {
        self.status(node)["process"].as_i64().unwrap() as i32
    }

    pub(crate) fn kill(&self, node: usize) {
        let process = self.process(node);
        processes::send(process, Signal::KILL);
        let deadline = Instant::now() + NOTICE;
        while self.command(node, &["status"]).status.success() {
            assert!(Instant::now() < deadline, "a killed node answers");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// One more machine joins it.
    #[track_caller]
    pub(crate) fn add(&self, node: usize) {
        succeed(&self.join(node, &self.address, &self.token, &[]));
    }

    /// The same program, begun on one of the nodes.
    pub(crate) fn on(&self, node: usize, case: &Case) -> Case {
        case.clone().variable("BANYAN_STATE", &self.state(node).to_string_lossy())
    }

    /// Runs a program on N nodes, beginning on one, and natively.
    #[track_caller]
    fn check(&self, node: usize, case: &Case, nodes: usize) {
        let native = compare::once(case, How::Native).unwrap();
        let running = Running::start(&self.on(node, case), How::Banyan(nodes)).unwrap();
        let outcome = running.finish(Duration::from_secs(90)).unwrap();
        assert_eq!(outcome.end, native.end, "{}", excerpt(&outcome.stderr));
        assert!(outcome.stdout == native.stdout, "the output differs: {}", excerpt(&outcome.stdout));
        assert!(outcome.stderr == native.stderr, "{}", excerpt(&outcome.stderr));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..NODES_MAX {
            if !self.state(node).join("socket").exists() || self.command(node, &["down"]).status.success() {
                continue;
            }
            let output = self.command(node, &["status", "--json"]);
            let process = serde_json::from_slice::<Value>(&output.stdout).ok();
            if let Some(process) = process.and_then(|status| status["process"].as_i64()) {
                processes::send(process as i32, Signal::KILL);
            }
        }
    }
}

#[track_caller]
pub(crate) fn succeed(output: &Output) {
    assert!(output.status.success(), "{}", excerpt(&output.stderr));
}

#[track_caller]
fn json(output: &Output) -> Value {
    succeed(output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A command has failed with our status, one line, and these words.
#[track_caller]
pub(crate) fn refused(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.starts_with("banyan: ") && text.lines().count() == 1 && text.contains(words), "{text}");
}

fn pigz(bytes: usize, seed: u64) -> Case {
    Case::new("/usr/bin/pigz", ["-p6", "-n", "-c", "data"]).file("data", input::text(bytes, seed))
}

#[test]
fn programs_run_on_it_as_natively_from_whichever_node() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let program = |name: &str| Case::new(compile::c(name, Link::Dynamic).unwrap(), [""; 0]).says_ok();
    for (node, nodes, case) in [
        (0, 3, pigz(4 << 20, 1)),
        (1, 3, pigz(4 << 20, 2)),
        (2, 2, pigz(1 << 20, 3)),
        (1, 1, pigz(1 << 20, 4)),
        (1, 3, program("mutex")),
        (0, 3, program("cond")),
        (2, 3, program("barrier")),
    ] {
        cluster.check(node, &case, nodes);
    }
    let all = cluster.command(1, &["run", "-n", "all", "--stats=json", "--", "/bin/true"]);
    let text = String::from_utf8_lossy(&all.stderr).into_owned();
    let statistics: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap();
    assert_eq!(statistics["nodes"].as_array().map(Vec::len), Some(3), "{text}");
}

#[test]
fn every_way_of_not_getting_in_has_words_of_its_own() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let Some(other) = Cluster::start(1) else { return };
    let address = cluster.address.as_str();
    let join = |token: &str| cluster.join(9, address, token, &[]);
    let new = |more: &[&str]| {
        let token = json(&cluster.command(0, &[&["token", "new", "--json"], more].concat()));
        token["token"].as_str().unwrap().to_owned()
    };
    let number = |token: &str| token.split('.').nth(2).unwrap().to_owned();

    refused(&join("by1.x"), "no token");
    refused(&join(&cluster.token[..cluster.token.len() - 1]), "damaged");
    refused(&join(&other.token), "not of the token's cluster");
    let revoked = new(&[]);
    succeed(&cluster.command(0, &["token", "revoke", &number(&revoked)]));
    refused(&join(&revoked), "revoked");
    let short = new(&["--for", "1s"]);
    std::thread::sleep(Duration::from_millis(2100));
    refused(&join(&short), "expired");
    let once = new(&["--uses", "1"]);
    // A refusal for another reason uses nothing up.
    refused(&cluster.join(9, address, &once, &["--name", "n2"]), "another name");
    refused(&cluster.join(9, address, &once, &["--name", "no name"]), "cannot be a name");
    succeed(&cluster.join(9, address, &once, &["--name", "third"]));
    refused(&join(&once), "a node is running with it");
    succeed(&cluster.command(9, &["down"]));
    refused(&join(&once), "is in a cluster already");
    cluster.up(9);
    refused(&cluster.join(8, address, &once, &[]), "used up");
    // The right token with a secret of someone's own, and one that was never made.
    let parts: Vec<&str> = once.split('.').collect();
    let secret = format!("{}.{}.{}.{}.{}", parts[0], parts[1], parts[2], "0".repeat(26), parts[4]);
    refused(&cluster.join(8, address, &secret, &[]), "does not know the token");
    let unknown = format!("{}.{}.00000000.{}.{}", parts[0], parts[1], parts[3], parts[4]);
    refused(&cluster.join(8, address, &unknown, &[]), "does not know the token");
    refused(&cluster.join(8, "127.0.0.1:1", &once, &[]), "is a node listening there?");

    let standings = cluster.command(0, &["token", "list", "--json"]);
    let text = String::from_utf8_lossy(&standings.stdout).into_owned();
    for standing in ["good", "revoked", "expired", "used_up"] {
        assert!(text.to_lowercase().replace("usedup", "used_up").contains(standing), "{text}");
    }
    // Any member makes tokens, and lets machines in.
    succeed(&cluster.command(1, &["token", "new"]));
    let second = cluster.status(1)["members"][1]["address"].as_str().unwrap().to_owned();
    succeed(&cluster.join(8, &second, &cluster.token, &[]));
    for node in [8, 9] {
        succeed(&cluster.command(node, &["leave"]));
    }
    assert_eq!(cluster.status(0)["members"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_node_is_what_it_was_after_a_restart_and_a_kill_and_another_without_its_state() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let ids = |node: usize| -> Vec<String> {
        let status = cluster.status(node);
        let members = status["members"].as_array().unwrap();
        members.iter().map(|member| member["id"].as_str().unwrap().to_owned()).collect()
    };
    let before = ids(0);
    for node in [0, 1] {
        succeed(&cluster.command(node, &["down"]));
        refused(&cluster.command(node, &["status"]), "no node answers");
        cluster.up(node);
        cluster.kill(node);
        cluster.up(node);
        refused(&cluster.command(node, &["node", "run", "--state", "."]), "in no cluster");
    }
    assert_eq!((ids(0), ids(1), ids(2)), (before.clone(), before.clone(), before.clone()));
    cluster.check(1, &pigz(1 << 20, 5), 3);

    cluster.kill(2);
    std::fs::remove_dir_all(cluster.state(2)).unwrap();
    succeed(&cluster.join(2, &cluster.address, &cluster.token, &[]));
    let after = ids(0);
    assert_eq!(after.len(), 4, "the lost one is still named, the new one is another");
    assert!(before.iter().all(|id| after.contains(id)));
    succeed(&cluster.command(0, &["node", "remove", "n3"]));
    succeed(&cluster.command(0, &["node", "rename", "n4", "three"]));
    cluster.check(2, &pigz(1 << 20, 6), 3);
    let shown = json(&cluster.command(0, &["node", "show", "three"]));
    assert!(!before.contains(&shown["id"].as_str().unwrap().to_owned()));
}

#[test]
fn a_member_that_is_down_is_named_and_one_that_is_out_gets_nothing() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    succeed(&cluster.command(1, &["down"]));
    assert_eq!(cluster.command(0, &["status"]).status.code(), Some(1));
    refused(&cluster.command(0, &["run", "-n", "3", "--", "/bin/true"]), "n2: it does not answer");
    succeed(&cluster.command(0, &["run", "-n", "all", "--", "/bin/true"]));
    cluster.check(2, &pigz(1 << 20, 7), 2);
    cluster.up(1);

    succeed(&cluster.command(0, &["node", "remove", "n3"]));
    refused(&cluster.command(2, &["run", "-n", "2", "--", "/bin/true"]), " member of ");
    succeed(&cluster.command(2, &["leave"]));
    refused(&cluster.command(2, &["node", "run", "--state", "state-2"]), "in no cluster");
    cluster.check(1, &pigz(1 << 20, 8), 2);
    succeed(&cluster.command(0, &["leave"]));
    refused(&cluster.command(1, &["leave"]), "cannot leave");
}

#[test]
fn a_program_runs_on_the_machines_that_are_named() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let program = compile::c("litmus", Link::Dynamic).unwrap();
    let run = |hosts: &str| {
        let program = program.to_string_lossy();
        let words =
            ["run", "--hosts", hosts, "--place", "spread", "--stats=json", "--", &program, "counters"];
        cluster.command(0, &words)
    };
    cluster.kill(1);
    for hosts in ["n3", "n1,n3,n3"] {
        let output = run(hosts);
        succeed(&output);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let stats: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(stats["nodes"].as_array().map(Vec::len), Some(2), "{stats}");
    }
    refused(&run("n3,n2"), "n2: ");
    refused(&run("n3,n4"), "no member is called n4; see `banyan node list`");
    let output = cluster.command(7, &["run", "--hosts", "n3", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn a_killed_node_ends_the_run_and_takes_part_in_the_next() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let endless = Case::new(compile::c("endless", Link::Dynamic).unwrap(), ["busy"]);
    let mut running = Running::start(&cluster.on(0, &endless), How::Banyan(3)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    refused(&cluster.command(0, &["down"]), "programs are running");
    cluster.kill(2);
    let outcome = running.finish(NOTICE).unwrap();
    assert_eq!(outcome.end, End::Status(125), "{}", excerpt(&outcome.stderr));
    cluster.up(2);
    cluster.check(0, &pigz(1 << 20, 9), 3);

    let mut running = Running::start(&cluster.on(0, &endless), How::Banyan(3)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    let home = cluster.process(0);
    processes::send(home, Signal::KILL);
    let outcome = running.finish(NOTICE).unwrap();
    assert!(matches!(outcome.end, End::Status(125) | End::Signal(SIGKILL)), "{:?}", outcome.end);
    cluster.up(0);
    cluster.check(1, &pigz(1 << 20, 10), 3);
}

#[test]
fn strangers_at_the_port_keep_nobody_out() {
    const STRANGERS: usize = 200;
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let address: SocketAddr = cluster.address.parse().unwrap();
    let mut random = input::Numbers::new(11);
    let mut open = Vec::new();
    for number in 0..STRANGERS {
        let mut stranger = TcpStream::connect(address).unwrap();
        let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.draw() as u8).collect();
        // A third is silent, a third says something, a third begins as TLS does.
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stranger.write_all(&bytes),
            _ => stranger.write_all(&[&[0x16, 3, 1, 2, 0, 1], &bytes[..]].concat()),
        };
        open.push(stranger);
    }
    // The silent ones are closed after the handshake timeout.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !cluster.command(1, &["status"]).status.success() {
        assert!(Instant::now() < deadline, "strangers keep a member out");
        std::thread::sleep(Duration::from_millis(100));
    }
    cluster.check(1, &pigz(1 << 20, 12), 2);
    drop(open);
}
