//! A call of the library's into its caller's code: the jump there becomes a request, and the thread serves
//! until the answer comes.
//!
//! Not for the caller's end; that is `exchange`.

use super::{CALL_BACK_WORDS, THREAD, errno, faults, gate, serve, start};
use crate::shared::frame::{
    ERRNO_END, FrameWriter, Kind, Registers, Shape, WANT_ANY_ST, WANT_VECTOR, write_arguments,
};
use crate::shared::layout::DEPTH_MAX;
use crate::sys::process::kill_self;
use crate::sys::registers::entry;
use std::sync::atomic::Ordering::Relaxed;

entry!(
    /// Where a thread continues that jumped to its caller's code: r11 holds the address.
    on_jump, ["mov rdi, r11", "mov rsi, rsp"], call_back
);

/// The address of the code where a thread continues that jumped to its caller's code, with the address of
/// that in r11.
pub(super) fn entry_address() -> u64 {
    on_jump as *const () as u64
}

/// Runs `target`, code of the caller, there; the registers are those at the jump. Entered on
/// the library's stack.
extern "C" fn call_back(target: u64, registers: &mut Registers) {
    let Some(state) = THREAD.get() else { kill_self() };
    let before = errno().load(Relaxed);
    if state.level.get() + 1 >= DEPTH_MAX {
        faults::report_crash(state, libc::SIGSEGV, target, target);
    }
    state.leave_call();
    let changed = state.flush();
    gate::leave(state.gated.get());
    // The caller's code may wait for another thread of the caller, which calls too.
    start::start_starter(state);
    let mut words = [0; CALL_BACK_WORDS];
    // SAFETY: above the arguments on our stack lie the frames of `serve`, longer than this.
    words.copy_from_slice(unsafe {
        std::slice::from_raw_parts(registers.stack as *const u64, CALL_BACK_WORDS)
    });
    registers.results = WANT_VECTOR | WANT_ANY_ST;
    let mut writer = FrameWriter::new(state.frame());
    let written = writer
        .kind(Kind::Callback)
        .and_then(|()| writer.number(changed))
        .and_then(|()| writer.number(target))
        .and_then(|()| writer.number(before.min(ERRNO_END as u32 - 1).into()))
        .and_then(|()| write_arguments(&mut writer, Shape::unknown(0), registers, &words));
    if written.is_err() {
        kill_self();
    }
    let used = writer.used();
    state.level.set(state.level.get() + 1);
    state.reply(used);
    serve(state, registers);
    state.level.set(state.level.get() - 1);
    gate::enter(state.gated.get());
    state.enter_call();
    let after = errno().load(Relaxed);
    errno().store(if after == 0 { before } else { after }, Relaxed);
}
