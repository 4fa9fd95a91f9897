//! A call of the library's into its caller's code: the jump there becomes a request, and the thread serves
//! until the answer comes.
//!
//! Not for the caller's end; that is `exchange`.

use super::kept::Inside;
use super::{CALL_BACK_WORDS, IS_LENT, THREAD, Thread, errno, faults, serve, start, view};
use crate::shared::frame::{
    ERRNO_END, FrameWriter, Kind, NO_CODE, Registers, Shape, WANT_ANY_ST, WANT_VECTOR, write_arguments,
};
use crate::shared::layout::DEPTH_MAX;
use crate::shared::message::Touched;
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
    let before = errno().load(Relaxed);
    match THREAD.get() {
        Some(state) => converse(state, target, registers, before),
        None => on_channel_of_a_call(target, registers, before),
    }
    let after = errno().load(Relaxed);
    errno().store(if after == 0 { before } else { after }, Relaxed);
}

/// A thread of the library's calls back, as if the function did that the caller waits for; until the caller
/// waits for one, it waits.
fn on_channel_of_a_call(target: u64, registers: &mut Registers, before: u32) {
    let state = loop {
        if let Some(state) = view::any_in_call() {
            state.lent.enter();
            if state.in_call.load(Relaxed) {
                break state;
            }
            state.lent.leave();
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    };
    THREAD.set(Some(state));
    IS_LENT.set(true);
    converse(state, target, registers, before);
    THREAD.set(None);
    IS_LENT.set(false);
    state.lent.leave();
}

/// Gives up the caller's pages and lets others into the library. The caller waits on, and serves threads of
/// the library's.
pub(super) fn pause(state: &Thread) {
    state.leave_call();
    let has_pages = state.granted.get() > 0;
    let touched = state.flush(Inside::Outside);
    state.inside.replace(Inside::Outside).leave();
    start::start_starter(state);
    if has_pages {
        let mut registers = Registers::default();
        ask(state, NO_CODE, touched, 0, &registers, &[]);
        state.level.set(state.level.get() + 1);
        serve(state, &mut registers);
        state.level.set(state.level.get() - 1);
    }
    state.enter_call();
}

fn converse(state: &Thread, target: u64, registers: &mut Registers, before: u32) {
    if state.level.get() + 1 >= DEPTH_MAX {
        faults::report_crash(state, libc::SIGSEGV, target, target);
    }
    state.leave_call();
    let inside = state.inside.get();
    let touched = state.flush(inside);
    inside.leave();
    // The caller's code may wait for another thread of the caller, which calls too.
    start::start_starter(state);
    let mut words = [0; CALL_BACK_WORDS];
    // SAFETY: above the arguments on our stack lie the frames of `serve`, or of the thread's start: longer
    // than this.
    words.copy_from_slice(unsafe {
        std::slice::from_raw_parts(registers.stack as *const u64, CALL_BACK_WORDS)
    });
    registers.results = WANT_VECTOR | WANT_ANY_ST;
    ask(state, target, touched, before, registers, &words);
    state.level.set(state.level.get() + 1);
    serve(state, registers);
    state.level.set(state.level.get() - 1);
    inside.enter(state);
    state.resume_kept(state.keeping.get());
    state.enter_call();
}

/// Says to the caller that code of its is called.
fn ask(state: &Thread, target: u64, touched: Touched, errno: u32, registers: &Registers, words: &[u64]) {
    let mut writer = FrameWriter::new(state.frame());
    let written = writer
        .kind(Kind::Callback)
        .and_then(|()| writer.number(touched.number()))
        .and_then(|()| writer.number(target))
        .and_then(|()| writer.number(errno.min(ERRNO_END as u32 - 1).into()))
        .and_then(|()| write_arguments(&mut writer, Shape::unknown(0), registers, words));
    if written.is_err() {
        kill_self();
    }
    let used = writer.used();
    state.reply(used);
}
