//! From the words of a command line to the file that is executed: `PATH` and `#!` lines, as a shell and the
//! kernel treat them.

use super::LoadError;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The kernel follows that many `#!` lines.
const SCRIPT_DEPTH_MAX: usize = 4;
/// `BINPRM_BUF_SIZE`: what the kernel reads of a `#!` line.
const LINE_MAX: usize = 256;

/// What is to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The ELF file.
    pub path: PathBuf,
    /// Its arguments, the zeroth included.
    pub arguments: Vec<OsString>,
}

/// Finds the file for `words` (program and arguments). `search` is the value of `PATH`. A program that is
/// called by something else, `zeroth`, has its path in its place.
///
/// # Errors
/// [`LoadError`].
///
/// # Panics
/// If `words` is empty; the command line parser asks for one word at least.
pub(crate) fn resolve(
    words: &[OsString],
    zeroth: Option<&OsStr>,
    search: Option<&OsStr>,
) -> Result<Command, LoadError> {
    let mut arguments = words.to_vec();
    let path = match zeroth {
        None => find(&words[0], search)?,
        Some(zeroth) => {
            let path = PathBuf::from(&words[0]);
            check_executable(&path)?;
            zeroth.clone_into(&mut arguments[0]);
            path
        }
    };
    let name = path.clone().into_os_string();
    follow(path, name, arguments)
}

/// As [`resolve`], of a file that is found in one place and called by another path, `words[0]`.
///
/// # Errors
/// [`LoadError`].
pub(crate) fn resolve_file(
    place: &Path,
    words: &[OsString],
    zeroth: Option<&OsStr>,
) -> Result<Command, LoadError> {
    check_executable(place)?;
    let mut arguments = words.to_vec();
    let name = arguments.first().cloned().unwrap_or_default();
    if let (Some(first), Some(zeroth)) = (arguments.first_mut(), zeroth) {
        zeroth.clone_into(first);
    }
    follow(place.into(), name, arguments)
}

/// Follows the `#!` lines of a file that its interpreter finds by `name`.
fn follow(mut path: PathBuf, mut name: OsString, mut arguments: Vec<OsString>) -> Result<Command, LoadError> {
    for _ in 0..SCRIPT_DEPTH_MAX {
        let Some((interpreter, option)) = script_line(&path)? else { return Ok(Command { path, arguments }) };
        if !interpreter.exists() {
            return Err(LoadError::MissingInterpreter { path, interpreter });
        }
        let mut before = vec![interpreter.clone().into_os_string()];
        before.extend(option);
        before.push(name);
        arguments.splice(0..1, before);
        name = interpreter.clone().into_os_string();
        path = interpreter;
        check_executable(&path)?;
    }
    Err(LoadError::Corrupt { path, reason: "its scripts' interpreters are scripts without end".into() })
}

fn find(word: &OsStr, search: Option<&OsStr>) -> Result<PathBuf, LoadError> {
    if word.as_bytes().contains(&b'/') {
        let path = PathBuf::from(word);
        check_executable(&path)?;
        return Ok(path);
    }
    let mut refused = None;
    for directory in std::env::split_paths(search.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"))) {
        let path = directory.join(word);
        match check_executable(&path) {
            Ok(()) => return Ok(path),
            Err(error @ LoadError::NotExecutable(_)) if path.is_file() => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| LoadError::NotFound(word.into())))
}

fn check_executable(path: &Path) -> Result<(), LoadError> {
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => LoadError::NotFound(path.into()),
        std::io::ErrorKind::PermissionDenied => LoadError::NotExecutable(path.into()),
        _ => LoadError::Io { path: path.into(), source },
    })?;
    let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    if !executable || rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(LoadError::NotExecutable(path.into()));
    }
    Ok(())
}

/// Interpreter and its one option, if the file begins with `#!`.
fn script_line(path: &Path) -> Result<Option<(PathBuf, Option<OsString>)>, LoadError> {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LINE_MAX as u64).read_to_end(&mut head));
    read.map_err(|source| LoadError::Io { path: path.into(), source })?;
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or(line).trim_ascii();
    let (interpreter, option) = match line.iter().position(|byte| b" \t".contains(byte)) {
        Some(at) => (&line[..at], Some(line[at..].trim_ascii())),
        None => (line, None),
    };
    if interpreter.is_empty() {
        return Err(LoadError::Corrupt {
            path: path.into(),
            reason: "its #! line names no interpreter".into(),
        });
    }
    let option = option.map(|option| OsString::from_vec(option.to_vec()));
    Ok(Some((PathBuf::from(OsStr::from_bytes(interpreter)), option)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_found_and_what_may_not_run_is_refused() {
        let words = |word: &str| [OsString::from(word)];
        let missing = resolve(&words("no-such-program-anywhere"), None, None).unwrap_err();
        assert_eq!(missing.status(), 127);
        let file = resolve(&words("/etc/passwd"), None, None).unwrap_err();
        assert_eq!(file.status(), 126);
        let directory = resolve(&words("/etc"), None, None).unwrap_err();
        assert_eq!(directory.status(), 126);
    }

    #[test]
    fn a_script_runs_its_interpreter() {
        let path = std::env::temp_dir().join(format!("banyan-script-{}", std::process::id()));
        std::fs::write(&path, "#!/bin/sh -e\necho\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let command = resolve(&[path.clone().into_os_string(), "x".into()], None, None).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(command.path, Path::new("/bin/sh"));
        let expected: [&OsStr; 4] = ["/bin/sh".as_ref(), "-e".as_ref(), path.as_os_str(), "x".as_ref()];
        assert_eq!(command.arguments, expected);
    }
}
