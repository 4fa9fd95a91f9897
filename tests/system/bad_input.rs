//! Programs that cannot be run: the message names the file and the reason, and the status is docker's:
//! 125 for our own errors, 126 for a file that cannot be executed, 127 for one that is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banyan_tests::compile::{self, Link};
use banyan_tests::input::Numbers;
use banyan_tests::launch::{End, How, Outcome, excerpt};
use banyan_tests::{Case, check, compare, gate, workspace};

/// A directory for made-up programs, of this test alone.
fn directory(name: &str) -> PathBuf {
    let directory = workspace::target().join("test-programs/bad").join(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn write_program(path: &Path, contents: &[u8], mode: u32) {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn run(program: &Path, nodes: usize) -> Outcome {
    compare::once(&Case::new::<&str>(program, []).deadline(20), How::Banyan(nodes))
        .unwrap_or_else(|error| panic!("{}: {error:#}", program.display()))
}

/// Runs it under Banyan, and expects one of the statuses and all of the words, of which a group by `|`
/// needs one.
#[track_caller]
fn is_refused(program: &Path, statuses: &[i32], words: &[&str]) {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    for nodes in [1, 2] {
        let outcome = run(program, nodes);
        let text = String::from_utf8_lossy(&outcome.stderr).to_lowercase();
        let ended = statuses.iter().any(|status| outcome.end == End::Status(*status));
        assert!(ended, "{}: {:?}, {text:?}", program.display(), outcome.end);
        let name = program.file_name().unwrap().to_string_lossy().to_lowercase();
        assert!(text.contains(&name), "the message does not name {name}: {text:?}");
        for group in words {
            assert!(group.split('|').any(|word| text.contains(word)), "the message lacks {group}: {text:?}");
        }
        assert!(outcome.stdout.is_empty());
        assert!(text.starts_with("banyan: "), "{text:?}");
        assert!(!text.contains("panicked"), "{text:?}");
    }
}

#[test]
fn a_program_that_is_not_there_is_127() {
    is_refused(Path::new("/nonexistent/program"), &[127], &["not found|no such file"]);
    is_refused(Path::new("no-such-program-in-the-path"), &[127], &["not found|no such file"]);
    is_refused(Path::new("./no-such-program"), &[127], &["not found|no such file"]);
}

#[test]
fn a_program_without_execute_permission_is_126() {
    let path = directory("permission").join("unexecutable");
    write_program(&path, &fs::read("/bin/true").unwrap(), 0o644);
    is_refused(&path, &[126], &["permission denied|not executable"]);
}

#[test]
fn a_directory_is_126() {
    is_refused(&directory("a-directory"), &[126], &["directory|permission denied"]);
}

#[test]
fn a_program_under_a_file_is_126_or_127() {
    let file = directory("under").join("file");
    write_program(&file, b"x", 0o755);
    is_refused(&file.join("program"), &[126, 127], &["not a directory|not found|no such file"]);
}

const MACHINE_OFFSET: usize = 18;
const MACHINE_AARCH64: u8 = 0xb7;
const CLASS_OFFSET: usize = 4;
const CLASS_32: u8 = 1;

#[test]
fn a_program_of_another_architecture_is_126() {
    let mut program = fs::read("/bin/true").unwrap();
    program[MACHINE_OFFSET] = MACHINE_AARCH64;
    let path = directory("architecture").join("for-another-machine");
    write_program(&path, &program, 0o755);
    is_refused(&path, &[126], &["architecture|machine|aarch64|x86"]);
    program = fs::read("/bin/true").unwrap();
    program[CLASS_OFFSET] = CLASS_32;
    let path = directory("architecture").join("of-32-bits");
    write_program(&path, &program, 0o755);
    is_refused(&path, &[126], &["32|64|architecture|elf"]);
}

#[test]
fn a_truncated_program_is_126() {
    let program = fs::read("/bin/true").unwrap();
    for length in [1, 4, 16, 63, 64, 100, 500] {
        let path = directory("truncated").join(format!("truncated-{length}"));
        write_program(&path, &program[..length], 0o755);
        is_refused(&path, &[126], &["truncated|elf|format|corrupt|short"]);
    }
}

#[test]
fn an_empty_program_is_126() {
    let path = directory("empty").join("empty");
    write_program(&path, b"", 0o755);
    is_refused(&path, &[126], &["empty|elf|format|truncated"]);
}

#[test]
fn a_text_that_is_no_script_is_126() {
    let path = directory("text").join("text");
    write_program(&path, b"echo this has no first line that names a shell\n", 0o755);
    is_refused(&path, &[126], &["elf|format"]);
}

#[test]
fn corrupt_headers_are_126() {
    let program = fs::read("/bin/true").unwrap();
    // Where the program headers lie, how large each is, how many there are; and the first load segment's
    // file size and address.
    for (name, offset, bytes) in [
        ("headers-beyond-the-end", 32, &[0xff; 8][..]),
        ("headers-of-no-size", 54, &[0, 0][..]),
        ("too-many-headers", 56, &[0xff, 0xff][..]),
        ("no-headers", 56, &[0, 0][..]),
        ("a-type-that-does-not-run", 16, &[1, 0][..]),
    ] {
        let mut broken = program.clone();
        broken[offset..offset + bytes.len()].copy_from_slice(bytes);
        let path = directory("corrupt").join(name);
        write_program(&path, &broken, 0o755);
        is_refused(&path, &[126], &["elf|format|corrupt|header|segment|type|truncated"]);
    }
}

/// Whatever the headers say, Banyan neither hangs nor panics nor leaves anything.
#[test]
fn random_headers_harm_nobody() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let program = fs::read("/bin/true").unwrap();
    let mut numbers = Numbers::new(77);
    for attempt in 0..25 {
        let mut broken = program.clone();
        for _ in 0..1 + numbers.below(4) {
            let place = 16 + numbers.below(700) as usize;
            broken[place] = numbers.draw() as u8;
        }
        let path = directory("random").join(format!("random-{attempt}"));
        write_program(&path, &broken, 0o755);
        let outcome = run(&path, 2);
        let text = String::from_utf8_lossy(&outcome.stderr);
        assert!(!text.contains("panicked"), "attempt {attempt}: {text}");
        if outcome.end == End::Status(125) {
            panic!("attempt {attempt}: the program is to blame, not Banyan: {text}");
        }
    }
}

#[test]
fn a_missing_interpreter_is_named() {
    let mut program = fs::read("/bin/true").unwrap();
    let usual = b"/lib64/ld-linux-x86-64.so.2\0";
    let place = program.windows(usual.len()).position(|window| window == usual).unwrap();
    program[place..place + usual.len()]
        .copy_from_slice(b"/lib64/ld-missing-x86-6.so.2"[..usual.len()].as_ref());
    program[place + usual.len() - 1] = 0;
    let path = directory("interpreter").join("interpreted");
    write_program(&path, &program, 0o755);
    is_refused(&path, &[126, 127], &["ld-missing", "not found|no such file|missing"]);
}

#[test]
fn an_unreadable_but_executable_program_is_told() {
    // Root reads everything, so this says something only for other users; for root it simply runs.
    let path = directory("unreadable").join("unreadable");
    write_program(&path, &fs::read("/bin/true").unwrap(), 0o111);
    if fs::File::open(&path).is_ok() {
        check(&Case::new::<&str>(&path, []));
    } else {
        is_refused(&path, &[126], &["permission denied"]);
    }
}

#[test]
fn a_script_runs_under_its_interpreter() {
    let path = directory("script").join("script");
    write_program(
        &path,
        b"#!/bin/sh\necho \"$0 has $#: $1\" | { read line; echo \"${line##*/}\"; }\n",
        0o755,
    );
    // A pipeline in it forks; without one it needs the shell alone.
    write_program(&path, b"#!/bin/sh -e\necho \"${0##*/} has $#: $1\"\nexit 4\n", 0o755);
    check(&Case::new(&path, ["an argument"]).ends(End::Status(4)));
}

#[test]
fn arguments_arrive_byte_for_byte() {
    use std::os::unix::ffi::OsStringExt;
    let program = compile::c("surroundings", Link::Dynamic).unwrap();
    let odd: Vec<std::ffi::OsString> =
        [&b""[..], b"two words", b"--", b"-n", b"3", b"\xff\xfe\x01", b"*", b"$HOME", b"--stats", b"\"'\\\n"]
            .iter()
            .map(|bytes| std::ffi::OsString::from_vec(bytes.to_vec()))
            .collect();
    let long = "x".repeat(120_000);
    let case =
        Case::new(&program, odd.into_iter().chain([long.into()])).named("surroundings with odd arguments");
    check(
        &case
            .variable("SHOWN_ONE", "a = b")
            .variable("SHOWN_EMPTY", "")
            .variable("SHOWN_LONG", &"y".repeat(9000))
            .says_ok(),
    );
}

/// As many arguments as the kernel takes natively, up to the edge: the program runs as it does natively, or
/// the message says why not.
#[test]
fn an_over_long_argument_list_runs_or_is_told() {
    let _pass = gate::enter();
    let program = compile::c("surroundings", Link::Dynamic).unwrap();
    for count in [15usize, 19, 20, 21] {
        let arguments = vec!["z".repeat(100_000); count];
        let case = Case::new(&program, arguments).named(&format!("{count} arguments of 100,000 bytes"));
        // Beyond the kernel's own limit nothing can be started with such a list, Banyan neither.
        let Ok(native) = compare::once(&case, How::Native) else { continue };
        if workspace::native_only() {
            continue;
        }
        let Ok(outcome) = compare::once(&case, How::Banyan(2)) else { continue };
        if outcome.end == native.end {
            assert_eq!(outcome.stdout, native.stdout, "{}", case.name);
        } else {
            let text = String::from_utf8_lossy(&outcome.stderr).to_lowercase();
            assert!(matches!(outcome.end, End::Status(125 | 126)), "{}: {:?}", case.name, outcome.end);
            assert!(text.contains("argument list too long"), "{}: {}", case.name, excerpt(&outcome.stderr));
            assert!(text.contains("surroundings"), "{}: {}", case.name, excerpt(&outcome.stderr));
        }
    }
}
