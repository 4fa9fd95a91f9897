//! A file that takes its name only once it is whole, so that a crash leaves a whole one or none.
//!
//! Until then it lies beside, under a name that follows from its own, and is locked. A process that is killed
//! leaves that file behind without its lock: the next one that makes a file of the same name takes it over.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{FileDisk, FileDiskError};

/// Ends the name of a file that is being made.
const SUFFIX: &str = ".banyan-new";
/// Times that the file beside may turn out to be another process's, which has just finished with it.
const TRIES_MAX: u32 = 100;

/// A file that is being made. Removed when this is dropped, unless it was [published](NewFile::publish).
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    /// The file's name for now; `None` once it has its own.
    beside: Option<PathBuf>,
}

impl NewFile {
    /// An empty, locked disk that will be the file of that name.
    ///
    /// # Errors
    /// [`FileDiskError::Exists`] if the name is taken, [`FileDiskError::BeingMade`] if another process is at
    /// it; otherwise what the file system says.
    pub fn create(path: &Path) -> Result<(Self, FileDisk), FileDiskError> {
        if path.symlink_metadata().is_ok() {
            return Err(FileDiskError::Exists);
        }
        let mut name = path.as_os_str().to_owned();
        name.push(SUFFIX);
        let beside = PathBuf::from(name);
        for _ in 0..TRIES_MAX {
            let disk = FileDisk::take_over(&beside).map_err(|error| match error {
                FileDiskError::Locked => FileDiskError::BeingMade,
                error => error,
            })?;
            // Between opening and locking it, its maker may have given it its name, or removed it.
            let is_ours =
                beside.symlink_metadata().and_then(|named| Ok((named.ino(), named.dev()) == disk.inode()?));
            match is_ours {
                Ok(true) => {
                    disk.empty()?;
                    return Ok((Self { path: path.to_owned(), beside: Some(beside) }, disk));
                }
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(FileDiskError::BeingMade)
    }

    /// Where it lies for now.
    pub fn written_path(&self) -> &Path {
        self.beside.as_deref().unwrap_or(&self.path)
    }

    /// Gives the file its name, durably. Its content must be durable already.
    ///
    /// # Errors
    /// [`FileDiskError::Exists`] if the name was taken meanwhile, and is left as it is; otherwise what the
    /// file system says.
    pub fn publish(mut self) -> Result<(), FileDiskError> {
        let Some(beside) = &self.beside else { return Ok(()) };
        match renameat_with(CWD, beside, CWD, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => self.beside = None,
            // Some file systems cannot refuse to replace: there a second name is given, and the first
            // removed.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                std::fs::hard_link(beside, &self.path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => FileDiskError::Exists,
                    _ => FileDiskError::Io(error),
                })?;
            }
            Err(Errno::EXIST) => return Err(FileDiskError::Exists),
            Err(errno) => return Err(FileDiskError::Io(errno.into())),
        }
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // Left behind, it is taken over by the next one that makes a file of this name.
            let _left = std::fs::remove_file(beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Block, Disk};

    fn beside(path: &Path) -> PathBuf {
        PathBuf::from(format!("{}{SUFFIX}", path.display()))
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = std::fs::read_dir(directory).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_killed_process_left_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        std::fs::write(beside(&path), [7; 3 * 4096]).unwrap();
        let (file, disk) = NewFile::create(&path).unwrap();
        assert_eq!(disk.length().unwrap(), 0, "nothing of what was left stays");
        disk.write_at(0, &[&Block::ZERO.0]).unwrap();
        file.publish().unwrap();
        assert_eq!(names(directory.path()), ["state"]);
        // It is locked under its name as well.
        assert!(matches!(FileDisk::open(&path), Err(FileDiskError::Locked)));
    }

    #[test]
    fn two_do_not_make_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let (file, disk) = NewFile::create(&path).unwrap();
        assert!(matches!(NewFile::create(&path), Err(FileDiskError::BeingMade)));
        drop((file, disk));
        assert!(names(directory.path()).is_empty(), "what was not finished is removed");
        NewFile::create(&path).unwrap().0.publish().unwrap();
        assert!(matches!(NewFile::create(&path), Err(FileDiskError::Exists)));
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let (file, _disk) = NewFile::create(&path).unwrap();
        std::fs::write(&path, b"mine").unwrap();
        assert!(matches!(file.publish(), Err(FileDiskError::Exists)));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(names(directory.path()), ["state"]);
    }
}
