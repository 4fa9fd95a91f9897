//! Two jobs at a time on the same two node daemons: each is as it is natively, the end of one is nothing to
//! the other, and the daemons keep nothing of either.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use banyan_tests::compile::{self, Link};
use banyan_tests::launch::{End, How, excerpt};
use banyan_tests::processes::{self, Process};
use banyan_tests::scratch::Scratch;
use banyan_tests::{Case, Running, compare, gate, input, workspace};

const NODES: usize = 2;
const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();
/// How long an ended job may take to release its threads and files.
const GRACE: Duration = Duration::from_secs(5);

/// Two daemons, of which the first is where jobs begin.
pub(crate) struct Daemons {
    daemons: Vec<Child>,
    scratch: Scratch,
}

impl Daemons {
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new().unwrap();
        let secret = scratch.work().join("secret");
        std::fs::write(&secret, [7; 16]).unwrap();
        let (other, address) = daemon(&scratch, "other", &secret, &[]);
        let (home, _) = daemon(&scratch, "home", &secret, &["--peer", &address]);
        Self { daemons: vec![home, other], scratch }
    }

    fn socket(&self) -> PathBuf {
        self.scratch.work().join("home")
    }

    pub(crate) fn begin(&self, case: &Case) -> Running {
        let case = case.clone().variable("BANYAN_SOCKET", &self.socket().to_string_lossy());
        Running::start(&case, How::Banyan(NODES)).unwrap()
    }

    /// Kills the one where no job begins.
    pub(crate) fn kill_other(&mut self) {
        let _ = self.daemons[1].kill();
        let _ = self.daemons[1].wait();
    }

    /// Threads and descriptors of each daemon.
    fn holdings(&self) -> Vec<(usize, usize)> {
        let count = |path: String| std::fs::read_dir(path).unwrap().count();
        let of = |daemon: &Child| {
            (count(format!("/proc/{}/task", daemon.id())), count(format!("/proc/{}/fd", daemon.id())))
        };
        self.daemons.iter().map(of).collect()
    }

    /// Waits until the daemons have no more than they had, for they live on when jobs have ended.
    #[track_caller]
    fn hold_only(&self, before: &[(usize, usize)]) {
        let deadline = Instant::now() + GRACE;
        while self.holdings() != before {
            assert!(Instant::now() < deadline, "they hold {:?}, before {before:?}", self.holdings());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Starts one daemon whose socket has this name. Returns it and where it listens for other nodes.
fn daemon(scratch: &Scratch, name: &str, secret: &Path, more: &[&str]) -> (Child, String) {
    let mut daemon = Command::new(workspace::banyan().unwrap())
        .args(["node", "run", "--socket", name, "--secret"])
        .arg(secret)
        .args(more)
        .current_dir(scratch.work())
        .env("BANYAN_RUN_ID", &scratch.run)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
    (daemon, address.unwrap_or_else(|| panic!("{line:?}")).to_owned())
}

fn pigz(bytes: usize, seed: u64) -> Case {
    Case::new("/usr/bin/pigz", ["-p6", "-n", "-c", "data"]).file("data", input::text(bytes, seed))
}

#[track_caller]
fn equal_to_native(case: &Case, running: Running) {
    let native = compare::once(case, How::Native).unwrap();
    let outcome = running.finish(Duration::from_secs(60)).unwrap();
    assert_eq!(outcome.end, native.end, "{}", excerpt(&outcome.stderr));
    assert!(outcome.stdout == native.stdout, "the output differs: {}", excerpt(&outcome.stdout));
    assert!(outcome.stderr.is_empty(), "{}", excerpt(&outcome.stderr));
    let nodes = outcome.stats.expect("statistics").nodes;
    assert!(nodes.iter().all(|node| node.threads_run > 0), "a node had no thread: {nodes:?}");
}

#[test]
fn two_jobs_at_a_time_are_each_as_natively() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let daemons = Daemons::start();
    let before = daemons.holdings();
    let cases = [pigz(6 << 20, 1), pigz(6 << 20, 2)];
    let running = [daemons.begin(&cases[0]), daemons.begin(&cases[1])];
    for (case, running) in cases.iter().zip(running) {
        equal_to_native(case, running);
    }
    daemons.hold_only(&before);
}

/// Kills a process of one job while another works. Returns how the first ended.
fn kill_beside_another(choose: impl Fn(&[Process], i32) -> Process) -> Option<End> {
    if workspace::native_only() {
        return None;
    }
    let _pass = gate::enter();
    let daemons = Daemons::start();
    let before = daemons.holdings();
    let case = pigz(12 << 20, 3);
    let mut endless = daemons.begin(&Case::new(compile::c("endless", Link::Dynamic).unwrap(), ["busy"]));
    endless.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    let other = daemons.begin(&case);
    let program = endless.pid();
    choose(&processes::of_run(&endless.scratch.run), program).kill();
    let outcome = endless.finish(Duration::from_secs(7)).unwrap();
    equal_to_native(&case, other);
    daemons.hold_only(&before);
    Some(outcome.end)
}

#[test]
fn a_killed_program_harms_no_other_job() {
    let end = kill_beside_another(|processes, program| {
        processes.iter().find(|process| process.pid == program).expect("the program").clone()
    });
    assert!(end.is_none_or(|end| end == End::Signal(SIGKILL)), "{end:?}");
}

#[test]
fn a_killed_replica_harms_no_other_job() {
    let end = kill_beside_another(|processes, program| {
        processes.iter().find(|process| process.pid != program).expect("a replica").clone()
    });
    assert!(end.is_none_or(|end| end == End::Status(125)), "{end:?}");
}

#[test]
fn a_job_that_the_node_cannot_begin_is_refused_with_the_reason() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let daemons = Daemons::start();
    let before = daemons.holdings();
    let socket = daemons.socket();
    let case = Case::new(
        workspace::banyan().unwrap(),
        ["run", "-n", "3", "--socket", &socket.to_string_lossy(), "--", "/bin/true"],
    );
    let outcome = compare::once(&case, How::Native).unwrap();
    let text = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.end, End::Status(125), "{text}");
    assert!(text.contains("3 nodes are asked for, 2 are here"), "{text}");
    daemons.hold_only(&before);
}
