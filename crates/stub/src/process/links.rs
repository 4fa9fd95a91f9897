//! Links under /proc that lead to the file of this process. The kernel's lead to the stub; the program must
//! find its own file there, for the dynamic linker resolves `$ORIGIN` by them, and programs find their data
//! by them.
//!
//! Only reading the links is served here; `files` opens them.

use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::thread::Thread;
use crate::trap::arguments::ProgramArguments;
use banyan_sys::raw::Errno;
use core::sync::atomic::{AtomicU64, Ordering};

/// Longer than each of the links, and shorter than a thread's payload buffer.
const LINK_MAX: usize = 48;
pub(super) const PATH_MAX: usize = 4096;

/// Where the path of the program's file lies in the program's memory, at home; 0 elsewhere.
static EXECUTABLE: AtomicU64 = AtomicU64::new(0);

/// Notes where the loader put the path of the program's file.
pub fn set_executable(address: u64) {
    EXECUTABLE.store(address, Ordering::Relaxed);
}

/// Reads a link for a home thread, whose arguments are the program's.
pub fn read_at_home(thread: &Thread, number: u32, arguments: &ProgramArguments, path: usize) -> i64 {
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { thread.payload() };
    let leads = copy::copy_string_in(ProgramAddress(arguments[path]), &mut payload[..LINK_MAX])
        .is_ok_and(|length| leads_here(&payload[..length]));
    if !leads {
        // SAFETY: the program's own call.
        return unsafe { kernel::raw(number, **arguments) };
    }
    let result = target(payload, arguments[path + 2]);
    let copied = usize::try_from(result)
        .map(|length| copy::copy_out(ProgramAddress(arguments[path + 1]), &payload[..length]));
    match copied {
        Ok(Err(error)) => error.negated(),
        _ => result,
    }
}

/// Reads a link for a thread on another node, whose path and buffer came with the call.
///
/// # Safety
/// The path is a string in the stub's memory, and so is the buffer behind it, with the size that the
/// arguments say.
pub unsafe fn read_for_remote(number: u32, arguments: &[u64; 6], path: usize) -> i64 {
    let start = arguments[path] as *const u8;
    // SAFETY: the string ends at the first zero.
    let length = (0..LINK_MAX).find(|&at| unsafe { start.add(at).read() } == 0).map_or(0, |zero| zero + 1);
    // SAFETY: as above.
    if leads_here(unsafe { core::slice::from_raw_parts(start, length) }) {
        let size = arguments[path + 2];
        // SAFETY: the caller's promise; the path is not used any more.
        let buffer =
            unsafe { core::slice::from_raw_parts_mut(arguments[path + 1] as *mut u8, size as usize) };
        return target(buffer, size);
    }
    // SAFETY: the program's own call.
    unsafe { kernel::raw(number, *arguments) }
}

/// Copies the path of the program's file, at most `size` bytes and no zero, as readlink(2) does.
fn target(to: &mut [u8], size: u64) -> i64 {
    if size as i32 <= 0 {
        return Errno::EINVAL.negated();
    }
    let address = ProgramAddress(EXECUTABLE.load(Ordering::Relaxed));
    let mut length = 0;
    for slot in to.iter_mut().take(PATH_MAX.min(size as usize)) {
        match copy::load(address.add(length)) {
            Ok(0_u8) => break,
            Ok(byte) => *slot = byte,
            Err(error) => return error.negated(),
        }
        length += 1;
    }
    length as i64
}

/// Whether `link`, with its zero, is one that leads to this process's file.
fn leads_here(link: &[u8]) -> bool {
    EXECUTABLE.load(Ordering::Relaxed) != 0 && below_own(link).is_some_and(|(_, name)| name == b"exe\0")
}

/// A directory under /proc that shows this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// That of the process.
    OfProcess,
    /// That of the calling thread.
    OfThread,
}

/// What a path names below such a directory.
pub fn below_own(path: &[u8]) -> Option<(Directory, &[u8])> {
    let below = path.strip_prefix(b"/proc/")?;
    let end = below.iter().position(|&byte| byte == b'/')?;
    let (process, name) = (&below[..end], &below[end + 1..]);
    match process {
        b"thread-self" => Some((Directory::OfThread, name)),
        b"self" => Some((Directory::OfProcess, name)),
        _ => {
            let own = crate::report::Decimal::new(u64::from(kernel::process_id()));
            (process == own.text()).then_some((Directory::OfProcess, name))
        }
    }
}
