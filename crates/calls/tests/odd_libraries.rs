//! Libraries made for one odd thing each: a program with the library in its own process is the judge of one
//! with the library isolated.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::generate::wrap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A library and its program, from `tests/library/NAME.c`.
struct Pair {
    program: PathBuf,
    /// Where the library is, and where its drop-in.
    library: PathBuf,
    drop_in: PathBuf,
}

impl Pair {
    /// Builds both with these options of the compiler; `label` tells builds of one name apart.
    fn new(name: &str, label: &str, library_options: &[&str], program_options: &[&str]) -> Self {
        common::configuration();
        let directory = common::directory().join(format!("{name}-{label}"));
        let drop_in = directory.join("isolated");
        std::fs::create_dir_all(&drop_in).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/library/{name}.c"));
        let (library, program) = (directory.join(format!("lib{name}.so.1")), directory.join("program"));
        compile(
            Command::new("gcc")
                .args(["-shared", "-fPIC", "-w", &format!("-Wl,-soname,lib{name}.so.1")])
                .args(library_options)
                .arg(&source)
                .arg("-o")
                .arg(&library),
        );
        compile(
            Command::new("gcc")
                .args(["-DPROGRAM", "-w"])
                .args(program_options)
                .arg(&source)
                .arg(&library)
                .arg("-o")
                .arg(&program),
        );
        let outcome = wrap(&library, &[], None, &drop_in).unwrap();
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        Self { program, library: directory, drop_in }
    }

    fn run(&self, libraries: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "60"]).arg(&self.program).args(arguments);
        command.env("ODD_WORD", "a word of the environment").env("TZ", "UTC-3");
        command.env("LD_LIBRARY_PATH", libraries).stdin(Stdio::null()).output().unwrap()
    }

    fn prints_the_same(&self, arguments: &[&str]) {
        let (plain, isolated) = (self.run(&self.library, arguments), self.run(&self.drop_in, arguments));
        let show = |output: &Output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
        };
        assert_eq!(show(&plain), show(&isolated), "{arguments:?}");
        assert!(plain.status.success(), "{}", show(&plain));
    }
}

fn compile(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn constants_and_variables_with_addresses_are_right_from_the_start() {
    // The program's own copies, which the loader makes read-only; and the library's, through a table.
    let copies = ["-O1", "-no-pie", "-fno-pic", "-Wl,-z,relro,-z,now"];
    for (label, options) in [("copies", &copies[..]), ("position-independent", &["-O1", "-fPIC"])] {
        Pair::new("constants", label, &["-O2"], options).prints_the_same(&[]);
    }
}

#[test]
fn functions_are_called_by_address_wherever_they_begin() {
    for option in ["-O0", "-Os", "-O2", "-O2 -falign-functions=1"] {
        let options: Vec<&str> = option.split(' ').collect();
        Pair::new("functions", &option.replace(' ', ""), &options, &["-O1"]).prints_the_same(&[]);
    }
}

#[test]
fn a_version_all_of_whose_names_have_another_is_kept() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/versions.map");
    let option = format!("-Wl,--version-script={}", script.display());
    Pair::new("versions", "", &[&option], &[]).prints_the_same(&[]);
}

#[test]
fn texts_and_structures_of_the_librarys_c_library_can_be_read() {
    Pair::new("c_library", "", &["-O1"], &["-O1"]).prints_the_same(&[]);
}

#[test]
fn either_side_frees_and_resizes_memory_of_the_other() {
    Pair::new("memory", "", &["-O1", "-fno-builtin"], &["-O1", "-fno-builtin"]).prints_the_same(&[]);
}
