//! The directory in which a machine keeps what it is in a cluster: its key, its certificate, the members, and
//! at the root the authority and the book of tokens.
//!
//! Each file is replaced as a whole (`files`). One process at a time has the directory. Not here: what the
//! files mean.

use crate::files;
pub use banyan_sys::node_socket::{socket_of, usual_directory};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A process that ends closes its files one after the other: its socket may be gone before its lock.
const ENDING: Duration = Duration::from_millis(500);

/// The directory.
#[derive(Debug)]
pub(crate) struct State {
    directory: PathBuf,
    /// Holds the lock.
    _lock: OwnedFd,
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file of it.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A node has it.
    #[error("{}: a node is running with it; stop it with `banyan down`", .0.display())]
    InUse(PathBuf),
    /// There is no cluster in it.
    #[error("{}: this machine is in no cluster; begin one with `banyan up`, or join one with `banyan join`", .0.display())]
    Empty(PathBuf),
    /// There is one already.
    #[error(
        "{}: this machine is in a cluster already; `banyan up` starts its node, `banyan leave` takes it out",
        .0.display()
    )]
    Taken(PathBuf),
    /// A file that is not what was written.
    #[error("{}: {reason}; restore it, or remove the directory and join anew", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl State {
    /// Takes a directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`StateError`]: another process has it, or the system's.
    pub(crate) fn take(directory: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::File { path: directory.into(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let lock = directory.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&lock, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| StateError::File { path: lock, source: error.into() })?;
        let deadline = Instant::now() + ENDING;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { directory: directory.into(), _lock: lock }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::InUse(directory.into())),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether there is a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.directory.join(name).exists()
    }

    /// A file's text; `None` if there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, StateError> {
        let path = self.directory.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::File { path, source }),
        }
    }

    /// A file's text, which must be there.
    pub(crate) fn text(&self, name: &str) -> Result<String, StateError> {
        self.read(name)?.ok_or_else(|| self.damaged(name, &"it is missing"))
    }

    /// What a file holds, in JSON.
    pub(crate) fn load<T: DeserializeOwned>(&self, name: &str) -> Result<T, StateError> {
        let text = self.text(name)?;
        serde_json::from_str(&text).map_err(|error| self.damaged(name, &error))
    }

    /// Writes a file as JSON.
    pub(crate) fn store(&self, name: &str, what: &impl Serialize) -> Result<(), StateError> {
        let failed = |source| StateError::File { path: self.directory.join(name), source };
        let mut text = serde_json::to_string_pretty(what).map_err(|error| failed(error.into()))?;
        text.push('\n');
        self.write(name, &text)
    }

    /// Writes a file that only this user can read. It is durable afterwards.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), StateError> {
        let path = self.directory.join(name);
        files::replace(&path, text.as_bytes()).map_err(|source| StateError::File { path, source })
    }

    /// Removes the files of a machine that has left its cluster. The directory stays, with its lock.
    pub(crate) fn clear(&self, names: &[&str]) -> Result<(), StateError> {
        for name in names {
            let path = self.directory.join(name);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StateError::File { path, source }),
            }
        }
        Ok(())
    }

    /// The error of a file that is not what was written.
    pub(crate) fn damaged(&self, name: &str, reason: &dyn std::fmt::Display) -> StateError {
        StateError::Damaged { path: self.directory.join(name), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("banyan-state-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn one_process_has_it_and_files_are_private_and_replaced_as_a_whole() {
        let path = directory("one");
        let state = State::take(&path).unwrap();
        assert!(matches!(State::take(&path), Err(StateError::InUse(_))));
        state.store("a", &[1, 2, 3]).unwrap();
        state.store("a", &[4]).unwrap();
        assert_eq!(state.load::<Vec<u8>>("a").unwrap(), [4]);
        assert_eq!(path.join("a").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!state.has("a.new"));
        assert!(matches!(state.load::<Vec<u8>>("b"), Err(StateError::Damaged { .. })));
        state.write("a", "[4, ").unwrap();
        assert!(matches!(state.load::<Vec<u8>>("a"), Err(StateError::Damaged { .. })));
        state.clear(&["a", "b"]).unwrap();
        assert_eq!(state.read("a").unwrap(), None);
        drop(state);
        assert!(State::take(&path).is_ok());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
