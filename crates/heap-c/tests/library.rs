//! The library for C: built, installed, linked by C and C++ compilers, and run, also under Valgrind and with
//! AddressSanitizer where those are installed.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Where the library is installed for these tests, and a directory in memory for heaps.
struct Installed {
    prefix: PathBuf,
    heaps: tempfile::TempDir,
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Builds the archive as these tests were built, and installs the library beside them, once.
fn install() -> Installed {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    let prefix = PREFIX.get_or_init(|| {
        // target/PROFILE/deps/library-0123
        let program = std::env::current_exe().unwrap();
        let profile = program.parent().unwrap().parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--offline", "-p", "banyan-heap-c"]).current_dir(package());
        // The folder has the name of the profile, but for one.
        let folder = profile.file_name().and_then(|name| name.to_str()).unwrap();
        build.args(["--profile", if folder == "debug" { "dev" } else { folder }]);
        run(build.env("CARGO_TARGET_DIR", profile.parent().unwrap()));
        let prefix = profile.join("heap-library");
        let archive = profile.join("libbanyan_heap_c.a");
        run(Command::new(package().join("install.sh")).args([&archive, &prefix]));
        prefix
    });
    Installed { prefix: prefix.clone(), heaps: tempfile::tempdir_in("/dev/shm").unwrap() }
}

impl Installed {
    /// What pkg-config says, or would.
    fn flags(&self) -> Vec<String> {
        let path = self.prefix.join("lib/pkgconfig");
        if !is_there("pkg-config") {
            return vec![
                format!("-I{}", self.prefix.join("include").display()),
                format!("-L{}", self.prefix.join("lib").display()),
                "-lbanyan_heap".to_owned(),
            ];
        }
        let mut command = Command::new("pkg-config");
        command.args(["--cflags", "--libs", "banyan-heap"]).env("PKG_CONFIG_PATH", path);
        let said = String::from_utf8(run(&mut command).stdout).unwrap();
        said.split_whitespace().map(str::to_owned).collect()
    }

    /// Compiles the test program, as `words` say.
    fn compile(&self, compiler: &str, name: &str, words: &[&str], last: &[&str]) -> PathBuf {
        // Not beside the heaps: memory file systems are often mounted `noexec`.
        let program = self.prefix.join(format!("program-{name}"));
        let source = package().join("tests/programs/heap.c");
        let strict = ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-O1", "-g"];
        let mut command = Command::new(compiler);
        command.args(strict).args(words).arg(&source).arg("-o").arg(&program);
        command.args(self.flags()).args(last);
        run(&mut command);
        program
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(self.heaps.path()).env("LD_LIBRARY_PATH", self.prefix.join("lib"));
        command
    }

    fn says_ok(&self, program: &Path) {
        assert_eq!(run(&mut self.command(program)).stdout, b"ok\n");
    }
}

#[test]
fn a_program_in_c_has_all_of_it() {
    let installed = install();
    installed.says_ok(&installed.compile("cc", "c", &["-std=c11", "-D_GNU_SOURCE"], &[]));
    // Without the shared library.
    let archive = installed.prefix.join("lib/libbanyan_heap.a").display().to_string();
    let program = package().join("tests/programs/heap.c");
    let output = installed.prefix.join("program-static");
    let include = format!("-I{}", installed.prefix.join("include").display());
    let mut command = Command::new("cc");
    command.args(["-D_GNU_SOURCE", &include]).arg(&program).arg("-o").arg(&output);
    run(command.args([&archive, "-lpthread", "-ldl", "-lm", "-lgcc_s"]));
    assert_eq!(run(Command::new(&output).arg(installed.heaps.path())).stdout, b"ok\n");
}

#[test]
fn a_program_in_cpp_has_all_of_it() {
    if !is_there("c++") {
        return;
    }
    let installed = install();
    installed.says_ok(&installed.compile("c++", "cpp", &["-x", "c++", "-std=c++17"], &["-x", "none"]));
}

#[test]
fn address_sanitizer_finds_nothing() {
    let installed = install();
    let probe = installed.prefix.join("program-probe");
    let source = installed.heaps.path().join("probe.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-fsanitize=address").arg(&source).arg("-o").arg(&probe);
    if !compiler.output().is_ok_and(|output| output.status.success()) {
        return;
    }
    let words = ["-std=c11", "-D_GNU_SOURCE", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let program = installed.compile("cc", "asan", &words, &[]);
    installed.says_ok(&program);
}

#[test]
fn valgrind_finds_nothing() {
    if !is_there("valgrind") {
        return;
    }
    let installed = install();
    let program = installed.compile("cc", "plain", &["-std=c11", "-D_GNU_SOURCE"], &[]);
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    command.arg("--show-leak-kinds=definite").arg(program).arg(installed.heaps.path());
    // Valgrind gives programs the first 16 TiB only.
    command.arg("0x40000000000").env("LD_LIBRARY_PATH", installed.prefix.join("lib"));
    assert_eq!(run(&mut command).stdout, b"ok\n");
}

#[test]
fn the_shared_library_has_the_functions_of_the_header_and_a_version() {
    let installed = install();
    if !is_there("nm") {
        return;
    }
    let mut nm = Command::new("nm");
    nm.args(["-D", "--defined-only"]).arg(installed.prefix.join("lib/libbanyan_heap.so"));
    let listed = String::from_utf8(run(&mut nm).stdout).unwrap();
    let symbols: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let header = std::fs::read_to_string(package().join("include/banyan_heap.h")).unwrap();
    for bits in ["8", "16", "32", "64"] {
        assert!(symbols.contains(&format!("bn_cas_u{bits}@@BANYAN_HEAP_1").as_str()), "{listed}");
    }
    let mut declared = 0;
    for line in header.lines().filter(|line| line.contains("bn_") && line.contains('(')) {
        let name = line.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap();
        if !line.starts_with([' ', '/', '#']) && name.starts_with("bn_") {
            declared += 1;
            assert!(symbols.contains(&format!("{name}@@BANYAN_HEAP_1").as_str()), "{name} is declared");
        }
    }
    // Beside them the atomics, which a macro declares, and the version itself.
    assert_eq!(symbols.len(), declared + 20 + 1, "{symbols:?}");
    let foreign: Vec<&&str> =
        symbols.iter().filter(|it| !it.starts_with("bn_") && **it != "BANYAN_HEAP_1").collect();
    assert!(foreign.is_empty(), "nothing else is seen: {foreign:?}");
}
