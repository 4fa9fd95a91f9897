//! The kernel operations that the daemon lists for a memory call, performed in this replica.

use crate::daemon::requests;
use crate::daemon::settings::{self, SETTINGS};
use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use banyan_sys::raw::Errno;
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::stub::{ActionKind, Range, Request, Steps};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// What is behind new mappings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backing {
    /// The memory file, which the daemon reads and writes.
    MemoryFile,
    /// Private memory, whose first touches cost half as much: for a process that has no other node.
    Private,
}

/// What the operations are for.
pub struct Context<'a> {
    /// The call's number.
    pub number: u32,
    /// Its arguments.
    pub arguments: &'a [u64; 6],
    /// The file that is read or mapped, if any.
    pub file: Option<i32>,
}

impl Context<'_> {
    /// Of no call: memory is mapped, and nothing else.
    pub const MAP: Self = Self { number: 0, arguments: &[0; 6], file: None };
}

/// Performs the kernel operations that the daemon listed.
///
/// # Errors
/// The kernel's; the mapping may then be there in part, as after a failed call of the kernel's own.
///
/// # Safety
/// The steps are the daemon's answer, which names memory of the program and nothing of the stub's; the call,
/// if there is one, is the program's.
pub unsafe fn perform(steps: &Steps, context: &Context<'_>) -> Result<(), Errno> {
    let backing = if settings::is_alone() { Backing::Private } else { Backing::MemoryFile };
    // Without a file the kernel says that there is none.
    let file = context.file.unwrap_or(-1) as u64;
    for action in steps.actions() {
        let (address, length) = (action.address, action.length);
        match action.kind {
            ActionKind::Reserve => {
                let memory = SETTINGS.memory.load(Ordering::Relaxed) as u64;
                let (flags, descriptor, offset) = match backing {
                    Backing::MemoryFile => (linux::MAP_SHARED, memory, address),
                    Backing::Private => (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS, u64::MAX, 0),
                };
                // SAFETY: the caller's promise.
                unsafe { map(address, length, flags, descriptor, offset)? };
            }
            // What nobody else can ask for need not be registered.
            ActionKind::Confirm if backing == Backing::Private => {}
            ActionKind::Confirm => {
                requests::tell(&Request::Confirm(Range { address, length }));
            }
            ActionKind::Discard => {
                requests::tell(&Request::Discard(Range { address, length }));
            }
            ActionKind::Protect => {
                // SAFETY: the caller's promise.
                let _ = unsafe { kernel::checked(linux::__NR_mprotect, [address, length, action.extra])? };
            }
            ActionKind::Unmap => {
                // SAFETY: the caller's promise.
                let _ = unsafe { kernel::checked(linux::__NR_munmap, [address, length])? };
            }
            ActionKind::Punch if backing == Backing::Private => {
                const DONTNEED: u64 = linux::MADV_DONTNEED as u64;
                // Nothing may be mapped there.
                // SAFETY: as above.
                let _ = unsafe { kernel::raw(linux::__NR_madvise, [address, length, DONTNEED]) };
            }
            ActionKind::Punch => punch(address, length)?,
            ActionKind::ReadFile => {
                // SAFETY: the caller's promise.
                unsafe { read_file(file, address, length, action.extra)? };
            }
            ActionKind::MapFile => {
                // SAFETY: the caller's promise.
                unsafe { map(address, length, linux::MAP_PRIVATE, file, action.extra)? };
            }
            ActionKind::Call => {
                let arguments = [address, length, context.arguments[2]];
                // SAFETY: the caller's promise.
                let _ = unsafe { kernel::checked(context.number, arguments)? };
            }
            ActionKind::Move => {
                const MOVES: u64 = (linux::MREMAP_MAYMOVE | linux::MREMAP_FIXED) as u64;
                let (from, old_length) = (action.extra, context.arguments[1]);
                let keeps = context.arguments[3] & u64::from(linux::MREMAP_DONTUNMAP);
                let flags = if from == address { 0 } else { MOVES | keeps };
                // SAFETY: the caller's promise.
                let _ = unsafe {
                    kernel::checked(linux::__NR_mremap, [from, old_length, length, flags, address])?
                };
            }
            // The caller asks.
            ActionKind::More => {}
            ActionKind::Copy => {
                copy::copy_within(ProgramAddress(address), ProgramAddress(action.extra), length as usize)?;
            }
        }
    }
    Ok(())
}

/// Maps without rights, in place of what is there: nobody can touch memory before it is registered.
///
/// # Safety
/// The range is memory of the program.
#[inline(never)]
unsafe fn map(address: u64, length: u64, flags: u32, descriptor: u64, offset: u64) -> Result<(), Errno> {
    let flags = u64::from(flags | linux::MAP_FIXED | linux::MAP_NORESERVE);
    // SAFETY: the caller's promise.
    unsafe { kernel::checked(linux::__NR_mmap, [address, length, 0, flags, descriptor, offset]) }.map(drop)
}

fn punch(address: u64, length: u64) -> Result<(), Errno> {
    const PUNCH_HOLE: u64 = (linux::FALLOC_FL_PUNCH_HOLE | linux::FALLOC_FL_KEEP_SIZE) as u64;
    let memory = SETTINGS.memory.load(Ordering::Relaxed) as u64;
    // SAFETY: the memory file holds memory of the program only.
    unsafe { kernel::checked(linux::__NR_fallocate, [memory, PUNCH_HOLE, address, length]) }.map(drop)
}

/// Fills a range from a file. Where the file ends in the middle of a page, the rest of the page is zero.
///
/// # Safety
/// The range is memory of the program.
unsafe fn read_file(descriptor: u64, address: u64, length: u64, offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < length {
        let arguments = [descriptor, address + done, length - done, offset + done];
        // SAFETY: the caller's promise.
        match unsafe { kernel::checked(linux::__NR_pread64, arguments) } {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    let page_end = done.next_multiple_of(PAGE_BYTES).min(length);
    while done < page_end {
        let zeroes = [0_u8; 64];
        let piece = zeroes.len().min((page_end - done) as usize);
        copy::copy_out(ProgramAddress(address + done), &zeroes[..piece])?;
        done += piece as u64;
    }
    Ok(())
}
