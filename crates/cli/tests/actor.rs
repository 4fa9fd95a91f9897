//! `banyan actor` from outside: a bank that is talked to, killed and opened again, and what bad input is
//! told.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

/// The processes of one test find each other, and nobody else's, by a directory of its own.
struct Room {
    directory: tempfile::TempDir,
}

/// A process that runs actors; it is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Room {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
        command.arg("actor").args(arguments).current_dir(self.directory.path());
        command.env("XDG_RUNTIME_DIR", self.directory.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; gives its standard output.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail; gives what it says.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty() && !text.contains("panicked"), "{arguments:?}: {text}");
        text
    }

    /// Opens the bank; gives its process, and the balances that it prints first.
    fn bank(&self) -> (Running, [Vec<u64>; 2]) {
        let mut command = self.command(&["run", "bank", "--directory", "bank", "--hosts", "2"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut branch = |name: &str| -> Vec<u64> {
            let line = lines.next().unwrap().unwrap();
            serde_json::from_str(line.strip_prefix(name).unwrap().trim()).unwrap()
        };
        let balances = [branch("north"), branch("south")];
        // It goes on to print: somebody must read that.
        std::thread::spawn(move || lines.for_each(drop));
        (Running(child), balances)
    }
}

#[test]
fn a_bank_is_talked_to_killed_and_there_again() {
    let room = Room::new();
    let text = room.refused(&["list"]);
    assert!(
        text.contains("no process of yours runs configurations") && text.contains("actor run bank"),
        "{text}"
    );
    let (bank, balances) = room.bank();
    assert_eq!(balances, [vec![1000; 16], vec![1000; 16]]);
    assert_eq!(room.good(&["send", "bank", "transfer", "1", "2", "50"]), "transferred\n");
    assert_eq!(
        room.good(&["send", "bank", "transfer", "1", "2", "5000"]),
        "there is not enough on that account\n"
    );
    assert_eq!(room.good(&["send", "bank", "rob"]), "say: transfer FROM TO AMOUNT\n");

    let list: Vec<Value> =
        room.good(&["list", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kept: Vec<(&str, bool)> =
        list.iter().map(|one| (one["name"].as_str().unwrap(), one["durable"].as_bool().unwrap())).collect();
    assert!(kept.contains(&("north", true)) && kept.contains(&("teller", false)), "{kept:?}");
    let table = room.good(&["list"]);
    assert!(table.starts_with("NUMBER") || table.trim_start().starts_with("NUMBER"), "{table}");
    let shown = room.good(&["show", "south"]);
    assert!(shown.lines().count() == 2 && shown.contains("south"), "{shown}");
    let sponsors = room.good(&["sponsors"]);
    assert!(sponsors.contains("root") && sponsors.contains("running"), "{sponsors}");
    assert!(room.good(&["log"]).lines().all(|line| !line.contains("panicked")));

    let text = room.refused(&["show", "west"]);
    assert!(text.contains("no configuration \"west\"") && text.contains("banyan actor list"), "{text}");
    let text = room.refused(&["send", "nobody", "hello"]);
    assert!(text.contains("no actor is named \"nobody\"") && text.contains("bank"), "{text}");
    let text = room.refused(&["list", "--process", "1"]);
    assert!(text.contains("process 1 runs no configurations"), "{text}");
    // The state has one owner.
    let text = room.refused(&["run", "bank", "--directory", "bank"]);
    assert!(text.contains("bank/south.arena"), "{text}");

    // Killed, as on a drop of a process by the system: nothing is closed.
    drop(bank);
    let text = room.refused(&["list"]);
    assert!(text.contains("no process of yours"), "{text}");
    let (_bank, [north, south]) = room.bank();
    let (mut before, mut after) = (vec![1000; 16], vec![1000; 16]);
    (before[1], after[2]) = (950, 1050);
    assert_eq!((north, south), (before, after), "each transfer that was requested is made once");
}

/// In a terminal the configurations are drawn anew each second, above the balances.
#[test]
fn a_terminal_shows_a_live_table() {
    let room = Room::new();
    let program = room.command(&["run", "bank", "--directory", "bank", "--hosts", "1"]);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    // `script` gives it a terminal; that ends with it, and the program with the terminal.
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--command", &format!("exec {}", words.join(" ")), "/dev/null"]);
    terminal.current_dir(room.directory.path()).env("XDG_RUNTIME_DIR", room.directory.path());
    let mut child =
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _child = Running(child);
    let (mut frames, mut has_table, mut has_paid) = (0, false, false);
    let begun = Instant::now();
    for line in lines {
        let line = line.unwrap();
        assert!(begun.elapsed() < DEADLINE, "no live table within {DEADLINE:?}");
        if line.starts_with("\x1b[H\x1b[2J") {
            frames += 1;
            assert!(line.contains("NUMBER NAME"), "{line:?}");
            if frames == 1 {
                assert_eq!(room.good(&["send", "bank", "transfer", "1", "2", "50"]), "transferred\n");
            }
        }
        has_table |= frames > 0 && line.contains("teller");
        has_paid |= frames > 1 && line.starts_with("south [1000, 1000, 1050,");
        if has_table && has_paid {
            break;
        }
    }
    assert!(has_table && has_paid, "{frames} frames");
}

#[test]
fn a_ring_goes_round() {
    let text = Room::new().good(&["run", "ring", "--hosts", "1"]);
    assert!(text.starts_with("1000000 hops round 100 actors: "), "{text}");
}

#[test]
fn a_module_runs_and_what_is_none_is_refused() {
    let room = Room::new();
    let write = |name: &str, bytes: &[u8]| std::fs::write(room.directory.path().join(name), bytes).unwrap();
    write("tally.wasm", include_bytes!("../../../examples/guests/prebuilt/tally.wasm"));
    write("words.wasm", b"these are words");
    write("empty.wasm", b"\0asm\x01\0\0\0");
    let text = room.refused(&["run", "words.wasm"]);
    assert!(text.contains("words.wasm: ") && text.contains("not valid WebAssembly"), "{text}");
    let text = room.refused(&["run", "empty.wasm"]);
    assert!(text.contains("empty.wasm: ") && text.contains("memories"), "{text}");
    let text = room.refused(&["run", "nowhere.wasm"]);
    assert!(text.contains("nowhere.wasm: "), "{text}");
    let text = room.refused(&["run", "circus"]);
    assert!(text.contains("no example \"circus\"") && text.contains("zoo"), "{text}");
    let text = room.refused(&["run", "bank"]);
    assert!(text.contains("--directory"), "{text}");

    let mut command = room.command(&["run", "tally.wasm", "--hosts", "1"]);
    let _tally = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let begun = Instant::now();
    while room.run(&["list"]).status.code() != Some(0) {
        assert!(begun.elapsed() < DEADLINE, "the module does not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It takes numbers, and these are words: the event fails with the guest's own, and the guest lives.
    let text = room.refused(&["send", "tally", "hello"]);
    assert!(text.contains("tally: ") && text.contains("banyan actor log"), "{text}");
    let log = room.good(&["log"]);
    assert!(log.contains("a message is a number of 64 bits and one address"), "{log}");
    assert!(room.good(&["show", "tally"]).contains("tally"));
}
