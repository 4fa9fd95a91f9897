//! A disk that stalls, is full or fails, for tests: between redb and the file.

use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What is wrong with it at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// A sync waits until there is another fault, or none.
    Stalled,
    /// The file cannot be longer than it is, nor be written.
    Full,
    /// A sync is an error.
    SyncFails,
}

/// The switch of a disk's faults.
#[derive(Clone, Debug)]
pub(super) struct Faults(Arc<(Mutex<Fault>, Condvar)>);

impl Faults {
    pub(super) fn none() -> Self {
        Self(Arc::new((Mutex::new(Fault::None), Condvar::new())))
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.0.0.lock() = fault;
        self.0.1.notify_all();
    }

    fn now(&self) -> Fault {
        *self.0.0.lock()
    }

    fn full(&self) -> io::Result<()> {
        if self.now() == Fault::Full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// The disk.
#[derive(Debug)]
pub(super) struct Disk {
    file: FileBackend,
    faults: Faults,
}

impl Disk {
    pub(super) fn open(path: &Path, faults: &Faults) -> Self {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path);
        Self { file: FileBackend::new(file.unwrap()).unwrap(), faults: faults.clone() }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.full()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (fault, changed) = &*self.faults.0;
        let mut fault = fault.lock();
        while *fault == Fault::Stalled {
            changed.wait(&mut fault);
        }
        match *fault {
            Fault::SyncFails => Err(io::Error::other("the disk does not answer")),
            _ => self.file.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.full()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
