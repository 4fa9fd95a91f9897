//! A disk that is a file, read and written past the page cache where the file system allows it.
//!
//! Holds an exclusive lock for as long as it is open for writing, so that two writers can never
//! meet. A reader of a snapshot shares a lock on a byte that stands for it, which the writer needs alone to
//! drop it; all are the kernel's, and end with their process: a child that is forked from it has no part in
//! them, and can do nothing with its copy.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use banyan_sys::byte_locks::{self, ByteLock};
use banyan_sys::owner::{LeftToParent, Owner};
use parking_lot::Mutex;
use rustix::fs::{
    Advice, FallocateFlags, FlockOperation, Mode, OFlags, fadvise, fallocate, fdatasync, flock, open,
};
use rustix::io::{Errno, ReadWriteFlags, preadv, pwritev, pwritev2};

use super::ahead::Ahead;
use super::notes::Notes;
use super::{BLOCK_SIZE, Block, Disk, FORKED, Room};

/// The lock of a snapshot is on the byte at this offset plus the number of its commit, far behind any file's
/// end.
const SNAPSHOT_LOCKS: u64 = 1 << 60;
/// The lock on the byte before is for readers that ask the writer not to fold.
const REST_LOCK: u64 = SNAPSHOT_LOCKS - 1;
/// At most this many pieces fit in one vectored write (the kernel's `IOV_MAX`).
const PIECES_MAX: usize = 1024;
/// Zeroes are written in strides of this many bytes.
const ZERO_STRIDE: usize = 1 << 20;

/// Why a file could not be opened as a disk.
#[derive(Debug, thiserror::Error)]
pub enum FileDiskError {
    /// The file could not be opened or created.
    #[error("cannot open the arena file: {0}")]
    Io(#[from] io::Error),
    /// Another process, or another handle of this one, holds the file for writing.
    #[error("the arena is already open for writing; close the other writer, or open a snapshot read-only")]
    Locked,
    /// `create` found a file of that name.
    #[error("a file of that name exists already; choose another name or remove it first")]
    Exists,
    /// Another process is making a file of that name.
    #[error("another process is just making a file of that name; wait for it, then open what it has made")]
    BeingMade,
    /// There is no such file, or no such directory.
    #[error("there is no such file or directory; check the name, or create the arena first")]
    NotFound,
    /// Not allowed.
    #[error("permission denied; change the file's mode or owner, or open a snapshot read-only")]
    PermissionDenied,
    /// The file system takes no writes.
    #[error("the file system is mounted read-only; remount it for writing, or open a snapshot read-only")]
    ReadOnlyFileSystem,
    /// A directory, a socket, or the like.
    #[error("this is no regular file; give the name of an arena file")]
    NotAFile,
}

/// A file, by preference opened with `O_DIRECT`.
#[derive(Debug)]
pub struct FileDisk {
    notes: Notes,
    /// Dropped before the file: what is opened next may get the descriptor's number, and is not to be closed
    /// in a child.
    _kept_from_children: LeftToParent,
    file: File,
    owner: Owner,
    /// Where writes go through the page cache: whether a sync has failed.
    cached: Option<Mutex<bool>>,
    /// What was fetched ahead. Only while the log is replayed, before any write.
    ahead: Mutex<Ahead>,
}

impl FileDisk {
    /// Creates a new file and locks it.
    ///
    /// # Errors
    /// [`FileDiskError::Exists`] if the name is taken; otherwise what the file system says.
    pub fn create(path: &Path) -> Result<Self, FileDiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Self::open_with(path, flags, true)
    }

    /// Opens a file for reading and writing and locks it.
    ///
    /// # Errors
    /// [`FileDiskError::Locked`] if it has a writer; otherwise what the file system says.
    pub fn open(path: &Path) -> Result<Self, FileDiskError> {
        Self::open_with(path, OFlags::RDWR, true)
    }

    /// Opens a file, or makes an empty one, and locks it.
    pub(super) fn take_over(path: &Path) -> Result<Self, FileDiskError> {
        Self::open_with(path, OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW, true)
    }

    /// What tells the file from others, whatever its name.
    pub(super) fn inode(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.ino(), metadata.dev()))
    }

    /// Takes away all that is in it.
    pub(super) fn empty(&self) -> io::Result<()> {
        self.check_owner()?;
        self.file.set_len(0)
    }

    /// Opens a file for reading only, with no lock.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open_read_only(path: &Path) -> Result<Self, FileDiskError> {
        Self::open_with(path, OFlags::RDONLY, false)
    }

    fn open_with(path: &Path, flags: OFlags, exclusive: bool) -> Result<Self, FileDiskError> {
        let mode = Mode::RUSR | Mode::WUSR;
        // A pipe is no arena, and opening it would otherwise wait for its writer. Files ignore the flag.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // Some file systems (tmpfs, some network ones) refuse O_DIRECT: the page cache serves them.
        let open = || match open(path, flags | OFlags::DIRECT, mode) {
            Err(Errno::INVAL) => open(path, flags - OFlags::EXCL, mode),
            other => other,
        };
        let (descriptor, kept) = LeftToParent::open(|| {
            open().map_err(|errno| match errno {
                Errno::EXIST => FileDiskError::Exists,
                Errno::NOENT | Errno::NOTDIR => FileDiskError::NotFound,
                Errno::ACCESS | Errno::PERM => FileDiskError::PermissionDenied,
                Errno::ROFS => FileDiskError::ReadOnlyFileSystem,
                Errno::ISDIR | Errno::NXIO => FileDiskError::NotAFile,
                other => FileDiskError::Io(other.into()),
            })
        })?;
        if !rustix::fs::FileType::from_raw_mode(
            rustix::fs::fstat(&descriptor).map_err(io::Error::from)?.st_mode,
        )
        .is_file()
        {
            return Err(FileDiskError::NotAFile);
        }
        if exclusive {
            flock(&descriptor, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
                Errno::WOULDBLOCK => FileDiskError::Locked,
                other => FileDiskError::Io(other.into()),
            })?;
        }
        let is_direct =
            rustix::fs::fcntl_getfl(&descriptor).map_err(io::Error::from)?.contains(OFlags::DIRECT);
        if exclusive && !is_direct {
            // After a failed sync the cache has pages as they were written and takes them for clean, though
            // the disk has not got them: they are to be read from there.
            fdatasync(&descriptor).map_err(io::Error::from)?;
            let _advice = fadvise(&descriptor, 0, None, Advice::DontNeed);
        }
        let notes =
            if exclusive && is_direct { Notes::beside(path, flags, &descriptor) } else { Notes::default() };
        let owner = Owner::this_process()?;
        let cached = (!is_direct).then(Mutex::default);
        Ok(Self {
            notes,
            _kept_from_children: kept,
            file: descriptor.into(),
            owner,
            cached,
            ahead: Mutex::default(),
        })
    }

    /// Keeps a snapshot from being dropped for as long as this disk is open; `false` if it is being dropped.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hold_snapshot(&self, transaction: u64) -> io::Result<bool> {
        self.check_owner()?;
        byte_locks::set(&self.file, SNAPSHOT_LOCKS + transaction, ByteLock::Shared)
    }
}

impl Drop for FileDisk {
    /// Gives the locks back, rather than leave that to the last descriptor: a process that was forked from
    /// this one and has not yet become another program has a copy of it, and the file would stay locked for
    /// that long. A forked process gives nothing back: the locks are its parent's.
    fn drop(&mut self) {
        if !self.owner.is_here() {
            return;
        }
        // What cannot be released ends with the last descriptor.
        let _kept = flock(&self.file, FlockOperation::Unlock);
        let _kept = byte_locks::release_from(&self.file, REST_LOCK);
    }
}

pub(super) fn write_pieces(
    file: &File,
    mut offset: u64,
    pieces: &[&[u8]],
    flags: ReadWriteFlags,
) -> io::Result<()> {
    for group in pieces.chunks(PIECES_MAX) {
        let total: usize = group.iter().map(|piece| piece.len()).sum();
        let mut slices: Vec<IoSlice<'_>> = group.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        let mut left = total;
        while left > 0 {
            let written = match if flags.is_empty() {
                pwritev(file, rest, offset)
            } else {
                pwritev2(file, rest, offset, flags)
            } {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            // A short write that ends inside a block could not be resumed past the page cache.
            if written < left && written % BLOCK_SIZE != 0 {
                return Err(io::Error::other("the file system wrote part of a block"));
            }
            IoSlice::advance_slices(&mut rest, written);
            left -= written;
            offset += written as u64;
        }
    }
    Ok(())
}

impl Disk for FileDisk {
    fn read_at(&self, mut offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check_owner()?;
        let mut filled = 0;
        while filled < buffer.len() {
            let mut slices = [IoSliceMut::new(&mut buffer[filled..])];
            match preadv(&self.file, &mut slices, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    filled += count;
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn read_on_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let read = |offset, buffer: &mut [u8]| self.read_at(offset, buffer);
        self.ahead.lock().read(offset, buffer, || self.length(), read)
    }

    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.check_owner()?;
        self.forget_ahead();
        write_pieces(&self.file, offset, pieces, ReadWriteFlags::empty())
    }

    fn write_durable_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.check_owner()?;
        self.forget_ahead();
        if pieces.len() > PIECES_MAX {
            self.write_at(offset, pieces)?;
            return self.sync();
        }
        self.durably(|| write_pieces(&self.file, offset, pieces, ReadWriteFlags::DSYNC))
    }

    fn note_at(&self, offset: u64, block: &Block) -> io::Result<()> {
        self.check_owner()?;
        self.forget_ahead();
        self.notes.write(&self.file, offset, block)
    }

    fn sync(&self) -> io::Result<()> {
        self.check_owner()?;
        self.durably(|| fdatasync(&self.file).map_err(Into::into))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn grow(&self, length: u64, room: Room) -> io::Result<()> {
        self.check_owner()?;
        let from = self.length()?;
        if length <= from {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), from, length - from) {
            Ok(()) => {}
            // No fallocate here: writing the zeroes reserves the space as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.write_zeroes(from, length),
            Err(errno) => {
                // A reservation that failed half way must leave the file as it was.
                self.file.set_len(from)?;
                return Err(errno.into());
            }
        }
        match room {
            Room::Written => self.write_zeroes(from, length),
            Room::Reserved => Ok(()),
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.check_owner()?;
        self.forget_ahead();
        if length >= self.length()? {
            return Ok(());
        }
        self.file.set_len(length)
    }

    fn claim_snapshot(&self, transaction: u64) -> io::Result<bool> {
        self.check_owner()?;
        byte_locks::set(&self.file, SNAPSHOT_LOCKS + transaction, ByteLock::Exclusive)
    }

    fn ask_for_rest(&self) -> io::Result<()> {
        self.check_owner()?;
        // Refused only in the moment in which the writer looks, and then finds no reader: the next one is
        // asked.
        byte_locks::set(&self.file, REST_LOCK, ByteLock::Shared).map(drop)
    }

    fn is_asked_for_rest(&self) -> io::Result<bool> {
        self.check_owner()?;
        let is_free = byte_locks::set(&self.file, REST_LOCK, ByteLock::Exclusive)?;
        if is_free {
            byte_locks::set(&self.file, REST_LOCK, ByteLock::Released)?;
        }
        Ok(!is_free)
    }

    fn release_snapshot(&self, transaction: u64) {
        if !self.owner.is_here() {
            return;
        }
        // A lock that cannot be given back keeps readers off a snapshot that is gone anyway.
        let _kept = byte_locks::set(&self.file, SNAPSHOT_LOCKS + transaction, ByteLock::Released);
    }
}

impl FileDisk {
    fn check_owner(&self) -> io::Result<()> {
        if self.owner.is_here() {
            return Ok(());
        }
        Err(io::Error::other(FORKED))
    }

    /// Makes something durable. The page cache tells of an error once, to whichever thread syncs first,
    /// though what was lost may be what another one has written: so they take turns, and none succeeds
    /// after that.
    fn durably(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some(cached) = &self.cached else { return sync() };
        let mut has_failed = cached.lock();
        if *has_failed {
            return Err(io::Error::other("an earlier sync of the file has failed; open it again"));
        }
        let synced = sync();
        *has_failed = synced.is_err();
        synced
    }

    #[cfg(test)]
    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    fn forget_ahead(&self) {
        let mut ahead = self.ahead.lock();
        if !ahead.is_empty() {
            *ahead = Ahead::default();
        }
    }

    fn write_zeroes(&self, from: u64, length: u64) -> io::Result<()> {
        let zeroes = Block::zeroed(ZERO_STRIDE / BLOCK_SIZE);
        let bytes = zerocopy::IntoBytes::as_bytes(zeroes.as_slice());
        let mut offset = from;
        while offset < length {
            let count = (length - offset).min(ZERO_STRIDE as u64);
            // The count is at most ZERO_STRIDE, so it fits.
            #[expect(clippy::cast_possible_truncation, reason = "bounded by ZERO_STRIDE")]
            self.file.write_all_at(&bytes[..count as usize], offset)?;
            offset += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sync_through_the_page_cache_succeeds_after_a_failed_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::create(&directory.path().join("disk")).unwrap();
        disk.cached = Some(Mutex::default());
        disk.grow(BLOCK_SIZE as u64, Room::Written).unwrap();
        disk.write_durable_at(0, &[&Block::ZERO.0]).unwrap();
        disk.sync().unwrap();
        disk.durably(|| Err(io::Error::other("injected"))).unwrap_err();
        disk.sync().unwrap_err();
        disk.write_durable_at(0, &[&Block::ZERO.0]).unwrap_err();
        // What takes back what has failed is written all the same.
        disk.write_at(0, &[&Block::ZERO.0]).unwrap();
    }

    #[test]
    fn a_disk_that_is_closed_is_free_although_a_forked_process_has_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let disk = FileDisk::create(&path).unwrap();
        let inherited = disk.file.try_clone().unwrap();
        assert!(matches!(FileDisk::open(&path), Err(FileDiskError::Locked)));
        drop(disk);
        let disk = FileDisk::open(&path).unwrap();
        drop((disk, inherited));
    }
}
