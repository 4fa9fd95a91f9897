//! The way of notes into a file ([`Disk::note_at`](super::Disk::note_at)): through its page cache, where
//! everything else goes past it.
//!
//! By shared memory, if there is some to be had: after all that a program does between two commits, a write
//! of one block takes the kernel a dozen microseconds, and this a few. Else by a write.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::sys::notes;
use banyan_sys::owner::LeftToParent;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::ReadWriteFlags;

use super::file::write_pieces;
use super::{Block, NOTE_BYTES};

#[derive(Debug, Default)]
pub(super) struct Notes {
    shared: Mutex<Shared>,
    /// Dropped before the file, see [`super::FileDisk`].
    _kept_from_children: Option<LeftToParent>,
    /// The file again, with the page cache, if the disk goes past it.
    file: Option<File>,
}

#[derive(Debug, Default)]
enum Shared {
    #[default]
    NotYet,
    Ready(notes::Notes),
    /// No such memory is to be had.
    Never,
}

impl Notes {
    /// Opens the file again, with the page cache. Not if it cannot be, or if the name is another file's by
    /// now.
    pub(super) fn beside(path: &Path, flags: OFlags, descriptor: &OwnedFd) -> Self {
        let flags = flags - OFlags::CREATE - OFlags::EXCL;
        let opened = LeftToParent::open(|| open(path, flags, Mode::empty()).map_err(io::Error::from));
        let Ok((again, kept)) = opened else { return Self::default() };
        let is_same = || {
            let (this, other) = (rustix::fs::fstat(descriptor).ok()?, rustix::fs::fstat(&again).ok()?);
            Some((this.st_dev, this.st_ino) == (other.st_dev, other.st_ino))
        };
        if is_same() != Some(true) {
            return Self::default();
        }
        Self { shared: Mutex::default(), _kept_from_children: Some(kept), file: Some(again.into()) }
    }

    /// Writes a block of which no more has changed than the first bytes.
    pub(super) fn write(&self, disk: &File, offset: u64, block: &Block) -> io::Result<()> {
        let file = self.file.as_ref().unwrap_or(disk);
        let mut shared = self.shared.lock();
        if matches!(*shared, Shared::NotYet) {
            *shared = notes::Notes::new().map_or(Shared::Never, Shared::Ready);
        }
        if let (Shared::Ready(notes), Some(note)) = (&mut *shared, block.0.first_chunk::<NOTE_BYTES>())
            && notes.write(file.as_fd(), offset, note).is_ok()
        {
            return Ok(());
        }
        // Where the disk goes past the cache, too, this waits for it.
        write_pieces(file, offset, &[&block.0], ReadWriteFlags::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BLOCK_SIZE, Disk, FileDisk, Room};
    use super::*;

    fn block(byte: u8) -> Block {
        let mut block = Block::ZERO;
        block.0[..NOTE_BYTES].fill(byte);
        block
    }

    fn read(disk: &FileDisk, number: u64) -> Block {
        let mut block = Block::ZERO;
        disk.read_at(number * BLOCK_SIZE as u64, &mut block.0).unwrap();
        block
    }

    #[test]
    fn notes_are_read_by_this_disk_and_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let disk = FileDisk::create(&path).unwrap();
        disk.grow(8 * BLOCK_SIZE as u64, Room::Written).unwrap();
        // More places than are kept, in turns with writes past the cache.
        for round in 1..4_u8 {
            for number in 0..5_u8 {
                let offset = u64::from(number) * BLOCK_SIZE as u64;
                disk.note_at(offset, &block(round * 8 + number)).unwrap();
                assert!(read(&disk, number.into()).0 == block(round * 8 + number).0);
                if number % 2 == 0 {
                    disk.write_durable_at(offset, &[&block(100 + number).0]).unwrap();
                    assert!(read(&disk, number.into()).0 == block(100 + number).0);
                    disk.note_at(offset, &block(round)).unwrap();
                }
            }
        }
        assert!(matches!(*disk.notes().shared.lock(), Shared::Ready(_)), "by shared memory");
        drop(disk);
        let disk = FileDisk::open(&path).unwrap();
        for (number, byte) in [(0, 3), (1, 25), (2, 3), (3, 27), (4, 3)] {
            assert!(read(&disk, number).0 == block(byte).0, "block {number}");
        }
    }

    /// A store into shared memory would end the process there.
    #[test]
    fn a_note_in_a_file_that_was_cut_is_written_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let disk = FileDisk::create(&path).unwrap();
        disk.grow(8 * BLOCK_SIZE as u64, Room::Written).unwrap();
        disk.note_at(7 * BLOCK_SIZE as u64, &block(1)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(BLOCK_SIZE as u64).unwrap();
        if disk.note_at(7 * BLOCK_SIZE as u64, &block(2)).is_ok() {
            assert!(read(&disk, 7).0 == block(2).0);
        }
    }
}
