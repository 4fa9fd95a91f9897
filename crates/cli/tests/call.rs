//! `banyan call` as a user runs it: programs whose library is isolated on the fly, and the guide.
//!
//! Programs come in their own session, so that signals go where a terminal's would.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What each test holds: they look for the workers that are left, and must see none of another's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The directory of what Cargo built, with the worker program, its library and the examples in it, which are
/// another package's.
fn built() -> &'static Path {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_banyan")).parent().unwrap();
        // Who names the binary under test has built all that belongs to it.
        if std::env::var_os("BANYAN").is_some() {
            return built.to_owned();
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args([
            "build",
            "--quiet",
            "--package",
            "banyan-calls",
            "--lib",
            "--bins",
            "--examples",
        ]);
        // The folder has the name of the profile, but for one.
        let folder = built.file_name().and_then(|name| name.to_str()).unwrap();
        cargo.args(["--profile", if folder == "debug" { "dev" } else { folder }]);
        assert!(cargo.status().unwrap().success());
        built.to_owned()
    })
}

/// A directory with `banyan` in it, and the library and programs of the examples, built.
fn workplace() -> &'static Path {
    static PLACE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("call-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_banyan"), place.join("banyan")).unwrap();
        // Stands in for `cargo run --example NAME`: runs the example that is built already.
        let cargo = format!("#!/bin/bash\nexec '{}/examples/'\"${{@: -1}}\"\n", built().display());
        std::fs::write(place.join("cargo"), cargo).unwrap();
        std::fs::set_permissions(place.join("cargo"), Permissions::from_mode(0o755)).unwrap();
        let source = root().join("crates/calls/tests/library");
        let gcc = |arguments: &[&str]| {
            assert!(Command::new("gcc").args(arguments).current_dir(&place).status().unwrap().success());
        };
        let path = |name: &str| source.join(name).to_str().unwrap().to_owned();
        gcc(&[
            "-shared",
            "-fPIC",
            "-w",
            "-Wl,-soname,libsubject.so.1",
            "-o",
            "libsubject.so.1",
            &path("subject.c"),
        ]);
        gcc(&["-w", "-o", "user", &path("user.c"), "libsubject.so.1"]);
        place
    })
}

/// A command with `banyan`, this build's worker and a cache of its own in its environment.
fn shell(script: &str) -> Command {
    let place = workplace();
    let mut path = std::ffi::OsString::from(place);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "120", "bash", "-c", script]).current_dir(place).env("PATH", path);
    command.env("BANYAN_CALL_PROGRAM", built().join("banyan-call-worker"));
    command.env("XDG_CACHE_HOME", place.join("cache")).env("LD_LIBRARY_PATH", ".");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(script: &str) -> Output {
    shell(script).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Processes whose memory shows that they serve calls of `process`, or all if it is gone.
fn workers() -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut found = BTreeSet::new();
    for entry in entries {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if text(&line).contains("banyan-call-worker") {
            // Only those of this test: others may run beside it.
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if text(&environment).contains(workplace().to_str().unwrap()) {
                found.insert(process);
            }
        }
    }
    found
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program that is under way; it does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program with the library isolated and waits for its first line.
fn start(arguments: &str) -> (Running, String) {
    let mut command =
        shell(&format!("exec banyan call exec --isolate ./libsubject.so.1 -- ./user {arguments}"));
    // Not under `timeout`, which would stand between: every test that starts one ends it.
    let mut direct = Command::new("bash");
    direct.args(command.get_args().skip(4)).current_dir(workplace());
    for (name, value) in command.get_envs() {
        direct.env(name, value.unwrap_or_default());
    }
    command = direct;
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

/// Sends a signal to a process that this test has started, itself or by way of its program.
fn kill(process: u32, signal: Signal) -> bool {
    let process = Pid::from_raw(process as i32).unwrap();
    rustix::process::kill_process(process, signal).is_ok()
}

fn finish(mut child: Running) -> std::process::ExitStatus {
    let mut status = None;
    eventually("the program ends", || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

#[test]
fn an_interrupt_ends_the_program_as_it_would_natively() {
    let _alone = alone();
    let (child, line) = start("loop");
    assert_eq!(line, "looping\n");
    std::thread::sleep(Duration::from_millis(100));
    assert!(kill(child.0.id(), Signal::INT));
    assert_eq!(finish(child).signal(), Some(Signal::INT.as_raw()));
    eventually("its workers end", || workers().is_empty());
}

#[test]
fn a_handler_of_the_program_runs_during_a_call() {
    let _alone = alone();
    let (child, line) = start("handle");
    assert_eq!(line, "looping\n");
    std::thread::sleep(Duration::from_millis(100));
    assert!(kill(child.0.id(), Signal::INT));
    assert_eq!(finish(child).code(), Some(9), "the handler called the library and left");
    eventually("its workers end", || workers().is_empty());
}

#[test]
fn a_killed_program_leaves_no_worker() {
    let _alone = alone();
    let (child, _) = start("loop");
    eventually("the call begins", || !workers().is_empty());
    std::thread::sleep(Duration::from_millis(50));
    assert!(kill(child.0.id(), Signal::KILL));
    assert_eq!(finish(child).signal(), Some(Signal::KILL.as_raw()));
    eventually("its workers end", || workers().is_empty());
}

#[test]
fn a_killed_worker_is_an_error() {
    let _alone = alone();
    let (child, _) = start("many");
    let mut killed = 0;
    let start = Instant::now();
    while killed < 12 && start.elapsed() < Duration::from_secs(5) {
        // The babysitter among them: from then on every call is an error.
        for process in workers() {
            killed += i32::from(kill(process, Signal::KILL));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(killed >= 2, "killed {killed}");
    assert_eq!(finish(child).code(), Some(0), "the program counts its errors and ends well");
    eventually("its workers end", || workers().is_empty());
}

#[test]
fn status_and_errors_are_those_of_a_shell() {
    let _alone = alone();
    let status = |script: &str| {
        run(&format!("banyan call exec --isolate ./libsubject.so.1 -- {script}")).status.code()
    };
    assert_eq!(status("./user exit"), Some(5));
    assert_eq!(status("./user crash"), Some(0), "the crash of the library is an error value");
    assert_eq!(status("./nowhere"), Some(127));
    assert_eq!(status("./libsubject.so.1.c"), Some(127));
    assert_eq!(status(".."), Some(126));
    let missing = run("banyan call exec --isolate libnowhere.so.1 -- ./user exit");
    assert_eq!(missing.status.code(), Some(125));
    assert!(text(&missing.stderr).contains("libnowhere.so.1"), "{}", text(&missing.stderr));
    let own = run("exec ./user abort").status;
    let isolated = run("exec banyan call exec --isolate ./libsubject.so.1 -- ./user abort").status;
    assert_eq!(own, isolated, "the program's own crash stays its own");
}

#[test]
fn memory_of_the_library_is_the_programs_to_free() {
    let _alone = alone();
    let native = run("./user memory");
    let isolated = run("banyan call exec --isolate ./libsubject.so.1 -- ./user memory");
    assert!(native.status.success(), "{:?}", native.status);
    assert_eq!(
        (native.status, text(&native.stdout)),
        (isolated.status, text(&isolated.stdout)),
        "{}",
        text(&isolated.stderr)
    );
}

#[test]
fn a_fork_of_the_program_has_workers_of_its_own() {
    let _alone = alone();
    let told = workplace().join("fork-told");
    // Handles are known as such by a header.
    let header = "int *subject_make(int);\nvoid subject_drop(int *);\nint subject_count(void);\nint subject_fail(int);\n";
    std::fs::write(workplace().join("subject.h"), header).unwrap();
    let output = run("banyan call exec --isolate ./libsubject.so.1 --header subject.h -- ./user fork");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    eventually("the child that outlives the program tells", || {
        std::fs::read_to_string(&told).is_ok_and(|text| text == "0\n")
    });
    eventually("all workers end", || workers().is_empty());
}

/// The objects that a command prints, one a line.
fn objects(script: &str) -> Vec<serde_json::Value> {
    let output = run(script);
    assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn active(layers: &serde_json::Value) -> Vec<(String, bool)> {
    let one =
        |layer: &serde_json::Value| (layer["name"].as_str().unwrap().to_owned(), layer["active"] == true);
    layers.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn status_says_what_is_in_force() {
    let _alone = alone();
    let (child, _) = start("many");
    let mine = |seen: &serde_json::Value| seen["caller"] == child.0.id();
    let listed = objects("banyan call list --json");
    let service = listed.iter().find(|seen| mine(seen)).unwrap();
    let babysitter = service["babysitter"].as_u64().unwrap();
    let status = objects(&format!("banyan call status {babysitter} --json"));
    let names = [
        "the program's memory in system calls",
        "namespaces",
        "no new privileges",
        "resource limits",
        "file system",
        "system calls",
    ];
    // The library writes files: what cannot be forbidden is said as well.
    let expected = names.map(|name| (name.to_owned(), name != "file system"));
    assert_eq!(active(&status[0]["layers"]), expected);
    assert_eq!(status[0]["layers"][4]["detail"], "the policy allows all files");
    let top = objects("banyan call top --every 0.3 --count 1 --json");
    let seen = top.iter().find(|seen| mine(&seen["service"])).unwrap();
    assert!(seen["rate"]["calls_per_second"].as_f64().unwrap() > 1.0, "{seen}");
    assert!(seen["rate"]["latency_us"].is_null() || seen["rate"]["latency_us"].as_f64().unwrap() > 0.0);
    assert_eq!(finish(child).code(), Some(1), "no call failed");
    // Where one layer cannot be, it is said, and the others are.
    let try_it = "banyan call status ./libsubject.so.1 --json";
    let denied = format!("unshare -U -r sh -c 'echo 0 > /proc/sys/user/max_ipc_namespaces; exec {try_it}'");
    let layers = objects(&denied);
    // Whether a user namespace may serve faults of the kernel is the machine's choice.
    let is_asked = |layer: &&serde_json::Value| layer["name"] != "the program's memory in system calls";
    let off: Vec<_> = layers.iter().filter(is_asked).filter(|layer| layer["active"] != true).collect();
    assert!(off.len() == 2 && off[0]["name"] == "namespaces", "{layers:?}");
    assert!(!off[0]["detail"].as_str().unwrap().is_empty(), "{layers:?}");
}

/// Runs the guide's commands, block by block in one shell, and compares what follows `#:`.
#[test]
fn the_guide_does_what_it_says() {
    let _alone = alone();
    let guide = std::fs::read_to_string(root().join("docs/guides/isolate-a-library.md")).unwrap();
    let place = workplace().join("guide");
    std::fs::create_dir_all(place.join("examples")).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(root().join("examples/isolated-library")).arg(place.join("examples"));
    assert!(copy.status().unwrap().success());
    let (mut script, mut expected) = (format!("cd '{}'\n", place.display()), Vec::new());
    let mut inside = false;
    for line in guide.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                let (command, output) = line.split_once("#: ").unwrap_or((line, ""));
                if line.contains("#:") {
                    expected.push(output.to_owned());
                }
                script.push_str(command.trim_end());
                script.push('\n');
            }
            _ => {}
        }
    }
    assert!(expected.len() >= 15, "the guide has commands");
    let output = run(&script);
    let printed = text(&output.stdout);
    let mut lines = printed.lines();
    for wanted in &expected {
        assert!(
            lines.any(|line| line == wanted),
            "no line {wanted:?} after the one before in:\n{printed}\n{}",
            text(&output.stderr)
        );
    }
}
