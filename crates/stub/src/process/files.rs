//! Files under /proc that show this process, opened for reading. The kernel's show the stub; the daemon has
//! them as the program must see them.
//!
//! Not here: which files those are (the daemon knows), and links and directories (`links`, `listings`).

use crate::daemon::requests;
use crate::kernel::{self, AtExec};
use crate::memory::copy::{self, ProgramAddress};
use crate::process::links::{self, Directory};
use crate::thread::Thread;
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Answer, Open, Request};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Longer than any path that is asked for.
const PATH_MAX: usize = 64;
/// Any of these, and it is not read, or not a plain file.
const OTHER_USES: u32 =
    linux::O_ACCMODE | linux::O_PATH | linux::O_DIRECTORY | linux::O_NOFOLLOW | linux::O_TRUNC;

/// Opens a file for a home thread. `None` if the kernel is to open it. The flags follow the path.
pub fn open_at_home(thread: &Thread, arguments: &[u64; 6], path: usize) -> Option<i64> {
    let mut text = [0; PATH_MAX];
    let length = copy::copy_string_in(ProgramAddress(arguments[path]), &mut text).ok()?;
    open(thread, &text[..length], arguments[path + 1] as u32)
}

/// Opens a file at a path that ends with a zero. `None` if the kernel is to open it.
pub fn open(thread: &Thread, path: &[u8], flags: u32) -> Option<i64> {
    let (directory, name) = links::below_own(path)?;
    if flags & OTHER_USES != 0 {
        return None;
    }
    let mut request = Open { thread: 0, path: [0; _] };
    if directory == Directory::OfThread {
        request.thread = thread.thread_id.load(Ordering::Relaxed);
    }
    request.path.get_mut(..name.len())?.copy_from_slice(name);
    match requests::ask_for_descriptor(&Request::Open(request)) {
        (Answer::Done(_), Some(file)) => {
            if flags & linux::O_CLOEXEC == 0 {
                kernel::set_at_exec(file, AtExec::Kept);
            }
            Some(file.into())
        }
        // The kernel had no number left for it.
        (Answer::Done(_), None) => Some(Errno::EMFILE.negated()),
        _ => None,
    }
}
