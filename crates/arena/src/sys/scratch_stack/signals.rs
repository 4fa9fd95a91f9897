//! What stops a computation: the stop's signal, the timer that sends it, faults on the stack, and the stack
//! on which their handlers run.
//!
//! Not for deciding when: that is `run`'s, and a stopper's.

use std::io;
use std::sync::OnceLock;

use super::{ACTIVE, Active, GUARD, RESERVE, SHIELDS, Stop, enter, leave};

/// How long a stop that had to wait waits.
const RETRY_NANOSECONDS: i64 = 100_000;
/// Bytes of the stack that signal handlers run on.
const HANDLER_STACK: usize = 64 << 10;

pub(super) fn stop_signal() -> i32 {
    libc::SIGRTMAX() - 3
}

/// A timer that sends the stop to this thread.
pub(super) struct Timer {
    pub(super) id: libc::timer_t,
}

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: zeroes are a valid event, whose fields are set before it is used.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = stop_signal();
        // SAFETY: plain call, gives this thread's number.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut id: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both structures are live.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { id })
    }

    pub(super) fn set(&self, at: u64) -> io::Result<()> {
        let at = libc::timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as i64 };
        let when = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        // SAFETY: the timer is ours and the structure is live.
        if unsafe { libc::timer_settime(self.id, libc::TIMER_ABSTIME, &raw const when, std::ptr::null_mut()) }
            != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is not used again.
        unsafe { libc::timer_delete(self.id) };
    }
}

/// A stack for signal handlers on this thread, in place of the one that it has.
pub(super) struct HandlerStack {
    before: libc::stack_t,
    _memory: Box<[u8]>,
}

impl HandlerStack {
    pub(super) fn install() -> io::Result<Self> {
        let mut memory = vec![0_u8; HANDLER_STACK].into_boxed_slice();
        let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
        // SAFETY: zeroes are a valid place for the answer.
        let mut before: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: the memory outlives its use as a stack: `drop` puts the old one back first.
        if unsafe { libc::sigaltstack(&raw const stack, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { before, _memory: memory })
    }
}

impl Drop for HandlerStack {
    fn drop(&mut self) {
        // SAFETY: what was there before this still belongs to its owner.
        unsafe { libc::sigaltstack(&raw const self.before, std::ptr::null_mut()) };
    }
}

/// The stop is let through to this thread.
pub(super) struct Unblocked {
    before: libc::sigset_t,
}

impl Unblocked {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: sigemptyset and pthread_sigmask fill the sets that they are given.
        unsafe {
            let (mut set, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, stop_signal());
            let error = libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, &raw mut before);
            if error == 0 { Ok(Self { before }) } else { Err(io::Error::from_raw_os_error(error)) }
        }
    }
}

impl Drop for Unblocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// What the handlers need and cannot find out themselves.
struct Signals {
    /// The code of the object that this module is linked into; empty if the C library is in it.
    code: (usize, usize),
    segv_before: libc::sigaction,
    bus_before: libc::sigaction,
}

// SAFETY: the actions are plain data, written once.
unsafe impl Send for Signals {}
// SAFETY: as above.
unsafe impl Sync for Signals {}

static SIGNALS: OnceLock<Result<Signals, i32>> = OnceLock::new();

pub(super) fn prepare_signals() -> io::Result<()> {
    let prepared = SIGNALS.get_or_init(|| {
        // The actions before are read first: a fault on another thread may come as soon as ours are set.
        let before = |signal: i32| {
            // SAFETY: zeroes are a valid place for the answer.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: the structure is live; nothing is changed.
            unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
            action
        };
        Ok(Signals {
            code: code_range(),
            segv_before: before(libc::SIGSEGV),
            bus_before: before(libc::SIGBUS),
        })
    });
    if let Err(error) = prepared {
        return Err(io::Error::from_raw_os_error(*error));
    }
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    let error = *INSTALLED.get_or_init(|| {
        for (signal, handler) in [
            (libc::SIGSEGV, on_fault as *const ()),
            (libc::SIGBUS, on_fault as *const ()),
            (stop_signal(), on_stop as *const ()),
        ] {
            // SAFETY: zeroes are a valid action, whose fields are set before it is used.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: the handlers have the signature that SA_SIGINFO asks for and do only what is safe in a
            // handler.
            if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
                return io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
            }
        }
        0
    });
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// The executable range of the object that holds this code.
fn code_range() -> (usize, usize) {
    struct Search {
        wanted: usize,
        allocator: usize,
        found: (usize, usize),
    }
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut libc::c_void) -> i32 {
        // SAFETY: the loader gives a live description, and `search` is the structure below.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        // SAFETY: that many program headers are there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let ranges = headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0);
        for header in ranges {
            let start = info.dlpi_addr as usize + header.p_vaddr as usize;
            let range = (start, start + header.p_memsz as usize);
            if (range.0..range.1).contains(&search.wanted) {
                let has_allocator = (range.0..range.1).contains(&search.allocator);
                search.found = if has_allocator { (0, 0) } else { range };
                return 1;
            }
        }
        0
    }
    let mut search = Search {
        wanted: enter as *const () as usize,
        allocator: libc::malloc as *const () as usize,
        found: (0, 0),
    };
    // SAFETY: the callback is given the structure that it expects, for the length of the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

/// Whether the computation can be left where the signal has interrupted it.
fn can_leave(active: &Active, context: &libc::ucontext_t) -> bool {
    let register = |at: i32| context.uc_mcontext.gregs[at as usize] as usize;
    let (code, stack) = (register(libc::REG_RIP), register(libc::REG_RSP));
    let Some(Ok(signals)) = SIGNALS.get() else { return false };
    SHIELDS.get() == 0
        && (signals.code.0..signals.code.1).contains(&code)
        && (active.stack.0..active.stack.1).contains(&stack)
        && !std::thread::panicking()
}

/// Makes the return from the signal a return from `enter`.
fn leave_after_signal(active: &Active, context: &mut libc::ucontext_t, stop: Stop) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = leave as *const () as i64;
    registers[libc::REG_RSP as usize] = active.saved.get() as i64;
    registers[libc::REG_RDI as usize] = active.saved.get() as i64;
    registers[libc::REG_RSI as usize] = stop.code() as i64;
}

/// Stops the computation now if it can be left, else as soon as it can.
fn stop_or_wait(active: &Active, context: &mut libc::ucontext_t, stop: Stop) {
    if can_leave(active, context) {
        leave_after_signal(active, context, stop);
        return;
    }
    // A shield that is lowered, or the timer, whichever is first.
    if active.pending.get() == 0 {
        active.pending.set(stop.code());
    }
    let soon = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec { tv_sec: 0, tv_nsec: RETRY_NANOSECONDS },
    };
    // SAFETY: the timer lives as long as the computation; timer_settime may be called in a handler
    // (signal-safety(7)).
    unsafe { libc::timer_settime(active.timer, 0, &raw const soon, std::ptr::null_mut()) };
}

extern "C" fn on_stop(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let active = ACTIVE.get();
    if active.is_null() {
        return;
    }
    // SAFETY: a pointer that is not null is to the frame of `run`, which is live while it is set; the kernel
    // gives a live context.
    let (active, context) = unsafe { (&*active, &mut *context.cast::<libc::ucontext_t>()) };
    // SAFETY: the stopper is borrowed by `run`.
    let due = active.due(unsafe { &*active.stopper });
    let stop = match (active.pending.get(), due) {
        (0, Some(stop)) => stop,
        (0, None) => return,
        (code, _) => Stop::ALL[code - 1],
    };
    // The handler may have interrupted the system calls of the computation: their error number is kept.
    // SAFETY: the place of this thread's error number is always there.
    let error = unsafe { *libc::__errno_location() };
    stop_or_wait(active, context, stop);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = error };
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let active = ACTIVE.get();
    // SAFETY: the kernel gives a live description of the fault.
    let address = unsafe { (*info).si_addr() } as usize;
    // SAFETY: as in `on_stop`.
    if let Some(active) = unsafe { active.as_ref() }
        && active.owner.is_here()
        && (active.stack.0..active.stack.1).contains(&address)
    {
        // SAFETY: as in `on_stop`.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        let reserve = active.stack.0 + GUARD;
        if signal == libc::SIGBUS {
            leave_after_signal(active, context, Stop::DiskFull);
        } else if address < reserve || can_leave(active, context) {
            // Below the reserve there is no way to go on: the computation is left even inside the C library.
            leave_after_signal(active, context, Stop::Overflow);
        } else {
            // It goes on in the reserve until it can be left.
            let start = std::ptr::with_exposed_provenance_mut(reserve);
            let flags = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
            // SAFETY: the reserve is part of the stack's mapping.
            if unsafe { rustix::mm::mprotect(start, RESERVE, flags) }.is_err() {
                leave_after_signal(active, context, Stop::Overflow);
            } else {
                stop_or_wait(active, context, Stop::Overflow);
            }
        }
        return;
    }
    let Some(Ok(signals)) = SIGNALS.get() else { return };
    let before = if signal == libc::SIGBUS { &signals.bus_before } else { &signals.segv_before };
    pass_on(signal, info, context, before);
}

/// Does what the action before ours would have done.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void, before: &libc::sigaction) {
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The fault comes again at once, and then ends the process as it would have.
            // SAFETY: a plain change of the action to what it was.
            unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: an action with SA_SIGINFO is such a function.
            let handler: Handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: an action without SA_SIGINFO is such a function.
            let handler: extern "C" fn(i32) =
                unsafe { std::mem::transmute::<usize, extern "C" fn(i32)>(handler) };
            handler(signal);
        }
    }
}
