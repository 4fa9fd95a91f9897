//! The vDSO that the program sees (vdso(7)): a small ELF image within the stub (`image`), at the same
//! address on every node, whose functions jump to those of the local kernel's own vDSO. The kernel's lies
//! elsewhere in every replica and reads pages that the kernel writes, so its address must not get into the
//! program's memory.
//!
//! `getrandom` says that it is not served, so that callers make the system call: the kernel's keeps a state
//! in memory that is of one machine.

use super::image::{
    DT_NULL, DT_STRTAB, DT_SYMTAB, Dynamic, Header, IMAGE, NAMES, ProgramHeader, Symbol, Word,
};
use crate::memory::copy::{self, ProgramAddress};
use banyan_sys::raw::Errno;
use core::arch::global_asm;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::elf::{PT_DYNAMIC, PT_LOAD};
use linux_raw_sys::{auxvec, general as linux};

const AT_NULL: u64 = auxvec::AT_NULL as u64;
/// Where the vDSO's image is (getauxval(3)).
const AT_SYSINFO_EHDR: u64 = auxvec::AT_SYSINFO_EHDR as u64;

/// Functions that are the kernel's: the first of the names.
const KERNELS: usize = 5;
/// Where each function jumps: the kernel's, or the system call if the kernel has none.
static TARGETS: [AtomicU64; KERNELS] = [const { AtomicU64::new(0) }; KERNELS];
/// The kernel's image, to know a thread that is in it.
static KERNELS_START: AtomicU64 = AtomicU64::new(0);
static KERNELS_END: AtomicU64 = AtomicU64::new(0);

global_asm!(
    ".globl banyan_vdso_start",
    ".globl banyan_vdso_end",
    ".globl banyan_processor_clock_called",
    "banyan_vdso_start:",
    // The kernel makes a system call for a clock of processor time; here the trap makes it.
    "banyan_vdso_clock_gettime: lea eax, [rdi - {process_clock}]",
    "cmp eax, 1",
    "jbe banyan_call_processor_clock",
    "test edi, edi",
    "js banyan_call_processor_clock",
    "jmp [rip + {targets}]",
    "banyan_vdso_gettimeofday: jmp [rip + {targets} + 8]",
    "banyan_vdso_time: jmp [rip + {targets} + 16]",
    // It asks the kernel whether there is a process or a thread of a clock: at home there is.
    "banyan_vdso_clock_getres: test edi, edi",
    "js 2f",
    "jmp [rip + {targets} + 24]",
    "2: mov eax, {clock_getres}",
    "jmp 3f",
    "banyan_vdso_getcpu: jmp [rip + {targets} + 32]",
    "banyan_vdso_getrandom: mov rax, -{enosys}",
    "ret",
    "banyan_call_processor_clock: mov eax, {clock_gettime}",
    "3: syscall",
    "banyan_processor_clock_called: ret",
    "banyan_call_clock_gettime: mov eax, {clock_gettime}",
    "syscall",
    "ret",
    "banyan_call_gettimeofday: mov eax, {gettimeofday}",
    "syscall",
    "ret",
    "banyan_call_time: mov eax, {time}",
    "syscall",
    "ret",
    "banyan_call_clock_getres: mov eax, {clock_getres}",
    "syscall",
    "ret",
    "banyan_call_getcpu: mov eax, {getcpu}",
    "syscall",
    "ret",
    "banyan_vdso_end:",
    targets = sym TARGETS,
    process_clock = const linux::CLOCK_PROCESS_CPUTIME_ID,
    clock_gettime = const linux::__NR_clock_gettime,
    gettimeofday = const linux::__NR_gettimeofday,
    time = const linux::__NR_time,
    clock_getres = const linux::__NR_clock_getres,
    getcpu = const linux::__NR_getcpu,
    enosys = const linux_raw_sys::errno::ENOSYS,
);
unsafe extern "C" {
    static banyan_vdso_start: u8;
    static banyan_vdso_end: u8;
    pub(super) static banyan_vdso_clock_gettime: u8;
    pub(super) static banyan_vdso_gettimeofday: u8;
    pub(super) static banyan_vdso_time: u8;
    pub(super) static banyan_vdso_clock_getres: u8;
    pub(super) static banyan_vdso_getcpu: u8;
    pub(super) static banyan_vdso_getrandom: u8;
    static banyan_processor_clock_called: u8;
    static banyan_call_clock_gettime: u8;
    static banyan_call_gettimeofday: u8;
    static banyan_call_time: u8;
    static banyan_call_clock_getres: u8;
    static banyan_call_getcpu: u8;
}

/// Where a thread is whose call for a clock of processor time is trapped as the program's own are.
pub fn processor_clock_called() -> u64 {
    &raw const banyan_processor_clock_called as u64
}

/// Finds the kernel's functions. `stack` is where the kernel put the stub's own arguments at its start.
///
/// # Safety
/// `stack` must be the stack pointer with which the kernel entered the stub.
pub unsafe fn find_kernels(stack: *const u64) {
    let calls = [
        &raw const banyan_call_clock_gettime,
        &raw const banyan_call_gettimeofday,
        &raw const banyan_call_time,
        &raw const banyan_call_clock_getres,
        &raw const banyan_call_getcpu,
    ];
    for (target, call) in TARGETS.iter().zip(calls) {
        target.store(call as u64, Ordering::Relaxed);
    }
    // SAFETY: the kernel ends arguments, environment and vector as `auxiliary` expects, and its vDSO is
    // well-formed.
    unsafe {
        let Some(entry) = auxiliary(|at| Ok(stack.add(at).read()), AT_SYSINFO_EHDR) else { return };
        let header = stack.add(entry).read() as *const Header;
        if !header.is_null() {
            read_kernels(header);
        }
    }
}

/// # Safety
/// `header` must be the kernel's vDSO.
#[expect(
    clippy::cast_ptr_alignment,
    reason = "the image is page-aligned, and its tables are aligned within it"
)]
unsafe fn read_kernels(header: *const Header) {
    let base = header.cast::<u8>();
    // SAFETY: the caller's promise; all addresses stay within the image, as its own tables say.
    unsafe {
        let programs = base.add((*header).program_headers as usize).cast::<ProgramHeader>();
        let programs = core::slice::from_raw_parts(programs, usize::from((*header).program_header_count));
        let Some(load) = programs.iter().find(|program| program.kind == PT_LOAD) else { return };
        let Some(dynamic) = programs.iter().find(|program| program.kind == PT_DYNAMIC) else { return };
        let at = |word: Word| base.add(word as usize - load.virtual_address as usize);
        let mut entry = at(dynamic.virtual_address).cast::<Dynamic>();
        let (mut strings, mut symbols) = (None, None);
        while (*entry).tag != DT_NULL {
            match (*entry).tag {
                DT_STRTAB => strings = Some(at((*entry).value)),
                DT_SYMTAB => symbols = Some(at((*entry).value).cast::<Symbol>()),
                _ => {}
            }
            entry = entry.add(1);
        }
        let (Some(strings), Some(symbols)) = (strings, symbols) else { return };
        // Linkers put the names behind the symbols; the hash tables, of which there are two kinds, are not
        // needed.
        let count = (strings as usize).saturating_sub(symbols as usize) / size_of::<Symbol>();
        for symbol in core::slice::from_raw_parts(symbols, count) {
            let name = strings.add(symbol.name as usize);
            // Ends at the first difference, which is at the end of the name at the latest.
            let is = |known: &CStr| {
                known.to_bytes_with_nul().iter().enumerate().all(|(at, byte)| name.add(at).read() == *byte)
            };
            if let Some(index) = NAMES[..KERNELS].iter().position(|known| is(known))
                && symbol.section != 0
            {
                TARGETS[index].store(at(symbol.value) as u64, Ordering::Relaxed);
            }
        }
        KERNELS_START.store(base as u64, Ordering::Relaxed);
        KERNELS_END.store(base.add(load.memory_size as usize) as u64, Ordering::Relaxed);
    }
}

/// Tells the program where its vDSO is: writes the address into the vector on its first stack.
///
/// # Errors
/// `EFAULT` if `stack` is not the program's first stack.
pub fn announce(stack: u64) -> Result<(), Errno> {
    let Some(entry) = auxiliary(|at| copy::load(ProgramAddress(stack).add(at as u64 * 8)), AT_SYSINFO_EHDR)
    else {
        return Err(Errno::EFAULT);
    };
    let image = &raw const IMAGE as u64;
    copy::store(ProgramAddress(stack).add(entry as u64 * 8), &image)
}

/// The index of the auxiliary vector, in words from the bottom of a first stack: the count of arguments, the
/// arguments, a zero, the environment, a zero, and the vector's pairs of key and value.
pub fn vector(word: impl Fn(usize) -> Result<u64, Errno>) -> Option<usize> {
    let mut at = 1 + word(0).ok()? as usize + 1;
    while word(at).ok()? != 0 {
        at += 1;
    }
    Some(at + 1)
}

/// The index of a value of the auxiliary vector, as [`vector`].
pub fn auxiliary(word: impl Fn(usize) -> Result<u64, Errno>, wanted: u64) -> Option<usize> {
    let mut at = vector(&word)?;
    loop {
        match word(at).ok()? {
            key if key == wanted => return Some(at + 1),
            AT_NULL => return None,
            _ => at += 2,
        }
    }
}

/// Whether code at `instruction` belongs to this vDSO or the kernel's: a thread there runs for the program.
pub fn contains(instruction: u64) -> bool {
    let own = &raw const banyan_vdso_start as u64..&raw const banyan_vdso_end as u64;
    let kernels = KERNELS_START.load(Ordering::Relaxed)..KERNELS_END.load(Ordering::Relaxed);
    own.contains(&instruction) || kernels.contains(&instruction)
}
