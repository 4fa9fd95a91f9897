//! The block of local memory behind each OS thread of a replica: its stack in the stub, what the stub keeps
//! about it, and its message buffer.
//!
//! A thread finds its block by its stack pointer: blocks are aligned to their size, and while a thread runs
//! the stub it is on the stack in its block. No register of the program's is needed for that; both segment
//! bases are the program's.
//!
//! Blocks are reused and never unmapped.

use crate::daemon::settings;
use crate::kernel;
use crate::lock::Lock;
use crate::report;
use crate::signal::frame::AlternateStack;
use crate::signal::mask::Copies;
use crate::signal::pending::{Deferred, Taken};
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{Header, PAYLOAD_MAX, SignalNotice};
use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Bytes of a thread's stack in the stub: trap handler, carrier start, deputy. Must hold two signal frames
/// with the largest extended state there is (12 KiB with AMX).
const STACK_SIZE: u64 = 96 << 10;
/// Bytes of the buffer that holds one message with its payload.
const BUFFER_SIZE: u64 = PAYLOAD_MAX as u64 + 4096;
const GUARD_SIZE: u64 = 4096;
const THREAD_SIZE: u64 = 4096;
/// Guard page, stack, this structure, message buffer.
const BLOCK_SIZE: u64 = (GUARD_SIZE + STACK_SIZE + THREAD_SIZE + BUFFER_SIZE).next_power_of_two();

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
    /// A child process in the program's memory: see `child`.
    Child = 4,
}

/// What the stub keeps per OS thread. Only that thread writes the cells.
#[repr(C)]
pub struct Thread {
    /// Address of this structure.
    pub(super) this: Cell<u64>,
    /// See [`Role`].
    role: AtomicU32,
    /// Block in use.
    pub(super) used: AtomicU32,
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
    /// What a child has set to be ignored, and to have its default, as masks: other than the table says.
    pub ignores: Cell<u64>,
    /// See `ignores`.
    pub defaults: Cell<u64>,
    /// The alternate signal stack that the program set.
    pub alternate_stack: Cell<AlternateStack>,
    /// Signals that the program blocks, where the kernel's mask is not the program's (carriers, deputies).
    pub mask: AtomicU64,
    /// Bit of SIGSYS if the program believes that it blocks it.
    pub sigsys_blocked: AtomicU64,
    /// Signals that came when they could not be delivered.
    pub deferred: Deferred,
    /// See [`Copies`].
    pub copies: AtomicU32,
    /// What the program blocks while the call waits that it made with a mask.
    pub waiting_mask: Cell<Option<u64>>,
    /// On a deputy: the signal that the carrier is to take. On a carrier: whether it was interrupted.
    pub taken: Taken,
    /// How many handlers of the program have interrupted the thread at home.
    pub interruptions: Cell<u32>,
    /// What a thread at home waits for that sleeps by processor time.
    pub sleep: Cell<Option<Sleep>>,
    /// What the deputy's last return said of signals.
    pub notice: Cell<SignalNotice>,
    /// Processor time in nanoseconds that the thread used where it does not execute: on a carrier its
    /// deputy's and that of carriers before, as of its last return; at home and on a deputy that of all its
    /// carriers that have ended.
    pub used_elsewhere: AtomicU64,
    /// Odd while a deputy takes over what a carrier used that its thread has left (a sequence lock).
    pub departures: AtomicU32,
    /// The most processor time reported for the thread, in nanoseconds: its clock never goes back.
    pub told: AtomicU64,
    /// The id here of a carrier.
    pub carrier: AtomicU32,
    /// Node on which the thread executes.
    pub node: AtomicU32,
    /// Word of the program that gets the id of a thread when it starts, or 0.
    pub(super) child_word: Cell<u64>,
    /// Nonzero if the thread is to leave this node, and [`LEFT`] from when it does; see `remote::migration`.
    pub leave: AtomicU32,
    /// On a carrier, nonzero while it waits in a call of its own.
    pub waits: AtomicU32,
    /// Handlers of the program that have interrupted the vDSO and have not returned: the code that they
    /// return to is this node's.
    pub in_vdso: Cell<u32>,
    /// The kernel's timer that stops the thread for it, as its id and 1; 0 for none.
    pub stopper: AtomicU32,
    /// Faults resolved by another thread since this one last asked; see `fault`.
    pub learned: Cell<u64>,
    /// Calls forwarded or executed for the other side.
    pub deputy_calls: Cell<u64>,
}

/// What a thread at home waits for that sleeps by processor time.
#[derive(Clone, Copy, Debug)]
pub struct Sleep {
    /// The reading of the clock.
    pub until: u64,
    /// How many handlers had interrupted the thread when it began: one more ends the sleep.
    pub interruptions: u32,
}

/// What [`Thread::leave`] is on a carrier whose thread has left.
pub const LEFT: u32 = 2;

/// All blocks ever made; blocks are reused, never unmapped.
static BLOCKS: AtomicPtr<Thread> = AtomicPtr::new(core::ptr::null_mut());
static BLOCKS_LOCK: Lock = Lock::new();

impl Thread {
    /// The structure of the calling thread, which is in a handler of the stub or started there.
    ///
    /// # Safety
    /// The stack in use must be that of the thread's block.
    pub unsafe fn current() -> &'static Self {
        let stack: u64;
        // SAFETY: only reads a register.
        unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
        let address = (stack & !(BLOCK_SIZE - 1)) + GUARD_SIZE + STACK_SIZE;
        // SAFETY: the stack lies in a block, by the caller's promise, and blocks are aligned to their size,
        // initialized and never unmapped.
        unsafe { &*(address as *const Self) }
    }

    /// What this thread is.
    pub fn role(&self) -> Role {
        match self.role.load(Ordering::Relaxed) {
            0 => Role::Home,
            1 => Role::Carrier,
            2 => Role::Deputy,
            3 => Role::Service,
            _ => Role::Child,
        }
    }

    /// Changes what this thread is.
    pub fn set_role(&self, role: Role) {
        self.role.store(role as u32, Ordering::SeqCst);
    }

    /// First byte after the thread's stub stack.
    pub fn stack_top(&self) -> u64 {
        self.this.get()
    }

    /// The stub stack as the kernel's alternate signal stack.
    pub fn signal_stack(&self) -> AlternateStack {
        AlternateStack { pointer: self.this.get() - STACK_SIZE, flags: 0, padding: 0, size: STACK_SIZE }
    }

    /// The message buffer: a [`Header`] and its payload.
    ///
    /// # Safety
    /// Only for the thread itself, and not while another reference to it is in use.
    #[expect(clippy::mut_from_ref, reason = "the buffer lies beside this structure, and the caller owns it")]
    pub unsafe fn buffer(&self) -> &mut [u8] {
        let start = (self.this.get() + THREAD_SIZE) as *mut u8;
        // SAFETY: the block has these bytes behind this structure; that they are not shared is the caller's
        // promise.
        unsafe { core::slice::from_raw_parts_mut(start, size_of::<Header>() + PAYLOAD_MAX) }
    }

    /// The payload part of the message buffer, [`PAYLOAD_MAX`] bytes.
    ///
    /// # Safety
    /// As [`Self::buffer`].
    #[expect(clippy::mut_from_ref, reason = "as for the whole buffer")]
    pub unsafe fn payload(&self) -> &mut [u8] {
        // SAFETY: the caller's promise.
        unsafe { &mut self.buffer()[size_of::<Header>()..] }
    }

    /// Makes the block the calling thread's own: handlers run on its stack.
    pub fn adopt(&self) {
        let stack = self.signal_stack();
        // SAFETY: the stack in the block becomes the calling thread's own, and lives as long as the process.
        let set = unsafe { kernel::checked(linux::__NR_sigaltstack, [&raw const stack as u64, 0]) };
        if set.is_err() {
            report::fail("the kernel refused a thread its signal stack");
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
    let base = map_aligned()?;
    // SAFETY: the page was just mapped, and nothing refers to it.
    let _ = unsafe { kernel::checked(linux::__NR_mprotect, [base, GUARD_SIZE, 0])? };
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

/// Maps memory for a block at a multiple of its size: twice as much, of which the rest is given back.
fn map_aligned() -> Result<u64, Errno> {
    let mapped = kernel::map_anonymous(2 * BLOCK_SIZE)?;
    let base = mapped.next_multiple_of(BLOCK_SIZE);
    for (start, end) in [(mapped, base), (base + BLOCK_SIZE, mapped + 2 * BLOCK_SIZE)] {
        if start != end {
            // SAFETY: nothing refers to this part of what was just mapped.
            let _ = unsafe { kernel::checked(linux::__NR_munmap, [start, end - start])? };
        }
    }
    Ok(base)
}

/// In a copy of the process: no thread is left but the calling one, which is as one that was just made.
pub fn begin_copy(own: &Thread) {
    BLOCKS_LOCK.free();
    for thread in all() {
        thread.used.store(0, Ordering::Relaxed);
    }
    own.used.store(1, Ordering::Relaxed);
    own.reset(Role::Home);
}

impl Thread {
    fn reset(&self, role: Role) {
        self.set_role(role);
        self.connection.set(-1);
        self.clear_on_exit.set(0);
        self.robust_list.set(0);
        self.ignores.set(0);
        self.defaults.set(0);
        self.alternate_stack.set(AlternateStack::NONE);
        self.deferred.clear();
        self.copies.store(Copies::Made as u32, Ordering::Relaxed);
        self.waiting_mask.set(None);
        self.sleep.set(None);
        self.taken.clear();
        self.notice.set(SignalNotice::None);
        self.mask.store(0, Ordering::Relaxed);
        self.sigsys_blocked.store(0, Ordering::Relaxed);
        self.node.store(u32::from(settings::node()), Ordering::Relaxed);
        self.used_elsewhere.store(0, Ordering::Relaxed);
        self.carrier.store(0, Ordering::Relaxed);
        self.child_word.set(0);
        self.leave.store(0, Ordering::Relaxed);
        self.stopper.store(0, Ordering::Relaxed);
        self.waits.store(0, Ordering::Relaxed);
        self.told.store(0, Ordering::Relaxed);
        self.in_vdso.set(0);
        self.deputy_calls.set(0);
        self.learned.set(0);
    }
}
