//! The program's memory as the stub reaches it: safe copies, and the memory calls that change its layout.

use crate::daemon::requests::{self, CONFIGURATION};
use crate::kernel;
use crate::lock::Lock;
use banyan_sys::raw::Errno;
use banyan_wire::layout::{PAGE_SIZE, in_program};
use banyan_wire::stub::{ActionKind, Record, Refusal, RequestKind};
use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Held over a whole memory call: question, kernel operations, follow-up questions.
pub static LOCK: Lock = Lock::new();

// The one place where the stub's own instructions touch program memory. A SIGSEGV or SIGBUS at `..._access` is
// sent to `..._failed` by the fault handler; userfaultfd faults just wait.
global_asm!(
    ".globl banyan_copy_access",
    ".globl banyan_copy_failed",
    "banyan_copy:",
    "mov rcx, rdx",
    "banyan_copy_access:",
    "rep movsb",
    "banyan_copy_failed:",
    "mov rax, rcx",
    "ret",
    ".globl banyan_probe_access",
    ".globl banyan_probe_failed",
    "banyan_probe:",
    "mov rcx, 1",
    "banyan_probe_access:",
    "lock or byte ptr [rdi], 0",
    "xor ecx, ecx",
    "banyan_probe_failed:",
    "mov rax, rcx",
    "ret",
);
unsafe extern "C" {
    static banyan_copy_access: u8;
    static banyan_copy_failed: u8;
    static banyan_probe_access: u8;
    static banyan_probe_failed: u8;
}

/// Where the handler of memory faults continues if the interrupted instruction is a copy's or a probe's.
pub fn fault_continuation(instruction: u64) -> Option<u64> {
    if instruction == &raw const banyan_copy_access as u64 {
        Some(&raw const banyan_copy_failed as u64)
    } else if instruction == &raw const banyan_probe_access as u64 {
        Some(&raw const banyan_probe_failed as u64)
    } else {
        None
    }
}

/// Finds out whether a byte of program memory can be written, without changing it.
///
/// # Errors
/// `EFAULT` if it cannot.
pub fn probe_writable(at: u64) -> Result<(), Errno> {
    if !in_program(at) {
        return Err(Errno::EFAULT);
    }
    let failed: u64;
    // SAFETY: an atomic or with zero changes nothing; a bad address ends it through the fault handler.
    unsafe { asm!("call banyan_probe", in("rdi") at, lateout("rax") failed, lateout("rcx") _) };
    if failed == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies bytes, one side of which is program memory. Returns how many were *not* copied because of a fault.
fn copy(to: u64, from: u64, length: usize) -> u64 {
    let left: u64;
    // SAFETY: the callers give one side that is the stub's own buffer of that length; the other side is program
    // memory, no Rust object, and a bad address ends the copy through the fault handler.
    unsafe {
        asm!(
            "call banyan_copy",
            in("rdi") to, in("rsi") from, in("rdx") length,
            lateout("rax") left, lateout("rcx") _, lateout("rdi") _, lateout("rsi") _,
        );
    }
    left
}

/// Copies from program memory into a buffer of the stub.
///
/// # Errors
/// `EFAULT` if the program has no readable memory there.
pub fn copy_in(from: u64, to: *mut u8, length: usize) -> Result<(), Errno> {
    if length != 0 && !in_program(from) {
        return Err(Errno::EFAULT);
    }
    if copy(to as u64, from, length) == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies from a buffer of the stub into program memory.
///
/// # Errors
/// `EFAULT` if the program has no writable memory there.
pub fn copy_out(to: u64, from: *const u8, length: usize) -> Result<(), Errno> {
    if length != 0 && !in_program(to) {
        return Err(Errno::EFAULT);
    }
    if copy(to, from as u64, length) == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies a string that ends with zero; returns its length with the zero.
///
/// # Errors
/// `EFAULT`; `ENAMETOOLONG` (36) if there is no zero in `room` bytes.
///
/// # Safety
/// `to` points to `room` bytes of the stub that nobody else uses.
pub unsafe fn copy_string_in(from: u64, to: *mut u8, room: usize) -> Result<usize, Errno> {
    let mut done = 0;
    while done < room {
        let at = from.wrapping_add(done as u64);
        let piece = (PAGE_SIZE - at % PAGE_SIZE).min((room - done) as u64) as usize;
        copy_in(at, to.wrapping_add(done), piece)?;
        for index in done..done + piece {
            // SAFETY: the copy above filled the buffer up to here.
            if unsafe { to.add(index).read() } == 0 {
                return Ok(index + 1);
            }
        }
        done += piece;
    }
    Err(Errno(36))
}

/// Stores an aligned word of program memory, in one piece: other threads may be waiting on it.
///
/// # Errors
/// `EFAULT`.
pub fn store_u32(to: u64, value: u32) -> Result<(), Errno> {
    let mut probe = 0_u32;
    if !to.is_multiple_of(4) {
        return copy_out(to, (&raw const value).cast(), 4);
    }
    copy_in(to, (&raw mut probe).cast(), 4)?;
    // SAFETY: the word is aligned and was readable just now; the program gave it to be written by the kernel.
    // Atomics are how program memory may be touched.
    unsafe { core::sync::atomic::AtomicU32::from_ptr(to as *mut u32) }.store(value, Ordering::Release);
    Ok(())
}

/// Loads a word of program memory.
///
/// # Errors
/// `EFAULT`.
pub fn load_u64(from: u64) -> Result<u64, Errno> {
    let mut value = 0_u64;
    copy_in(from, (&raw mut value).cast(), 8)?;
    Ok(value)
}

/// Compares and exchanges a word of program memory; returns what was there.
///
/// # Errors
/// `EFAULT` if the word is unaligned or outside program memory.
fn exchange_u32(at: u64, expected: u32, new: u32) -> Result<u32, Errno> {
    let mut probe = 0_u32;
    if !at.is_multiple_of(4) {
        return Err(Errno::EFAULT);
    }
    copy_in(at, (&raw mut probe).cast(), 4)?;
    // SAFETY: the word is aligned and was readable just now; it belongs to a lock that a live thread of the
    // program shares, so it stays mapped. Atomics are how program memory may be touched.
    let word = unsafe { core::sync::atomic::AtomicU32::from_ptr(at as *mut u32) };
    Ok(match word.compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(old) | Err(old) => old,
    })
}

/// Does what the kernel does with the robust list of a thread that ends (kernel/futex/core.c,
/// `exit_robust_list`): marks each lock that it still owns as owner-died and wakes one waiter.
pub fn walk_robust_list(head: u64, thread_id: u32) {
    const OWNER_DIED: u32 = 0x4000_0000;
    const WAITERS: u32 = 0x8000_0000;
    const TID_MASK: u32 = 0x3fff_ffff;
    /// The kernel's `ROBUST_LIST_LIMIT`: the list may be a circle that misses the head.
    const LIMIT: usize = 2048;
    if head == 0 {
        return;
    }
    let (Ok(mut entry), Ok(offset), Ok(pending)) = (load_u64(head), load_u64(head + 8), load_u64(head + 16))
    else {
        return;
    };
    let release = |entry: u64| {
        let word = (entry & !1).wrapping_add(offset);
        let mut value = 0_u32;
        if copy_in(word, (&raw mut value).cast(), 4).is_err() {
            return;
        }
        while value & TID_MASK == thread_id {
            match exchange_u32(word, value, (value & WAITERS) | OWNER_DIED) {
                Ok(old) if old == value => {
                    if value & WAITERS != 0 {
                        kernel::futex_wake(word);
                    }
                    return;
                }
                Ok(old) => value = old,
                Err(_) => return,
            }
        }
    };
    for _ in 0..LIMIT {
        if entry & !1 == head {
            break;
        }
        let next = load_u64(entry & !1);
        if entry & !1 != pending & !1 {
            release(entry);
        }
        match next {
            Ok(next) => entry = next,
            Err(_) => break,
        }
    }
    if pending & !1 != 0 {
        release(pending);
    }
}

/// Performs a memory call of a thread that executes on `node`; runs at home. Returns the call's result.
pub fn call(number: i64, arguments: &[u64; 6], node: u32) -> i64 {
    if number == kernel::number(linux::__NR_mmap)
        && let Err(error) = check_file(arguments)
    {
        return error.negated();
    }
    let mut values = [0; 8];
    values[0] = number as u64;
    values[1..7].copy_from_slice(arguments);
    values[7] = u64::from(node);
    let _guard = LOCK.lock();
    let answer = requests::request(RequestKind::Memory, values);
    let alone = CONFIGURATION.nodes.load(Ordering::Relaxed) == 1;
    let backing = if alone { Backing::Private } else { Backing::MemoryFile };
    match perform(&answer, arguments[4] as i32, backing) {
        Ok(()) => answer.result,
        Err(error) => error.negated(),
    }
}

/// What the kernel checks of a file before it maps it. Shared mappings that can be written are refused.
fn check_file(arguments: &[u64; 6]) -> Result<(), Errno> {
    let [_, _, protection, flags, descriptor, _] = *arguments;
    if flags & u64::from(linux::MAP_ANONYMOUS) != 0 {
        return Ok(());
    }
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut status: linux::stat = unsafe { core::mem::zeroed() };
    let _ = kernel::checked(linux::__NR_fstat, [descriptor, &raw mut status as u64, 0, 0, 0, 0])?;
    const KIND: u32 = 0o170_000;
    if status.st_mode & KIND != 0o100_000 {
        return Err(Errno::ENODEV);
    }
    let writable = protection & 2 != 0;
    if flags & 0xf != 2 && writable {
        let _ =
            requests::request(RequestKind::Refused, [9, Refusal::SharedFileMapping as u64, 0, 0, 0, 0, 0, 0]);
        return Err(Errno::ENODEV);
    }
    Ok(())
}

/// What is behind new mappings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// The memory file, which the daemon reads and writes.
    MemoryFile,
    /// Private memory, whose first touches cost half as much: for a process that has no other node.
    Private,
}

/// Performs the kernel operations that the daemon listed.
///
/// # Errors
/// The kernel's; the mapping may then be there in part, as after a failed call of the kernel's own.
pub fn perform(record: &Record, descriptor: i32, backing: Backing) -> Result<(), Errno> {
    for action in record.actions() {
        let (address, length) = (action.address, action.length);
        match ActionKind::from_number(action.kind) {
            Some(ActionKind::Reserve) => reserve(address, length, backing)?,
            // What nobody else can ask for need not be registered.
            Some(ActionKind::Confirm) if backing == Backing::Private => {}
            Some(ActionKind::Confirm) => {
                let _ = requests::request(RequestKind::Confirm, [address, length, 0, 0, 0, 0, 0, 0]);
            }
            Some(ActionKind::Discard) => {
                let _ = requests::request(RequestKind::Discard, [address, length, 0, 0, 0, 0, 0, 0]);
            }
            Some(ActionKind::Protect) => {
                let _ = kernel::checked(linux::__NR_mprotect, [address, length, action.extra, 0, 0, 0])?;
            }
            Some(ActionKind::Unmap) => {
                let _ = kernel::checked(linux::__NR_munmap, [address, length, 0, 0, 0, 0])?;
            }
            Some(ActionKind::Punch) => {
                punch(address, length)?;
                if backing == Backing::Private {
                    const DONTNEED: u64 = linux::MADV_DONTNEED as u64;
                    // Nothing may be mapped there.
                    let _ = kernel::raw(linux::__NR_madvise, [address, length, DONTNEED, 0, 0, 0]);
                }
            }
            Some(ActionKind::ReadFile) => read_file(descriptor, address, length, action.extra)?,
            Some(ActionKind::Copy) => {
                if copy(address, action.extra, length as usize) != 0 {
                    return Err(Errno::EFAULT);
                }
            }
            None => return Err(Errno::EINVAL),
        }
    }
    Ok(())
}

/// Maps memory without rights; the memory file at its own address: nobody can touch it before it is registered.
fn reserve(address: u64, length: u64, backing: Backing) -> Result<(), Errno> {
    const COMMON: u32 = linux::MAP_FIXED | linux::MAP_NORESERVE;
    let memory = CONFIGURATION.memory.load(Ordering::Relaxed) as u64;
    let (flags, descriptor, offset) = match backing {
        Backing::MemoryFile => (COMMON | linux::MAP_SHARED, memory, address),
        Backing::Private => (COMMON | linux::MAP_PRIVATE | linux::MAP_ANONYMOUS, u64::MAX, 0),
    };
    kernel::checked(linux::__NR_mmap, [address, length, 0, u64::from(flags), descriptor, offset]).map(drop)
}

fn punch(address: u64, length: u64) -> Result<(), Errno> {
    /// FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    const PUNCH_HOLE: u64 = 3;
    let memory = CONFIGURATION.memory.load(Ordering::Relaxed) as u64;
    kernel::checked(linux::__NR_fallocate, [memory, PUNCH_HOLE, address, length, 0, 0]).map(drop)
}

fn read_file(descriptor: i32, address: u64, length: u64, offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < length {
        let arguments = [descriptor as u64, address + done, length - done, offset + done, 0, 0];
        match kernel::checked(linux::__NR_pread64, arguments) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
