//! What this machine offers of what Banyan needs, found out by trying it: the facts behind `banyan doctor`.
//!
//! Not for judging them: what is enough, and what to do if it is not, is said where the facts are printed.

use crate::pager::memory_file::MemoryFile;
use banyan_sys::raw::{self, Errno};
use banyan_sys::userfaultfd::{self, Access, Kind, Registration, Userfaultfd, Wake, WriteProtection};
use banyan_wire::layout::{HIDDEN_DESCRIPTORS, LOW_START, PROGRAM_END, PROGRAM_START, STUB_START};
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Descriptors that a replica hides from the program.
pub const DESCRIPTORS_HIDDEN: u64 = HIDDEN_DESCRIPTORS;
/// The lowest address at which a program that is linked at a fixed one may lie.
pub const LOWEST_PROGRAM_ADDRESS: u64 = LOW_START;
/// A larger signal frame does not fit twice on the runtime's stacks, which is how often it must.
pub const SIGNAL_FRAME_MAX: u64 = 40 << 10;

const PAGE: usize = 4096;
/// No probe waits longer.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// Whether page faults that happen inside the kernel can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultService {
    /// One was.
    Works,
    /// This user may not.
    NotPermitted,
    /// The kernel was built without userfaultfd, or a container's filter hides it.
    Absent,
    /// The kernel is too old: these features are missing.
    Lacks(Vec<&'static str>),
    /// It is there and allowed and did not work.
    Broken(String),
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `uname -m` says.
    pub machine: String,
    /// As `uname -r` says.
    pub kernel_release: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Memory of the machine in bytes.
    pub memory_bytes: u64,
    /// See [`FaultService`].
    pub fault_service: FaultService,
    /// The kernel can turn a system call into a signal.
    pub seccomp_trap: bool,
    /// Why a memory file of the size of the address space cannot be made.
    pub memory_file_problem: Option<String>,
    /// The limit on the size of files that this process may write (`ulimit -f`).
    pub file_size_limit: Option<u64>,
    /// Memory files may be executed and mapped to be executed.
    pub memory_files_executable: bool,
    /// The setting of huge pages for shared memory, such as `never`.
    pub shared_huge_pages: Option<String>,
    /// `vm.max_map_count`.
    pub mappings_max: Option<u64>,
    /// `vm.mmap_min_addr`.
    pub lowest_address: Option<u64>,
    /// Addresses that a replica needs and cannot have.
    pub addresses_taken: Vec<u64>,
    /// The limit on address space (`ulimit -v`).
    pub address_space_limit: Option<u64>,
    /// Soft limit of open files.
    pub open_files_soft: u64,
    /// Hard limit of open files.
    pub open_files_hard: u64,
    /// Median time of a small message there and back over loopback TCP, or why there is none.
    pub loopback: Result<Duration, String>,
    /// Threads may ask for real-time scheduling (`SCHED_FIFO`).
    pub real_time: bool,
    /// `vm.overcommit_memory`.
    pub overcommit: Option<u64>,
    /// Bytes of a thread's extended registers (XSAVE), as the processor says.
    pub extended_state_bytes: u64,
    /// The kernel's least size of a signal stack (`AT_MINSIGSTKSZ`).
    pub signal_stack_min: Option<u64>,
}

impl Facts {
    /// Tries everything. Takes some milliseconds and leaves nothing behind.
    #[must_use]
    pub fn gather() -> Self {
        let name = rustix::system::uname();
        let information = rustix::system::sysinfo();
        let open_files = getrlimit(Resource::Nofile);
        let file_size_limit = getrlimit(Resource::Fsize).current;
        Self {
            machine: name.machine().to_string_lossy().into_owned(),
            kernel_release: name.release().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: information.totalram as u64 * u64::from(information.mem_unit),
            fault_service: fault_service(),
            seccomp_trap: seccomp_trap(),
            // With a limit the attempt would end this process by SIGXFSZ.
            memory_file_problem: match file_size_limit {
                None => MemoryFile::create().err().map(|error| error.to_string()),
                Some(_) => None,
            },
            file_size_limit,
            memory_files_executable: memory_files_executable(),
            shared_huge_pages: shared_huge_pages(),
            mappings_max: number("/proc/sys/vm/max_map_count"),
            lowest_address: number("/proc/sys/vm/mmap_min_addr"),
            addresses_taken: addresses_taken(),
            address_space_limit: getrlimit(Resource::As).current,
            open_files_soft: open_files.current.unwrap_or(u64::MAX),
            open_files_hard: open_files.maximum.unwrap_or(u64::MAX),
            loopback: loopback().map_err(|error| error.to_string()),
            real_time: real_time(),
            overcommit: number("/proc/sys/vm/overcommit_memory"),
            extended_state_bytes: extended_state_bytes(),
            signal_stack_min: signal_stack_min(),
        }
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn fault_service() -> FaultService {
    let supported = match userfaultfd::supported_features() {
        Ok(supported) => supported,
        Err(Errno::EPERM) => return FaultService::NotPermitted,
        Err(Errno::ENOSYS) => return FaultService::Absent,
        Err(error) => return FaultService::Broken(error.to_string()),
    };
    let missing: Vec<_> = userfaultfd::FEATURE_NAMES
        .iter()
        .filter(|(bit, _)| supported & bit == 0)
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        return FaultService::Lacks(missing);
    }
    match serve_one_fault() {
        Ok(()) => FaultService::Works,
        Err(reason) => FaultService::Broken(reason),
    }
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
        // SAFETY: a new mapping at an address that the kernel chooses takes nothing away from anybody.
        let address =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED, &file, 0)? };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { file, address })
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference to it is left.
        let _ = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), PAGE) };
    }
}

/// Lets the kernel itself, within a read, touch a page that is absent, and serves that fault as the pager does.
fn serve_one_fault() -> Result<(), String> {
    let say = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let refused = |what: &'static str| move |error: Errno| format!("{what}: {error}");
    // SAFETY: only the page below is registered with it, which is reached by its address alone.
    let faults = unsafe { Userfaultfd::create(Kind::ProgramAndKernel, userfaultfd::FEATURES) }
        .map_err(refused("it could not be created"))?;
    let page = SharedPage::new(ProtFlags::READ | ProtFlags::WRITE).map_err(say("a page of shared memory"))?;
    let start = page.address.as_ptr() as u64;
    faults
        .register(start, PAGE as u64, Registration::Everything)
        .map_err(refused("shared memory cannot be registered"))?;
    let (source, mut sink) = io::pipe().map_err(say("a pipe"))?;
    sink.write_all(b"!").map_err(say("a pipe"))?;
    let (done, finished) = mpsc::channel();
    let address = page.address.as_ptr() as usize;
    let reader = std::thread::spawn(move || {
        // SAFETY: the mapping outlives this thread, which is joined before it goes, and nobody else touches the
        // first byte until then.
        let byte = unsafe { std::slice::from_raw_parts_mut(address as *mut u8, 1) };
        let _ = done.send(rustix::io::read(&source, byte).is_ok_and(|count| count == 1));
    });
    let served = serve(&faults, &page, start);
    let in_time = finished.recv_timeout(PROBE_DEADLINE);
    // Closing the descriptor lets a reader go that still waits.
    drop(faults);
    let joined = reader.join();
    served?;
    match (in_time, joined) {
        (Ok(true), Ok(())) => Ok(()),
        _ => Err("a read into an absent page did not succeed after the page was there".into()),
    }
}

fn serve(faults: &Userfaultfd, page: &SharedPage, start: u64) -> Result<(), String> {
    let deadline = Instant::now() + PROBE_DEADLINE;
    let mut messages = [userfaultfd::Message::default(); 1];
    loop {
        match faults.read(&mut messages) {
            Ok(1) if messages[0].fault().is_some_and(|fault| fault.address == start) => break,
            Err(error) if error != Errno::EAGAIN && error != Errno::EINTR => {
                return Err(format!("reading page faults: {error}"));
            }
            _ if Instant::now() > deadline => return Err("a fault inside the kernel was not reported".into()),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    rustix::io::pwrite(&page.file, &[0; PAGE], 0).map_err(|error| format!("storing a page: {error}"))?;
    faults
        .map_present(start, PAGE as u64, Access::Write, Wake::Now)
        .map_err(|partial| format!("mapping a page: {}", partial.error))?;
    faults
        .write_protect(start, PAGE as u64, WriteProtection::Lifted)
        .map_err(|error| format!("changing the protection of a page: {error}"))
}

fn seccomp_trap() -> bool {
    const SECCOMP: u32 = 317;
    const GET_ACTION_AVAILABLE: u64 = 2;
    let trap = 0x0003_0000_u32;
    // SAFETY: the kernel reads one word.
    unsafe { raw::call(SECCOMP, [GET_ACTION_AVAILABLE, 0, &raw const trap as u64, 0, 0, 0]) }.is_ok()
}

fn memory_files_executable() -> bool {
    let Ok(page) = SharedPage::new(ProtFlags::READ | ProtFlags::EXEC) else { return false };
    // The runtime is started from such a file, so the file's mode must allow it too.
    rustix::fs::fstat(&page.file).is_ok_and(|status| status.st_mode & 0o100 != 0)
}

/// The chosen word of the setting, which stands in brackets.
fn shared_huge_pages() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(chosen, _)| chosen.to_owned())
}

/// Those of the addresses that replicas use at which this process cannot map anything.
fn addresses_taken() -> Vec<u64> {
    let wanted = [PROGRAM_START, PROGRAM_END - PAGE as u64, STUB_START];
    wanted
        .into_iter()
        .filter(|&address| {
            let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
            let at = address as *mut std::ffi::c_void;
            // SAFETY: a mapping that replaces none; it goes away at once and nobody learns its address.
            let mapped = unsafe { rustix::mm::mmap_anonymous(at, PAGE, ProtFlags::empty(), flags) };
            match mapped {
                Ok(found) => {
                    // SAFETY: made above.
                    let _ = unsafe { rustix::mm::munmap(found, PAGE) };
                    found != at
                }
                Err(_) => true,
            }
        })
        .collect()
}

fn loopback() -> io::Result<Duration> {
    const ROUNDS: usize = 51;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; 64];
        for _ in 0..ROUNDS {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect_timeout(&address, PROBE_DEADLINE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PROBE_DEADLINE))?;
    let mut times = Vec::with_capacity(ROUNDS);
    let mut message = [7; 64];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        times.push(begun.elapsed());
    }
    drop(stream);
    let _ = echo.join();
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

/// Tries it with a thread that ends at once.
fn real_time() -> bool {
    const SCHED_SETSCHEDULER: u32 = 144;
    const FIFO: u64 = 1;
    let attempt = std::thread::spawn(|| {
        let priority = 1_i32;
        // SAFETY: the kernel reads one word; the calling thread's scheduling harms nobody.
        unsafe { raw::call(SCHED_SETSCHEDULER, [0, FIFO, &raw const priority as u64, 0, 0, 0]) }.is_ok()
    });
    attempt.join().unwrap_or(false)
}

fn extended_state_bytes() -> u64 {
    const EXTENDED_STATE_LEAF: u32 = 0xd;
    u64::from(std::arch::x86_64::__cpuid_count(EXTENDED_STATE_LEAF, 0).ebx)
}

/// From the vector of words that the kernel gave this process at its start.
fn signal_stack_min() -> Option<u64> {
    const MINIMUM_SIGNAL_STACK: u64 = 51;
    let bytes = fs::read("/proc/self/auxv").ok()?;
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
    bytes
        .chunks_exact(16)
        .find(|pair| word(&pair[..8]) == Some(MINIMUM_SIGNAL_STACK))
        .and_then(|pair| word(&pair[8..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_the_tests_is_recognised() {
        let facts = Facts::gather();
        assert_eq!(facts.machine, "x86_64");
        assert!(facts.processors > 0 && facts.memory_bytes > 0);
        assert!(facts.extended_state_bytes >= 512);
        assert!(facts.addresses_taken.is_empty(), "{:x?}", facts.addresses_taken);
        assert!(facts.loopback.is_ok(), "{:?}", facts.loopback);
        assert!(!matches!(facts.fault_service, FaultService::Broken(_)), "{:?}", facts.fault_service);
    }
}
