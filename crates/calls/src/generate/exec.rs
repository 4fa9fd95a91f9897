//! Drop-ins made on the fly for a program that is about to start, and kept for the next time.
//!
//! They lie in the user's cache directory, under a name that changes with the library, the
//! headers, the policy and this build, so nothing there is ever out of date. The caller then
//! becomes the program: its process, terminal, signals and status are the program's own. Not for
//! drop-ins that are to be shipped; that is [`super::wrap`].

use super::emit::programs;
use super::wrap::{file_error, wrap};
use super::{Exports, WrapError};
use crate::sys::process::effective_user;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Drop-ins that a program can be started with.
#[derive(Debug)]
pub struct Prepared {
    directory: PathBuf,
    /// The drop-ins themselves.
    pub libraries: Vec<PathBuf>,
    /// What could not be used, with file and line, when they were made just now.
    pub problems: Vec<String>,
}

/// Where drop-ins are kept: the user's cache, or a directory of theirs alone among the temporary ones.
fn cache() -> Result<PathBuf, WrapError> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| Path::new(path).is_absolute())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let user = effective_user();
    let usable = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    if let Some(base) = base {
        let path = base.join("banyan/calls");
        if usable(&path).is_ok() {
            return Ok(path);
        }
    }
    let path = std::env::temp_dir().join(format!("banyan-calls-{user}"));
    usable(&path).map_err(file_error(&path))?;
    // Programs will load what lies there: it must be this user's alone.
    let found = path.symlink_metadata().map_err(file_error(&path))?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err(WrapError::Library { path, reason: "others may write to it; set XDG_CACHE_HOME".into() });
    }
    Ok(path)
}

/// Adds what tells one version of a file from another.
fn identify(path: &Path, hasher: &mut DefaultHasher) -> Result<(), WrapError> {
    let path = path.canonicalize().map_err(file_error(path))?;
    let found = path.metadata().map_err(file_error(&path))?;
    (&path, found.len(), found.mtime(), found.mtime_nsec(), found.ino()).hash(hasher);
    Ok(())
}

/// Makes drop-ins for `libraries`, or finds those of last time.
///
/// # Errors
/// [`WrapError`].
pub fn prepare(
    libraries: &[PathBuf],
    headers: &[PathBuf],
    policy: Option<&Path>,
) -> Result<Prepared, WrapError> {
    let mut hasher = DefaultHasher::new();
    for path in libraries.iter().chain(headers).chain(&programs()?) {
        identify(path, &mut hasher)?;
    }
    policy.map(|path| std::fs::read(path).map_err(file_error(path))).transpose()?.hash(&mut hasher);
    let directory = cache()?.join(format!("{:016x}", hasher.finish()));
    std::fs::create_dir_all(&directory).map_err(file_error(&directory))?;
    // Two programs may start at once: one makes the drop-ins, the other waits for them.
    let path = directory.join("complete");
    let mark =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(file_error(&path))?;
    mark.lock().map_err(file_error(&path))?;
    let is_made = mark.metadata().map_err(file_error(&path))?.len() > 0;
    let (mut made, mut problems) = (Vec::new(), Vec::new());
    for library in libraries {
        if is_made {
            made.push(directory.join(Exports::read(library)?.soname));
        } else {
            let outcome = wrap(library, headers, policy, &directory)?;
            problems.extend(outcome.problems);
            made.push(outcome.library);
        }
    }
    if !is_made {
        use std::io::Write;
        (&mark).write_all(b"complete\n").map_err(file_error(&path))?;
    }
    Ok(Prepared { directory, libraries: made, problems })
}

/// `first`, and what the environment variable holds already.
fn in_front(first: impl IntoIterator<Item = OsString>, name: &str) -> OsString {
    let parts: Vec<OsString> = first.into_iter().chain(std::env::var_os(name)).collect();
    parts.join(OsStr::new(":"))
}

impl Prepared {
    /// Becomes the program. Returns only when there is none.
    #[must_use]
    pub fn exec(self, program: &OsStr, arguments: &[OsString]) -> std::io::Error {
        let mut command = Command::new(program);
        command.args(arguments);
        command.env("LD_LIBRARY_PATH", in_front([self.directory.into_os_string()], "LD_LIBRARY_PATH"));
        // Loaded early even where the program would open the library by hand: only so does the
        // program's `free` know what the library allocated.
        command.env(
            "LD_PRELOAD",
            in_front(self.libraries.into_iter().map(PathBuf::into_os_string), "LD_PRELOAD"),
        );
        command.exec()
    }
}
