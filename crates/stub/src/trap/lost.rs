//! A trapped call that the kernel has forgotten. Its SIGSYS is dropped if one that somebody sent waits
//! already (kernel/signal.c, `legacy_queue`), and that one comes behind the call, which was not made. It is
//! made again.
//!
//! Known by the instructions: where a number is put into rax just before a call that always traps, a thread
//! has that number there only if the call was not made.

use crate::memory::copy::{self, ProgramAddress};
use crate::signal::frame::UserContext;
use crate::trap::reissue::SYSCALL_BYTES;
use banyan_wire::syscalls::ALWAYS_TRAPPED;

const SYSCALL: u64 = 0x050f;

/// Has a home thread make the call again that it has lost, if it has: a sent signal has interrupted it here.
pub(super) fn make_again(context: &mut UserContext) {
    let registers = &mut context.registers;
    if copy::load(ProgramAddress(registers.rip.wrapping_sub(8)))
        .is_ok_and(|code| is_call(code, registers.rax))
    {
        registers.rip -= SYSCALL_BYTES;
    }
}

/// Whether these instructions end with a number that is put into a register, and `syscall`, and the call of
/// that number always traps.
fn is_call(code: u64, number: u64) -> bool {
    let traps = ALWAYS_TRAPPED.get(number as usize / 64).is_some_and(|bits| bits >> (number % 64) & 1 != 0);
    traps && code >> 16 == SYSCALL << 32 | number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_librarys_calls_are_known_by_their_instructions() {
        let is_call = |code, number| is_call(u64::from_le_bytes(code), number);
        // `__restore_rt`, `sigaction`, `write`, and `syscall`, which has its number from elsewhere.
        let restore = [0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
        assert!(is_call(restore, 15) && !is_call(restore, 14) && !is_call(restore, 0));
        assert!(is_call([0, 0xb8, 0x0d, 0, 0, 0, 0x0f, 0x05], 13));
        assert!(!is_call([0, 0xb8, 0x01, 0, 0, 0, 0x0f, 0x05], 1), "it does not trap");
        assert!(!is_call([0x24, 0x08, 0x4c, 0x8b, 0x4c, 0x24, 0x0f, 0x05], 15));
        assert!(!is_call([0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x0b], 15));
    }
}
