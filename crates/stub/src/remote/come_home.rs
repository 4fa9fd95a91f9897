//! A thread elsewhere that touches memory which only the home node has goes on at home: its carrier puts all
//! that it is into a frame in coherent memory, and its deputy continues from there and is its deputy no more.
//!
//! Not for threads that are inside of the stub or the vDSO: those get EFAULT, or end.

use crate::daemon::{requests, settings};
use crate::kernel;
use crate::signal::frame::{AlternateStack, SignalInformation, UserContext};
use crate::signal::{handler, mask, taken};
use crate::thread::resume::RED_ZONE;
use crate::thread::{Role, Thread, exit, resume};
use banyan_wire::deputy::{DeputyMessage, Header};
use banyan_wire::stub::{Request, ThreadEnd};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Sends the thread of this carrier home, where it makes the interrupted instruction again. Returns only if
/// its stack cannot take the frame.
pub fn leave(thread: &'static Thread, information: &SignalInformation, context: &mut UserContext) {
    context.mask = mask::split(thread.mask.load(Ordering::Relaxed)).0;
    let top = context.registers.rsp.wrapping_sub(RED_ZONE);
    let Ok(frame) = handler::write_frame(top, 0, information, context) else { return };
    let stack = thread.alternate_stack.get();
    let [fs_base, gs_base] = [kernel::ARCH_GET_FS, kernel::ARCH_GET_GS].map(kernel::segment_base);
    let arguments = [frame, fs_base, stack.pointer, stack.size, u64::from(stack.flags as u32), gs_base];
    let cpu = kernel::thread_cpu_nanoseconds();
    exit::end_carrier(thread, &Header::new(DeputyMessage::ComeHome, cpu as i64, arguments))
}

/// Continues a thread that comes home, on its deputy.
pub fn arrive(thread: &'static Thread, header: &Header) -> ! {
    let [frame, fs_base, pointer, size, flags, gs_base] = header.arguments;
    let node = thread.node.swap(u32::from(settings::node()), Ordering::Relaxed);
    requests::tell(&Request::CameHome(ThreadEnd { node, deputy_calls: 0 }));
    kernel::close(thread.connection.replace(-1));
    thread.alternate_stack.set(AlternateStack { pointer, flags: flags as i32, padding: 0, size });
    thread.sigsys_blocked.store(mask::split(thread.mask.load(Ordering::Relaxed)).1, Ordering::Relaxed);
    // SAFETY: the GS base is the program's; the stub does not use it.
    let _ = unsafe { kernel::raw(linux::__NR_arch_prctl, [kernel::ARCH_SET_GS, gs_base, 0, 0, 0, 0]) };
    thread.used_elsewhere.set(header.number as u64);
    thread.set_role(Role::Home);
    // A signal that the carrier has not taken is the kernel's to deliver now.
    taken::send_again(thread);
    resume::resume(thread, frame, fs_base)
}
