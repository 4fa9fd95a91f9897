//! The stub's own image in memory. The kernel maps it from the file that was executed, and lets no other one
//! be the file of the process (/proc/self/exe) while that is mapped.

use crate::kernel;
use crate::time::image::{Header, ProgramHeader};
use banyan_sys::raw::Errno;
use banyan_wire::ids::PAGE_BYTES;
use linux_raw_sys::elf::{PF_R, PF_W, PF_X, PT_LOAD};
use linux_raw_sys::general as linux;

unsafe extern "C" {
    static __ehdr_start: u8;
}

/// Puts a private copy in the place of each part of the image. While this thread is the only one.
///
/// # Errors
/// The kernel's; then some parts are still the file's.
#[expect(
    clippy::cast_ptr_alignment,
    reason = "the image is page-aligned, and its tables are aligned within it"
)]
pub fn detach() -> Result<(), Errno> {
    let image = &raw const __ehdr_start;
    // SAFETY: the image begins with its header, which says where its own program headers are.
    let programs = unsafe {
        let header = &*image.cast::<Header>();
        let programs = image.add(header.program_headers as usize).cast::<ProgramHeader>();
        core::slice::from_raw_parts(programs, usize::from(header.program_header_count))
    };
    for program in programs.iter().filter(|program| program.kind == PT_LOAD) {
        let address = program.virtual_address as u64;
        let start = address - address % PAGE_BYTES;
        let length = (address + program.memory_size).next_multiple_of(PAGE_BYTES) - start;
        let right = |flag, right: u32| if program.flags & flag != 0 { u64::from(right) } else { 0 };
        let rights =
            right(PF_R, linux::PROT_READ) | right(PF_W, linux::PROT_WRITE) | right(PF_X, linux::PROT_EXEC);
        let copy = kernel::map_anonymous(length)?;
        let place = u64::from(linux::MREMAP_MAYMOVE | linux::MREMAP_FIXED);
        // SAFETY: the part is mapped to the ends of its pages. No other thread changes it meanwhile, and this
        // one only its stack, which is elsewhere: what is there after the move is what was there before.
        unsafe {
            core::ptr::copy_nonoverlapping(start as *const u8, copy as *mut u8, length as usize);
            let _ = kernel::checked(linux::__NR_mprotect, [copy, length, rights])?;
            let _ = kernel::checked(linux::__NR_mremap, [copy, length, length, place, start])?;
        }
    }
    Ok(())
}
