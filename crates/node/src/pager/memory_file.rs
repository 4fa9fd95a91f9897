//! The memory file of a replica: where the bytes of a program's memory are on this node. The offset of a byte
//! is its virtual address.
//!
//! It is read and written with `pread` and `pwrite`, not through a mapping: a hole can be read without
//! filling it, a daemon needs no page tables for the program's memory, and no reference to memory that others
//! write exists.

use banyan_wire::address_space::MEMORY_FILE_BYTES;
use rustix::fs::{FallocateFlags, MemfdFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An anonymous sparse file.
#[derive(Debug)]
pub struct MemoryFile(OwnedFd);

impl MemoryFile {
    /// An empty one.
    ///
    /// # Errors
    /// The system's.
    pub fn create() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("banyan-memory", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, MEMORY_FILE_BYTES)?;
        Ok(Self(file))
    }

    /// Writes bytes at an address.
    ///
    /// # Errors
    /// The system's; `ENOSPC` or `ENOMEM` when the node's memory is used up.
    pub fn write(&self, mut address: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.0, bytes, address))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
            address += written as u64;
        }
        Ok(())
    }

    /// Reads bytes at an address. Holes read as zero and stay holes.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self, mut address: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(&self.0, &mut *bytes, address))?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes = &mut bytes[read..];
            address += read as u64;
        }
        Ok(())
    }

    /// Makes a range a hole, which takes it out of every mapping.
    ///
    /// # Errors
    /// The system's.
    pub fn punch(&self, address: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.0, flags, address, length))?)
    }

    /// Fills the holes of a range with zero pages.
    ///
    /// # Errors
    /// The system's.
    pub fn populate(&self, address: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::KEEP_SIZE;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.0, flags, address, length))?)
    }

    /// Whether the whole range is a hole.
    ///
    /// # Errors
    /// The system's.
    pub fn is_empty(&self, address: u64, length: u64) -> io::Result<bool> {
        match rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Data(address)) {
            Ok(found) => Ok(found >= address + length),
            Err(rustix::io::Errno::NXIO) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The first stretch of data at or after an address: where it starts and ends.
    ///
    /// # Errors
    /// The system's.
    pub fn next_data(&self, address: u64) -> io::Result<Option<(u64, u64)>> {
        use rustix::fs::{SeekFrom, seek};
        let start = match seek(&self.0, SeekFrom::Data(address)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some((start, seek(&self.0, SeekFrom::Hole(start))?)))
    }

    /// All stretches of data, by address.
    ///
    /// # Errors
    /// The system's.
    pub fn stretches(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut stretches = Vec::new();
        while let Some(next) = self.next_data(stretches.last().map_or(0, |&(_, end)| end))? {
            stretches.push(next);
        }
        Ok(stretches)
    }

    /// Bytes of memory that the file takes.
    ///
    /// # Errors
    /// The system's.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.0)?.st_blocks as u64 * 512)
    }
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_read_as_zero_and_stay_holes() {
        let memory = MemoryFile::create().unwrap();
        let address = banyan_wire::address_space::pool_start(3);
        let mut page = [1_u8; 4096];
        memory.read(address, &mut page).unwrap();
        assert!(page.iter().all(|&byte| byte == 0));
        assert!(memory.is_empty(address, 4096).unwrap());
        memory.write(address + 5, b"x").unwrap();
        assert!(!memory.is_empty(address, 4096).unwrap());
        memory.punch(address, 4096).unwrap();
        assert!(memory.is_empty(address, 4096).unwrap());
        memory.populate(address, 8192).unwrap();
        assert_eq!(memory.bytes().unwrap(), 8192);
    }
}
