//! What the kernel lets this process do, found out by doing it. Nothing is left behind.
//!
//! Not for judging it: that is where the facts are printed.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use linux_raw_sys::general as linux;
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

use banyan_sys::raw::{Errno, call};
use banyan_sys::userfaultfd::{
    self, Access, Kind, Message, Partial, Registration, Userfaultfd, Wake, WriteProtection,
};

const PAGE: usize = 4096;
/// No probe waits longer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Why a page fault inside the kernel was not served.
#[derive(Debug)]
pub(crate) struct NotServed {
    /// What was tried.
    what: &'static str,
    error: Option<io::Error>,
}

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => write!(f, "{}: {error}", self.what),
            None => f.write_str(self.what),
        }
    }
}

impl std::error::Error for NotServed {}

/// What failed, for `map_err`.
fn in_step<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> NotServed {
    move |error| NotServed { what, error: Some(error.into()) }
}

/// Lets the kernel itself, within a read, touch a page that is absent, and serves that fault as a pager does.
///
/// # Errors
/// [`NotServed`] says which step failed.
pub(crate) fn serve_one_fault() -> Result<(), NotServed> {
    // SAFETY: only the page below is registered with it, which is reached by its address alone.
    let faults = unsafe { Userfaultfd::create(Kind::ProgramAndKernel, userfaultfd::FEATURES) }
        .map_err(in_step("it could not be created"))?;
    let page = SharedPage::new(ProtFlags::READ | ProtFlags::WRITE)
        .map_err(in_step::<io::Error>("a page of shared memory"))?;
    faults
        .register(page.start(), PAGE as u64, Registration::Everything)
        .map_err(in_step("shared memory cannot be registered"))?;
    let (source, mut sink) = io::pipe().map_err(in_step::<io::Error>("a pipe"))?;
    sink.write_all(b"!").map_err(in_step::<io::Error>("a pipe"))?;
    let (done, finished) = mpsc::channel();
    let address = page.address.as_ptr().expose_provenance();
    let reader = std::thread::spawn(move || {
        // SAFETY: the mapping outlives this thread, which is joined before it goes, and no other thread
        // touches the first byte until then.
        let byte: &mut [u8] =
            unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address), 1) };
        let _ = done.send(rustix::io::read(&source, byte).is_ok_and(|count| count == 1));
    });
    let served = serve(&faults, &page);
    let in_time = finished.recv_timeout(DEADLINE);
    // Closing the descriptor lets a reader go that still waits.
    drop(faults);
    let joined = reader.join();
    served?;
    match (in_time, joined) {
        (Ok(true), Ok(())) => Ok(()),
        _ => {
            let what = "a read into an absent page did not succeed after the page was there";
            Err(NotServed { what, error: None })
        }
    }
}

fn serve(faults: &Userfaultfd, page: &SharedPage) -> Result<(), NotServed> {
    let deadline = Instant::now() + DEADLINE;
    let mut messages = [Message::default(); 1];
    loop {
        match faults.read(&mut messages) {
            Ok(1) if messages[0].fault().is_some_and(|fault| fault.address == page.start()) => break,
            Err(error) if error != Errno::EAGAIN && error != Errno::EINTR => {
                return Err(in_step("reading page faults")(error));
            }
            _ if Instant::now() > deadline => {
                return Err(NotServed { what: "a fault inside the kernel was not reported", error: None });
            }
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    rustix::io::pwrite(&page.file, &[0; PAGE], 0)
        .map_err(|error| in_step("storing a page")(io::Error::from(error)))?;
    faults
        .map_present(page.start(), PAGE as u64, Access::Write, Wake::Now)
        .map_err(|Partial { error, .. }| in_step("mapping a page")(error))?;
    faults
        .write_protect(page.start(), PAGE as u64, WriteProtection::Lifted)
        .map_err(in_step("changing the protection of a page"))
}

/// Whether the kernel can turn a system call into a signal.
#[must_use]
pub(crate) fn can_trap_system_calls() -> bool {
    let trap = libc::SECCOMP_RET_TRAP;
    let arguments = [u64::from(libc::SECCOMP_GET_ACTION_AVAIL), 0, &raw const trap as u64, 0, 0, 0];
    // SAFETY: the kernel reads one word.
    unsafe { call(linux::__NR_seccomp, arguments) }.is_ok()
}

/// Whether memory files may be executed and mapped to be executed.
#[must_use]
pub(crate) fn memory_files_are_executable() -> bool {
    let Ok(page) = SharedPage::new(ProtFlags::READ | ProtFlags::EXEC) else { return false };
    // A program that is started from such a file needs the file's mode to allow it too.
    rustix::fs::fstat(&page.file).is_ok_and(|status| status.st_mode & 0o100 != 0)
}

/// Whether this process can map a page at an address where nothing is mapped yet.
#[must_use]
pub(crate) fn is_mappable(address: u64) -> bool {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    let at = std::ptr::without_provenance_mut(address as usize);
    // SAFETY: a mapping that replaces none; it goes away at once, and its address is not passed on.
    let Ok(found) = (unsafe { rustix::mm::mmap_anonymous(at, PAGE, ProtFlags::empty(), flags) }) else {
        return false;
    };
    // SAFETY: made above.
    let _ = unsafe { rustix::mm::munmap(found, PAGE) };
    found.addr() == at.addr()
}

/// Whether threads may ask for real-time scheduling. Tries it with a thread that ends at once.
#[must_use]
pub(crate) fn can_run_in_real_time() -> bool {
    let attempt = std::thread::spawn(|| {
        let priority = 1_i32;
        let arguments = [0, u64::from(linux::SCHED_FIFO), &raw const priority as u64, 0, 0, 0];
        // SAFETY: the kernel reads one word; the calling thread's scheduling does no harm.
        unsafe { call(linux::__NR_sched_setscheduler, arguments) }.is_ok()
    });
    attempt.join().unwrap_or(false)
}

/// One shared page of a memory file, mapped.
struct SharedPage {
    file: OwnedFd,
    address: NonNull<u8>,
}

impl SharedPage {
    fn new(protection: ProtFlags) -> io::Result<Self> {
        let file = rustix::fs::memfd_create("banyan-doctor", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, PAGE as u64)?;
        // SAFETY: a new mapping at an address that the kernel chooses takes no other away.
        let address =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED, &file, 0)? };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { file, address })
    }

    fn start(&self) -> u64 {
        self.address.as_ptr().addr() as u64
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference to it is left.
        let _ = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), PAGE) };
    }
}
