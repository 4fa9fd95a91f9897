//! Signals: the program's dispositions and masks, and the delivery of a caught signal to a home thread.
//!
//! The kernel only ever knows the stub's handlers. A caught signal arrives on the stub's stack; [`on_signal`] then
//! builds the frame that the kernel would have built on the program's stack and returns into the handler. So the
//! handler's frame lies in coherent memory and no program code ever runs on a stub stack.
//!
//! SIGSYS is never blocked: a trapped call of a thread that blocks it kills the process.
//!
//! Not here: bringing a thread home to deliver a signal to it. A signal that only threads on other nodes could
//! take stays pending unless its action is the default one.

use crate::daemon::requests;
use crate::kernel;
use crate::memory;
use crate::thread::{self, Role, Thread};
use crate::time::vdso;
use banyan_sys::raw::Errno;
use banyan_sys::signal_frame::{
    ALTERNATE_STACK_DISABLED, EXTENDED_MAGIC, LEGACY_STATE, SOFTWARE_BYTES, SignalFrame, SignalInformation,
    UserContext,
};
use banyan_wire::layout::in_program;
use banyan_wire::stub::{Refusal, RequestKind};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Signals that there are.
const SIGNALS: usize = 64;
/// `struct sigaction` of the kernel: handler, flags, restorer, mask.
pub type Action = [u64; 4];

const SIGBUS: u64 = 7;
const SIGFPE: u64 = 8;
const SIGILL: u64 = 4;
const SIGTRAP: u64 = 5;
const SIGKILL: u64 = 9;
const SIGSEGV: u64 = 11;
const SIGPIPE: u64 = 13;
const SIGSTOP: u64 = 19;
const SIGSYS: u64 = 31;
/// Wakes the service thread so that it takes a new mask. The last real-time signal, of which glibc uses none.
const SIGPOKE: u64 = 64;

const SA_ONSTACK: u64 = 0x0800_0000;
const SA_SIGINFO: u64 = 4;
const SA_RESTORER: u64 = 0x0400_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
/// Flags that the kernel itself acts on.
const SA_KERNELS: u64 = 1 | 2 | 0x1000_0000;

const fn bit(signal: u64) -> u64 {
    1 << (signal - 1)
}

/// Faults of the running instruction: blocking them kills, so the stub never does.
const SYNCHRONOUS: u64 = bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGSEGV) | bit(SIGTRAP) | bit(SIGSYS);
/// What every carrier blocks in the kernel: all but the faults of its own instructions.
pub const CARRIER_MASK: u64 = !SYNCHRONOUS;
/// What a handler of the stub blocks.
const HANDLER_MASK: u64 = !SYNCHRONOUS;

/// The program's dispositions, by signal: handler, flags, restorer, mask. Written under `memory::LOCK`.
static DISPOSITIONS: [[AtomicU64; 4]; SIGNALS] = [const { [const { AtomicU64::new(0) }; 4] }; SIGNALS];
/// The service thread's kernel id, and the mask that it should have.
static SERVICE: AtomicI32 = AtomicI32::new(0);
static SERVICE_MASK: AtomicU64 = AtomicU64::new(!0);

global_asm!(".globl banyan_restore", "banyan_restore:", "mov eax, 15", "syscall", "ud2");
// A call that needs other arguments is made again from here, on the program's own stack: a handler that interrupts it
// gets a frame like any other. See `trap::reissue` for the stack.
global_asm!(
    ".globl banyan_reissue",
    ".globl banyan_reissue_end",
    "banyan_reissue:",
    "syscall",
    "mov rdi, [rsp + 8]",
    "mov rsi, [rsp + 16]",
    "mov r8, [rsp + 24]",
    "mov r9, [rsp + 32]",
    "mov r10, [rsp + 40]",
    "ret 200",
    "banyan_reissue_end:",
);
unsafe extern "C" {
    fn banyan_restore();
    static banyan_reissue: u8;
    static banyan_reissue_end: u8;
}

/// Address of the code that makes a call again from the program's stack.
pub fn reissue_address() -> u64 {
    &raw const banyan_reissue as u64
}

/// Whether a thread interrupted at `instruction` is running the program.
pub fn runs_program(instruction: u64) -> bool {
    let (start, end) = (&raw const banyan_reissue as u64, &raw const banyan_reissue_end as u64);
    in_program(instruction) || (instruction >= start && instruction < end) || vdso::contains(instruction)
}

/// A handler as the kernel calls it.
pub type Handler = unsafe extern "C" fn(u64, *mut SignalInformation, *mut UserContext);

/// Installs a handler of the stub.
///
/// # Errors
/// The kernel's.
pub fn install(signal: u64, handler: Handler, flags: u64) -> Result<(), Errno> {
    let action: Action = [
        handler as usize as u64,
        SA_SIGINFO | SA_ONSTACK | SA_RESTORER | flags,
        banyan_restore as *const () as u64,
        HANDLER_MASK,
    ];
    kernel::checked(linux::__NR_rt_sigaction, [signal, action.as_ptr() as u64, 0, 8, 0, 0]).map(drop)
}

/// Installs what every replica needs: the trap, and the faults of instructions. In a home replica the inherited
/// dispositions that are not the default (ignored signals) become the program's.
///
/// # Errors
/// The kernel's.
pub fn start(trap: Handler, fault: Handler) -> Result<(), Errno> {
    if requests::is_home() {
        for signal in 1..=SIGNALS as u64 {
            let mut inherited: Action = [0; 4];
            let arguments = [signal, 0, inherited.as_mut_ptr() as u64, 8, 0, 0];
            let _ = kernel::checked(linux::__NR_rt_sigaction, arguments)?;
            DISPOSITIONS[signal as usize - 1][0].store(inherited[0], Ordering::Relaxed);
        }
    }
    // Nested: a trap handler's copies may fault, and that must not be blocked.
    install(SIGSYS, trap, SA_NODEFER)?;
    install(SIGSEGV, fault, SA_NODEFER)?;
    install(SIGBUS, fault, SA_NODEFER)?;
    if !requests::is_home() {
        for signal in [SIGILL, SIGFPE, SIGTRAP] {
            install(signal, fault, SA_NODEFER)?;
        }
    }
    Ok(())
}

/// Blocks all signals but faults; returns the mask before.
pub fn block_all() -> u64 {
    const SIG_SETMASK: u64 = 2;
    let mut before = 0_u64;
    let mask = HANDLER_MASK;
    let arguments = [SIG_SETMASK, &raw const mask as u64, &raw mut before as u64, 8, 0, 0];
    let _ = kernel::raw(linux::__NR_rt_sigprocmask, arguments);
    before
}

/// The program's handler word for a signal: 0 default, 1 ignore, else an address.
fn handler_of(signal: u64) -> u64 {
    DISPOSITIONS[signal as usize - 1][0].load(Ordering::Acquire)
}

/// `rt_sigaction` of the program; runs at home. Returns 0 or a negated errno.
pub fn set_disposition(arguments: &[u64; 6]) -> i64 {
    let [signal, new, old, size, ..] = *arguments;
    if size != 8 || signal == 0 || signal > SIGNALS as u64 {
        return Errno::EINVAL.negated();
    }
    let mut given: Action = [0; 4];
    if new != 0 {
        if signal == SIGKILL || signal == SIGSTOP {
            return Errno::EINVAL.negated();
        }
        if memory::copy_in(new, given.as_mut_ptr().cast(), 32).is_err() {
            return Errno::EFAULT.negated();
        }
    }
    let slot = &DISPOSITIONS[signal as usize - 1];
    let mut before: Action = [0; 4];
    let result = {
        let _guard = memory::LOCK.lock();
        for (word, kept) in before.iter_mut().zip(slot) {
            *word = kept.load(Ordering::Relaxed);
        }
        if new == 0 {
            Ok(())
        } else {
            for (word, kept) in given.iter().zip(slot).rev() {
                kept.store(*word, Ordering::Release);
            }
            apply_disposition(signal, &given)
        }
    };
    if let Err(error) = result {
        return error.negated();
    }
    if new != 0 {
        remote_masks_changed();
    }
    if old != 0 && memory::copy_out(old, before.as_ptr().cast(), 32).is_err() {
        return Errno::EFAULT.negated();
    }
    0
}

/// Makes the kernel's disposition fit the program's.
fn apply_disposition(signal: u64, action: &Action) -> Result<(), Errno> {
    // The trap and the memory faults stay the stub's; `on_fault` acts for the program.
    if matches!(signal, SIGSYS | SIGSEGV | SIGBUS | SIGPOKE) {
        return Ok(());
    }
    if action[0] > 1 {
        return install(signal, on_signal, action[1] & SA_KERNELS);
    }
    let plain: Action =
        [action[0], (action[1] & SA_KERNELS) | SA_RESTORER, banyan_restore as *const () as u64, 0];
    kernel::checked(linux::__NR_rt_sigaction, [signal, plain.as_ptr() as u64, 0, 8, 0, 0]).map(drop)
}

/// Gives a signal back to the kernel's default action.
pub fn reset(signal: u64) {
    let plain: Action = [0, SA_RESTORER, banyan_restore as *const () as u64, 0];
    let _ = kernel::raw(linux::__NR_rt_sigaction, [signal, plain.as_ptr() as u64, 0, 8, 0, 0]);
}

/// Ends the process by the signal's default action.
pub fn die_of(signal: u64) -> ! {
    reset(signal);
    let (process, thread) = (u64::from(kernel::process_id()), u64::from(kernel::thread_id()));
    let _ = kernel::raw(linux::__NR_tgkill, [process, thread, signal, 0, 0, 0]);
    const SIG_UNBLOCK: u64 = 1;
    let mask = bit(signal);
    let _ = kernel::raw(linux::__NR_rt_sigprocmask, [SIG_UNBLOCK, &raw const mask as u64, 0, 8, 0, 0]);
    kernel::park()
}

/// Handler of every signal that the program catches.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_signal(
    signal: u64,
    information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack.
    let (information, context) = unsafe { (&*information, &mut *context) };
    let thread = Thread::current();
    if thread.role() != Role::Home || !runs_program(context.registers.rip) {
        // A deputy or the service thread took it: block it here and give it back to the process.
        context.mask |= bit(signal);
        let process = u64::from(kernel::process_id());
        let _ = kernel::raw(
            linux::__NR_rt_sigqueueinfo,
            [process, signal, information as *const _ as u64, 0, 0, 0],
        );
        return;
    }
    deliver(thread, signal, information, context);
}

/// Turns the interrupted context into the start of the program's handler. If the stack for it does not exist,
/// the process dies of SIGSEGV, as it would natively.
pub fn deliver(thread: &Thread, signal: u64, information: &SignalInformation, context: &mut UserContext) {
    let slot = &DISPOSITIONS[signal as usize - 1];
    let [handler, flags, restorer, mask] = [0, 1, 2, 3].map(|word: usize| slot[word].load(Ordering::Acquire));
    if handler <= 1 {
        // It was reset meanwhile: ignored, or the default action now.
        if handler == 0 {
            die_of(signal);
        }
        return;
    }
    if flags & SA_RESETHAND != 0 {
        let _guard = memory::LOCK.lock();
        slot[0].store(0, Ordering::Release);
        let _ = apply_disposition(signal, &[0; 4]);
    }
    let alternate = thread.alternate_stack.get();
    let stack = context.registers.rsp;
    let on_alternate = stack.wrapping_sub(alternate.pointer) < alternate.size;
    let usable = alternate.flags & ALTERNATE_STACK_DISABLED == 0;
    let top = if flags & SA_ONSTACK != 0 && usable && !on_alternate {
        alternate.pointer + alternate.size
    } else {
        stack.wrapping_sub(128)
    };
    let Ok(frame) = push_frame(thread, top, restorer, information, context) else { die_of(SIGSEGV) };
    let blocked = mask | if flags & SA_NODEFER == 0 { bit(signal) } else { 0 };
    thread.sigsys_blocked.set(thread.sigsys_blocked.get() | (blocked & bit(SIGSYS)));
    context.mask = (context.mask | blocked) & !bit(SIGSYS);
    let registers = &mut context.registers;
    registers.rip = handler;
    registers.rsp = frame;
    registers.rdi = signal;
    registers.rsi = frame + offset_of!(SignalFrame, information) as u64;
    registers.rdx = frame + offset_of!(SignalFrame, context) as u64;
    registers.rax = 0;
    // Direction, trap and resume flags are clear in a handler.
    registers.eflags &= !0x1_0500;
}

/// Copies the kernel's frame, floating-point state included, below `top` in program memory.
fn push_frame(
    thread: &Thread,
    top: u64,
    restorer: u64,
    information: &SignalInformation,
    context: &UserContext,
) -> Result<u64, Errno> {
    let state = context.registers.fpstate;
    let mut copy = *context;
    let mut at = top;
    if state != 0 {
        // SAFETY: the kernel wrote at least an FXSAVE image there, on our own stack; its software-reserved bytes
        // tell how much follows.
        let (magic, extended) = unsafe {
            let words = (state + SOFTWARE_BYTES as u64) as *const u32;
            (words.read(), words.add(1).read())
        };
        let size = if magic == EXTENDED_MAGIC { extended as usize } else { LEGACY_STATE };
        at = at.wrapping_sub(size as u64) & !63;
        memory::copy_out(at, state as *const u8, size)?;
        copy.registers.fpstate = at;
    }
    let frame = (at.wrapping_sub(size_of::<SignalFrame>() as u64) & !15) - 8;
    copy.mask |= thread.sigsys_blocked.get();
    let whole = SignalFrame { return_address: restorer, context: copy, information: *information };
    memory::copy_out(frame, (&raw const whole).cast(), size_of::<SignalFrame>())?;
    Ok(frame)
}

/// Whether the program has a handler for the signal.
pub fn has_handler(signal: u64) -> bool {
    handler_of(signal) > 1
}

/// `rt_sigprocmask`: changes `mask` (the program's view) and returns 0 or a negated errno.
pub fn change_mask(arguments: &[u64; 6], mask: &mut u64) -> i64 {
    let [how, set, old, size, ..] = *arguments;
    if size != 8 {
        return Errno::EINVAL.negated();
    }
    let before = *mask;
    if set != 0 {
        let Ok(given) = memory::load_u64(set) else { return Errno::EFAULT.negated() };
        *mask = match how {
            0 => before | given,
            1 => before & !given,
            2 => given,
            _ => return Errno::EINVAL.negated(),
        } & !(bit(SIGKILL) | bit(SIGSTOP));
    }
    if old != 0 && memory::copy_out(old, (&raw const before).cast(), 8).is_err() {
        return Errno::EFAULT.negated();
    }
    0
}

/// Splits the program's view of a mask into what the kernel gets and whether SIGSYS was in it.
pub const fn split_mask(mask: u64) -> (u64, u64) {
    (mask & !bit(SIGSYS), mask & bit(SIGSYS))
}

/// `sigaltstack` of the program: only remembered, since the kernel's alternate stack is the stub's.
pub fn change_alternate_stack(thread: &Thread, arguments: &[u64; 6], stack: u64) -> i64 {
    use banyan_sys::signal_frame::AlternateStack;
    const ONSTACK: i32 = 1;
    const MINIMUM: u64 = 2048;
    let [new, old, ..] = *arguments;
    let current = thread.alternate_stack.get();
    let on_it =
        current.flags & ALTERNATE_STACK_DISABLED == 0 && stack.wrapping_sub(current.pointer) < current.size;
    if new != 0 {
        let mut given = current;
        if memory::copy_in(new, (&raw mut given).cast(), size_of::<AlternateStack>()).is_err() {
            return Errno::EFAULT.negated();
        }
        if on_it {
            return Errno::EPERM.negated();
        }
        if given.flags & !(ALTERNATE_STACK_DISABLED | ONSTACK) != 0 {
            return Errno::EINVAL.negated();
        }
        if given.flags & ALTERNATE_STACK_DISABLED == 0 && given.size < MINIMUM {
            return Errno::ENOMEM.negated();
        }
        given.flags &= ALTERNATE_STACK_DISABLED;
        thread.alternate_stack.set(given);
    }
    if old != 0 {
        let mut seen = current;
        seen.flags |= if on_it { ONSTACK } else { 0 };
        if memory::copy_out(old, (&raw const seen).cast(), size_of::<AlternateStack>()).is_err() {
            return Errno::EFAULT.negated();
        }
    }
    0
}

/// After a call of a deputy: a broken pipe raised SIGPIPE on the deputy, where it is blocked. Does what it would
/// have done to the program's thread.
pub fn settle_broken_pipe(mask: u64) {
    if mask & bit(SIGPIPE) != 0 || handler_of(SIGPIPE) == 1 {
        return;
    }
    if handler_of(SIGPIPE) == 0 {
        die_of(SIGPIPE);
    }
    // Take it off the deputy's queue; say that the handler did not run.
    let (set, zero) = (bit(SIGPIPE), [0_u64; 2]);
    let arguments = [&raw const set as u64, 0, zero.as_ptr() as u64, 8, 0, 0];
    let _ = kernel::raw(linux::__NR_rt_sigtimedwait, arguments);
    let refusal = Refusal::HandlerOnRemoteThread as u64;
    let _ = requests::request(RequestKind::Refused, [SIGPIPE, refusal, 0, 0, 0, 0, 0, 0]);
}

/// `tkill`, `tgkill`, `rt_tgsigqueueinfo`. A thread on another node cannot be interrupted there; what the signal does
/// to the process by default is done at once, and a handler that would have to run is named to the person.
pub fn send_to_thread(call: u32, arguments: &[u64; 6]) -> i64 {
    let (target, signal) = if call == linux::__NR_tkill {
        (arguments[0] as u32, arguments[1])
    } else {
        (arguments[1] as u32, arguments[2])
    };
    let is_remote = |thread: &&Thread| {
        thread.role() == Role::Deputy && thread.thread_id.load(Ordering::Relaxed) == target
    };
    let remote = (1..=SIGNALS as u64).contains(&signal).then(|| thread::all().find(is_remote)).flatten();
    let result = kernel::raw(call, *arguments);
    let Some(remote) = remote.filter(|_| result == 0) else { return result };
    if remote.mask.load(Ordering::Relaxed) & bit(signal) != 0 {
        return result;
    }
    match handler_of(signal) {
        0 if ends_process(signal) => die_of(signal),
        0 | 1 => {}
        _ => {
            let refusal = Refusal::HandlerOnRemoteThread as u64;
            let _ = requests::request(RequestKind::Refused, [signal, refusal, 0, 0, 0, 0, 0, 0]);
        }
    }
    result
}

/// Whether a signal's default action ends the process: all but the ignored ones and those that stop and continue.
const fn ends_process(signal: u64) -> bool {
    const SIGCHLD: u64 = 17;
    const SIGCONT: u64 = 18;
    const SIGTSTP: u64 = 20;
    const SIGTTIN: u64 = 21;
    const SIGTTOU: u64 = 22;
    const SIGURG: u64 = 23;
    const SIGWINCH: u64 = 28;
    !matches!(signal, SIGCHLD | SIGCONT | SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU | SIGURG | SIGWINCH)
}

/// Makes the calling thread the one that takes signals for threads on other nodes.
pub fn adopt_service_thread() {
    SERVICE.store(kernel::thread_id() as i32, Ordering::Release);
    let _ = install(SIGPOKE, on_poke, 0);
    const SIG_UNBLOCK: u64 = 1;
    let mask = bit(SIGPOKE);
    let _ = kernel::raw(linux::__NR_rt_sigprocmask, [SIG_UNBLOCK, &raw const mask as u64, 0, 8, 0, 0]);
}

/// Recomputes which signals the service thread lets in: those whose action is the default and that some thread on
/// another node does not block. Without it, Ctrl-C would stay pending when every unblocked thread is remote.
pub fn remote_masks_changed() {
    let service = SERVICE.load(Ordering::Acquire);
    if service == 0 {
        return;
    }
    let mut open = 0;
    for thread in thread::all().filter(|thread| thread.role() == Role::Deputy) {
        open |= !thread.mask.load(Ordering::Relaxed);
    }
    for signal in 1..=SIGNALS as u64 {
        if handler_of(signal) != 0 {
            open &= !bit(signal);
        }
    }
    let mask = HANDLER_MASK & !bit(SIGPOKE) & !open;
    if SERVICE_MASK.swap(mask, Ordering::AcqRel) != mask {
        let process = u64::from(kernel::process_id());
        let _ = kernel::raw(linux::__NR_tgkill, [process, service as u64, SIGPOKE, 0, 0, 0]);
    }
}

extern "C" fn on_poke(signal: u64, information: *mut SignalInformation, context: *mut UserContext) {
    let thread = Thread::current();
    if thread.role() != Role::Service {
        // SAFETY: the kernel's own arguments, passed on.
        unsafe { on_signal(signal, information, context) };
        return;
    }
    // SAFETY: the kernel passes its frame on this thread's own stack.
    unsafe { (*context).mask = SERVICE_MASK.load(Ordering::Acquire) };
}
