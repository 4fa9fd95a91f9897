//! What a mapping that the program asks for shows: zeroes, a copy of a file, or what the kernel maps at home.

use crate::daemon::settings;
use crate::kernel;
use banyan_sys::raw::Errno;
use banyan_wire::stub::MapSource;
use linux_raw_sys::general as linux;

/// A mapping that is to be made.
pub struct Mapping {
    /// What it shows.
    pub source: MapSource,
    /// The arguments of `mmap`.
    pub arguments: [u64; 6],
}

// A shared mapping that the program can write, or whose file it can write, shows those writes and is seen by
// other processes: that takes the file's own pages, which only the home kernel has. One of a file that is
// only read is copied like a private one, so that a program whose threads all read it stays distributed.

/// The device number of `/dev/zero`.
const ZERO_DEVICE: u64 = 1 << 8 | 5;

/// Looks at a call of `mmap`.
///
/// # Errors
/// What the kernel answers to it, as far as that depends on the file.
pub fn of(arguments: &[u64; 6]) -> Result<Mapping, Errno> {
    let [_, _, protection, flags, descriptor, _] = *arguments;
    let has = |flag: u32| flags & u64::from(flag) != 0;
    if has(linux::MAP_ANONYMOUS) {
        return zeroes(arguments);
    }
    try_mapping(arguments)?;
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut status: linux::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the status lives across the call, which writes it.
    let _ = unsafe { kernel::checked(linux::__NR_fstat, [descriptor, &raw mut status as u64])? };
    if status.st_mode & linux::S_IFMT == linux::S_IFCHR && status.st_rdev == ZERO_DEVICE {
        let mut arguments = *arguments;
        arguments[3] |= u64::from(linux::MAP_ANONYMOUS);
        arguments[4] = u64::MAX;
        return zeroes(&arguments);
    }
    let mapping = |source| Ok(Mapping { source, arguments: *arguments });
    if settings::is_alone() {
        return mapping(MapSource::Kernel);
    }
    let private = flags & u64::from(linux::MAP_TYPE) == u64::from(linux::MAP_PRIVATE);
    let writable = protection & u64::from(linux::PROT_WRITE) != 0 || may_write(descriptor)?;
    let regular = status.st_mode & linux::S_IFMT == linux::S_IFREG;
    mapping(if regular && (private || !writable) { MapSource::Copied } else { MapSource::Kernel })
}

/// Memory of zeroes. The kernel lets only a mapping of its own grow, and a process and its copies share one.
fn zeroes(arguments: &[u64; 6]) -> Result<Mapping, Errno> {
    let flags = arguments[3];
    let shared = flags & u64::from(linux::MAP_TYPE) != u64::from(linux::MAP_PRIVATE);
    let grows = flags & u64::from(linux::MAP_GROWSDOWN) != 0;
    let at_home = settings::is_alone() || shared || grows;
    let source = if at_home { MapSource::Kernel } else { MapSource::Zeroes };
    Ok(Mapping { source, arguments: *arguments })
}

/// Whether the descriptor can be written through.
fn may_write(descriptor: u64) -> Result<bool, Errno> {
    const F_GETFL: u64 = linux::F_GETFL as u64;
    // SAFETY: no pointers.
    let flags = unsafe { kernel::checked(linux::__NR_fcntl, [descriptor, F_GETFL])? };
    Ok(flags & u64::from(linux::O_ACCMODE) != u64::from(linux::O_RDONLY))
}

/// Flags of `mmap` that say where, or how much is to be done at once; the rest says what.
const PLACING: u64 = (linux::MAP_FIXED
    | linux::MAP_FIXED_NOREPLACE
    | linux::MAP_32BIT
    | linux::MAP_GROWSDOWN
    | linux::MAP_POPULATE
    | linux::MAP_LOCKED) as u64;

/// Makes the mapping where the kernel likes, and takes it away again: so the kernel says of a file what it
/// says natively.
fn try_mapping(arguments: &[u64; 6]) -> Result<(), Errno> {
    let [_, length, protection, flags, descriptor, offset] = *arguments;
    // SAFETY: new memory at an address that the kernel chooses takes nothing away.
    let start = unsafe {
        kernel::checked(linux::__NR_mmap, [0, length, protection, flags & !PLACING, descriptor, offset])?
    };
    // SAFETY: it was mapped just now, and nobody else knows of it.
    let _ = unsafe { kernel::raw(linux::__NR_munmap, [start, length]) };
    Ok(())
}

/// Has the kernel make a mapping at the place that the daemon chose.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// The range that begins at `start` and is as long as the call says is memory of the program.
pub unsafe fn map_natively(arguments: &[u64; 6], start: u64) -> Result<(), Errno> {
    const REPLACED: u64 = (linux::MAP_FIXED_NOREPLACE | linux::MAP_32BIT) as u64;
    let [_, length, protection, flags, descriptor, offset] = *arguments;
    let flags = flags & !REPLACED | u64::from(linux::MAP_FIXED);
    // SAFETY: the caller's promise.
    unsafe { kernel::checked(linux::__NR_mmap, [start, length, protection, flags, descriptor, offset]) }
        .map(drop)
}
