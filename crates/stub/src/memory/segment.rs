//! System V shared memory: `shmat` becomes a mapping whose place the daemon chooses and which the kernel
//! makes.

use crate::kernel;
use crate::memory::source::Mapping;
use banyan_sys::raw::Errno;
use banyan_wire::address_space::page_down;
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::stub::MapSource;
use linux_raw_sys::general as linux;

// From the kernel's `linux/shm.h` and `linux/ipc.h`, which linux-raw-sys does not have.
const SHM_RDONLY: u64 = 0o10000;
const SHM_RND: u64 = 0o20000;
const SHM_REMAP: u64 = 0o40000;
const SHM_EXEC: u64 = 0o100_000;
const IPC_STAT: u64 = 2;
/// Words of `struct shmid64_ds`, and which of them is the size.
const DESCRIPTION: usize = 14;
const SIZE: usize = 6;

/// The call of `mmap` that a call of `shmat` is; the segment and its flags are in the last two arguments.
///
/// # Errors
/// What the kernel answers if there is no such segment or the address is impossible.
pub fn of(arguments: &[u64; 6]) -> Result<Mapping, Errno> {
    let [segment, address, flags, ..] = *arguments;
    let mut description = [0_u64; DESCRIPTION];
    let arguments = [segment, IPC_STAT, description.as_mut_ptr() as u64];
    // SAFETY: the description lives across the call, which writes no more than it.
    let _ = unsafe { kernel::checked(linux::__NR_shmctl, arguments)? };
    let place = if flags & SHM_RND != 0 { page_down(address) } else { address };
    let fixed = match (address, flags & SHM_REMAP) {
        (0, 0) => 0,
        (0, _) => return Err(Errno::EINVAL),
        (_, 0) => linux::MAP_FIXED_NOREPLACE,
        _ => linux::MAP_FIXED,
    };
    if !place.is_multiple_of(PAGE_BYTES) {
        return Err(Errno::EINVAL);
    }
    let right = |flag: u64, right: u32| if flags & flag == 0 { 0 } else { right };
    let writable = if flags & SHM_RDONLY == 0 { linux::PROT_WRITE } else { 0 };
    let protection = linux::PROT_READ | writable | right(SHM_EXEC, linux::PROT_EXEC);
    let kind = linux::MAP_SHARED | linux::MAP_ANONYMOUS | fixed;
    let arguments = [place, description[SIZE], protection.into(), kind.into(), segment, flags];
    Ok(Mapping { source: MapSource::Segment, arguments })
}

/// Has the kernel attach the segment at the place that the daemon chose.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// The range that begins at `start` and is as long as the segment is memory of the program.
pub unsafe fn attach(arguments: &[u64; 6], start: u64) -> Result<(), Errno> {
    let [.., segment, flags] = *arguments;
    let arguments = [segment, start, flags & !SHM_RND | SHM_REMAP];
    // SAFETY: the caller's promise.
    unsafe { kernel::checked(linux::__NR_shmat, arguments) }.map(drop)
}
