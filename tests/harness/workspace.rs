//! Where things lie: the workspace, its target directory, the binary under test; and whether this
//! machine lets Banyan run at all.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, anyhow, bail};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Cargo's target directory.
#[must_use]
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Where Cargo puts what it builds in the profile of this very executable: a test in `deps`, or the soak.
#[must_use]
pub fn built() -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    let directory = executable.parent().unwrap_or(Path::new("."));
    let inner = directory.ends_with("deps");
    directory.parent().filter(|_| inner).unwrap_or(directory).to_path_buf()
}

/// The source of a test program.
#[must_use]
pub fn program_source(name: &str) -> PathBuf {
    root().join("tests/programs").join(name)
}

/// The binary under test, never older than its source; or why it cannot be tested.
pub fn banyan() -> Result<PathBuf> {
    let path = match std::env::var_os("BANYAN") {
        Some(path) => root().join(path),
        None => {
            build_once()?;
            built().join("banyan")
        }
    };
    if !path.is_file() {
        bail!("there is no binary at {}: BANYAN names one to test", path.display());
    }
    if let Some(newer) = newer_source(&path)? {
        bail!("{} is newer than {}: build it again, or leave BANYAN unset", newer.display(), path.display());
    }
    require_userfaultfd()?;
    Ok(path)
}

/// A source of a binary that is newer than it, by the list that `cargo build` writes beside what it builds.
/// There is none beside a binary from elsewhere, which is as old as it is meant to be, nor beside one that
/// was built together with the tests, as `make test` does in the same command.
fn newer_source(binary: &Path) -> Result<Option<PathBuf>> {
    let Ok(list) = std::fs::read_to_string(binary.with_extension("d")) else { return Ok(None) };
    let built = binary.metadata()?.modified()?;
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources).replace("\\ ", "\0");
    let sources = sources.split_whitespace().map(|path| PathBuf::from(path.replace('\0', " ")));
    // One that is gone was not needed for this build.
    let is_newer =
        |path: &PathBuf| path.metadata().and_then(|found| found.modified()).is_ok_and(|at| at > built);
    Ok(sources.into_iter().find(is_newer))
}

/// Builds what `make build` builds, in the profile of the tests: the first test of a process that wants the
/// binary waits for Cargo, which has nothing to do if the source is as it was.
fn build_once() -> Result<()> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        // The folder has the name of the profile, but for one.
        let built = built();
        let folder = built.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
        let profile = if folder == "debug" { "dev" } else { folder };
        for part in [&[][..], &["-p", "banyan-tests", "--examples"]] {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command.args(["build", "--quiet", "--profile", profile]).args(part).current_dir(root());
            let output = command.output().map_err(|error| format!("cargo cannot be started: {error}"))?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
        Ok(())
    });
    built.clone().map_err(|error| anyhow!("the binary under test cannot be built:\n{error}"))
}

/// Whether only the native runs are wanted.
#[must_use]
pub fn native_only() -> bool {
    std::env::var_os("BANYAN_NATIVE_ONLY").is_some()
}

/// The node counts to test on.
pub fn node_counts() -> Result<Vec<usize>> {
    let Ok(list) = std::env::var("BANYAN_NODES") else { return Ok(vec![1, 2, 3]) };
    list.split(',')
        .map(|count| match count.trim().parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => bail!("BANYAN_NODES={list}: a list such as 1,2,3 is wanted"),
        })
        .collect()
}

/// Faults of the kernel itself on the program's memory must reach the pager, which the kernel allows only
/// to the privileged.
fn require_userfaultfd() -> Result<()> {
    let privileged = rustix::process::geteuid().is_root();
    let unprivileged = std::fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd")
        .is_ok_and(|value| value.trim() == "1");
    let device = std::fs::File::options().read(true).write(true).open("/dev/userfaultfd").is_ok();
    if privileged || unprivileged || device {
        return Ok(());
    }
    bail!(
        "these tests need userfaultfd with kernel faults, which this user may not have: run them as root, \
         or `sysctl -w vm.unprivileged_userfaultfd=1`, or give this user /dev/userfaultfd"
    );
}
