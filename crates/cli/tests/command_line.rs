//! What people and scripts rely on: the help texts, word for word, and the keys of what `doctor --json`
//! prints.
//!
//! After a change of a help text: `BANYAN_REGENERATE=1 cargo test -p banyan-cli --test command_line`.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn banyan(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
    command.args(arguments).env("COLUMNS", "80").output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn help_is_what_was_agreed() {
    let pages: [(&str, &[&str]); 61] = [
        ("banyan", &["--help"]),
        ("run", &["run", "--help"]),
        ("demo", &["demo", "--help"]),
        ("job", &["job", "--help"]),
        ("job-list", &["job", "list", "--help"]),
        ("job-show", &["job", "show", "--help"]),
        ("job-logs", &["job", "logs", "--help"]),
        ("job-wait", &["job", "wait", "--help"]),
        ("job-stop", &["job", "stop", "--help"]),
        ("job-remove", &["job", "remove", "--help"]),
        ("ps", &["ps", "--help"]),
        ("wait", &["wait", "--help"]),
        ("job-threads", &["job", "threads", "--help"]),
        ("job-move", &["job", "move", "--help"]),
        ("doctor", &["doctor", "--help"]),
        ("bench", &["bench", "--help"]),
        ("actor", &["actor", "--help"]),
        ("actor-run", &["actor", "run", "--help"]),
        ("actor-list", &["actor", "list", "--help"]),
        ("actor-show", &["actor", "show", "--help"]),
        ("actor-send", &["actor", "send", "--help"]),
        ("actor-log", &["actor", "log", "--help"]),
        ("actor-sponsors", &["actor", "sponsors", "--help"]),
        ("arena", &["arena", "--help"]),
        ("arena-create", &["arena", "create", "--help"]),
        ("arena-info", &["arena", "info", "--help"]),
        ("arena-verify", &["arena", "verify", "--help"]),
        ("arena-snapshots", &["arena", "snapshots", "--help"]),
        ("arena-diff", &["arena", "diff", "--help"]),
        ("arena-export", &["arena", "export", "--help"]),
        ("arena-import", &["arena", "import", "--help"]),
        ("arena-gc", &["arena", "gc", "--help"]),
        ("arena-dump", &["arena", "dump", "--help"]),
        ("arena-move", &["arena", "move", "--help"]),
        ("arena-compact", &["arena", "compact", "--help"]),
        ("heap", &["heap", "--help"]),
        ("heap-list", &["heap", "list", "--help"]),
        ("heap-show", &["heap", "show", "--help"]),
        ("heap-stat", &["heap", "stat", "--help"]),
        ("heap-dump", &["heap", "dump", "--help"]),
        ("heap-unlink", &["heap", "unlink", "--help"]),
        ("up", &["up", "--help"]),
        ("join", &["join", "--help"]),
        ("down", &["down", "--help"]),
        ("leave", &["leave", "--help"]),
        ("status", &["status", "--help"]),
        ("token", &["token", "--help"]),
        ("token-new", &["token", "new", "--help"]),
        ("node", &["node", "--help"]),
        ("node-list", &["node", "list", "--help"]),
        ("node-run", &["node", "run", "--help"]),
        ("top", &["top", "--help"]),
        ("sql", &["sql", "--help"]),
        ("call", &["call", "--help"]),
        ("call-wrap", &["call", "wrap", "--help"]),
        ("call-exec", &["call", "exec", "--help"]),
        ("call-status", &["call", "status", "--help"]),
        ("call-list", &["call", "list", "--help"]),
        ("call-top", &["call", "top", "--help"]),
        ("call-serve", &["call", "serve", "--help"]),
        ("completions", &["completions", "--help"]),
    ];
    for (name, arguments) in pages {
        let output = banyan(arguments);
        assert!(output.status.success(), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
        let found = text(output.stdout);
        let long = found.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None, "{arguments:?}: a line is longer than the terminal is wide");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help").join(name).with_extension("txt");
        if std::env::var_os("BANYAN_REGENERATE").is_some() {
            fs::write(&path, &found).unwrap();
        }
        let agreed = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == agreed, "{} has changed; it is now:\n{found}", path.display());
    }
}

#[test]
fn the_doctors_keys_stay() {
    let output = banyan(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["checks", "memory_bytes", "ok", "processors", "version"]);
    let names: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    let expected = [
        "architecture",
        "kernel",
        "userfaultfd",
        "userfaultfd features",
        "seccomp",
        "memory file",
        "executable memory",
        "huge pages",
        "mappings",
        "addresses",
        "low addresses",
        "address space",
        "open files",
        "loopback",
        "scheduling",
        "overcommit",
        "signal frames",
    ];
    assert_eq!(names, expected);
    for check in report["checks"].as_array().unwrap() {
        let keys: Vec<&String> = check.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["fix", "found", "name", "status"]);
        let status = check["status"].as_str().unwrap();
        assert!(["ok", "warn", "fail"].contains(&status), "{check}");
        assert_eq!(check["fix"].is_null(), status == "ok", "{check}");
    }
    let fails = report["checks"].as_array().unwrap().iter().any(|check| check["status"] == "fail");
    assert_eq!(report["ok"], !fails);
    assert_eq!(output.status.code(), Some(i32::from(fails)));
}

#[test]
fn the_doctor_writes_no_colours_into_a_pipe() {
    let output = banyan(&["doctor"]);
    assert!(!output.stdout.contains(&0x1b));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = banyan(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = text(output.stdout);
        for command in ["run", "demo", "doctor"] {
            assert!(script.contains(command), "{shell}: {command} is missing");
        }
    }
}

#[test]
fn a_demonstration_without_its_input_says_so() {
    let output = banyan(&["demo", "--input", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(125));
    let message = text(output.stderr);
    // The program may not be built when this test runs; then that is what it says.
    assert!(message.contains("/no/such/file") || message.contains("Build it"), "{message}");
}
