//! The one door to durable storage: everything that is stored goes through [`Disk`].
//!
//! That is what makes the crash tests possible: the same commit path runs over a real file
//! ([`FileDisk`]), over memory ([`MemoryDisk`]), and over the recording disk of the tests, which
//! builds every state that a power cut could leave. A `Disk` knows bytes and syncs; it knows
//! nothing of records, trees or checksums.

mod ahead;
mod file;
mod memory;
mod new_file;
mod notes;

use std::io;

pub use file::{FileDisk, FileDiskError};
pub use memory::MemoryDisk;
pub use new_file::NewFile;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in one block: the unit of every read, write and checksum, and the page size of the heap.
pub const BLOCK_SIZE: usize = 4096;

/// Bytes of a block that a note may change ([`Disk::note_at`]).
pub const NOTE_BYTES: usize = 64;

/// What a forked process hears that uses its copy of a store, or of what lies on it.
pub const FORKED: &str =
    "the arena belongs to the process that this one was forked from; open it here once that has closed it";

/// How the room behind the old end of a disk is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Its space is reserved.
    Reserved,
    /// It is written with zeroes as well, so that the first write there costs no journal commit.
    Written,
}

/// One block, aligned so that it may be handed to a disk that bypasses the page cache.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK_SIZE]);

impl Block {
    /// A block of zero bytes.
    pub const ZERO: Block = Block([0; BLOCK_SIZE]);

    /// `count` blocks of zero bytes. Not inlined: a block on the stack has the whole frame aligned to it, and
    /// where its function also returned early, LLVM 22 has left out the frame's beginning.
    #[must_use]
    #[inline(never)]
    pub fn zeroed(count: usize) -> Vec<Block> {
        vec![Block::ZERO; count]
    }
}

/// Durable storage of a growing number of bytes. Offsets and lengths are multiples of
/// [`BLOCK_SIZE`], and buffers are aligned to it: the arena never asks for anything else.
pub trait Disk: Send + Sync + 'static {
    /// Fills `buffer` from `offset` (bytes). Reading beyond the end is `UnexpectedEof`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// As [`Disk::read_at`], for a reader that goes on from there: more may be fetched, and kept until the
    /// next write.
    fn read_on_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    /// Writes the pieces one after another from `offset` (bytes). Nothing is durable until [`Disk::sync`].
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()>;

    /// Writes runs of pieces, each at its offset, in any order.
    fn write_scattered(&self, runs: &[(u64, Vec<&[u8]>)]) -> io::Result<()> {
        runs.iter().try_for_each(|(offset, pieces)| self.write_at(*offset, pieces))
    }

    /// Writes the pieces and makes *them* durable; writes made before may stay undurable.
    fn write_durable_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.write_at(offset, pieces)?;
        self.sync()
    }

    /// Writes a block that is read by the next one to open the disk while the machine runs, and that nobody
    /// waits for: it is durable after the next [`Disk::sync`], or by and by. It differs from what is there in
    /// its first [`NOTE_BYTES`] at most.
    fn note_at(&self, offset: u64, block: &Block) -> io::Result<()> {
        self.write_at(offset, &[&block.0])
    }

    /// Returns once every write, and the length, is durable. After an error nothing is known about
    /// any write since the last success, so the caller must not try again.
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Extends the disk to `length` bytes, the new bytes reading as zero, with the space reserved so
    /// that writing there cannot fail for want of it.
    /// Not durable until [`Disk::sync`].
    fn grow(&self, length: u64, room: Room) -> io::Result<()>;

    /// Gives back what lies behind `length` bytes. Not durable until [`Disk::sync`].
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Before the snapshot that retains commit `transaction` is dropped: whether no other process reads
    /// it. No reader begins until [`Disk::release_snapshot`].
    fn claim_snapshot(&self, _transaction: u64) -> io::Result<bool> {
        Ok(true)
    }

    /// Ends what [`Disk::claim_snapshot`] began.
    fn release_snapshot(&self, _transaction: u64) {}

    /// Asks the writer to put folds off for as long as this disk is open: for a reader that each fold
    /// overtakes.
    fn ask_for_rest(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether a reader asks for that.
    fn is_asked_for_rest(&self) -> io::Result<bool> {
        Ok(false)
    }
}

impl<D: Disk + ?Sized> Disk for std::sync::Arc<D> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }
    fn read_on_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_on_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        (**self).write_at(offset, pieces)
    }
    fn write_scattered(&self, runs: &[(u64, Vec<&[u8]>)]) -> io::Result<()> {
        (**self).write_scattered(runs)
    }
    fn write_durable_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        (**self).write_durable_at(offset, pieces)
    }
    fn note_at(&self, offset: u64, block: &Block) -> io::Result<()> {
        (**self).note_at(offset, block)
    }
    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }
    fn grow(&self, length: u64, room: Room) -> io::Result<()> {
        (**self).grow(length, room)
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        (**self).cut(length)
    }
    fn claim_snapshot(&self, transaction: u64) -> io::Result<bool> {
        (**self).claim_snapshot(transaction)
    }
    fn release_snapshot(&self, transaction: u64) {
        (**self).release_snapshot(transaction);
    }
    fn ask_for_rest(&self) -> io::Result<()> {
        (**self).ask_for_rest()
    }
    fn is_asked_for_rest(&self) -> io::Result<bool> {
        (**self).is_asked_for_rest()
    }
}
