//! A child process in the program's memory, for which the thread that makes it waits: `vfork`, and `clone` as
//! `posix_spawn` makes it. It executes another program, natively and at home, or ends.
//!
//! Until then it runs the program's code here, with a block of its own and copies of the stub's handlers. Its
//! calls are trapped as a home thread's are; what it changes of its signals and descriptors is its own.
//!
//! What it executes has the filter still, which traps nothing where the kernel puts programs.

use crate::memory::copy::{self, ProgramAddress};
use crate::memory::futex;
use crate::signal::disposition;
use crate::thread::block;
use crate::thread::create::{self, Creation};
use crate::thread::{Role, Thread, resume};
use banyan_sys::raw::Errno;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// What is done here in place of the kernel.
pub(super) const DONE_HERE: u64 = create::CLEARS_HANDLERS
    | (linux::CLONE_SETTLS | linux::CLONE_CHILD_SETTID | linux::CLONE_CHILD_CLEARTID) as u64;

/// Creates the child that `given` holds and waits until it has left the program's memory. Returns its id or a
/// negated errno.
pub fn create(creation: &Creation, given: &[u8]) -> i64 {
    let Ok(child) = block::allocate(Role::Child) else { return Errno::EAGAIN.negated() };
    // SAFETY: no thread uses the new block yet.
    let payload = unsafe { child.payload() };
    payload[..given.len()].copy_from_slice(given);
    child.child_word.set(creation.child_word_of(linux::CLONE_CHILD_SETTID));
    if creation.flags & create::CLEARS_HANDLERS != 0 {
        child.defaults.set(disposition::handled());
    }
    let made = create::spawn(child, begin, creation.flags & !DONE_HERE, creation.parent_word);
    child.used.store(0, Ordering::Release);
    match made {
        Ok(id) => {
            let cleared = creation.child_word_of(linux::CLONE_CHILD_CLEARTID);
            if cleared != 0 && copy::store_u32(ProgramAddress(cleared), 0).is_ok() {
                futex::wake(ProgramAddress(cleared));
            }
            i64::from(id)
        }
        Err(error) => error.negated(),
    }
}

/// First code of the child.
extern "C" fn begin(child: &'static Thread) -> ! {
    create::settle(child);
    disposition::clear_of_child(child);
    resume::resume(child)
}
