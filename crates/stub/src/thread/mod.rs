//! Threads: the block of local memory behind each one, how they are created and how they end.
//!
//! A kernel thread at home exists for every thread of the program: it is its tid. It either runs the program
//! itself or, if the thread was placed on another node, becomes its deputy.

use crate::daemon::requests::{self, CONFIGURATION};
use crate::kernel;
use crate::lock::Lock;
use crate::remote::deputy;
use crate::{memory, report, signal};
use banyan_sys::raw::Errno;
use banyan_sys::signal_frame::{ALTERNATE_STACK_DISABLED, AlternateStack, UserContext};
use banyan_wire::deputy::{DeputyMessage, Header, PAYLOAD_MAX};
use banyan_wire::stub::RequestKind;
use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use linux_raw_sys::general as linux;

pub mod resume;

/// Bytes of a thread's stack in the stub: trap handler, carrier start, deputy. Must hold two signal frames with
/// the largest extended state there is (12 KiB with AMX).
const STACK_SIZE: u64 = 96 << 10;
/// Bytes of the buffer that holds one message with its payload.
const BUFFER_SIZE: u64 = PAYLOAD_MAX as u64 + 4096;
const GUARD_SIZE: u64 = 4096;
const THREAD_SIZE: u64 = 4096;
/// Guard page, stack, this structure, message buffer.
const BLOCK_SIZE: u64 = GUARD_SIZE + STACK_SIZE + THREAD_SIZE + BUFFER_SIZE;

/// What the calling OS thread is to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// A thread of the program that runs here, at home.
    Home = 0,
    /// The place of execution of a thread whose home is elsewhere.
    Carrier = 1,
    /// The home of a thread that runs elsewhere.
    Deputy = 2,
    /// The service thread of a replica.
    Service = 3,
}

/// What the stub keeps per OS thread. Only that thread writes the cells.
#[repr(C)]
pub struct Thread {
    /// Address of this structure: what `gs:0` yields.
    this: Cell<u64>,
    /// See [`Role`].
    role: AtomicU32,
    /// Block in use.
    used: AtomicU32,
    /// The next block ever made.
    next: AtomicPtr<Thread>,
    /// The thread's id at home.
    pub thread_id: AtomicU32,
    /// Connection to the deputy or carrier, or -1.
    pub connection: Cell<i32>,
    /// Word to clear and wake when the thread ends (`set_tid_address`), or 0.
    pub clear_on_exit: Cell<u64>,
    /// Head of the robust list, or 0.
    pub robust_list: Cell<u64>,
    /// The alternate signal stack that the program set.
    pub alternate_stack: Cell<AlternateStack>,
    /// Signals that the program blocks, where the kernel's mask is not the program's (carriers, deputies).
    pub mask: AtomicU64,
    /// Bit of SIGSYS if the program believes that it blocks it.
    pub sigsys_blocked: Cell<u64>,
    /// Node on which the thread executes.
    pub node: AtomicU32,
    /// What the thread starts with: frame, FS base, the child's word for the tid.
    start: Cell<Start>,
    /// Faults resolved by another thread since this one last asked; see `fault`.
    pub learned: Cell<u64>,
    /// Calls forwarded or executed for the other side.
    pub deputy_calls: Cell<u64>,
}

/// What a new thread needs.
#[derive(Clone, Copy)]
struct Start {
    frame: u64,
    fs_base: u64,
    child_word: u64,
}

/// All blocks ever made; blocks are reused, never unmapped.
static BLOCKS: AtomicPtr<Thread> = AtomicPtr::new(core::ptr::null_mut());
static BLOCKS_LOCK: Lock = Lock::new();
/// Threads of the program that have not ended (at home).
static LIVE: AtomicU64 = AtomicU64::new(0);
/// Threads started so far, for placement.
static STARTED: AtomicU64 = AtomicU64::new(0);

impl Thread {
    /// The calling thread's structure.
    pub fn current() -> &'static Self {
        let address: u64;
        // SAFETY: the GS base of every thread that can be here points to its `Thread`, whose first word is its
        // own address; blocks are never unmapped.
        unsafe {
            asm!("mov {}, gs:[0]", out(reg) address, options(nostack, readonly, preserves_flags));
            &*(address as *const Self)
        }
    }

    /// What this thread is.
    pub fn role(&self) -> Role {
        match self.role.load(Ordering::Relaxed) {
            0 => Role::Home,
            1 => Role::Carrier,
            2 => Role::Deputy,
            _ => Role::Service,
        }
    }

    /// Changes what this thread is.
    pub fn set_role(&self, role: Role) {
        self.role.store(role as u32, Ordering::Relaxed);
    }

    /// First byte after the thread's stub stack.
    pub fn stack_top(&self) -> u64 {
        self.this.get()
    }

    /// The stub stack as the kernel's alternate signal stack.
    pub fn signal_stack(&self) -> AlternateStack {
        AlternateStack { pointer: self.this.get() - STACK_SIZE, flags: 0, padding: 0, size: STACK_SIZE }
    }

    /// Address of the message buffer, `BUFFER_SIZE` bytes: a [`Header`] and its payload.
    pub fn buffer(&self) -> *mut u8 {
        (self.this.get() + THREAD_SIZE) as *mut u8
    }

    /// The payload part of the message buffer.
    pub fn payload(&self) -> *mut u8 {
        self.buffer().wrapping_add(size_of::<Header>())
    }

    /// Makes the block the calling thread's own: GS base and alternate signal stack.
    pub fn adopt(&self) {
        const ARCH_SET_GS: u64 = 0x1001;
        let stack = self.signal_stack();
        let set = kernel::checked(linux::__NR_arch_prctl, [ARCH_SET_GS, self.this.get(), 0, 0, 0, 0])
            .and_then(|_| kernel::checked(linux::__NR_sigaltstack, [&raw const stack as u64, 0, 0, 0, 0, 0]));
        if set.is_err() {
            report::fail(&["banyan: the kernel refused a thread its GS base or its signal stack"]);
        }
    }
}

/// Every block in use, oldest last.
pub fn all() -> impl Iterator<Item = &'static Thread> {
    let mut at = BLOCKS.load(Ordering::Acquire);
    core::iter::from_fn(move || {
        // SAFETY: blocks are never unmapped and `next` is written before a block is published.
        let thread = unsafe { at.as_ref() }?;
        at = thread.next.load(Ordering::Relaxed);
        Some(thread)
    })
    .filter(|thread| thread.used.load(Ordering::Acquire) != 0)
}

/// Takes a free block or makes one.
///
/// # Errors
/// `ENOMEM`.
pub fn allocate(role: Role) -> Result<&'static Thread, Errno> {
    let _guard = BLOCKS_LOCK.lock();
    let mut at = BLOCKS.load(Ordering::Acquire);
    // SAFETY: as in `all`.
    while let Some(thread) = unsafe { at.as_ref() } {
        if thread.used.load(Ordering::Acquire) == 0 {
            thread.used.store(1, Ordering::Relaxed);
            thread.reset(role);
            return Ok(thread);
        }
        at = thread.next.load(Ordering::Relaxed);
    }
    let base = kernel::map_anonymous(BLOCK_SIZE)?;
    let _ = kernel::checked(linux::__NR_mprotect, [base, GUARD_SIZE, 0, 0, 0, 0])?;
    let address = base + GUARD_SIZE + STACK_SIZE;
    // SAFETY: the block was just mapped, zero-filled, and all-zero bytes are a valid `Thread` except for the
    // fields that `reset` sets; it is never unmapped.
    let thread = unsafe { &*(address as *const Thread) };
    thread.this.set(address);
    thread.used.store(1, Ordering::Relaxed);
    thread.reset(role);
    thread.next.store(BLOCKS.load(Ordering::Relaxed), Ordering::Relaxed);
    BLOCKS.store(address as *mut Thread, Ordering::Release);
    Ok(thread)
}

impl Thread {
    fn reset(&self, role: Role) {
        self.set_role(role);
        self.connection.set(-1);
        self.clear_on_exit.set(0);
        self.robust_list.set(0);
        let none = AlternateStack { pointer: 0, flags: ALTERNATE_STACK_DISABLED, padding: 0, size: 0 };
        self.alternate_stack.set(none);
        self.mask.store(0, Ordering::Relaxed);
        self.sigsys_blocked.set(0);
        self.node.store(u32::from(requests::node()), Ordering::Relaxed);
        self.deputy_calls.set(0);
        self.learned.set(0);
    }
}

/// Counts the program's first thread.
pub fn count_first() {
    LIVE.store(1, Ordering::Relaxed);
}

/// Starts an OS thread that shares everything with this one and calls `entry(thread)` on the block's stack, with
/// all signals blocked as they are in the caller. Returns its id, which the kernel also stores in `parent_word` of the
/// program, if there is one, before the new thread runs: any later, and the thread may have ended and cleared it.
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

/// `clone` and `clone3` with CLONE_THREAD, as one set of values.
#[derive(Clone, Copy)]
pub struct Creation {
    /// `CLONE_` flags.
    pub flags: u64,
    /// Where the new thread's frame lies in coherent memory.
    pub frame: u64,
    /// FS base of the new thread.
    pub fs_base: u64,
    /// Word in the parent that gets the tid, if the flags say so.
    pub parent_word: u64,
    /// Word of the child that gets the tid and is cleared at its end, if the flags say so.
    pub child_word: u64,
    /// Signal mask that the new thread inherits.
    pub mask: u64,
}

/// Creates a thread of the program; runs at home. Returns the tid or a negated errno.
pub fn create(creation: &Creation) -> i64 {
    let thread = match allocate(Role::Home) {
        Ok(thread) => thread,
        Err(_) => return Errno::EAGAIN.negated(),
    };
    let nodes = u64::from(CONFIGURATION.nodes.load(Ordering::Relaxed));
    let turn = u64::from(CONFIGURATION.threads_per_turn.load(Ordering::Relaxed)).max(1);
    // The first thread is at home, so the count begins at 1.
    let node = (STARTED.fetch_add(1, Ordering::Relaxed) + 1) / turn % nodes;
    thread.node.store(node as u32, Ordering::Relaxed);
    thread.mask.store(creation.mask, Ordering::Relaxed);
    thread.sigsys_blocked.set(signal::split_mask(creation.mask).1);
    let wants = |flag: u32, word: u64| if creation.flags & u64::from(flag) != 0 { word } else { 0 };
    thread.clear_on_exit.set(wants(linux::CLONE_CHILD_CLEARTID, creation.child_word));
    let parent_word = wants(linux::CLONE_PARENT_SETTID, creation.parent_word);
    thread.start.set(Start {
        frame: creation.frame,
        fs_base: creation.fs_base,
        child_word: wants(linux::CLONE_CHILD_SETTID, creation.child_word),
    });
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

/// First code of a new thread at home.
extern "C" fn begin(thread: &'static Thread) -> ! {
    thread.adopt();
    let id = kernel::thread_id();
    thread.thread_id.store(id, Ordering::Relaxed);
    let start = thread.start.get();
    if start.child_word != 0 {
        let _ = memory::store_u32(start.child_word, id);
    }
    let node = thread.node.load(Ordering::Relaxed);
    if node != 0 {
        let values = [u64::from(node), u64::from(id), start.frame, start.fs_base, 0, 0, 0, 0];
        let (answer, connection) = requests::request_with_descriptor(RequestKind::Connect, values);
        if let (0, Some(connection)) = (answer.result, connection) {
            thread.connection.set(connection);
            thread.set_role(Role::Deputy);
            signal::remote_masks_changed();
            let mask = thread.mask.load(Ordering::Relaxed);
            let arguments = [start.frame, start.fs_base, u64::from(id), mask, 0, 0];
            let header = Header::new(DeputyMessage::Start, 0, arguments);
            if kernel::send_all(connection, (&raw const header).cast(), size_of::<Header>()).is_err() {
                kernel::park();
            }
            deputy::serve(thread);
        }
        // The node cannot take it: the thread is as good at home.
        thread.node.store(0, Ordering::Relaxed);
    }
    resume::resume(thread, start.frame, start.fs_base)
}

/// Ends the calling home thread or deputy: everything the kernel would do to program memory while a thread
/// exits is done here, because it drops such writes silently when the page is not present.
pub fn end(thread: &'static Thread, status: u64) -> ! {
    memory::walk_robust_list(thread.robust_list.get(), thread.thread_id.load(Ordering::Relaxed));
    let (node, cpu) = (u64::from(thread.node.load(Ordering::Relaxed)), kernel::thread_cpu_nanoseconds());
    if thread.role() == Role::Home {
        let _ = requests::request(RequestKind::ThreadEnd, [node, cpu, 0, 0, 0, 0, 0, 0]);
    }
    if LIVE.fetch_sub(1, Ordering::AcqRel) == 1 {
        end_process(status);
    }
    let word = thread.clear_on_exit.get();
    if word != 0 && memory::store_u32(word, 0).is_ok() {
        kernel::futex_wake(word);
    }
    if thread.role() == Role::Deputy {
        kernel::close(thread.connection.get());
        thread.set_role(Role::Home);
        signal::remote_masks_changed();
    }
    leave(thread, status)
}

/// Ends the process with an exit status, after the daemon has ended the other replicas and counted.
pub fn end_process(status: u64) -> ! {
    let threads = STARTED.load(Ordering::Relaxed) + 1;
    let _ = requests::request(RequestKind::Exit, [status, threads, 0, 0, 0, 0, 0, 0]);
    kernel::exit_group(status)
}

/// Gives the block back and ends the OS thread. The stack is not touched after the block is free.
pub fn leave(thread: &'static Thread, status: u64) -> ! {
    // SAFETY: after the store another thread may use this block, stack included; the two instructions after it
    // use registers only, all signals are blocked, and the thread is gone after them.
    unsafe {
        asm!(
            "mov dword ptr [{used}], 0",
            "syscall",
            "ud2",
            used = in(reg) thread.used.as_ptr(),
            in("rax") u64::from(linux::__NR_exit),
            in("rdi") status,
            options(noreturn, nostack),
        )
    }
}

/// The FS base of the calling thread.
pub fn fs_base() -> u64 {
    const ARCH_GET_FS: u64 = 0x1003;
    let mut base = 0_u64;
    let _ = kernel::raw(linux::__NR_arch_prctl, [ARCH_GET_FS, &raw mut base as u64, 0, 0, 0, 0]);
    base
}

/// What `clone` or `clone3` asks for, or the errno to refuse it with. Makes the new thread's frame.
///
/// # Errors
/// `ENOSYS` for anything but a thread, `EFAULT` for bad pointers, `EINVAL` for impossible flags.
pub fn decode(
    number: i64,
    arguments: &[u64; 6],
    context: &UserContext,
    mask: u64,
) -> Result<Creation, Errno> {
    let (flags, stack, parent_word, child_word, tls);
    if number == kernel::number(linux::__NR_clone) {
        [flags, stack, parent_word, child_word, tls, _] = *arguments;
    } else {
        let mut given = [0_u64; 11];
        let size = (arguments[1] as usize).min(size_of_val(&given));
        if size < 64 {
            return Err(Errno::EINVAL);
        }
        memory::copy_in(arguments[0], given.as_mut_ptr().cast(), size)?;
        flags = given[0];
        child_word = given[2];
        parent_word = given[3];
        stack = given[5].wrapping_add(given[6]);
        tls = given[7];
        if given[8..].iter().any(|&field| field != 0) {
            return Err(Errno::EINVAL);
        }
    }
    let needed = u64::from(linux::CLONE_VM | linux::CLONE_SIGHAND | linux::CLONE_THREAD);
    if flags & needed != needed || stack == 0 {
        return Err(Errno::ENOSYS);
    }
    let tls = if flags & u64::from(linux::CLONE_SETTLS) != 0 { tls } else { fs_base() };
    let frame = resume::make_frame(stack, context, signal::split_mask(mask).0)?;
    Ok(Creation { flags, frame, fs_base: tls, parent_word, child_word, mask })
}
