//! Runs that go on without who began them: what they print and how they end is kept, and they are waited for,
//! looked at, ended and removed by name.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use banyan_tests::compile::{self, Link};
use banyan_tests::processes::{self, Process};
use banyan_tests::scratch::Scratch;
use banyan_tests::{gate, workspace};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// A place for runs of its own. Dropped, it ends what is left of them.
struct Place {
    scratch: Scratch,
    _pass: gate::Pass,
}

impl Drop for Place {
    fn drop(&mut self) {
        for process in processes::of_run(&self.scratch.run) {
            process.kill();
        }
    }
}

impl Place {
    /// None, if only native runs are wanted.
    fn new() -> Option<Self> {
        let _pass = gate::enter();
        (!workspace::native_only()).then(|| Self { scratch: Scratch::new().unwrap(), _pass })
    }

    /// What `banyan` with these arguments does.
    fn banyan(&self, arguments: &[&str]) -> Output {
        Command::new(workspace::banyan().unwrap())
            .args(arguments)
            .current_dir(self.scratch.work())
            .env("BANYAN_STATE", self.scratch.temporary())
            .env("BANYAN_RUN_ID", &self.scratch.run)
            .output()
            .unwrap()
    }

    /// The standard output of a command that succeeds.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.banyan(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The objects that a command prints.
    #[track_caller]
    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        self.says(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A command that fails, with status 125 and these words.
    #[track_caller]
    fn refused(&self, arguments: &[&str], words: &str) {
        let output = self.banyan(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }

    /// Begins a run that prints `ready` and does not end.
    fn endless(&self, name: &str) {
        let program = compile::c("endless", Link::Dynamic).unwrap();
        let program = program.to_str().unwrap();
        self.says(&["run", "--local", "-n", "2", "--detach", "--name", name, "--", program, "busy"]);
        self.until(|| self.says(&["job", "logs", name]) == "ready\n");
    }

    #[track_caller]
    fn until(&self, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        while !is_so() {
            assert!(Instant::now() < deadline, "still: {}", processes::describe(&self.scratch.run));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nothing of a run is left.
    #[track_caller]
    fn is_empty(&self) {
        self.until(|| processes::of_run(&self.scratch.run).is_empty());
    }
}

#[test]
fn what_a_run_prints_and_how_it_ends_is_kept() {
    let Some(place) = Place::new() else { return };
    let line = "echo out; echo err >&2; exit 7";
    let begin = ["run", "--local", "-n", "2", "--detach", "--name", "one", "--", "/bin/sh", "-c", line];
    assert_eq!(place.says(&begin), "one\n");
    assert_eq!(place.banyan(&["wait", "one"]).status.code(), Some(7));
    assert_eq!(place.says(&["job", "logs", "one"]), "out\n");
    assert_eq!(place.says(&["job", "logs", "--follow", "--errors", "one"]), "err\n");
    let shown = &place.lines(&["job", "show", "--json", "one"])[0];
    assert_eq!((&shown["state"], &shown["status"]), (&Value::from("ended"), &Value::from(7)));
    assert_eq!(shown["command"], Value::from(format!("/bin/sh -c {line}")));
    place.refused(&begin, "there is a run called one");
    let is_listed = |arguments: &[&str]| place.lines(arguments).iter().any(|line| line["name"] == "one");
    assert!(is_listed(&["ps", "--all", "--json"]) && !is_listed(&["ps", "--json"]));
    place.says(&["job", "remove", "one"]);
    assert!(!is_listed(&["job", "list", "--all", "--json"]));
    place.refused(&["wait", "one"], "no run is called one");
    place.is_empty();
}

#[test]
fn runs_are_named_after_their_programs_and_one_that_cannot_start_says_why() {
    let Some(place) = Place::new() else { return };
    for name in ["true-1", "true-2"] {
        assert_eq!(place.says(&["run", "--local", "-d", "/bin/true"]), format!("{name}\n"));
        assert_eq!(place.banyan(&["job", "wait", name]).status.code(), Some(0));
    }
    assert_eq!(place.says(&["run", "--local", "-d", "--name", "none", "/no/such"]), "none\n");
    assert_eq!(place.banyan(&["wait", "none"]).status.code(), Some(127));
    assert!(place.says(&["job", "logs", "--errors", "none"]).contains("/no/such"));
    for name in ["4711", "../up", "-x", ""] {
        let name = format!("--name={name}");
        place.refused(&["run", "--local", "-d", &name, "/bin/true"], "is no name");
    }
    place.is_empty();
}

#[test]
fn a_run_is_found_and_ended_by_its_name() {
    let Some(place) = Place::new() else { return };
    place.endless("long");
    let listed = place.lines(&["ps", "--json"]);
    let own = listed.iter().find(|line| line["name"] == "long").expect("the run in the list");
    assert_eq!((&own["state"], &own["nodes"]), (&Value::from("running"), &Value::from(2)));
    let threads = |which: &str| place.lines(&["job", "threads", which, "--json"]).len();
    assert!(threads("long") > 2 && threads("long") == threads(&own["process"].to_string()));
    place.refused(&["job", "remove", "long"], "banyan job stop long");
    place.says(&["job", "stop", "long"]);
    assert_eq!(place.banyan(&["wait", "long"]).status.code(), Some(128 + 15));
    place.is_empty();
}

#[test]
fn who_does_not_end_when_told_is_killed() {
    let Some(place) = Place::new() else { return };
    let line = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    place.says(&["run", "--local", "-d", "--name", "deaf", "/bin/sh", "-c", line]);
    place.until(|| place.says(&["job", "logs", "deaf"]) == "ready\n");
    place.says(&["job", "stop", "--time", "0", "deaf"]);
    assert_eq!(place.banyan(&["wait", "deaf"]).status.code(), Some(128 + 9));
    place.is_empty();
}

#[test]
fn a_run_whose_keeper_is_killed_is_lost_and_not_called_ended() {
    let Some(place) = Place::new() else { return };
    place.endless("left");
    let is_keeper = |process: &Process| process.arguments.get(1).is_some_and(|word| word == "keep");
    let keeper = processes::of_run(&place.scratch.run).into_iter().find(is_keeper).expect("its keeper");
    keeper.kill();
    place.until(|| place.lines(&["job", "show", "--json", "left"])[0]["state"] == "lost");
    place.refused(&["wait", "left"], "keeper was killed");
    let process = place.lines(&["job", "show", "--json", "left"])[0]["process"].as_i64().unwrap();
    processes::send(process as i32, Signal::TERM);
    place.is_empty();
}
