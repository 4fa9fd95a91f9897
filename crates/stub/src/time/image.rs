//! The ELF image of the vDSO that the program sees: what the kernel's own has for those who look functions up
//! in it, entry by entry, both hash tables and versions included.
//!
//! Not here: section headers, notes and unwind tables, for nothing looks functions up by them; the code
//! (`vdso`).

use super::vdso::{
    banyan_vdso_clock_getres, banyan_vdso_clock_gettime, banyan_vdso_getcpu, banyan_vdso_getrandom,
    banyan_vdso_gettimeofday, banyan_vdso_time,
};
use core::ffi::CStr;
use core::mem::offset_of;
use core::ptr;
use linux_raw_sys::elf::{self, PF_R, PT_DYNAMIC, PT_LOAD};

/// The functions, each with the name that the C library asks for, which a weak one without `__vdso_` follows.
pub(super) const NAMES: [&CStr; FUNCTIONS] = [
    c"__vdso_clock_gettime",
    c"__vdso_gettimeofday",
    c"__vdso_time",
    c"__vdso_clock_getres",
    c"__vdso_getcpu",
    c"__vdso_getrandom",
];
pub(super) const FUNCTIONS: usize = 6;
const PREFIX_BYTES: usize = "__vdso_".len();
const SONAME: &CStr = c"linux-vdso.so.1";
/// Version of every function.
const VERSION: &CStr = c"LINUX_2.6";
const SYMBOLS: usize = 1 + 2 * FUNCTIONS + 1;

/// A word that is an address or a number, so that the linker can fill in addresses.
pub(crate) type Word = *const u8;

const fn number(value: usize) -> Word {
    ptr::without_provenance(value)
}

/// `Elf64_Ehdr`, as far as it matters here.
#[repr(C)]
pub(crate) struct Header {
    identification: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    pub(crate) program_headers: u64,
    section_headers: u64,
    flags: u32,
    header_size: u16,
    program_header_size: u16,
    pub(crate) program_header_count: u16,
    section: [u16; 3],
}

/// `Elf64_Phdr`.
#[repr(C)]
pub(crate) struct ProgramHeader {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    offset: u64,
    pub(crate) virtual_address: Word,
    physical_address: Word,
    file_size: u64,
    pub(crate) memory_size: u64,
    align: u64,
}

/// `Elf64_Sym`.
#[repr(C)]
pub(super) struct Symbol {
    pub(super) name: u32,
    information: u8,
    other: u8,
    pub(super) section: u16,
    pub(super) value: Word,
    size: u64,
}

/// `Elf64_Dyn`.
#[repr(C)]
pub(super) struct Dynamic {
    pub(super) tag: u64,
    pub(super) value: Word,
}

/// `Elf64_Verdef` and the one `Elf64_Verdaux` of it.
#[repr(C)]
struct VersionDefinition {
    revision: u16,
    flags: u16,
    index: u16,
    names: u16,
    hash: u32,
    first_name: u32,
    next: u32,
    name: u32,
    next_name: u32,
}

/// `DT_HASH` of one bucket: counts, the bucket, and each symbol's successor.
#[repr(C)]
struct Hash {
    buckets: u32,
    symbols: u32,
    first: u32,
    successors: [u32; SYMBOLS],
}

/// `DT_GNU_HASH` of one bucket and a filter that lets everything pass.
#[repr(C)]
struct GnuHash {
    buckets: u32,
    first_symbol: u32,
    filter_words: u32,
    filter_shift: u32,
    filter: u64,
    first: u32,
    /// Hash of each symbol but the first; the lowest bit marks the last.
    hashes: [u32; SYMBOLS - 1],
}

const STRINGS_BYTES: usize = 160;
const DYNAMICS: usize = 14;

#[repr(C)]
pub(super) struct Image {
    header: Header,
    program_headers: [ProgramHeader; 2],
    dynamic: [Dynamic; DYNAMICS],
    symbols: [Symbol; SYMBOLS],
    gnu_hash: GnuHash,
    hash: Hash,
    definitions: [VersionDefinition; 2],
    versions: [u16; SYMBOLS],
    strings: [u8; STRINGS_BYTES],
}

// SAFETY: it is never written.
unsafe impl Sync for Image {}

pub(super) const DT_NULL: u64 = elf::DT_NULL as u64;
pub(super) const DT_STRTAB: u64 = elf::DT_STRTAB as u64;
pub(super) const DT_SYMTAB: u64 = elf::DT_SYMTAB as u64;
const DT_HASH: u64 = elf::DT_HASH as u64;
const DT_GNU_HASH: u64 = elf::DT_GNU_HASH as u64;
const DT_SYMENT: u64 = elf::DT_SYMENT as u64;
const DT_VERDEF: u64 = elf::DT_VERDEF as u64;
const DT_VERSYM: u64 = elf::DT_VERSYM as u64;
/// The entries that linux-raw-sys does not name (elf(5), and glibc's elf.h).
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_SYMBOLIC: u64 = 16;
const DT_FLAGS: u64 = 30;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
/// `DF_SYMBOLIC`, `DF_BIND_NOW`; and `DF_1_NOW`.
const FLAGS: usize = 2 | 8;
const FLAGS_1: usize = 1;
const READ_EXECUTE: u32 = PF_R | elf::PF_X;

/// Indices of the versions: of the image itself (`VER_NDX_GLOBAL`), and of its functions.
const BASE_INDEX: u16 = 1;
const VERSION_INDEX: u16 = 2;

const STRINGS: Strings = strings();

struct Strings {
    bytes: [u8; STRINGS_BYTES],
    functions: [usize; FUNCTIONS],
    soname: usize,
    version: usize,
}

/// The names one after another, behind an empty one, and where each begins.
const fn strings() -> Strings {
    let mut strings = Strings { bytes: [0; STRINGS_BYTES], functions: [0; FUNCTIONS], soname: 0, version: 0 };
    let (mut at, mut name) = (1, 0);
    while name < FUNCTIONS + 2 {
        let string = match name {
            FUNCTIONS => SONAME,
            _ if name < FUNCTIONS => NAMES[name],
            _ => VERSION,
        };
        match name {
            FUNCTIONS => strings.soname = at,
            _ if name < FUNCTIONS => strings.functions[name] = at,
            _ => strings.version = at,
        }
        let (bytes, mut byte) = (string.to_bytes(), 0);
        while byte < bytes.len() {
            strings.bytes[at + byte] = bytes[byte];
            byte += 1;
        }
        at += bytes.len() + 1;
        name += 1;
    }
    strings
}

/// Where the name of a symbol begins.
const fn name_of(symbol: usize) -> usize {
    match symbol {
        0 => 0,
        _ if symbol == SYMBOLS - 1 => STRINGS.version,
        _ => STRINGS.functions[(symbol - 1) / 2] + if symbol % 2 == 1 { 0 } else { PREFIX_BYTES },
    }
}

/// The hash of the System V ABI, for the name at `at`.
const fn system_v_hash(mut at: usize) -> u32 {
    let mut hash = 0_u32;
    while STRINGS.bytes[at] != 0 {
        hash = (hash << 4).wrapping_add(STRINGS.bytes[at] as u32);
        let high = hash & 0xf000_0000;
        hash = (hash ^ (high >> 24)) & !high;
        at += 1;
    }
    hash
}

/// The hash of `DT_GNU_HASH`.
const fn gnu_hash_of(mut at: usize) -> u32 {
    let mut hash = 5381_u32;
    while STRINGS.bytes[at] != 0 {
        hash = hash.wrapping_mul(33).wrapping_add(STRINGS.bytes[at] as u32);
        at += 1;
    }
    hash
}

const fn hash() -> Hash {
    let mut successors = [0; SYMBOLS];
    let mut symbol = 1;
    while symbol < SYMBOLS - 1 {
        successors[symbol] = symbol as u32 + 1;
        symbol += 1;
    }
    Hash { buckets: 1, symbols: SYMBOLS as u32, first: 1, successors }
}

const fn gnu_hash() -> GnuHash {
    let mut hashes = [0; SYMBOLS - 1];
    let mut symbol = 1;
    while symbol < SYMBOLS {
        hashes[symbol - 1] = (gnu_hash_of(name_of(symbol)) & !1) | (symbol == SYMBOLS - 1) as u32;
        symbol += 1;
    }
    GnuHash { buckets: 1, first_symbol: 1, filter_words: 1, filter_shift: 0, filter: !0, first: 1, hashes }
}

/// `VER_FLG_BASE` marks the version that is the image itself.
const fn definition(index: u16, name: usize) -> VersionDefinition {
    let base = index == BASE_INDEX;
    VersionDefinition {
        revision: elf::VER_DEF_CURRENT,
        flags: if base { elf::VER_FLG_BASE } else { 0 },
        index,
        names: 1,
        hash: system_v_hash(name),
        first_name: offset_of!(VersionDefinition, name) as u32,
        next: if base { size_of::<VersionDefinition>() as u32 } else { 0 },
        name: name as u32,
        next_name: 0,
    }
}

const fn versions() -> [u16; SYMBOLS] {
    let mut versions = [VERSION_INDEX; SYMBOLS];
    versions[0] = 0;
    versions
}

/// A function by its place among the symbols: global with its prefix, weak without.
const fn function(symbol: usize, value: Word) -> Symbol {
    let binding = if symbol % 2 == 1 { elf::STB_GLOBAL } else { elf::STB_WEAK };
    let information = binding << 4 | elf::STT_FUNC;
    // Any section but none: the addresses are absolute, and the image is loaded where it says.
    Symbol { name: name_of(symbol) as u32, information, other: 0, section: 1, value, size: 16 }
}

/// The symbol that stands for the version.
const fn version_symbol() -> Symbol {
    /// `STT_OBJECT`, which linux-raw-sys does not name.
    const OBJECT: u8 = 1;
    let (name, information) = (STRINGS.version as u32, elf::STB_GLOBAL << 4 | OBJECT);
    Symbol { name, information, other: 0, section: elf::SHN_ABS, value: number(0), size: 0 }
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
pub(super) static IMAGE: Image = Image {
    header: Header {
        identification: [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        kind: elf::ET_DYN,
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
        segment(PT_DYNAMIC, PF_R, offset_of!(Image, dynamic), size_of::<[Dynamic; DYNAMICS]>()),
    ],
    dynamic: [
        Dynamic { tag: DT_SONAME, value: number(STRINGS.soname) },
        Dynamic { tag: DT_SYMBOLIC, value: number(0) },
        Dynamic { tag: DT_HASH, value: (&raw const IMAGE.hash).cast() },
        Dynamic { tag: DT_GNU_HASH, value: (&raw const IMAGE.gnu_hash).cast() },
        Dynamic { tag: DT_STRTAB, value: (&raw const IMAGE.strings).cast() },
        Dynamic { tag: DT_SYMTAB, value: (&raw const IMAGE.symbols).cast() },
        Dynamic { tag: DT_STRSZ, value: number(STRINGS_BYTES) },
        Dynamic { tag: DT_SYMENT, value: number(size_of::<Symbol>()) },
        Dynamic { tag: DT_VERDEF, value: (&raw const IMAGE.definitions).cast() },
        Dynamic { tag: DT_VERDEFNUM, value: number(2) },
        Dynamic { tag: DT_FLAGS, value: number(FLAGS) },
        Dynamic { tag: DT_FLAGS_1, value: number(FLAGS_1) },
        Dynamic { tag: DT_VERSYM, value: (&raw const IMAGE.versions).cast() },
        Dynamic { tag: DT_NULL, value: number(0) },
    ],
    symbols: [
        Symbol { name: 0, information: 0, other: 0, section: 0, value: number(0), size: 0 },
        function(1, &raw const banyan_vdso_clock_gettime),
        function(2, &raw const banyan_vdso_clock_gettime),
        function(3, &raw const banyan_vdso_gettimeofday),
        function(4, &raw const banyan_vdso_gettimeofday),
        function(5, &raw const banyan_vdso_time),
        function(6, &raw const banyan_vdso_time),
        function(7, &raw const banyan_vdso_clock_getres),
        function(8, &raw const banyan_vdso_clock_getres),
        function(9, &raw const banyan_vdso_getcpu),
        function(10, &raw const banyan_vdso_getcpu),
        function(11, &raw const banyan_vdso_getrandom),
        function(12, &raw const banyan_vdso_getrandom),
        version_symbol(),
    ],
    gnu_hash: gnu_hash(),
    hash: hash(),
    definitions: [definition(BASE_INDEX, STRINGS.soname), definition(VERSION_INDEX, STRINGS.version)],
    versions: versions(),
    strings: STRINGS.bytes,
};
