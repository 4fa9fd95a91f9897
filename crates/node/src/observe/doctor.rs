//! What this machine offers of what Banyan needs, found out by trying it: the facts behind `banyan doctor`.
//!
//! Not for judging them: what is enough, and what to do if it is not, is said where the facts are printed.

use crate::pager::memory_file::MemoryFile;
use crate::sys::probe;
use banyan_sys::raw::Errno;
use banyan_sys::userfaultfd;
use banyan_wire::address_space::{LOW, PROGRAM_CODE, STUB};
use banyan_wire::descriptors::HIDDEN_DESCRIPTORS;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Descriptors that a replica hides from the program.
pub const DESCRIPTORS_HIDDEN: u64 = HIDDEN_DESCRIPTORS;
/// The lowest address at which a program that is linked at a fixed one may lie.
pub const LOWEST_PROGRAM_ADDRESS: u64 = LOW.start;
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
            seccomp_trap: probe::can_trap_system_calls(),
            // With a limit the attempt would end this process by SIGXFSZ.
            memory_file_problem: match file_size_limit {
                None => MemoryFile::create().err().map(|error| error.to_string()),
                Some(_) => None,
            },
            file_size_limit,
            memory_files_executable: probe::memory_files_are_executable(),
            shared_huge_pages: shared_huge_pages(),
            mappings_max: number("/proc/sys/vm/max_map_count"),
            lowest_address: number("/proc/sys/vm/mmap_min_addr"),
            addresses_taken: addresses_taken(),
            address_space_limit: getrlimit(Resource::As).current,
            open_files_soft: open_files.current.unwrap_or(u64::MAX),
            open_files_hard: open_files.maximum.unwrap_or(u64::MAX),
            loopback: loopback().map_err(|error| error.to_string()),
            real_time: probe::can_run_in_real_time(),
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
    match probe::serve_one_fault() {
        Ok(()) => FaultService::Works,
        Err(reason) => FaultService::Broken(reason.to_string()),
    }
}

/// The chosen word of the setting, which stands in brackets.
fn shared_huge_pages() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(chosen, _)| chosen.to_owned())
}

/// Those of the addresses that replicas use at which this process cannot map anything.
fn addresses_taken() -> Vec<u64> {
    let wanted = [PROGRAM_CODE.start, PROGRAM_CODE.end - PAGE as u64, STUB.start];
    wanted.into_iter().filter(|&address| !probe::is_mappable(address)).collect()
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
