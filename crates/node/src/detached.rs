//! Runs that go on without the process that began them. What such a run prints and how it ends is kept in a
//! directory of its own, under a name.
//!
//! A *keeper*, a process in a session of its own, starts the run, waits for its end and writes it down. It
//! holds the lock of the directory for as long as it lives, so that who looks can tell a run that goes on
//! from one whose keeper was killed. It notes the end *before* it lets the kernel use the process id again: a
//! process handle that was opened while no end was noted is the run's.
//!
//! Not here: what a run is (`job`), and where its threads are, which its node says.

use crate::files;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the keeper says to who started it, once the run has begun.
const BEGUN: &[u8] = b"begun";
/// Runs of one program that may be kept at a time under names that are made up.
const NUMBER_MAX: u32 = 100_000;
const NAME_MAX: usize = 64;
/// Interval at which a run that was asked to end is polled.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What a killed process may take to end.
const KILLED: Duration = Duration::from_secs(5);

/// Why a detached run cannot be begun, found or ended.
#[derive(Debug, thiserror::Error)]
pub enum DetachedError {
    /// A file of its directory.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No name of a directory.
    #[error("{0:?} is no name: 1 to 64 letters, digits, `.`, `-` and `_` are, with a letter first")]
    NoName(String),
    /// There is one of this name.
    #[error("there is a run called {0}; take another name, or remove it with `banyan job remove {0}`")]
    NameTaken(String),
    /// There is none of this name.
    #[error("no run is called {0}; `banyan job list --all` shows those that there are")]
    NotFound(String),
    /// It goes on.
    #[error("{0} is running; stop it with `banyan job stop {0}`")]
    Running(String),
    /// The keeper ended at once.
    #[error("{name}: its keeper could not start it: {reason}")]
    NotBegun {
        /// The run.
        name: String,
        /// What it wrote to its standard error.
        reason: String,
    },
    /// It does not end.
    #[error(
        "{name}: process {process} has not ended although it was killed; what it waits for is in /proc/{process}/stack"
    )]
    Stuck {
        /// The run.
        name: String,
        /// Its process.
        process: i32,
    },
}

/// What is known of a run from its beginning on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Program and arguments, for people.
    pub command: String,
    /// The process that is the program.
    pub process: i32,
    /// When it began, in seconds since 1970.
    pub begun: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Its exit status, or what a shell shows for the signal that ended it.
    pub status: u8,
    /// When, in seconds since 1970.
    pub ended: u64,
}

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Runs,
    /// It has ended.
    Ended(Ending),
    /// Its keeper was killed: nobody knows how it ends.
    Lost,
}

impl Progress {
    /// For people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Runs => "running",
            Self::Ended(_) => "ended",
            Self::Lost => "lost",
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ending(self) -> Option<Ending> {
        match self {
            Self::Ended(ending) => Some(ending),
            Self::Runs | Self::Lost => None,
        }
    }
}

/// One of the two streams that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
}

impl Stream {
    fn file(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Errors => "errors",
        }
    }
}

/// A run with a name and a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Detached {
    name: String,
    directory: PathBuf,
}

/// The directory of the runs of this user.
#[must_use]
pub fn usual_place() -> PathBuf {
    crate::state::usual_directory().join("runs")
}

/// All runs that are kept in `place`, by name.
///
/// # Errors
/// [`DetachedError::File`].
pub fn all(place: &Path) -> Result<Vec<Detached>, DetachedError> {
    let failed = |source| DetachedError::File { path: place.into(), source };
    let entries = match std::fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if let Some(name) = entry.file_name().to_str().filter(|name| is_name(name)) {
            found.push(Detached { name: name.into(), directory: entry.path() });
        }
    }
    found.sort();
    Ok(found)
}

/// The run of this name.
///
/// # Errors
/// [`DetachedError::NotFound`].
pub fn find(place: &Path, name: &str) -> Result<Detached, DetachedError> {
    let directory = place.join(name);
    if !is_name(name) || !directory.is_dir() {
        return Err(DetachedError::NotFound(name.into()));
    }
    Ok(Detached { name: name.into(), directory })
}

/// Begins `banyan` with these words as a run without its caller: `program` is what is run, for people and for
/// a name if none is given. Returns when its process is there.
///
/// # Errors
/// [`DetachedError`].
pub fn begin(
    place: &Path,
    name: Option<&str>,
    program: &[OsString],
    words: &[OsString],
) -> Result<(Detached, Beginning), DetachedError> {
    let run = Detached::create(place, name, program.first().map_or(OsStr::new(""), |word| word))?;
    let begun = run.start_keeper(program, words);
    if begun.is_err() {
        // Nothing of it has run.
        let _ = std::fs::remove_dir_all(&run.directory);
    }
    begun.map(|beginning| (run, beginning))
}

/// Is the keeper of the run in `directory`: starts it and waits for its end. `command` is for people.
///
/// # Errors
/// The system's, before the run has begun.
pub fn keep(directory: &Path, command: &str, words: &[OsString]) -> io::Result<()> {
    rustix::process::setsid()?;
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let run = Detached { name, directory: directory.into() };
    // Who looks just now holds it for an instant.
    let _lock = run.lock(FlockOperation::LockExclusive)?;
    let file = |stream: Stream| {
        File::options().create_new(true).append(true).mode(0o600).open(directory.join(stream.file()))
    };
    let mut child = Command::new("/proc/self/exe")
        .arg0("banyan")
        .args(words)
        .stdin(Stdio::null())
        .stdout(file(Stream::Output)?)
        .stderr(file(Stream::Errors)?)
        .process_group(0)
        .spawn()?;
    let process = child.id().cast_signed();
    let pid = Pid::from_child(&child);
    if let Err(error) = run.write("begin", &Beginning { command: command.into(), process, begun: now() }) {
        // Nobody could find it.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        child.wait()?;
        return Err(error);
    }
    // Who waits for this word may have gone, and the run goes on.
    let _ = io::stdout().write_all(BEGUN).and_then(|()| io::stdout().flush());
    std::env::set_current_dir("/")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = loop {
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => break status,
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let number = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    let status = number.and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX);
    run.write("end", &Ending { status, ended: now() })?;
    rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)?;
    Ok(())
}

impl Detached {
    fn create(place: &Path, name: Option<&str>, program: &OsStr) -> Result<Self, DetachedError> {
        let make = |directory: &Path, recursive| {
            DirBuilder::new().mode(0o700).recursive(recursive).create(directory)
        };
        let failed = |path: &Path, source| DetachedError::File { path: path.into(), source };
        make(place, true).map_err(|error| failed(place, error))?;
        let made = |name: String| {
            let directory = place.join(&name);
            match make(&directory, false) {
                Ok(()) => Ok(Some(Self { name, directory })),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(failed(&directory, error)),
            }
        };
        if let Some(name) = name {
            if !is_name(name) {
                return Err(DetachedError::NoName(name.into()));
            }
            return made(name.into())?.ok_or_else(|| DetachedError::NameTaken(name.into()));
        }
        let base = base_name(program);
        for number in 1..=NUMBER_MAX {
            if let Some(run) = made(format!("{base}-{number}"))? {
                return Ok(run);
            }
        }
        Err(DetachedError::NameTaken(format!("{base}-{NUMBER_MAX}")))
    }

    fn start_keeper(&self, program: &[OsString], words: &[OsString]) -> Result<Beginning, DetachedError> {
        let failed = |source| DetachedError::File { path: self.directory.clone(), source };
        let command = program.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut keeper = Command::new("/proc/self/exe")
            .arg0("banyan")
            .args(["keep".as_ref(), self.directory.as_os_str(), command.as_ref(), "--".as_ref()])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut said = Vec::new();
        if let Some(output) = keeper.stdout.take() {
            output.take(BEGUN.len() as u64).read_to_end(&mut said).map_err(failed)?;
        }
        if said == BEGUN {
            return self.beginning();
        }
        let mut reason = String::new();
        if let Some(mut errors) = keeper.stderr.take() {
            errors.read_to_string(&mut reason).map_err(failed)?;
        }
        keeper.wait().map_err(failed)?;
        Err(DetachedError::NotBegun { name: self.name.clone(), reason: reason.trim().into() })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it began.
    ///
    /// # Errors
    /// [`DetachedError::File`].
    pub fn beginning(&self) -> Result<Beginning, DetachedError> {
        self.read("begin")
    }

    /// What has become of it.
    ///
    /// # Errors
    /// [`DetachedError::File`].
    pub fn progress(&self) -> Result<Progress, DetachedError> {
        let lock = self.lock(FlockOperation::NonBlockingLockShared);
        let runs = matches!(&lock, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        match self.read("end") {
            Ok(ending) => Ok(Progress::Ended(ending)),
            Err(_) if runs => Ok(Progress::Runs),
            Err(DetachedError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Progress::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`DetachedError::File`].
    pub fn wait(&self) -> Result<Progress, DetachedError> {
        let failed = |source| DetachedError::File { path: self.directory.join("lock"), source };
        drop(self.lock(FlockOperation::LockShared).map_err(failed)?);
        self.progress()
    }

    /// Has it end: by SIGTERM, and if it goes on after `timeout` by SIGKILL, with what it has started.
    ///
    /// # Errors
    /// [`DetachedError`].
    pub fn stop(&self, timeout: Duration) -> Result<Progress, DetachedError> {
        let Beginning { process, .. } = self.beginning()?;
        let failed = |error: rustix::io::Errno| DetachedError::File {
            path: format!("/proc/{process}").into(),
            source: error.into(),
        };
        for (signal, timeout) in [(Signal::TERM, timeout), (Signal::KILL, KILLED)] {
            let Some(pid) = Pid::from_raw(process) else { break };
            let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty());
            // What is written down of its end tells whose the handle is: see the module.
            if self.progress()? != Progress::Runs {
                return self.progress();
            }
            match rustix::process::pidfd_send_signal(handle.map_err(failed)?, signal) {
                // It has ended since.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(failed(error)),
            }
            if signal == Signal::KILL {
                let _ = rustix::process::kill_process_group(pid, signal);
            }
            let deadline = Instant::now() + timeout;
            while Instant::now() < deadline {
                std::thread::sleep(LOOK_AGAIN);
                if self.progress()? != Progress::Runs {
                    return self.progress();
                }
            }
        }
        Err(DetachedError::Stuck { name: self.name.clone(), process })
    }

    /// The file of what it has printed so far.
    ///
    /// # Errors
    /// [`DetachedError::File`].
    pub fn open(&self, stream: Stream) -> Result<File, DetachedError> {
        let path = self.directory.join(stream.file());
        File::open(&path).map_err(|source| DetachedError::File { path, source })
    }

    /// Removes all that is kept of it.
    ///
    /// # Errors
    /// [`DetachedError::Running`], [`DetachedError::File`].
    pub fn remove(&self) -> Result<(), DetachedError> {
        if self.progress()? == Progress::Runs {
            return Err(DetachedError::Running(self.name.clone()));
        }
        let failed = |source| DetachedError::File { path: self.directory.clone(), source };
        std::fs::remove_dir_all(&self.directory).map_err(failed)
    }

    fn lock(&self, operation: FlockOperation) -> io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(self.directory.join("lock"), flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::flock(&lock, operation)?;
        Ok(lock)
    }

    fn write(&self, name: &str, what: &impl Serialize) -> io::Result<()> {
        files::replace(&self.directory.join(name), &serde_json::to_vec(what)?)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, DetachedError> {
        let path = self.directory.join(name);
        let read = std::fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.map_err(|source| DetachedError::File { path, source })
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Names are those of directories, and no process ids.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    name.len() <= NAME_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && name.bytes().all(allowed)
}

/// What runs of a program are called, but for a number.
fn base_name(program: &OsStr) -> String {
    let file = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let word: String = file.chars().filter(|char| is_name(&format!("a{char}"))).take(NAME_MAX / 2).collect();
    if is_name(&word) { word } else { format!("run{word}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_directories_and_no_process_ids() {
        for name in ["a", "pigz-1", "A.b_c"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "4711", ".", "..", "-x", "a/b", "a b", "ä", &"a".repeat(NAME_MAX + 1)] {
            assert!(!is_name(name), "{name}");
        }
        for (program, name) in [("/usr/bin/pigz", "pigz"), ("./7z", "run7z"), ("a b/ä ö", "run"), ("", "run")]
        {
            assert_eq!(base_name(program.as_ref()), name);
            assert!(is_name(&format!("{name}-100000")));
        }
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_twice_and_made_up_ones_differ() {
        let place = std::env::temp_dir().join(format!("banyan-detached-{}", std::process::id()));
        let create = |name| Detached::create(&place, name, "/bin/true".as_ref());
        assert_eq!(create(Some("one")).unwrap().name(), "one");
        assert!(matches!(create(Some("one")), Err(DetachedError::NameTaken(_))));
        assert_eq!(create(None).unwrap().name(), "true-1");
        assert_eq!(create(None).unwrap().name(), "true-2");
        let names: Vec<_> = all(&place).unwrap().into_iter().map(|run| run.name).collect();
        assert_eq!(names, ["one", "true-1", "true-2"]);
        assert_eq!(find(&place, "one").unwrap().progress().unwrap(), Progress::Lost);
        find(&place, "one").unwrap().remove().unwrap();
        assert!(matches!(find(&place, "one"), Err(DetachedError::NotFound(_))));
        std::fs::remove_dir_all(&place).unwrap();
    }
}
