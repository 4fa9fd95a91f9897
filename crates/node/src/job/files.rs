//! The files of which the program has private copies mapped, kept open for as long as a region refers to one:
//! what a copy is read again from, and what it is read from when it grows.

use banyan_core::regions::FileNumber;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Open files by number; one for each file, however often it is mapped.
#[derive(Debug, Default)]
pub(crate) struct Files {
    kept: BTreeMap<FileNumber, Kept>,
    last: u32,
}

#[derive(Debug)]
struct Kept {
    file: OwnedFd,
    device: u64,
    inode: u64,
}

impl Files {
    /// Keeps a file. Returns its number, and how many bytes it has now.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn keep(&mut self, file: OwnedFd) -> io::Result<(FileNumber, u64)> {
        let status = rustix::fs::fstat(&file)?;
        let (device, inode, size) = (status.st_dev, status.st_ino, status.st_size as u64);
        let same = |kept: &Kept| kept.device == device && kept.inode == inode;
        if let Some((&number, _)) = self.kept.iter().find(|(_, kept)| same(kept)) {
            return Ok((number, size));
        }
        self.last += 1;
        let number = FileNumber(self.last);
        self.kept.insert(number, Kept { file, device, inode });
        Ok((number, size))
    }

    /// The same files under the same numbers, for a copy of the process.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let copy = |(&number, kept): (&FileNumber, &Kept)| {
            Ok((number, Kept { file: kept.file.try_clone()?, ..*kept }))
        };
        Ok(Self { kept: self.kept.iter().map(copy).collect::<io::Result<_>>()?, last: self.last })
    }

    /// Another descriptor of a file that is kept.
    ///
    /// # Errors
    /// The system's; `NotFound` if it is not kept.
    pub(crate) fn open(&self, number: FileNumber) -> io::Result<OwnedFd> {
        self.kept.get(&number).ok_or(io::ErrorKind::NotFound)?.file.try_clone()
    }

    /// Device and inode of a file that is kept, and its path as the kernel says it.
    pub(crate) fn describe(&self, number: FileNumber) -> Option<(u64, u64, OsString)> {
        let Kept { file, device, inode } = self.kept.get(&number)?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        Some((*device, *inode, path.into()))
    }

    /// Closes all others.
    pub(crate) fn retain(&mut self, used: impl Iterator<Item = FileNumber>) {
        if !self.kept.is_empty() {
            let used: BTreeSet<FileNumber> = used.collect();
            self.kept.retain(|number, _| used.contains(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_once_and_while_it_is_used() {
        let open = |path: &str| OwnedFd::from(std::fs::File::open(path).expect("a file of every system"));
        let mut files = Files::default();
        let (zero, _) = files.keep(open("/dev/zero")).expect("kept");
        let (null, _) = files.keep(open("/dev/null")).expect("kept");
        assert_ne!(zero, null);
        assert_eq!(files.keep(open("/dev/zero")).expect("kept"), (zero, 0));
        files.retain([null].into_iter());
        assert!(files.open(null).is_ok() && files.open(zero).is_err());
    }
}
