//! Notes: a few bytes in a file, written often, through shared memory. As with a write, they are in the page
//! cache at once, outlive the process, and reach the disk with the file's next sync; but no handle of a
//! journal is taken for each, nor a lock on a page.
//!
//! A store of the program's own would end it by SIGBUS where somebody has cut the file, or its disk fails. So
//! the kernel stores: it copies a note from a memory file, and says when it cannot.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::disk::NOTE_BYTES;
use banyan_sys::owner::Owner;

const PAGE: usize = 4096;
/// Places whose memory is kept.
const PLACES_MAX: usize = 2;

/// Writes notes.
#[derive(Debug)]
pub(crate) struct Notes {
    source: File,
    staged: SharedPage,
    places: Vec<(u64, SharedPage)>,
}

impl Notes {
    /// A writer of notes, into no file yet.
    ///
    /// # Errors
    /// What the kernel says of a file and a page of memory.
    pub(crate) fn new() -> io::Result<Self> {
        let source = File::from(memfd_create("banyan-notes", MemfdFlags::CLOEXEC)?);
        source.set_len(PAGE as u64)?;
        let staged = SharedPage::map(source.as_fd(), 0)?;
        Ok(Self { source, staged, places: Vec::new() })
    }

    /// Writes a note at an offset of a file, a multiple of the page size. All notes of one writer go to one
    /// file.
    ///
    /// # Errors
    /// What the kernel says, `EFAULT` where the file does not reach so far or cannot be read there; it may be
    /// written in another way then.
    pub(crate) fn write(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        note: &[u8; NOTE_BYTES],
    ) -> io::Result<()> {
        let Self { source, staged, places } = self;
        let place = match places.iter().position(|(at, _)| *at == offset) {
            Some(found) => &places[found].1,
            None => {
                let page = SharedPage::map(file, offset)?;
                places.truncate(PLACES_MAX - 1);
                places.insert(0, (offset, page));
                &places[0].1
            }
        };
        // SAFETY: the page is longer than a note, no reference leads to it, and `self` is borrowed for
        // writing. Its file is of this process alone, so nothing cuts it.
        unsafe { staged.0.copy_from_nonoverlapping(NonNull::from(note).cast(), NOTE_BYTES) };
        // SAFETY: the same, of the page that the kernel writes.
        let copied = unsafe { libc::pread(source.as_raw_fd(), place.0.as_ptr().cast(), NOTE_BYTES, 0) };
        match copied {
            copied if copied == NOTE_BYTES as isize => Ok(()),
            0.. => Err(io::ErrorKind::WriteZero.into()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A page of a file, shared with all who have it. Children have no copy: it would keep the file's lock.
#[derive(Debug)]
struct SharedPage(NonNull<u8>, Owner);

// SAFETY: the memory is reached through the owner of this alone.
unsafe impl Send for SharedPage {}

impl SharedPage {
    fn map(file: BorrowedFd<'_>, offset: u64) -> io::Result<Self> {
        let owner = Owner::this_process()?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: without an address of the caller's, no memory that someone uses changes.
        let address = unsafe { mmap(ptr::null_mut(), PAGE, access, MapFlags::SHARED, file, offset) }?;
        let Some(place) = NonNull::new(address.cast()) else { return Err(io::ErrorKind::Unsupported.into()) };
        let page = Self(place, owner);
        // SAFETY: the advice changes nothing in this process.
        unsafe { madvise(address, PAGE, Advice::LinuxDontFork) }?;
        Ok(page)
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        if self.1.is_here() {
            // SAFETY: the page is ours since it was mapped, and nothing refers to it.
            let unmapped = unsafe { munmap(self.0.as_ptr().cast(), PAGE) };
            debug_assert!(unmapped.is_ok(), "a page of ours can be unmapped");
        }
    }
}
