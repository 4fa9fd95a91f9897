//! Libraries made for one odd thing each: a program with the library in its own process is the judge of one
//! with the library isolated.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::generate::{Proof, WrapError, check_program, wrap};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
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

/// How a program ends that calls what always fails, as a status or a signal, and what it prints.
fn ends(pair: &Pair, arguments: &[&str]) -> (i32, String, String) {
    let output = pair.run(&pair.drop_in, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().or(output.status.signal()).unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_program_that_makes_no_progress_is_told_of_and_ended() {
    let pair = Pair::new("endless", "", &[], &["-O1"]);
    let (status, _, said) = ends(&pair, &["until"]);
    // `timeout` ends by its program's signal.
    assert_eq!(status, libc::SIGABRT, "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("banyan: endless_next: ")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("again and again") && lines[0].contains("[function.endless_next]"), "{said}");
    assert!(lines[1].contains("no progress"), "{said}");
}

#[test]
fn a_program_whose_other_calls_succeed_makes_progress() {
    let pair = Pair::new("endless", "other", &[], &["-O1"]);
    let (status, printed, said) = ends(&pair, &["between", "300"]);
    assert_eq!((status, printed.as_str(), said.as_str()), (0, "0\n", ""));
}

#[test]
fn a_policys_failure_value_is_returned_for_ever() {
    let pair = Pair::new("endless", "policy", &[], &["-O1"]);
    let policy = pair.library.join("policy.toml");
    std::fs::write(&policy, "[function.endless_next]\nfailure = 0\n").unwrap();
    wrap(&pair.library.join("libendless.so.1"), &[], Some(&policy), &pair.drop_in).unwrap();
    let (status, printed, said) = ends(&pair, &["only", "20000"]);
    assert_eq!((status, printed.as_str(), said.as_str()), (0, "0\n", ""));
}

#[test]
fn what_a_library_prints_on_standard_error_has_a_bound() {
    /// In lines of 64 kilobytes: what a worker prints in all, and in a second.
    const ALL: usize = 1 << 10;
    const SECOND: usize = 64;
    let pair = Pair::new("noisy", "", &["-O1"], &["-O1"]);
    for way in ["0", "1", "2", "3"] {
        pair.prints_the_same(&[way, "16"]);
        let output = pair.run(&pair.drop_in, &[way, &(ALL + SECOND).to_string()]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "printed\n", "{way}");
        let said = String::from_utf8(output.stderr).unwrap();
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            said.lines().partition(|line| line.starts_with("banyan: "));
        assert!(ours.len() == 1 && ours[0].contains("left out"), "{way}: {ours:?}");
        assert!((SECOND..=ALL).contains(&theirs.len()), "{way}: {}", theirs.len());
        assert!(theirs.iter().all(|line| line.len() == (64 << 10) - 1), "{way}: a line in part");
    }
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
        // The program's own addresses of them, and those of its calls by way of a table.
        for (program, label) in [(&["-O1"][..], ""), (&["-O1", "-no-pie", "-fno-pic"], "-fixed")] {
            let label = option.replace(' ', "") + label;
            Pair::new("functions", &label, &options, program).prints_the_same(&[]);
        }
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

#[test]
fn the_kernel_reaches_memory_of_the_program_as_the_library_does() {
    let pair = Pair::new("kernel", "", &["-O1"], &["-O1"]);
    pair.prints_the_same(&[pair.library.join("written").to_str().unwrap()]);
}

#[test]
fn threads_of_the_library_reach_memory_of_the_program() {
    Pair::new("threads", "", &["-O1"], &["-O1"]).prints_the_same(&[]);
}

/// Pages that a worker keeps between calls are what the program made of them meanwhile, and what the library
/// wrote is what the program finds.
#[test]
fn memory_that_both_sides_use_by_turns_is_the_same_for_both() {
    let pair = Pair::new("chatty", "", &["-O1"], &["-O1", "-pthread"]);
    for seed in ["1", "2", "3", "4", "5", "6"] {
        // Alone, beside other threads that call, and with a signal every few milliseconds.
        for ways in [&["1000", "1"][..], &["300", "3"], &["300", "1", "3000"], &["200", "2", "3000"]] {
            pair.prints_the_same(&[&[seed], ways].concat());
        }
    }
}

#[test]
fn a_library_that_is_opened_by_its_path_is_isolated() {
    let pair = Pair::new("opened", "", &[], &["-Wl,--no-as-needed"]);
    let file = pair.library.join("libopened.so.1");
    let link = pair.library.join("another-name.so");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let names = [file.to_str().unwrap(), link.to_str().unwrap(), "libopened.so.1"];
    let plain = pair.run(&pair.library, &names);
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "here\nhere\nhere\nnot found\n");
    let isolated = pair.run(&pair.drop_in, &names);
    assert_eq!(String::from_utf8_lossy(&isolated.stdout), "isolated\nisolated\nisolated\nnot found\n");
}

/// What the report says of each export of a library from `tests/library/checked.c`.
fn proofs(label: &str, headers: &[PathBuf]) -> BTreeMap<String, Proof> {
    common::configuration();
    let directory = common::directory().join(format!("checked-{label}"));
    std::fs::create_dir_all(&directory).unwrap();
    let library = directory.join("libchecked.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/checked.c");
    let soname = "-Wl,-soname,libchecked.so.1";
    compile(
        Command::new("gcc").args(["-shared", "-fPIC", "-O2", soname]).arg(source).arg("-o").arg(&library),
    );
    let outcome = wrap(&library, headers, None, &directory.join("isolated")).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    outcome.coverage.into_iter().map(|one| (one.name, one.proof)).collect()
}

#[test]
fn what_only_computes_is_checked_and_nothing_else_is_called() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/checked.h");
    let (declared, bare) = (proofs("header", &[header]), proofs("bare", &[]));
    let expected = ["checked_count", "checked_exit", "checked_first", "checked_loop"];
    for (name, proof) in &declared {
        let is_tried = !expected.contains(&name.as_str());
        assert_eq!(*proof == Proof::Checked, is_tried, "{name}: {proof:?}");
        // What may be left in st(0) is not known without a header.
        let is_tried = is_tried && name != "checked_quarter";
        assert_eq!(bare[name] == Proof::Checked, is_tried, "{name}: {:?}", bare[name]);
    }
    assert_eq!(declared.len(), 15);
}

#[test]
fn a_header_that_is_wrong_is_found_out() {
    let header = common::directory().join("wrong.h");
    std::fs::write(&header, "int checked_seventh(int a);\ndouble checked_half(double a);\n").unwrap();
    let proofs = proofs("wrong", &[header]);
    assert_eq!(proofs["checked_half"], Proof::Checked);
    assert_eq!(proofs["checked_seventh"], Proof::Refused);
}

#[test]
fn an_interface_in_cpp_is_refused_by_name() {
    common::configuration();
    let directory = common::directory().join("widget");
    std::fs::create_dir_all(&directory).unwrap();
    let library = directory.join("libwidget.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/widget.cpp");
    compile(
        Command::new("g++")
            .args(["-shared", "-fPIC", "-Wl,-soname,libwidget.so.1"])
            .arg(source)
            .arg("-o")
            .arg(&library),
    );
    let Err(WrapError::Library { reason, .. }) = wrap(&library, &[], None, &directory.join("isolated"))
    else {
        panic!("it was wrapped");
    };
    assert!(reason.contains("in C++ (_Z"), "{reason}");
}

#[test]
fn a_program_that_drop_ins_cannot_reach_is_refused() {
    let directory = common::directory().join("static");
    std::fs::create_dir_all(&directory).unwrap();
    let (source, program) = (directory.join("program.c"), directory.join("program"));
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    compile(Command::new("gcc").arg("-static").arg(&source).arg("-o").arg(&program));
    let Err(WrapError::Program { path, reason }) = check_program(program.as_os_str()) else {
        panic!("it was taken");
    };
    assert_eq!(path, program);
    assert!(reason.contains("statically linked"), "{reason}");
    let script = directory.join("script");
    std::fs::write(&script, format!("#!{} -x\n", program.display())).unwrap();
    assert!(check_program(script.as_os_str()).unwrap_err().to_string().contains("its interpreter"));
    for taken in ["sh", "/bin/sh", "/no/such/program", env!("CARGO_BIN_EXE_banyan-call-worker")] {
        check_program(taken.as_ref()).unwrap();
    }
}
