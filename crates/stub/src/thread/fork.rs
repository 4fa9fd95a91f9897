//! A copy of the process: `fork`, and `clone` with memory of its own.
//!
//! The kernel copies what is private to this process: on one node all of the program's memory, and the
//! stub's. What several nodes share the copy reads into private memory, while the caller waits. It has one
//! thread, the caller's, and stays at home as a process without another node. It has no service thread, and a
//! request socket of its own; what it executes is native, as a child's.
//!
//! What other threads held in the stub is free in the copy: each lock of the stub protects what the copy
//! gives up or makes anew, but for `memory::LOCK`, which the caller holds.

use crate::daemon::requests;
use crate::kernel;
use crate::memory;
use crate::memory::copy::{self, ProgramAddress};
use crate::process::descriptors;
use crate::report;
use crate::signal::{deferred, disposition};
use crate::start;
use crate::thread::child::DONE_HERE;
use crate::thread::create::{self, BOTH, Creation};
use crate::thread::{Thread, block, exit, resume};
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Answer, Copied, Nothing, Request};
use linux_raw_sys::general as linux;

/// Creates the copy, whose thread is in the caller's payload. Returns its id or a negated errno.
pub fn create(thread: &'static Thread, creation: &Creation) -> i64 {
    let guard = memory::LOCK.lock();
    // If there was no number for the socket, there is one above the program's.
    let Some(socket) = ask().or_else(|| descriptors::with_room(ask)) else { return Errno::EAGAIN.negated() };
    let mut word = 0_u32;
    let arguments = [creation.flags & !DONE_HERE, 0, &raw mut word as u64, 0, 0];
    // SAFETY: the copy goes on here with memory of its own; the word lives across the call, which writes it.
    let result = unsafe { kernel::raw(linux::__NR_clone, arguments) };
    if result == 0 {
        begin(thread, creation, socket);
    }
    kernel::close(socket);
    requests::tell(&Request::Forked(Nothing {}));
    drop(guard);
    // Only now: the program's memory is not written while it is copied.
    if result > 0 && creation.flags & BOTH != 0 {
        let _ = copy::store_u32(ProgramAddress(creation.parent_word), word);
    }
    result
}

/// Asks for the request socket of a copy.
fn ask() -> Option<i32> {
    match requests::ask_for_descriptor(&Request::Fork(Nothing {})) {
        (Answer::Done(_), Some(socket)) => Some(socket),
        _ => {
            requests::tell(&Request::Forked(Nothing {}));
            None
        }
    }
}

/// First code of the copy.
fn begin(thread: &'static Thread, creation: &Creation, socket: i32) -> ! {
    memory::LOCK.free();
    requests::begin_copy(socket);
    block::begin_copy(thread);
    deferred::begin_copy();
    exit::count_first();
    let process = kernel::process_id();
    descriptors::with_room(|| {
        loop {
            match requests::ask_for_descriptor(&Request::Copied(Copied { process })) {
                // SAFETY: the daemon's own answer.
                (Answer::Steps(steps), file) => unsafe { start::map(&steps, file) },
                (Answer::Done(_), _) => break,
                _ => kernel::exit_group(report::STATUS_OURS),
            }
        }
    });
    if creation.flags & create::CLEARS_HANDLERS != 0 {
        disposition::clear();
    }
    thread.clear_on_exit.set(creation.child_word_of(linux::CLONE_CHILD_CLEARTID));
    thread.child_word.set(creation.child_word_of(linux::CLONE_CHILD_SETTID));
    create::identify(thread);
    resume::resume(thread)
}
