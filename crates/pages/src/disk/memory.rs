//! A disk in memory, for tests and for arenas that need not outlive their process.
//!
//! One mutex guards the bytes; no other lock is ever taken while it is held.

use std::io;

use parking_lot::{Mutex, MutexGuard};

use super::{Disk, Room};

/// A disk whose bytes live in this process.
#[derive(Default)]
pub struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
}

impl MemoryDisk {
    /// A disk that holds `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Mutex::new(bytes) }
    }

    /// A copy of everything on the disk.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // A panic of another thread cannot leave a byte vector half updated in a way that matters here.
        self.bytes.lock()
    }
}

impl Disk for MemoryDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let source = start.checked_add(buffer.len()).and_then(|end| bytes.get(start..end));
        buffer.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let mut bytes = self.lock();
        let mut start = usize::try_from(offset).map_err(io::Error::other)?;
        for piece in pieces {
            let end = start + piece.len();
            if end > bytes.len() {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(piece);
            start = end;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn grow(&self, length: u64, _room: Room) -> io::Result<()> {
        let mut bytes = self.lock();
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if length > bytes.len() {
            bytes.resize(length, 0);
        }
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut bytes = self.lock();
        bytes.truncate(usize::try_from(length).map_err(io::Error::other)?);
        Ok(())
    }
}
