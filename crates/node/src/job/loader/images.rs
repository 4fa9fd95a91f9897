//! The files from which a program was loaded, and what of them lies where.

use super::elf::Elf;
use banyan_wire::address_space::{page_down, page_up};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A loaded file.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where it is.
    pub(crate) path: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// First byte of each segment, the first one after it, and what the first one is in the file.
    pub(crate) segments: Vec<(u64, u64, u64)>,
}

/// All that a program was loaded from, its own file first.
#[derive(Debug)]
pub(crate) struct Images {
    /// The program's file, whatever its path leads to later.
    program: OwnedFd,
    pub(crate) all: Vec<Image>,
}

impl Images {
    /// Of a program alone, loaded at `base`.
    pub(super) fn new(program: &Elf, base: u64) -> io::Result<Self> {
        let file = rustix::fs::open(&program.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { program: file, all: vec![Image::new(program, base)?] })
    }

    /// Adds its dynamic linker.
    pub(super) fn add(&mut self, elf: &Elf, base: u64) -> io::Result<()> {
        self.all.push(Image::new(elf, base)?);
        Ok(())
    }

    /// Opens the program's file for reading.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open_program(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.program.as_raw_fd());
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }
}

impl Image {
    fn new(elf: &Elf, base: u64) -> io::Result<Self> {
        let status = rustix::fs::stat(&elf.path)?;
        let segments = elf.segments.iter().map(|segment| {
            let start = base + segment.address;
            // What is behind the file's bytes is nobody's but the program's.
            let end = page_up(start + segment.file_range.len() as u64).unwrap_or(start);
            let offset = segment.file_range.start as u64;
            (page_down(start), end, offset.saturating_sub(start - page_down(start)))
        });
        Ok(Self {
            path: canonical(&elf.path),
            device: status.st_dev,
            inode: status.st_ino,
            segments: segments.collect(),
        })
    }
}

/// The path without links, as the kernel says it; of a file without one, what the kernel calls it.
pub(super) fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::fs::read_link(path)).unwrap_or_else(|_| path.into())
}
