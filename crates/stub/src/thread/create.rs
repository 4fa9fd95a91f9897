//! How a thread of the program is created: `clone` and its like decoded, the OS thread started, and, if the
//! thread was placed on another node, handed over to a carrier there.
//!
//! Not here: what becomes of a child process (`child`, `fork`).

use crate::daemon::settings;
use crate::kernel::{self, Segment};
use crate::memory::copy::{self, ProgramAddress};
use crate::remote::{deputy, migration};
use crate::signal::frame::{AlternateStack, UserContext};
use crate::signal::mask;
use crate::thread::block;
use crate::thread::exit::{LIVE, STARTED};
use crate::thread::{Role, Thread, resume, state};
use banyan_sys::raw::Errno;
use banyan_wire::deputy::ThreadState;
use banyan_wire::stub::{Request, StartThread};
use banyan_wire::syscalls::CreationForm;
use core::arch::asm;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use zerocopy::IntoBytes;

/// The signal at the end of a child.
const SIGNAL: u64 = linux::CSIGNAL as u64;
/// The flag of a descriptor of the child.
const DESCRIPTOR: u64 = linux::CLONE_PIDFD as u64;
/// The words that the kernel writes in the caller, of which `clone` has one.
pub(super) const BOTH: u64 = DESCRIPTOR | linux::CLONE_PARENT_SETTID as u64;
const THREAD: u64 = (linux::CLONE_VM | linux::CLONE_SIGHAND | linux::CLONE_THREAD) as u64;
const CHILD: u64 = (linux::CLONE_VM | linux::CLONE_VFORK) as u64;
/// What a child may not have: the stub's handlers, shared.
const NO_CHILD: u64 = (linux::CLONE_SIGHAND | linux::CLONE_THREAD) as u64;
/// The child has no handlers of its maker's. The stub sees to that, for its own must stay.
pub(super) const CLEARS_HANDLERS: u64 = linux::CLONE_CLEAR_SIGHAND;
/// What `clone3` knows beyond the flags of `clone`.
const MORE_FLAGS: u64 = linux::CLONE_CLEAR_SIGHAND | linux::CLONE_INTO_CGROUP;
/// What `clone3` does not know: the lowest byte but for one flag, and one that no kernel heeds.
const NO_FLAGS: u64 = linux::CLONE_DETACHED as u64 | SIGNAL & !(linux::CLONE_NEWTIME as u64);
/// What a copy may not have either: the caller's memory, and with its descriptors the stub's.
const NO_COPY: u64 = NO_CHILD | CHILD | linux::CLONE_FILES as u64;
/// What a thread shares with the one that makes it: everything.
pub const SHARED: u64 = (linux::CLONE_VM
    | linux::CLONE_FS
    | linux::CLONE_FILES
    | linux::CLONE_SIGHAND
    | linux::CLONE_THREAD
    | linux::CLONE_SYSVSEM) as u64;

/// What is created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A thread of the program.
    Thread,
    /// A process in the program's memory, for which the caller waits: see `child`.
    Child,
    /// A process with a copy of it: see `fork`.
    Copy,
}

/// `clone` and its like as one set of values. What the new thread or child is, is in a payload.
#[derive(Clone, Copy)]
pub struct Creation {
    /// What it is.
    pub kind: Kind,
    /// `CLONE_` flags, and in the lowest byte the signal at the end of a child.
    pub flags: u64,
    /// Word in the parent that gets the tid, or a descriptor of the child, if the flags say so.
    pub parent_word: u64,
    /// Word of the child that gets the tid and is cleared at its end, if the flags say so.
    pub child_word: u64,
    /// Bytes of it at the beginning of the payload.
    pub length: usize,
}

impl Creation {
    /// The child's word, if this flag says that it is used; else 0.
    pub(super) fn child_word_of(&self, flag: u32) -> u64 {
        if self.flags & u64::from(flag) != 0 { self.child_word } else { 0 }
    }
}

/// What a call of `thread` asks for, or the errno to refuse it with. Puts the new thread or child into
/// `payload`; it goes on where `context` is, and inherits `mask`.
///
/// # Errors
/// `ENOSYS` for a process that shares parts of its caller and runs beside it, `EFAULT` for bad pointers,
/// `EINVAL` for impossible flags.
pub fn decode(
    thread: &Thread,
    form: CreationForm,
    arguments: &[u64; 6],
    context: &UserContext,
    mask: u64,
    payload: &mut [u8],
) -> Result<Creation, Errno> {
    let (flags, stack, parent_word, child_word, tls);
    match form {
        CreationForm::Arguments => [flags, stack, parent_word, child_word, tls, _] = *arguments,
        CreationForm::Structure => {
            let mut given = [0_u64; size_of::<linux::clone_args>() / 8];
            let size = (arguments[1] as usize).min(size_of_val(&given));
            if size < linux::CLONE_ARGS_SIZE_VER0 as usize {
                return Err(Errno::EINVAL);
            }
            copy::copy_in(ProgramAddress(arguments[0]), &mut given.as_mut_bytes()[..size])?;
            let [first_flags, descriptor, child, parent, signal, start, length, base, more @ ..] = given;
            let known = u64::from(u32::MAX) & !NO_FLAGS | MORE_FLAGS;
            if more.iter().any(|&field| field != 0) || first_flags & !known != 0 || signal > SIGNAL {
                return Err(Errno::EINVAL);
            }
            if first_flags & (SIGNAL | linux::CLONE_INTO_CGROUP) != 0 {
                return Err(Errno::ENOSYS);
            }
            (flags, child_word, tls) = (first_flags | signal, child, base);
            // As in `clone`, which has one word for both.
            parent_word = if flags & DESCRIPTOR != 0 { descriptor } else { parent };
            stack = start.wrapping_add(length);
        }
        CreationForm::Fork | CreationForm::Vfork => {
            let shared = if form == CreationForm::Vfork { CHILD } else { 0 };
            (flags, stack) = (shared | u64::from(linux::SIGCHLD), 0);
            (parent_word, child_word, tls) = (0, 0, 0);
        }
    }
    if contradict(flags) {
        return Err(Errno::EINVAL);
    }
    let kind = if flags & THREAD == THREAD && stack != 0 {
        Kind::Thread
    } else if flags & BOTH == BOTH {
        return Err(Errno::ENOSYS);
    } else if flags & (CHILD | NO_CHILD) == CHILD {
        Kind::Child
    } else if flags & NO_COPY == 0 {
        Kind::Copy
    } else {
        return Err(Errno::ENOSYS);
    };
    let tls =
        if flags & u64::from(linux::CLONE_SETTLS) != 0 { tls } else { kernel::segment_base(Segment::Fs) };
    let mut child = *context;
    child.registers.rax = 0;
    if stack != 0 {
        child.registers.rsp = stack;
    }
    let alternate_stack = match kind {
        Kind::Thread => AlternateStack::NONE,
        Kind::Child | Kind::Copy => thread.alternate_stack.get(),
    };
    let length = state::save(state::of_new(mask, tls, alternate_stack), &child, payload);
    Ok(Creation { kind, flags, parent_word, child_word, length })
}

/// Whether no kernel makes anything with these flags: who shares the one must share the other, or must not.
fn contradict(flags: u64) -> bool {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    has(linux::CLONE_THREAD) && !has(linux::CLONE_SIGHAND)
        || has(linux::CLONE_SIGHAND) && !has(linux::CLONE_VM)
        || has(linux::CLONE_SIGHAND) && flags & CLEARS_HANDLERS != 0
        || has(linux::CLONE_FS) && has(linux::CLONE_NEWNS | linux::CLONE_NEWUSER)
        || has(linux::CLONE_THREAD) && has(linux::CLONE_NEWUSER | linux::CLONE_NEWPID)
}

/// Creates the thread that `given` holds; runs at home. Returns the tid or a negated errno.
pub fn create(creation: &Creation, given: &[u8]) -> i64 {
    let Some(state) = ThreadState::read(given) else { return Errno::EINVAL.negated() };
    let thread = match block::allocate(Role::Home) {
        Ok(thread) => thread,
        Err(_) => return Errno::EAGAIN.negated(),
    };
    STARTED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: no thread uses the new block yet.
    let payload = unsafe { thread.payload() };
    payload[..given.len()].copy_from_slice(given);
    thread.mask.store(state.mask, Ordering::Relaxed);
    thread.sigsys_blocked.store(mask::split(state.mask).1, Ordering::Relaxed);
    thread.clear_on_exit.set(creation.child_word_of(linux::CLONE_CHILD_CLEARTID));
    thread.child_word.set(creation.child_word_of(linux::CLONE_CHILD_SETTID));
    LIVE.fetch_add(1, Ordering::Relaxed);
    let flags = SHARED | creation.flags & u64::from(linux::CLONE_PARENT_SETTID);
    match spawn(thread, begin, flags, creation.parent_word) {
        Ok(id) => i64::from(id),
        Err(error) => {
            LIVE.fetch_sub(1, Ordering::Relaxed);
            thread.used.store(0, Ordering::Release);
            error.negated()
        }
    }
}

/// What a new thread at home, or a child, does first: takes its block and tells the program its id.
pub(super) fn settle(thread: &Thread) -> u32 {
    thread.adopt();
    identify(thread)
}

/// The calling OS thread is `thread`. Tells the program its id, and returns it.
pub(super) fn identify(thread: &Thread) -> u32 {
    let id = kernel::thread_id();
    thread.thread_id.store(id, Ordering::Relaxed);
    let word = thread.child_word.get();
    if word != 0 {
        let _ = copy::store_u32(ProgramAddress(word), id);
    }
    id
}

/// First code of a new thread at home. Where it executes is the daemon's choice.
extern "C" fn begin(thread: &'static Thread) -> ! {
    // The mask of the creating thread's trap: the program may block what the stub must not.
    let _ = mask::block_all();
    let id = settle(thread);
    let request = Request::StartThread(StartThread { thread: id });
    if !settings::is_alone() && migration::send_away(thread, &request) {
        thread.set_role(Role::Deputy);
        deputy::serve(thread);
    }
    resume::resume(thread)
}

/// Starts an OS thread, or a process in this memory, that calls `entry(thread)` on the block's stack, with
/// all signals blocked as they are in the caller. Returns its id, which the kernel also stores in
/// `parent_word` of the program, if the flags say so, before the new thread runs: any later, and the thread
/// may have ended and cleared it.
///
/// # Errors
/// The kernel's.
pub fn spawn(
    thread: &'static Thread,
    entry: extern "C" fn(&'static Thread) -> !,
    flags: u64,
    parent_word: u64,
) -> Result<u32, Errno> {
    let result: i64;
    // SAFETY: the child starts on its own fresh stack with the two registers that it needs and never returns
    // from `entry`; the parent only sees rax, rcx and r11 change.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") u64::from(linux::__NR_clone) => result,
            in("rdi") flags,
            in("rsi") thread.stack_top(),
            in("rdx") parent_word, in("r10") 0_u64, in("r8") 0_u64,
            in("r12") core::ptr::from_ref(thread),
            in("r13") entry as usize,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    banyan_sys::raw::check(result).map(|id| id as u32)
}
