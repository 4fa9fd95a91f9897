//! How a thread of the program is created: `clone` and `clone3` decoded, the OS thread started, and, if the
//! thread was placed on another node, handed over to a carrier there.

use crate::daemon::settings;
use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::remote::{deputy, migration};
use crate::signal::frame::UserContext;
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

/// `clone` and `clone3` with CLONE_THREAD, as one set of values. The new thread itself is in a payload.
#[derive(Clone, Copy)]
pub struct Creation {
    /// `CLONE_` flags.
    pub flags: u64,
    /// Word in the parent that gets the tid, if the flags say so.
    pub parent_word: u64,
    /// Word of the child that gets the tid and is cleared at its end, if the flags say so.
    pub child_word: u64,
    /// Bytes of the new thread at the beginning of the payload.
    pub length: usize,
}

/// What `clone` or `clone3` asks for, or the errno to refuse it with. Puts the new thread into `payload`; it
/// goes on where `context` is, and inherits `mask`.
///
/// # Errors
/// `ENOSYS` for anything but a thread, `EFAULT` for bad pointers, `EINVAL` for impossible flags.
pub fn decode(
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
            let [first_flags, _, child, parent, _, start, length, base, more @ ..] = given;
            if more.iter().any(|&field| field != 0) {
                return Err(Errno::EINVAL);
            }
            (flags, child_word, parent_word, tls) = (first_flags, child, parent, base);
            stack = start.wrapping_add(length);
        }
    }
    let needed = u64::from(linux::CLONE_VM | linux::CLONE_SIGHAND | linux::CLONE_THREAD);
    if flags & needed != needed || stack == 0 {
        return Err(Errno::ENOSYS);
    }
    let tls = if flags & u64::from(linux::CLONE_SETTLS) != 0 {
        tls
    } else {
        kernel::segment_base(kernel::ARCH_GET_FS)
    };
    let mut child = *context;
    (child.registers.rsp, child.registers.rax) = (stack, 0);
    let length = state::save(state::of_new(mask, tls), &child, payload);
    Ok(Creation { flags, parent_word, child_word, length })
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
    let wants = |flag: u32, word: u64| if creation.flags & u64::from(flag) != 0 { word } else { 0 };
    thread.clear_on_exit.set(wants(linux::CLONE_CHILD_CLEARTID, creation.child_word));
    thread.child_word.set(wants(linux::CLONE_CHILD_SETTID, creation.child_word));
    let parent_word = wants(linux::CLONE_PARENT_SETTID, creation.parent_word);
    LIVE.fetch_add(1, Ordering::Relaxed);
    match spawn(thread, begin, parent_word) {
        Ok(id) => i64::from(id),
        Err(error) => {
            LIVE.fetch_sub(1, Ordering::Relaxed);
            thread.used.store(0, Ordering::Release);
            error.negated()
        }
    }
}

/// First code of a new thread at home. Where it executes is the daemon's choice.
extern "C" fn begin(thread: &'static Thread) -> ! {
    // The mask of the creating thread's trap: the program may block what the stub must not.
    let _ = mask::block_all();
    thread.adopt();
    let id = kernel::thread_id();
    thread.thread_id.store(id, Ordering::Relaxed);
    let child_word = thread.child_word.get();
    if child_word != 0 {
        let _ = copy::store_u32(ProgramAddress(child_word), id);
    }
    let request = Request::StartThread(StartThread { thread: id });
    if !settings::is_alone() && migration::send_away(thread, &request) {
        thread.set_role(Role::Deputy);
        deputy::serve(thread);
    }
    resume::resume(thread)
}

/// Starts an OS thread that shares everything with this one and calls `entry(thread)` on the block's stack,
/// with all signals blocked as they are in the caller. Returns its id, which the kernel also stores in
/// `parent_word` of the program, if there is one, before the new thread runs: any later, and the thread may
/// have ended and cleared it.
///
/// # Errors
/// The kernel's.
pub fn spawn(
    thread: &'static Thread,
    entry: extern "C" fn(&'static Thread) -> !,
    parent_word: u64,
) -> Result<u32, Errno> {
    const FLAGS: u64 = (linux::CLONE_VM
        | linux::CLONE_FS
        | linux::CLONE_FILES
        | linux::CLONE_SIGHAND
        | linux::CLONE_THREAD
        | linux::CLONE_SYSVSEM) as u64;
    let parent = if parent_word == 0 { 0 } else { u64::from(linux::CLONE_PARENT_SETTID) };
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
            in("rdi") FLAGS | parent,
            in("rsi") thread.stack_top(),
            in("rdx") parent_word, in("r10") 0_u64, in("r8") 0_u64,
            in("r12") core::ptr::from_ref(thread),
            in("r13") entry as usize,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    banyan_sys::raw::check(result).map(|id| id as u32)
}
