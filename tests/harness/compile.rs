//! Compiles the test programs when they are needed, into `target/test-programs`, and again when their
//! source has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// How a C program is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Position-independent, with shared libraries: what compilers do today.
    Dynamic,
    /// At a fixed address, with shared libraries.
    DynamicFixed,
    /// Position-independent, all in one file.
    StaticPie,
    /// At a fixed address, all in one file.
    StaticFixed,
    /// As [`Self::Dynamic`], with every access checked.
    AddressSanitizer,
    /// As [`Self::Dynamic`], with every access of two threads checked.
    ThreadSanitizer,
    /// As [`Self::Dynamic`], with a look for what is never freed at the end.
    LeakSanitizer,
    /// A library to be loaded at run time.
    Library,
}

impl Link {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Dynamic => &["-fPIE", "-pie"],
            Self::DynamicFixed => &["-fno-PIE", "-no-pie"],
            Self::StaticPie => &["-fPIE", "-static-pie"],
            Self::StaticFixed => &["-fno-PIE", "-static", "-no-pie"],
            Self::AddressSanitizer => &["-fPIE", "-pie", "-fsanitize=address"],
            Self::ThreadSanitizer => &["-fPIE", "-pie", "-fsanitize=thread"],
            Self::LeakSanitizer => &["-fPIE", "-pie", "-fsanitize=leak"],
            Self::Library => &["-fPIC", "-shared"],
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Dynamic => "",
            Self::DynamicFixed => "-fixed",
            Self::StaticPie => "-static-pie",
            Self::StaticFixed => "-static-fixed",
            Self::AddressSanitizer => "-address-sanitizer",
            Self::ThreadSanitizer => "-thread-sanitizer",
            Self::LeakSanitizer => "-leak-sanitizer",
            Self::Library => ".so",
        }
    }
}

// One compilation at a time: tests that share a program find it made.
static COMPILING: Mutex<()> = Mutex::new(());

/// The C program `tests/programs/NAME.c`, compiled.
pub fn c(name: &str, link: Link) -> Result<PathBuf> {
    let source = workspace::program_source(&format!("{name}.c"));
    let mut sources = headers()?;
    sources.push(source.clone());
    made(&format!("{name}{}", link.suffix()), &sources, |output| {
        let mut command = Command::new("gcc");
        command.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]);
        // The OpenMP runtime comes with the compiler, and only the program that asks for it has it.
        if name == "openmp" {
            command.arg("-fopenmp");
        }
        command.args(link.flags()).arg("-o").arg(output).arg(&source).args(["-ldl", "-lm"]);
        command
    })
}

/// The Rust program `tests/programs/NAME.rs`, compiled without Cargo.
pub fn rust(name: &str) -> Result<PathBuf> {
    let source = workspace::program_source(&format!("{name}.rs"));
    made(name, std::slice::from_ref(&source), |output| {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(["--edition", "2024", "-O", "-o"]).arg(output).arg(&source);
        command
    })
}

/// What C programs share; which of them one includes is not looked up.
fn headers() -> Result<Vec<PathBuf>> {
    let directory = workspace::program_source("");
    let entries = fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "h")).collect())
}

fn made(name: &str, sources: &[PathBuf], compiler: impl FnOnce(&Path) -> Command) -> Result<PathBuf> {
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = workspace::target().join("test-programs");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let output = directory.join(name);
    let changed =
        |path: &Path| fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if output.is_file() && sources.iter().all(|source| changed(source) < changed(&output)) {
        return Ok(output);
    }
    // Under another name first: another test runner may be executing the old one.
    let unfinished = directory.join(format!("{name}.{}", std::process::id()));
    let mut command = compiler(&unfinished);
    let tool = command.get_program().to_string_lossy().into_owned();
    let result = command
        .output()
        .with_context(|| format!("running {tool}: `make test` installs what the tests need"))?;
    if !result.status.success() {
        bail!("{tool} cannot compile {name}:\n{}", String::from_utf8_lossy(&result.stderr));
    }
    fs::rename(&unfinished, &output).with_context(|| format!("naming {}", output.display()))?;
    Ok(output)
}
