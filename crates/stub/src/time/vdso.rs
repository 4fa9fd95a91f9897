//! The vDSO that the program sees (vdso(7)): a small ELF image within the stub, at the same address on every
//! node, whose functions jump to those of the local kernel's own vDSO. The kernel's lies elsewhere in every
//! replica and reads pages that the kernel writes, so its address must not get into the program's memory.
//!
//! Only clocks are here. `getcpu` is left out, so that the C library asks for it by a system call.

use crate::memory::copy::{self, ProgramAddress};
use banyan_sys::raw::Errno;
use core::arch::global_asm;
use core::ffi::CStr;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::elf::{self, PF_R, PT_DYNAMIC, PT_LOAD};
use linux_raw_sys::{auxvec, general as linux};

const AT_NULL: u64 = auxvec::AT_NULL as u64;
/// Where the vDSO's image is (getauxval(3)).
const AT_SYSINFO_EHDR: u64 = auxvec::AT_SYSINFO_EHDR as u64;

const FUNCTIONS: usize = 4;
const NAMES: [&CStr; FUNCTIONS] =
    [c"__vdso_clock_gettime", c"__vdso_gettimeofday", c"__vdso_time", c"__vdso_clock_getres"];

/// Where each function jumps: the kernel's, or the system call if the kernel has none.
static TARGETS: [AtomicU64; FUNCTIONS] = [const { AtomicU64::new(0) }; FUNCTIONS];
/// The kernel's image, to know a thread that is in it.
static KERNELS_START: AtomicU64 = AtomicU64::new(0);
static KERNELS_END: AtomicU64 = AtomicU64::new(0);

global_asm!(
    ".globl banyan_vdso_start",
    ".globl banyan_vdso_end",
    "banyan_vdso_start:",
    "banyan_vdso_clock_gettime: jmp [rip + {targets}]",
    "banyan_vdso_gettimeofday: jmp [rip + {targets} + 8]",
    "banyan_vdso_time: jmp [rip + {targets} + 16]",
    "banyan_vdso_clock_getres: jmp [rip + {targets} + 24]",
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
    "banyan_vdso_end:",
    targets = sym TARGETS,
    clock_gettime = const linux::__NR_clock_gettime,
    gettimeofday = const linux::__NR_gettimeofday,
    time = const linux::__NR_time,
    clock_getres = const linux::__NR_clock_getres,
);
unsafe extern "C" {
    static banyan_vdso_start: u8;
    static banyan_vdso_end: u8;
    static banyan_vdso_clock_gettime: u8;
    static banyan_vdso_gettimeofday: u8;
    static banyan_vdso_time: u8;
    static banyan_vdso_clock_getres: u8;
    static banyan_call_clock_gettime: u8;
    static banyan_call_gettimeofday: u8;
    static banyan_call_time: u8;
    static banyan_call_clock_getres: u8;
}

/// A word that is an address or a number, so that the linker can fill in addresses.
type Word = *const u8;

const fn number(value: usize) -> Word {
    ptr::without_provenance(value)
}

/// `Elf64_Ehdr`, as far as it matters here.
#[repr(C)]
struct Header {
    identification: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    program_headers: u64,
    section_headers: u64,
    flags: u32,
    header_size: u16,
    program_header_size: u16,
    program_header_count: u16,
    section: [u16; 3],
}

/// `Elf64_Phdr`.
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    virtual_address: Word,
    physical_address: Word,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

/// `Elf64_Sym`.
#[repr(C)]
struct Symbol {
    name: u32,
    information: u8,
    other: u8,
    section: u16,
    value: Word,
    size: u64,
}

/// `Elf64_Dyn`.
#[repr(C)]
struct Dynamic {
    tag: u64,
    value: Word,
}

const STRINGS_BYTES: usize = 128;
const SONAME: &CStr = c"linux-vdso.so.1";

#[repr(C)]
struct Image {
    header: Header,
    program_headers: [ProgramHeader; 2],
    dynamic: [Dynamic; 7],
    symbols: [Symbol; FUNCTIONS + 1],
    /// `DT_HASH` of one bucket: counts, the bucket, and each symbol's successor.
    hash: [u32; 2 + 1 + FUNCTIONS + 1],
    strings: [u8; STRINGS_BYTES],
}

// SAFETY: it is never written.
unsafe impl Sync for Image {}

const DT_NULL: u64 = elf::DT_NULL as u64;
const DT_HASH: u64 = elf::DT_HASH as u64;
const DT_STRTAB: u64 = elf::DT_STRTAB as u64;
const DT_SYMTAB: u64 = elf::DT_SYMTAB as u64;
const DT_SYMENT: u64 = elf::DT_SYMENT as u64;
/// The two entries that linux-raw-sys does not name (elf(5)).
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const READ_EXECUTE: u32 = PF_R | elf::PF_X;

/// The names one after another, behind an empty one, and where each begins.
const fn strings() -> ([u8; STRINGS_BYTES], [u32; FUNCTIONS + 1]) {
    let (mut strings, mut starts) = ([0; STRINGS_BYTES], [0; FUNCTIONS + 1]);
    let (mut at, mut name) = (1, 0);
    while name <= FUNCTIONS {
        let bytes = if name < FUNCTIONS { NAMES[name].to_bytes() } else { SONAME.to_bytes() };
        starts[name] = at as u32;
        let mut byte = 0;
        while byte < bytes.len() {
            strings[at + byte] = bytes[byte];
            byte += 1;
        }
        at += bytes.len() + 1;
        name += 1;
    }
    (strings, starts)
}

const fn symbol(name: usize, value: Word) -> Symbol {
    /// `STB_GLOBAL`, `STT_FUNC`.
    const GLOBAL_FUNCTION: u8 = 1 << 4 | 2;
    // Any section but none: the addresses are absolute, and the image is loaded where it says.
    Symbol { name: strings().1[name], information: GLOBAL_FUNCTION, other: 0, section: 1, value, size: 16 }
}

const fn segment(kind: u32, flags: u32, offset: usize, size: usize) -> ProgramHeader {
    let address = (&raw const IMAGE).cast::<u8>().wrapping_add(offset);
    ProgramHeader {
        kind,
        flags,
        offset: offset as u64,
        virtual_address: address,
        physical_address: address,
        file_size: size as u64,
        memory_size: size as u64,
        align: 8,
    }
}

// Among the data, since a segment of its own for what the linker fills in would cost a page.
#[unsafe(link_section = ".data")]
static IMAGE: Image = Image {
    header: Header {
        identification: [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        kind: 3,
        machine: elf::EM_CURRENT,
        version: 1,
        entry: 0,
        program_headers: offset_of!(Image, program_headers) as u64,
        section_headers: 0,
        flags: 0,
        header_size: size_of::<Header>() as u16,
        program_header_size: size_of::<ProgramHeader>() as u16,
        program_header_count: 2,
        section: [64, 0, 0],
    },
    program_headers: [
        segment(PT_LOAD, READ_EXECUTE, 0, size_of::<Image>()),
        segment(PT_DYNAMIC, PF_R, offset_of!(Image, dynamic), size_of::<[Dynamic; 7]>()),
    ],
    dynamic: [
        Dynamic { tag: DT_SONAME, value: number(strings().1[FUNCTIONS] as usize) },
        Dynamic { tag: DT_HASH, value: (&raw const IMAGE.hash).cast() },
        Dynamic { tag: DT_STRTAB, value: (&raw const IMAGE.strings).cast() },
        Dynamic { tag: DT_SYMTAB, value: (&raw const IMAGE.symbols).cast() },
        Dynamic { tag: DT_STRSZ, value: number(STRINGS_BYTES) },
        Dynamic { tag: DT_SYMENT, value: number(size_of::<Symbol>()) },
        Dynamic { tag: DT_NULL, value: number(0) },
    ],
    symbols: [
        Symbol { name: 0, information: 0, other: 0, section: 0, value: number(0), size: 0 },
        symbol(0, &raw const banyan_vdso_clock_gettime),
        symbol(1, &raw const banyan_vdso_gettimeofday),
        symbol(2, &raw const banyan_vdso_time),
        symbol(3, &raw const banyan_vdso_clock_getres),
    ],
    hash: [1, FUNCTIONS as u32 + 1, 1, 0, 2, 3, 4, 0],
    strings: strings().0,
};

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
            if let Some(index) = NAMES.iter().position(|known| is(known))
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

/// The index of a value of the auxiliary vector, in words from the bottom of a first stack: the count of
/// arguments, the arguments, a zero, the environment, a zero, and the vector's pairs of key and value.
fn auxiliary(word: impl Fn(usize) -> Result<u64, Errno>, wanted: u64) -> Option<usize> {
    let mut at = 1 + word(0).ok()? as usize + 1;
    while word(at).ok()? != 0 {
        at += 1;
    }
    at += 1;
    loop {
        match word(at).ok()? {
            AT_NULL => return None,
            key if key == wanted => return Some(at + 1),
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
