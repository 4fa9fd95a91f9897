//! A separate stack for a computation that may have to be stopped: backed by an unlinked file, so that its
//! depth is bounded by disk and not by memory, and left for good by a context switch when a deadline passes,
//! another thread asks, or the stack is used up.
//!
//! The stop comes as a signal to the thread that computes. Its handler puts the registers that
//! [`ScratchStack::run`] saved into the signal frame, so that the return from the signal is a return from
//! `run`, on the caller's stack. No frame of the computation is unwound and no destructor runs: it is as if
//! it slept forever. So that a thread that it started and that refers to its frames does not find them gone,
//! the stack of a stopped computation is never used nor unmapped again, unless its owner answers for it
//! ([`ScratchStack::discard`]); and the closure is `'static`, so that it borrows nothing which its caller
//! could take back.
//!
//! Where the computation is not to be left, the stop waits: while a [`Shield`] is up, while a panic unwinds,
//! and while the processor is not in the code of the object (program or shared library) that this module is
//! linked into. The last is what keeps a computation from being left inside `malloc` of the C library, with
//! its lock held. If the allocator is linked into the program itself, it must be wrapped in a
//! [`ShieldedAllocator`]; where the C library itself is, a computation is only stopped when a shield is
//! lowered. Such a wait is polled each 100 us; a computation that sits in a system call is stopped when it
//! comes back to its own code.
//!
//! What is lost with a stopped computation: the memory that it owned, and any lock that it held outside of a
//! shield stays locked.
//!
//! A child that is forked in a computation has no copy of the stack, and ends by SIGSEGV.
//!
//! Signals: SIGSEGV and SIGBUS on the stack's pages are ours, and any other is passed to the handler before;
//! SIGRTMAX - 3 is the stop. One thread runs one computation at a time. No locks.

mod shield;
mod signals;
mod stopper;

use std::any::Any;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

pub use self::shield::{Shield, ShieldedAllocator};
use self::signals::{HandlerStack, Timer, Unblocked, prepare_signals};
pub use self::stopper::Stopper;
use banyan_sys::owner::Owner;

/// Room below the stack that is opened when it overflows where it cannot be left at once.
const RESERVE: usize = 1 << 20;
/// Room below that which is never opened.
const GUARD: usize = 1 << 20;
/// A stack may keep this many bytes of its file between computations.
const KEPT: u64 = 2 << 20;

/// Why a computation was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its time was up.
    Deadline,
    /// A [`Stopper`] asked.
    Asked,
    /// It used up its stack.
    Overflow,
    /// The disk had no room for more of its stack.
    DiskFull,
}

impl Stop {
    const ALL: [Stop; 4] = [Stop::Deadline, Stop::Asked, Stop::Overflow, Stop::DiskFull];

    fn code(self) -> usize {
        self as usize + 1
    }
}

/// How a computation ended.
pub(crate) enum Ended<T> {
    /// By itself.
    Returned(T),
    /// By a panic, with this payload; it has unwound.
    Panicked(Box<dyn Any + Send>),
    /// It was left where it was, and its stack with it; or it was not begun, or had just ended.
    Stopped(Stop),
}

/// A stack in an unlinked file.
#[derive(Debug)]
pub(crate) struct ScratchStack {
    base: usize,
    length: usize,
    file: File,
    is_abandoned: bool,
    owner: Owner,
}

impl ScratchStack {
    /// A stack of this many bytes in a directory, which should be on a disk. Room is taken as it is used.
    ///
    /// # Errors
    /// What the file system or the kernel says.
    pub(crate) fn new(directory: &Path, length: usize) -> io::Result<Self> {
        let length = length.next_multiple_of(4096) + RESERVE + GUARD;
        let file = unlinked(directory)?;
        file.set_len(length as u64)?;
        let owner = Owner::this_process()?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED | rustix::mm::MapFlags::NORESERVE,
                &file,
                0,
            )?
        };
        let stack = Self { base: base as usize, length, file, is_abandoned: false, owner };
        // A child that is forked in a computation would run on the same frames as its parent: it has none,
        // and ends by SIGSEGV.
        // SAFETY: the range is the new mapping; the advice concerns children only.
        unsafe { rustix::mm::madvise(base, length, rustix::mm::Advice::LinuxDontFork)? };
        // SAFETY: the range is in the new mapping, to which nothing refers yet.
        unsafe { rustix::mm::mprotect(base, GUARD + RESERVE, rustix::mm::MprotectFlags::empty())? };
        Ok(stack)
    }

    /// Whether a computation was stopped on this stack, which can then run no other.
    #[must_use]
    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    /// Unmaps the stack, whether or not a computation was stopped on it.
    ///
    /// # Safety
    /// Nothing refers to the frames of a computation that was stopped on it: no thread that it started, nor
    /// anything that it has put in reach of others.
    pub(crate) unsafe fn discard(mut self) {
        self.is_abandoned = false;
    }

    /// Runs a closure on this stack, until it returns, panics, or is stopped.
    ///
    /// # Errors
    /// `ResourceBusy` if this thread is in such a computation already, `InvalidInput` if the stack is
    /// abandoned, otherwise what the kernel says. The closure has not run then.
    pub(crate) fn run<T, F>(
        &mut self,
        deadline: Option<Duration>,
        stopper: &Stopper,
        computation: F,
    ) -> io::Result<Ended<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        if self.is_abandoned {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if !ACTIVE.get().is_null() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        prepare_signals()?;
        let handler_stack = HandlerStack::install()?;
        let timer = Timer::new()?;
        let mut job = Job { computation: Some(computation), result: MaybeUninit::uninit() };
        let active = Active {
            owner: self.owner,
            saved: Cell::new(0),
            stopper: &raw const *stopper.shared,
            stack: (self.base, self.base + self.length),
            deadline: deadline.map(|after| now().saturating_add(after.as_nanos() as u64)),
            timer: timer.id,
            pending: Cell::new(0),
        };
        if let Some(deadline) = active.deadline {
            timer.set(deadline)?;
        }
        let unblocked = Unblocked::new()?;
        // Whatever the caller shields, the computation shields nothing yet.
        let shields = SHIELDS.replace(0);
        COMPUTATIONS.set(COMPUTATIONS.get() + 1);
        COMPUTATION.set(COMPUTATIONS.get());
        // Behind all that can fail: a stopper that is not told of the end would go on to say that it stops.
        stopper.begin();
        ACTIVE.set(&raw const active);
        // A signal that came before found nothing to stop; one that comes from here on is kept until it can.
        let due = active.due(&stopper.shared);
        let code = match due {
            Some(_) => 0,
            // SAFETY: the top of the stack is the end of a mapping that nothing else uses; `begin_job` gets
            // the job that it is compiled for, and lets no panic out; `saved` lives in this frame, which is
            // live until `enter` returns.
            None => unsafe {
                enter(
                    (self.base + self.length) as *mut u8,
                    begin_job::<T, F>,
                    (&raw mut job).cast(),
                    active.saved.as_ptr(),
                )
            },
        };
        ACTIVE.set(std::ptr::null());
        let is_asked = stopper.end();
        drop(unblocked);
        drop(timer);
        drop(handler_stack);
        SHIELDS.set(shields);
        COMPUTATION.set(0);
        if let Some(stop) = due {
            return Ok(Ended::Stopped(stop));
        }
        if let Some(stop) = code.checked_sub(1).and_then(|at| Stop::ALL.get(at)) {
            self.is_abandoned = true;
            // The closure was moved to the stack that was left, and the result is not there.
            std::mem::forget(job);
            return Ok(Ended::Stopped(*stop));
        }
        self.trim();
        // SAFETY: `begin_job` returned, so it has written the result.
        Ok(match unsafe { job.result.assume_init_read() } {
            // A stop was promised, if too late to leave it where it was.
            Ok(_) if is_asked => Ended::Stopped(Stop::Asked),
            Ok(value) => Ended::Returned(value),
            Err(payload) => Ended::Panicked(payload),
        })
    }

    /// As [`ScratchStack::run`], for a closure that works on a value of the caller's and reads another. When
    /// the closure was left for good, the caller has the value back as the closure left it.
    ///
    /// # Errors
    /// As [`ScratchStack::run`].
    pub(crate) fn run_on<V, I, T, F>(
        &mut self,
        value: &mut V,
        input: &I,
        deadline: Option<Duration>,
        stopper: &Stopper,
        computation: F,
    ) -> io::Result<Ended<T>>
    where
        F: FnOnce(&mut Lent<V>, &Shown<I>) -> T + 'static,
        V: 'static,
        I: ?Sized + 'static,
        T: 'static,
    {
        let (mut lent, shown) = (Lent(NonNull::from(value)), Shown(NonNull::from(input)));
        self.run(deadline, stopper, move || computation(&mut lent, &shown))
    }

    /// Gives back the room that a deep computation took.
    fn trim(&self) {
        let taken = self
            .file
            .metadata()
            .map_or(0, |metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) * 512);
        if taken > KEPT {
            let address = std::ptr::with_exposed_provenance_mut(self.base + GUARD + RESERVE);
            let length = self.length - GUARD - RESERVE;
            // SAFETY: the computation has returned, so nothing refers to the stack. Where the file system
            // cannot, the room stays taken, which harms nothing.
            let _kept = unsafe { rustix::mm::madvise(address, length, rustix::mm::Advice::LinuxRemove) };
        }
    }
}

impl Drop for ScratchStack {
    fn drop(&mut self) {
        // A forked process has no copy of it, and may have something else there by now.
        if !self.is_abandoned && self.owner.is_here() {
            let address = std::ptr::with_exposed_provenance_mut(self.base);
            // SAFETY: the mapping is ours, and no computation is on it: `run` borrows it for as long.
            let unmapped = unsafe { rustix::mm::munmap(address, self.length) };
            debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
        }
    }
}

/// A value that a computation has until it ends or is left for good. It cannot be kept: the computation sees
/// a reference to this, of which it has no second one to put in its place, since a thread runs one
/// computation at a time.
#[derive(Debug)]
pub(crate) struct Lent<V>(NonNull<V>);

impl<V> Lent<V> {
    pub(crate) fn get(&self) -> &V {
        // SAFETY: `run_on` borrows the value for as long as the computation runs, and its caller has it back
        // only when the computation has ended or runs no more.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn get_mut(&mut self) -> &mut V {
        // SAFETY: as above, and this is the one way to the value.
        unsafe { self.0.as_mut() }
    }
}

/// What a computation only reads, of its caller's. A computation that is left waits for no thread of its own,
/// which would go on to read what its caller may have dropped by then; so it is not left while it reads.
#[derive(Debug)]
pub struct Shown<I: ?Sized>(NonNull<I>);

impl<I: ?Sized> Shown<I> {
    /// Reads it. A stop waits until this returns.
    pub fn with<R>(&self, read: impl FnOnce(&I) -> R) -> R {
        let _shield = Shield::new();
        // SAFETY: `run_on` borrows the value for as long as the computation runs, and who gets a reference
        // here has given it back before the shield is lowered, from when on the computation may be left for
        // good.
        read(unsafe { self.0.as_ref() })
    }
}

fn unlinked(directory: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => return Ok(file.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    // A file system without nameless files: a name that is gone at once.
    let path = directory.join(format!(".scratch-{}-{:x}", std::process::id(), now()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// A computation as its signal handlers see it.
struct Active {
    /// In a child there is no stack, and its fault there is no overflow.
    owner: Owner,
    /// The stack pointer of the caller, from which `leave` goes on.
    saved: Cell<usize>,
    stopper: *const stopper::Shared,
    stack: (usize, usize),
    deadline: Option<u64>,
    timer: libc::timer_t,
    /// Code of a stop that waits for a shield to be lowered; 0 is none.
    pending: Cell<usize>,
}

impl Active {
    /// The stop that is due, if one is.
    fn due(&self, stopper: &stopper::Shared) -> Option<Stop> {
        if stopper.is_asked() {
            return Some(Stop::Asked);
        }
        self.deadline.filter(|deadline| now() >= *deadline).map(|_| Stop::Deadline)
    }
}

thread_local! {
    static ACTIVE: Cell<*const Active> = const { Cell::new(std::ptr::null()) };
    static SHIELDS: Cell<u32> = const { Cell::new(0) };
    /// The number of the computation that runs; 0 is none. No two of a thread have the same.
    static COMPUTATION: Cell<u64> = const { Cell::new(0) };
    static COMPUTATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Job<T, F> {
    computation: Option<F>,
    result: MaybeUninit<Result<T, Box<dyn Any + Send>>>,
}

extern "C" fn begin_job<T, F: FnOnce() -> T>(job: *mut u8) {
    let job: *mut Job<T, F> = job.cast();
    // SAFETY: `run` gave its own job, which lives until this returns, and does not touch it meanwhile.
    let computation = unsafe { (*job).computation.take() };
    let Some(computation) = computation else { return };
    let result = catch_unwind(AssertUnwindSafe(computation));
    // From here on there is nothing to stop; `run` lowers it.
    SHIELDS.set(SHIELDS.get() + 1);
    // SAFETY: as above.
    unsafe { (*job).result.write(result) };
}

/// Calls `function(argument)` on the stack that ends at `top`. Gives 0 when it returns, or the code that
/// [`leave`] was given.
///
/// # Safety
/// `top` ends a writable stack and is aligned to 16; `function` does not unwind; `saved` outlives the call.
#[unsafe(naked)]
unsafe extern "C" fn enter(
    top: *mut u8,
    function: extern "C" fn(*mut u8),
    argument: *mut u8,
    saved: *mut usize,
) -> usize {
    core::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov [rcx], rsp",
        "mov rbx, rcx",
        "mov rsp, rdi",
        "mov rdi, rdx",
        // A walk of the frames ends here.
        "xor ebp, ebp",
        "call rsi",
        "mov rdi, [rbx]",
        "xor esi, esi",
        "jmp {leave}",
        leave = sym leave,
    )
}

/// Returns from [`enter`] with a code, whatever is on the present stack.
///
/// # Safety
/// `saved` is the stack pointer that a live call of `enter` has saved on this thread.
#[unsafe(naked)]
unsafe extern "C" fn leave(saved: usize, code: usize) -> ! {
    core::arch::naked_asm!(
        "mov rsp, rdi",
        "mov rax, rsi",
        "cld",
        "fninit",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn stack(length: usize) -> ScratchStack {
        ScratchStack::new(&std::env::temp_dir(), length).unwrap()
    }

    #[test]
    fn a_computation_returns_or_panics() {
        let mut stack = stack(1 << 20);
        let stopper = Stopper::default();
        for round in 0..100_u64 {
            let Ended::Returned(value) = stack.run(None, &stopper, move || vec![round; 100]).unwrap() else {
                panic!()
            };
            assert_eq!(value, vec![round; 100]);
        }
        let ended = stack.run(None, &stopper, || assert_eq!(1, 2, "of no use")).unwrap();
        let Ended::Panicked(payload) = ended else { panic!() };
        assert!(payload.downcast_ref::<String>().unwrap().contains("of no use"));
        assert!(!stack.is_abandoned());
        let nested =
            stack.run(None, &stopper, || self::stack(4096).run(None, &Stopper::default(), || ()).is_err());
        assert!(matches!(nested.unwrap(), Ended::Returned(true)));
    }

    #[test]
    fn a_child_that_is_forked_in_a_computation_harms_no_frame_of_it() {
        let ended = stack(1 << 20).run(None, &Stopper::default(), || {
            let mut word = 1_u64;
            let at = &raw mut word;
            // SAFETY: the child only writes a word and ends; the parent reads its own. Should they share it,
            // there is no telling where the parent goes on: the alarm ends it.
            unsafe {
                libc::alarm(60);
                let child = libc::fork();
                if child == 0 {
                    at.write_volatile(2);
                    libc::_exit(0);
                }
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                libc::alarm(0);
                (status, at.read_volatile())
            }
        });
        let Ended::Returned((status, word)) = ended.unwrap() else { panic!() };
        assert_eq!((libc::WTERMSIG(status), word), (libc::SIGSEGV, 1));
    }

    #[test]
    fn an_endless_loop_is_stopped() {
        let stopper = Stopper::default();
        let mut first = stack(1 << 20);
        let ended = first.run(Some(Duration::from_millis(20)), &stopper, || {
            loop {
                std::hint::spin_loop();
            }
        });
        let Ended::<()>::Stopped(stop) = ended.unwrap() else { panic!() };
        assert_eq!(stop, Stop::Deadline);
        assert!(first.run(None, &stopper, || ()).is_err(), "the stack is spent");
        let mut second = stack(1 << 20);
        let other = stopper.clone();
        let killer = std::thread::spawn(move || {
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while !other.stop() && std::time::Instant::now() < deadline {
                std::thread::yield_now();
            }
        });
        // Mostly inside of the allocator, where it is not left.
        let ended = second.run(None, &stopper, || {
            loop {
                std::hint::black_box(vec![1_u8; 100]);
            }
        });
        let Ended::<()>::Stopped(stop) = ended.unwrap() else { panic!() };
        assert_eq!(stop, Stop::Asked);
        killer.join().unwrap();
        assert!(!stopper.stop(), "nothing runs");
    }

    /// However early it comes: before the computation has begun, or as it begins.
    #[test]
    fn no_stop_and_no_deadline_is_lost() {
        let give_up = std::time::Instant::now() + Duration::from_secs(60);
        let endless = move || {
            while std::time::Instant::now() < give_up {
                std::hint::spin_loop();
            }
        };
        for round in 0..300_u64 {
            let mut stack = stack(64 << 10);
            let deadline = Some(Duration::from_nanos(round / 3 * 1000));
            let ended = stack.run(deadline, &Stopper::default(), endless).unwrap();
            assert!(matches!(ended, Ended::Stopped(Stop::Deadline)), "round {round}");
            // SAFETY: the computation started no thread and shared nothing.
            unsafe { stack.discard() };
        }
        let stopper = Stopper::default();
        std::thread::scope(|scope| {
            let (begin, begun) = std::sync::mpsc::channel::<()>();
            let other = stopper.clone();
            scope.spawn(move || {
                for () in begun {
                    while !other.stop() && std::time::Instant::now() < give_up {}
                }
            });
            for round in 0..300 {
                let mut stack = stack(64 << 10);
                begin.send(()).unwrap();
                let ended = stack.run(None, &stopper, endless).unwrap();
                assert!(matches!(ended, Ended::Stopped(Stop::Asked)), "round {round}");
                // SAFETY: as above.
                unsafe { stack.discard() };
            }
            drop(begin);
        });
    }

    #[test]
    fn a_stop_waits_for_shields() {
        static DONE: AtomicU64 = AtomicU64::new(0);
        let ended = stack(1 << 20).run(Some(Duration::from_millis(5)), &Stopper::default(), || {
            loop {
                let shield = Shield::new();
                let begun = std::time::Instant::now();
                while begun.elapsed() < Duration::from_millis(20) {
                    std::hint::spin_loop();
                }
                DONE.fetch_add(1, Ordering::SeqCst);
                drop(shield);
            }
        });
        assert!(matches!(ended.unwrap(), Ended::<()>::Stopped(Stop::Deadline)));
        assert_eq!(DONE.load(Ordering::SeqCst), 1);
    }

    fn depth(levels: u64) -> u64 {
        let frame = std::hint::black_box([levels; 64]);
        if levels == 0 { 0 } else { depth(levels - 1) + std::hint::black_box(frame)[0] - levels + 1 }
    }

    /// A shield that was raised elsewhere lowers none, in whichever direction it was carried.
    #[test]
    fn a_shield_belongs_to_its_computation() {
        let carried = Shield::new();
        let ended = stack(1 << 20).run(Some(Duration::from_millis(5)), &Stopper::default(), move || {
            let own = Shield::new();
            drop(carried);
            let until = std::time::Instant::now() + Duration::from_millis(50);
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            SHIELDED.store(true, Ordering::SeqCst);
            drop(own);
            // Here at the latest it is left.
            loop {
                std::hint::spin_loop();
            }
        });
        static SHIELDED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        assert!(matches!(ended.unwrap(), Ended::<()>::Stopped(Stop::Deadline)));
        assert!(SHIELDED.load(Ordering::SeqCst), "it was left although it had a shield up");
        let ended = stack(1 << 20).run(None, &Stopper::default(), Shield::new).unwrap();
        let Ended::Returned(carried) = ended else { panic!("nothing stops it") };
        let before = SHIELDS.get();
        let own = Shield::new();
        drop(carried);
        assert_eq!(SHIELDS.get(), before + 1);
        drop(own);
        assert_eq!(SHIELDS.get(), before);
    }

    #[test]
    fn an_overflow_is_an_error() {
        let stopper = Stopper::default();
        let ended = stack(16 << 20).run(None, &stopper, || depth(10_000)).unwrap();
        assert!(matches!(ended, Ended::Returned(10_000)));
        for _ in 0..3 {
            let mut stack = stack(4 << 20);
            let ended = stack.run(None, &stopper, || depth(u64::MAX)).unwrap();
            assert!(matches!(ended, Ended::Stopped(Stop::Overflow)));
            // SAFETY: the computation started no thread and shared nothing.
            unsafe { stack.discard() };
        }
    }
}
