//! Unmodified programs of the distribution over isolated libraries of the distribution.
//!
//! Each program runs once as it is, and once with the library isolated; output must be the same.
//! What they need is in `tests/needs.sh`; a test whose library is missing fails.

#![allow(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::generate::{Proof, wrap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn library(name: &str) -> PathBuf {
    let mut found = ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"]
        .iter()
        .map(|place| Path::new(place).join(name));
    found.find(|path| path.exists()).unwrap_or_else(|| panic!("{name} is not installed: run tests/needs.sh"))
}

fn wrapped(name: &str, headers: &[&str], policy: &str) -> PathBuf {
    wrapped_file(&library(name), name, headers, policy)
}

fn wrapped_file(path: &Path, name: &str, headers: &[&str], policy: &str) -> PathBuf {
    common::configuration();
    let directory = common::directory().join(format!("{name}-{}", policy.len()));
    std::fs::create_dir_all(&directory).unwrap();
    let rules = directory.join("policy.toml");
    std::fs::write(&rules, policy).unwrap();
    let headers: Vec<PathBuf> = headers.iter().map(|header| Path::new("/usr/include").join(header)).collect();
    let outcome = wrap(path, &headers, Some(&rules), &directory).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    directory
}

/// Runs a shell command with the libraries of `directory` in front; at most 60 s.
fn run(command: &str, directory: Option<&Path>) -> Output {
    let mut program = Command::new("timeout");
    program.args(["-s", "KILL", "60", "sh", "-c", command]).stdin(Stdio::null());
    if let Some(directory) = directory {
        program.env("LD_LIBRARY_PATH", directory);
    }
    program.output().unwrap()
}

fn same(command: &str, directory: &Path) {
    let (plain, isolated) = (run(command, None), run(command, Some(directory)));
    let show = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(plain.status, isolated.status, "{command}: {}", show(&isolated));
    assert!(plain.stdout == isolated.stdout, "{command}: the output differs; {}", show(&isolated));
}

#[test]
fn python_compresses_with_an_isolated_zlib() {
    let directory = wrapped("libz.so.1", &["zlib.h"], "");
    let script = "import ctypes; z = ctypes.CDLL('libz.so.1'); d = b'banyan ' * 100000; n = ctypes.c_ulong(len(d)); \
        o = ctypes.create_string_buffer(len(d)); print(z.compress(o, ctypes.byref(n), d, ctypes.c_ulong(len(d)))); \
        m = ctypes.c_ulong(len(d)); b = ctypes.create_string_buffer(len(d)); \
        print(n.value, z.uncompress(b, ctypes.byref(m), o, n), b.raw == d); \
        z.zlibVersion.restype = ctypes.c_char_p; print(z.zlibVersion()); print(z.crc32(0, d, len(d)))";
    same(&format!("/usr/bin/python3 -c \"{script}\""), &directory);
}

#[test]
fn sqlite_shell_over_an_isolated_library() {
    let directory = wrapped("libsqlite3.so.0", &["sqlite3.h"], "");
    same(
        "/usr/bin/sqlite3 :memory: \"create table t(a,b); with recursive c(x) as (values(1) union all select x+1 from c where x<500) \
         insert into t select x, x*x from c; select sum(b), count(*), avg(a) from t; select * from t order by b desc limit 3;\"",
        &directory,
    );
}

#[test]
fn xmllint_survives_what_crashes_it() {
    // On a busy machine the quadratic work before the overflow takes long.
    let directory = wrapped("libxml2.so.2", &[], "[library]\ndeadline_ms = 20000\n");
    let depth = 60_000;
    let deep = common::directory().join("deep.xml");
    std::fs::write(&deep, format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth))).unwrap();
    let good = common::directory().join("good.xml");
    std::fs::write(&good, "<?xml version=\"1.0\"?>\n<a><b c=\"d\">text</b><!-- e --></a>\n").unwrap();
    same(&format!("xmllint --copy {}", good.display()), &directory);
    same(&format!("xmllint --c14n {}", good.display()), &directory);
    for flag in ["--copy", "--c14n"] {
        let command = format!("exec xmllint --huge {flag} {}", deep.display());
        let plain = run(&command, None);
        let isolated = run(&command, Some(&directory));
        use std::os::unix::process::ExitStatusExt;
        eprintln!("xmllint {flag}: as it is {:?}, isolated {:?}", plain.status, isolated.status);
        assert!(isolated.status.signal().is_none(), "{flag}: {:?}", isolated.status);
        assert!(isolated.status.code().is_some_and(|code| code < 128), "{flag}: {:?}", isolated.status);
    }
}

#[test]
fn python_survives_pcre_and_yaml() {
    {
        let directory = wrapped("libpcre.so.3", &[], "");
        let script = "import ctypes; p = ctypes.CDLL('libpcre.so.3'); p.pcre_compile.restype = ctypes.c_void_p; \
            e = ctypes.c_char_p(); o = ctypes.c_int(); r = p.pcre_compile(b'(?:.|\\\\n)*x', 0, ctypes.byref(e), ctypes.byref(o), None); \
            v = (ctypes.c_int * 30)(); s = b'a' * SIZE + b'x'; \
            print(p.pcre_exec(ctypes.c_void_p(r), None, s, len(s), 0, 0, v, 30), v[1])";
        same(&format!("/usr/bin/python3 -c \"{}\"", script.replace("SIZE", "100")), &directory);
        let isolated = run(
            &format!("exec /usr/bin/python3 -c \"{}\"", script.replace("SIZE", "60000")),
            Some(&directory),
        );
        assert_eq!(isolated.status.code(), Some(0), "{}", String::from_utf8_lossy(&isolated.stderr));
        let plain = run(&format!("exec /usr/bin/python3 -c \"{}\"", script.replace("SIZE", "60000")), None);
        eprintln!("pcre: as it is {:?}, isolated {:?}", plain.status, isolated.status);
    }
    {
        let directory = wrapped(
            "libyaml-0.so.2",
            &["yaml.h"],
            "[function.yaml_parser_load]\ndeadline_ms = 500\nfailure = 0\n",
        );
        let script = "import ctypes; y = ctypes.CDLL('libyaml-0.so.2'); p = ctypes.create_string_buffer(4096); d = ctypes.create_string_buffer(512); \
            y.yaml_parser_initialize(p); t = b'[' * SIZE; y.yaml_parser_set_input_string(p, t, ctypes.c_size_t(len(t))); \
            print(y.yaml_parser_load(p, d))";
        same(&format!("/usr/bin/python3 -c \"{}\"", script.replace("SIZE", "10")), &directory);
        let start = Instant::now();
        let isolated = run(
            &format!("exec /usr/bin/python3 -c \"{}\"", script.replace("SIZE", "100000")),
            Some(&directory),
        );
        assert_eq!(isolated.status.code(), Some(0), "{}", String::from_utf8_lossy(&isolated.stderr));
        assert!(start.elapsed() < Duration::from_secs(15), "the hang became a time-out");
    }
}

#[test]
fn exports_wrapped_without_annotation() {
    let libraries: &[(&str, &[&str])] = &[
        ("libz.so.1", &["zlib.h"]),
        ("libpng16.so.16", &["png.h"]),
        ("libjpeg.so.62", &["jpeglib.h"]),
        ("libsqlite3.so.0", &["sqlite3.h"]),
        ("libexpat.so.1", &["expat.h"]),
    ];
    common::configuration();
    for (name, headers) in libraries {
        let path = library(name);
        let directory = common::directory().join(format!("coverage-{name}"));
        let headers: Vec<PathBuf> =
            headers.iter().map(|header| Path::new("/usr/include").join(header)).collect();
        let outcome = wrap(&path, &headers, None, &directory).unwrap();
        let declared = outcome.coverage.iter().filter(|one| one.reason == "declared").count();
        eprintln!(
            "{name}: {:.1} % of {} exports, {} checked, {declared} declared; {:?}",
            outcome.share() * 100.0,
            outcome.coverage.len(),
            outcome.count(Proof::Checked),
            outcome.problems
        );
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        assert!(outcome.share() >= 0.8, "{name}");
        assert!(outcome.count(Proof::Checked) > 0, "{name}: something only computes");
        assert!(declared >= 50, "{name}: the header was of use");
    }
}

#[test]
fn bad_input_is_named_and_the_rest_still_made() {
    common::configuration();
    let directory = common::directory().join("bad");
    std::fs::create_dir_all(&directory).unwrap();
    let header = directory.join("bad.h");
    std::fs::write(&header, "int subject_count(void);\nint broken(;\n").unwrap();
    let policy = directory.join("policy.toml");
    std::fs::write(&policy, "[function.not_there]\nretries = 1\n").unwrap();
    let outcome =
        wrap(common::subject(), std::slice::from_ref(&header), Some(&policy), &directory.join("out"))
            .unwrap();
    assert!(outcome.problems.iter().any(|problem| problem.contains("bad.h:2")), "{:?}", outcome.problems);
    assert!(outcome.problems.iter().any(|problem| problem.contains("not_there")), "{:?}", outcome.problems);
    assert!(
        outcome.library.exists()
            && outcome.coverage.iter().any(|one| one.name == "subject_count" && one.status == "full")
    );
    std::fs::write(&policy, "[function.x]\nretrys = 1\n").unwrap();
    let error = wrap(common::subject(), &[], Some(&policy), &directory.join("out")).unwrap_err().to_string();
    assert!(error.contains("policy.toml") && error.contains("line 2"), "{error}");
    assert!(wrap(&header, &[], None, &directory.join("out")).unwrap_err().to_string().contains("bad.h"));
}

/// Compiles a C program of the tests.
fn compile(source: &str, name: &str, arguments: &[&str]) -> PathBuf {
    let output = common::directory().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library").join(source);
    let mut command = Command::new("gcc");
    command.args(["-O2", "-w", "-o"]).arg(&output).arg(source).args(arguments);
    assert!(command.status().unwrap().success());
    output
}

#[test]
fn the_exit_of_libjpeg_is_an_error() {
    let directory = wrapped("libjpeg.so.62", &["jpeglib.h"], "");
    let script = "import ctypes; j = ctypes.CDLL('libjpeg.so.62', use_errno=True); e = ctypes.create_string_buffer(1024); \
        c = ctypes.create_string_buffer(4096); j.jpeg_std_error.restype = ctypes.c_void_p; \
        ctypes.cast(c, ctypes.POINTER(ctypes.c_void_p))[0] = j.jpeg_std_error(e); \
        j.jpeg_CreateDecompress(c, 62, ctypes.c_size_t(632)); d = bytes(64); j.jpeg_mem_src(c, d, ctypes.c_ulong(64)); \
        print('header', j.jpeg_read_header(c, 1), ctypes.get_errno())";
    let command = format!("exec /usr/bin/python3 -c \"{script}\"");
    let plain = run(&command, None);
    assert_eq!(plain.status.code(), Some(1), "the library ends its program");
    assert!(plain.stdout.is_empty());
    let isolated = run(&command, Some(&directory));
    let show = String::from_utf8_lossy(&isolated.stderr);
    assert_eq!(isolated.status.code(), Some(0), "{show}");
    assert_eq!(String::from_utf8_lossy(&isolated.stdout), format!("header -1 {}\n", libc::EIO), "{show}");
    assert!(show.contains("Not a JPEG"), "what the library printed came through: {show}");
}

#[test]
fn a_programs_error_handler_of_libpng_jumps_out_of_the_library() {
    let directory = wrapped("libpng16.so.16", &["png.h"], "");
    let program = compile("png.c", "png-user", &["-lpng16", "-lz"]);
    // A large image by the classic interface, to a file and back; then a damaged one.
    same(&format!("'{}' 1200 900", program.display()), &directory);
}

#[test]
fn large_buffers_through_zlib_are_the_same_to_the_byte() {
    let directory = wrapped("libz.so.1", &["zlib.h"], "");
    let program = compile("deflate.c", "deflate-user", &["-lz"]);
    same(&format!("'{}' 20000000", program.display()), &directory);
}

#[test]
fn damaged_images_through_stb_image_end_no_program() {
    let library = common::directory().join("libstb.so.1");
    let mut command = Command::new("gcc");
    command.args([
        "-shared",
        "-fPIC",
        "-O1",
        "-w",
        "-x",
        "c",
        "-DSTB_IMAGE_IMPLEMENTATION",
        "-Wl,-soname,libstb.so.1",
        "-o",
    ]);
    assert!(command.arg(&library).arg("/usr/include/stb/stb_image.h").arg("-lm").status().unwrap().success());
    let directory = wrapped_file(&library, "libstb.so.1", &[], "[library]\ndeadline_ms = 300\n");
    let program = compile("images.c", "images-user", &[library.to_str().unwrap(), "-lm"]);
    let place = library.parent().unwrap().display();
    let runs = std::env::var("BANYAN_CALL_IMAGES").unwrap_or_else(|_| "1500".into());
    // Good images first: alike in place and isolated.
    let good = format!("'{}' 0", program.display());
    let plain = run(&format!("LD_LIBRARY_PATH='{place}' {good}"), None);
    let isolated = run(&good, Some(&directory));
    assert!(
        plain.status.success() && plain.stdout == isolated.stdout,
        "{}",
        String::from_utf8_lossy(&isolated.stderr)
    );
    let output = run(&format!("'{}' {runs}", program.display()), Some(&directory));
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("stb_image: {}", text.lines().last().unwrap_or_default());
    assert!(
        output.status.success() && text.contains(&format!("{runs} images")),
        "{:?} {text}",
        output.status
    );
}

#[test]
fn what_a_library_may_do_is_derived_from_its_imports_unless_the_policy_says_it() {
    let script = "import ctypes; s = ctypes.CDLL('libsubject.so.1', use_errno=True); print(s.subject_fail(13), ctypes.get_errno())";
    let outcome = |allow: &str| {
        let policy = format!("[library]\n{allow}\n[function.subject_fail]\nfailure = -7\n");
        let directory = wrapped_file(common::subject(), "libsubject.so.1", &[], &policy);
        let output = run(&format!("exec /usr/bin/python3 -c \"{script}\""), Some(&directory));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(outcome(""), "0 0\n", "it imports socket, so it gets one");
    assert_eq!(outcome("allow = [\"files-read\"]"), format!("-7 {}\n", libc::EPERM));
    assert_eq!(outcome("allow = [\"network\"]"), "0 0\n");
}

#[test]
fn an_endless_query_is_interrupted_by_the_deadline_or_by_the_time_it_computes() {
    for limit in ["deadline_ms = 500", "cpu_ms = 300"] {
        endless_query_ends(limit);
    }
}

/// By the limit, and not by the minute that a call has otherwise.
fn endless_query_ends(limit: &str) {
    let policy = format!("[function.sqlite3_step]\n{limit}\n");
    let directory = wrapped("libsqlite3.so.0", &["sqlite3.h"], &policy);
    let start = Instant::now();
    let query = "with recursive c(x) as (values(1) union all select x+1 from c) select count(*) from c;";
    let output = run(&format!("exec sqlite3 :memory: '{query}'"), Some(&directory));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}", output.status);
}
