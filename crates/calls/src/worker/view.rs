//! The worker's view of its caller's memory: the address space in which nothing of the worker's own lies.
//!
//! Whatever touches a page there that has not come yet waits (userfaultfd(2)): the library, and the kernel in
//! the library's system calls. A thread asks the caller for the page, in the name of the thread that waits. A
//! page that the caller does not have becomes a guard, so that the library gets `SIGSEGV` and the kernel's
//! call `EFAULT`, as in the caller.
//!
//! Not for addresses between the worker's own mappings: a fault there is a signal (`faults`). Where the
//! kernel does not allow all this there is no view: every fault is a signal, and the kernel's calls fail.
//!
//! Threads: the one that serves is not the C library's and has a table of descriptors of its own, so that a
//! library that closes all descriptors leaves it alone. It uses no thread-local storage and touches no memory
//! of the caller. While it waits for a page, its caller may be in a signal handler that calls, too, and
//! answers only once that call has its own pages: so for each such call another thread serves beside it. Not
//! always: the kernel wakes all that read, for each fault.

use super::gate::Gate;
use super::memory::Placing;
use super::{LOWEST_PAGE, Thread};
use crate::shared::layout::{CHANNELS, PAGE, SlotHead, WINDOW_BYTES};
use crate::sys::channel::{futex_wait, futex_wake};
use crate::sys::maps;
use crate::sys::memory::{Access, at, drop_pages, leave_out_of_forks, map_anywhere, map_private, unmap};
use crate::sys::process::{keep_descriptor_only, kill_self, start_bare_thread, start_beside_bare_thread};
use banyan_sys::raw::Errno;
use banyan_sys::userfaultfd::{self, Message, Registration, Userfaultfd};
use banyan_wire::address_space::LARGE;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence};

/// The end of the addresses of a program.
const END: u64 = (1 << 47) - PAGE;
/// Address space below the worker's libraries that its own mappings may use. Those of the next window's
/// worker, which the caller sees, lie below.
const OWN_BYTES: u64 = 1 << 40;
/// Kept free below the main stack, which grows.
const STACK_GROWTH: u64 = 16 << 20;
/// Smaller gaps than this between mappings stay gaps.
const SMALLEST: u64 = 1 << 20;
const SERVER_STACK: u64 = 64 << 10;
/// Threads of the library that can wait for the next call.
const EARLY_MAX: usize = 64;
/// Threads that serve beside the first, at most.
const HELPERS_MAX: u32 = 16;
/// Longest sleep of a helper. It is woken; a look now and then costs nothing.
const HOUR_NS: u64 = 3_600_000_000_000;

/// The threads that serve channels, by channel.
static SERVING: [AtomicPtr<Thread>; CHANNELS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHANNELS];

/// Calls inside that were made in a signal handler, in the middle of another call.
static INTERRUPTING: AtomicU32 = AtomicU32::new(0);
/// Threads of the library that want memory of the caller's while no call is under way, as many as [`EARLY`]
/// says; they change under this gate.
static EARLY_LIST: [[AtomicU64; 2]; EARLY_MAX] =
    [const { [AtomicU64::new(0), AtomicU64::new(0)] }; EARLY_MAX];
static EARLY_GATE: Gate = Gate::new();
/// How many there are.
static EARLY: AtomicUsize = AtomicUsize::new(0);
/// A page of the view at whose faults these are served; 0 if there is no view.
static BELL: AtomicU64 = AtomicU64::new(0);

/// Address space kept for the caller's pages.
pub(crate) struct View {
    ranges: Vec<Range<u64>>,
}

impl View {
    /// No address space.
    pub(crate) const fn none() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Maps all that lies neither in `window` nor where the calling process has something or will have.
    ///
    /// # Errors
    /// The kernel's; nothing is mapped then.
    pub(crate) fn reserve(window: u64) -> io::Result<Self> {
        // Each worker makes its own; here only to see whether it may.
        let descriptor = userfaultfd::create()?;
        // SAFETY: made a line ago, and known to nothing else.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
        let mut view = Self::none();
        for range in gaps(&maps::list(), window) {
            if let Err(error) = map_private(range.start, range.end - range.start, Access::Write) {
                view.give_back();
                return Err(error);
            }
            view.ranges.push(range);
        }
        Ok(view)
    }

    /// Bytes of address space.
    pub(crate) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    fn contains(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    fn give_back(&self) {
        for range in &self.ranges {
            // SAFETY: mapped in `reserve`, and empty.
            unsafe { unmap(range.start, range.end - range.start) };
        }
    }

    /// Has faults in this process, a fork of the one that reserved, wait for [`View::serve`].
    ///
    /// # Errors
    /// The kernel's; there is no view then.
    pub(crate) fn watch(&self) -> io::Result<Watched> {
        let watch = || {
            let descriptor = userfaultfd::create()?;
            // SAFETY: made a line ago, and known to nothing else.
            let descriptor = Userfaultfd::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
            for range in &self.ranges {
                descriptor.register(range.start, range.end - range.start, Registration::WritesAndMissing)?;
                // A child would find zeroes there.
                leave_out_of_forks(range.start, range.end - range.start)?;
            }
            // Of the first gap: so low no program has memory.
            BELL.store(self.ranges.first().map_or(0, |range| range.start), Relaxed);
            Ok(Watched(descriptor))
        };
        watch().inspect_err(|_| self.give_back())
    }
}

/// A view whose faults wait.
pub(crate) struct Watched(Userfaultfd);

impl Watched {
    /// Starts the thread that serves the faults; the worker's caller learns its id from the head of `slot`.
    ///
    /// # Errors
    /// The kernel's; the process must end then.
    pub(crate) fn serve(self, slot: u64) -> io::Result<()> {
        let stack = map_anywhere(SERVER_STACK)?;
        let watched = Box::leak(Box::new(self));
        // SAFETY: the stack is new; `serve` wants this argument and keeps to the rules of such a thread.
        let thread = unsafe {
            let thread = start_bare_thread(stack + SERVER_STACK, serve, std::ptr::from_mut(watched).cast())?;
            // The thread has its own. The library must not see ours.
            libc::close(watched.0.as_fd().as_raw_fd());
            thread
        };
        // SAFETY: the slot is mapped for the life of this process; its head is all atomics.
        let head: &SlotHead = unsafe { at(slot) };
        head.bringer.store(thread, Relaxed);
        Ok(())
    }
}

/// Tells the server of faults which thread serves a channel.
pub(super) fn announce(thread: &'static Thread) {
    SERVING[thread.index.get()].store(std::ptr::from_ref(thread).cast_mut(), Release);
}

/// A thread that waits for a page, and the page's address.
#[derive(Clone, Copy)]
struct Waiting {
    thread: u32,
    page: u64,
}

/// Whether the caller's memory may appear at `address`. For the fault handler of any thread.
pub(super) fn contains(address: u64) -> bool {
    // SAFETY: such a thread's state is never removed.
    let serving = SERVING.iter().find_map(|thread| unsafe { thread.load(Acquire).as_ref() });
    serving.is_some_and(|thread| thread.host.get().view.contains(address))
}

/// A thread that is in a call.
pub(super) fn any_in_call() -> Option<&'static Thread> {
    // SAFETY: such a thread's state is never removed.
    let mut serving = SERVING.iter().filter_map(|thread| unsafe { thread.load(Acquire).as_ref() });
    serving.find(|thread| thread.in_call.load(Relaxed))
}

/// A call begins that was made in a signal handler: whom it interrupts may wait for a page.
pub(super) fn begin_interrupting() {
    INTERRUPTING.fetch_add(1, SeqCst);
    futex_wake(&INTERRUPTING, u32::MAX >> 1);
}

/// It ends, or calls back.
pub(super) fn end_interrupting() {
    INTERRUPTING.fetch_sub(1, SeqCst);
}

extern "C" fn serve(watched: *mut libc::c_void) -> i32 {
    // SAFETY: leaked by `Watched::serve`, and never changed.
    let descriptor = unsafe { &(*watched.cast::<Watched>()).0 };
    keep_descriptor_only(descriptor.as_fd().as_raw_fd());
    start_helper(descriptor, 1);
    loop {
        serve_one(descriptor);
    }
}

/// What a helper is started with; it lies at the bottom of the helper's stack.
struct Helper {
    descriptor: *const Userfaultfd,
    /// It serves while this many calls interrupt others.
    number: u32,
}

/// Starts helper `number`. Without it, calls in signal handlers may wait until their deadline.
fn start_helper(descriptor: &Userfaultfd, number: u32) {
    let Ok(stack) = map_anywhere(SERVER_STACK) else { return };
    let helper = stack as *mut Helper;
    // SAFETY: the stack is new; `help` wants this argument and keeps to the rules of such a thread.
    unsafe {
        helper.write(Helper { descriptor, number });
        if !start_beside_bare_thread(stack + SERVER_STACK, help, helper.cast()) {
            unmap(stack, SERVER_STACK);
        }
    }
}

extern "C" fn help(helper: *mut libc::c_void) -> i32 {
    // SAFETY: written by `start_helper`, and never changed; the descriptor's holder is leaked.
    let (descriptor, number) = unsafe {
        let helper = &*helper.cast::<Helper>();
        (&*helper.descriptor, helper.number)
    };
    let mut has_next = number == HELPERS_MAX;
    loop {
        let interrupting = INTERRUPTING.load(SeqCst);
        if interrupting < number {
            futex_wait(&INTERRUPTING, interrupting, HOUR_NS);
            continue;
        }
        if !has_next {
            start_helper(descriptor, number + 1);
            has_next = true;
        }
        serve_one(descriptor);
    }
}

/// Serves one fault. Never more: who serves the first may have to wait until another has served the second.
fn serve_one(descriptor: &Userfaultfd) {
    let mut messages = [Message::default()];
    let count = match descriptor.read(&mut messages) {
        Ok(count) => count,
        Err(Errno::EINTR | Errno::EAGAIN) => 0,
        // Without us the process would wait for ever.
        Err(_) => kill_self(),
    };
    let Some(fault) = messages[..count].iter().find_map(Message::fault) else { return };
    let waiting = Waiting { thread: fault.thread, page: fault.address };
    if waiting.page == BELL.load(Relaxed) {
        // A call has begun, and its thread waits.
        bring_early(descriptor);
        if descriptor.fill_with_zeroes(waiting.page, PAGE).is_err() {
            wake(descriptor, waiting);
        }
    } else if bring(descriptor, waiting) {
        // It is served.
    } else if note_early(waiting) {
        // A call that began before it could see that rings no bell.
        fence(SeqCst);
        if any_in_call().is_some() {
            bring_early(descriptor);
        }
    } else {
        // SAFETY: nothing is there, and the thread is to find nothing there.
        unsafe { unmap(waiting.page, PAGE) };
        wake(descriptor, waiting);
    }
}

/// Has a thread wait for the next call; returns false if too many do.
fn note_early(waiting: Waiting) -> bool {
    EARLY_GATE.enter();
    let count = EARLY.load(SeqCst);
    let place = EARLY_LIST.get(count);
    if let Some([thread, page]) = place {
        thread.store(waiting.thread.into(), Relaxed);
        page.store(waiting.page, Relaxed);
        EARLY.store(count + 1, SeqCst);
    }
    EARLY_GATE.leave();
    place.is_some()
}

/// Brings what threads wait for; those for which a call must come once more wait on.
fn bring_early(descriptor: &Userfaultfd) {
    let mut all = [Waiting { thread: 0, page: 0 }; EARLY_MAX];
    EARLY_GATE.enter();
    let count = EARLY.swap(0, SeqCst);
    for (waiting, [thread, page]) in all[..count].iter_mut().zip(&EARLY_LIST) {
        *waiting = Waiting { thread: thread.load(Relaxed) as u32, page: page.load(Relaxed) };
    }
    EARLY_GATE.leave();
    for &waiting in &all[..count] {
        if !bring(descriptor, waiting) && !note_early(waiting) {
            // It faults once more, and is among the many then.
            wake(descriptor, waiting);
        }
    }
}

/// Has pages brought for which threads of the library waited for a call. The calling thread is in one.
pub(super) fn serve_early() {
    fence(SeqCst);
    let bell = BELL.load(Relaxed);
    if EARLY.load(SeqCst) == 0 || bell == 0 {
        return;
    }
    // SAFETY: a page of the view that is for this only: this thread waits until the one that serves has
    // looked, and finds zeroes.
    unsafe {
        let _ = (bell as *const u64).read_volatile();
        drop_pages(bell, PAGE);
    }
}

/// Brings a page, or has who waits for it see that there is none; returns false if a call must come first.
fn bring(descriptor: &Userfaultfd, waiting: Waiting) -> bool {
    // SAFETY: such a thread's state is never removed.
    let serving = SERVING.iter().filter_map(|thread| unsafe { thread.load(Acquire).as_ref() });
    let own = serving.clone().find(|thread| thread.identity.load(Relaxed) == waiting.thread);
    // A thread of the library's own, or its child before it executes another program: a caller that waits is
    // asked, best one that is asked for nothing now.
    let mut in_call = serving.filter(|thread| thread.in_call.load(Relaxed));
    let free = own.is_none().then(|| in_call.clone().find(|thread| thread.turn.try_enter())).flatten();
    let Some(asked) = own.or(free).or_else(|| in_call.next()) else { return false };
    if free.is_none() {
        asked.turn.enter();
    }
    let is_in_call = asked.in_call.load(Relaxed);
    if is_in_call && !asked.fetch(waiting.page, Placing::InView(descriptor)) {
        asked.refuse(waiting.page);
    }
    asked.turn.leave();
    // A thread that is in no call has the page: it came for another one, and this message is old.
    let is_decided = is_in_call || own.is_some();
    if is_decided {
        wake(descriptor, waiting);
    }
    is_decided
}

/// Whatever is there now: the thread looks again.
fn wake(descriptor: &Userfaultfd, waiting: Waiting) {
    if descriptor.wake(waiting.page, PAGE).is_err() {
        kill_self();
    }
}

/// The gaps between `mappings` that the caller's memory may lie in.
fn gaps(mappings: &[maps::Mapping], window: u64) -> Vec<Range<u64>> {
    let libraries = mappings.iter().filter(|mapping| LARGE.contains(mapping.start));
    let (own, end) = (window..window + WINDOW_BYTES, END..END);
    let mut taken: Vec<Range<u64>> = mappings
        .iter()
        .map(|mapping| {
            let growth = if mapping.path == "[stack]" { STACK_GROWTH } else { 0 };
            mapping.start - growth..mapping.end
        })
        .chain(std::iter::once(own))
        .chain(libraries.map(|mapping| mapping.start - OWN_BYTES..mapping.end))
        .collect();
    taken.sort_unstable_by_key(|range| range.start);
    let mut gaps = Vec::new();
    let mut next = LOWEST_PAGE * PAGE;
    for range in taken.into_iter().chain(std::iter::once(end)) {
        if range.start > next && range.start.min(END) - next >= SMALLEST {
            gaps.push(next..range.start.min(END));
        }
        next = next.max(range.end);
    }
    gaps
}
