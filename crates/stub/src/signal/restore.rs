//! `rt_sigreturn` of the program: a thread continues from a frame in program memory.
//!
//! The frame is the program's: what it says of registers, mask and alternate stack is the program's view, and
//! the program may have changed it. It is copied into the kernel's own frame on the stub's stack, which has
//! the kernel's mask and the stub's stack and never leaves it.

use crate::memory::copy::{self, ProgramAddress};
use crate::signal::frame::{EXTENDED_MAGIC, LEGACY_STATE, SOFTWARE_BYTES, UserContext};
use crate::signal::{alternate_stack, mask};
use crate::thread::Thread;
use crate::time::vdso;
use banyan_sys::raw::Errno;

/// Makes `context`, the kernel's frame of the trapped call, that of the thread which continues from the
/// program's frame. Returns the signals that the program blocks from then on.
///
/// # Errors
/// `EFAULT` if the frame is not in the program's memory.
pub fn restore(thread: &Thread, context: &mut UserContext) -> Result<u64, Errno> {
    // The return from the handler took the frame's first word, the return address.
    let frame: UserContext = copy::load(ProgramAddress(context.registers.rsp))?;
    let kernels = context.registers.fpstate;
    let mut registers = frame.registers;
    registers.fpstate = match registers.fpstate {
        0 => 0,
        programs => {
            load_state(ProgramAddress(programs), kernels)?;
            kernels
        }
    };
    context.registers = registers;
    if vdso::contains(registers.rip) {
        thread.in_vdso.set(thread.in_vdso.get().saturating_sub(1));
    }
    context.flags = frame.flags;
    // As in the kernel, a stack that cannot be set is left alone.
    let _ = alternate_stack::set(thread, frame.stack, registers.rsp);
    Ok(mask::settable(frame.mask))
}

/// Copies the program's floating-point state over the kernel's, whose place is as large as the kernel made
/// it: a state that says that it is larger is taken for one without extensions.
fn load_state(from: ProgramAddress, kernels: u64) -> Result<(), Errno> {
    let to = kernels as *mut u8;
    // SAFETY: the kernel wrote an image with that many bytes there, on this thread's own stub stack.
    let state = unsafe { core::slice::from_raw_parts_mut(to, state_bytes(kernels)) };
    let room = state.len();
    copy::copy_in(from, &mut state[..LEGACY_STATE])?;
    // SAFETY: as above; the legacy part is what was copied just now.
    match unsafe { state_bytes(kernels) } {
        size if size > room => state[SOFTWARE_BYTES..SOFTWARE_BYTES + 4].fill(0),
        size => copy::copy_in(from.add(LEGACY_STATE as u64), &mut state[LEGACY_STATE..size])?,
    }
    Ok(())
}

/// Bytes of the floating-point state at this place of the stub's stack, by its own words.
///
/// # Safety
/// There is at least an FXSAVE image; its software-reserved bytes tell how much follows.
pub unsafe fn state_bytes(state: u64) -> usize {
    // SAFETY: the caller's promise: these bytes are within the image.
    let (magic, extended) = unsafe {
        let words = (state + SOFTWARE_BYTES as u64) as *const u32;
        (words.read(), words.add(1).read())
    };
    if magic == EXTENDED_MAGIC { (extended as usize).max(LEGACY_STATE) } else { LEGACY_STATE }
}
