//! Isolated functions in a shared object, under a program that knows nothing of them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Builds the shared object once.
fn object() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = common::directory().join("libobject.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/shared_object.rs");
        // The test program lies beside what it was linked with.
        let built = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let output = Command::new("rustc")
            .args(["--edition=2024", "--crate-type=cdylib", "-Copt-level=1", "--crate-name=object", "-o"])
            .arg(&path)
            .arg(format!("-Ldependency={}", built.display()))
            .arg(format!("--extern=banyan_calls={}", built.join("libbanyan_calls.rlib").display()))
            .arg(source)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    })
}

/// Runs a script that Python reads from standard input, with `object` as its argument.
fn python(script: &str, object: &Path) -> Output {
    let mut child = Command::new("timeout")
        .args(["-s", "KILL", "60", "python3", "-"])
        .arg(object)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

const LOADS: &str = "import ctypes, sys, os\nprint('once', flush=True)\nobject = ctypes.CDLL(sys.argv[1])\n";

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_worker_of_a_shared_object_does_not_run_the_program_that_loaded_it() {
    let calls = "print(object.object_add(2, 3), object.object_crash(), object.object_add(4, 5))\n\
                 print(object.object_is_marked())\nprint(sys.stdin.read(), end='')\n";
    let (output, errors) = printed(&python(&format!("{LOADS}{calls}"), object()));
    assert_eq!(output, "once\n5 -1 9\n0\n", "{errors}");
    assert!(errors.contains("signal 6"), "{errors}");
}

#[test]
fn two_shared_objects_have_their_own_functions() {
    let other = object().with_file_name("libother.so");
    std::fs::copy(object(), &other).unwrap();
    let calls = "other = ctypes.CDLL(os.path.join(os.path.dirname(sys.argv[1]), 'libother.so'))\n\
                 print(object.object_add(2, 3), other.object_add(4, 5), object.object_add(6, 7))\n";
    let (output, errors) = printed(&python(&format!("{LOADS}{calls}"), object()));
    assert_eq!(output, "once\n5 9 13\n", "{errors}");
}

#[test]
fn what_cannot_be_started_is_refused_by_name() {
    let directory = object().with_file_name("a place");
    std::fs::create_dir_all(&directory).unwrap();
    let odd = directory.join("libodd.so");
    std::fs::copy(object(), &odd).unwrap();
    let call = "print(object.object_add(2, 3))\n";
    let (output, errors) = printed(&python(&format!("{LOADS}{call}"), &odd));
    assert_eq!(output, "once\n-1\n", "{errors}");
    assert!(errors.contains("a place/libodd.so") && errors.contains("space"), "{errors}");

    let replaced = object().with_file_name("libreplaced.so");
    std::fs::copy(object(), &replaced).unwrap();
    let replace = "os.remove(sys.argv[1]); open(sys.argv[1], 'w').close()\n";
    let (output, errors) = printed(&python(&format!("{LOADS}{replace}{call}"), &replaced));
    assert_eq!(output, "once\n-1\n", "{errors}");
    assert!(errors.contains("libreplaced.so") && errors.contains("replaced"), "{errors}");
}
