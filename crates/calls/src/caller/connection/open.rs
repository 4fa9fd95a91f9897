//! How a connection is made: its window, its babysitter, and the library's memory at the library's
//! addresses; and how a fork sees all that.
//!
//! Not on the path of calls.

use super::entries::{Entries, hub_places};
use super::{ClientState, Connection, Statistics};
use crate::caller::functions::{Functions, Meaning, Pair};
use crate::caller::pool::Pool;
use crate::caller::variables::{Copy, Variables};
use crate::error::CallError;
use crate::shared::layout::{
    CONFIGURATION_OFFSET, CONSTANT_BLOBS_OFFSET, CONTROL_BYTES, CONTROL_FAILED, CONTROL_READY,
    LOADING_HEAP_OFFSET, PAGE, REPORT_OFFSET, SLOT_BYTES, SLOTS, TEXT_MAX, WINDOW_BYTES, WINDOWS,
    WINDOWS_BASE, shared_bytes, slot_address,
};
use crate::shared::service::{Configuration, Order, Report, SegmentKind};
use crate::sys::channel::{OWNER_DIED, Processors, futex_wait, now_ns, process_has_ended, ticks_per_us};
use crate::sys::memory::{
    Access, anonymous_file, load_bytes, map_anywhere, map_private, map_shared, populate, protect, unmap,
    wipe_on_fork,
};
use crate::sys::process::{Launch, launch_detached};
use banyan_wire::address_space::LARGE;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::sync::Once;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

static WINDOWS_USED: AtomicU32 = AtomicU32::new(0);

/// Windows of the process that this one is a fork of: their workers are not ours to change.
static WINDOWS_INHERITED: AtomicU32 = AtomicU32::new(0);

/// Runs in each fork of this process. What the library allocated for the parent can still be read here, but
/// is the parent's: as if nothing had happened, a change would appear there.
extern "C" fn after_fork() {
    WINDOWS_INHERITED.fetch_or(WINDOWS_USED.load(Relaxed), Relaxed);
    crate::sys::maps::each_shared(|start, end| {
        // SAFETY: nothing in this process may rely on changing memory of the parent's workers.
        let _ = unsafe { protect(start, end - start, Access::Read) };
    });
}

/// Whether `address` lies in memory of workers of the process that this one is a fork of.
pub(crate) fn is_inherited(address: u64) -> bool {
    let offset = address.wrapping_sub(WINDOWS_BASE);
    let window = (offset / WINDOW_BYTES) as u32;
    offset < WINDOWS * WINDOW_BYTES && WINDOWS_INHERITED.load(Relaxed) & 1 << window != 0
}

/// Lets another connection have the window.
pub(super) fn release_window(window: u64) {
    let index = (window - WINDOWS_BASE) / WINDOW_BYTES;
    WINDOWS_INHERITED.fetch_and(!(1 << index), AcqRel);
    WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
}

/// The limit of the stack (getrlimit(2)) that lets the kernel place the libraries of a window's worker. It
/// maps from that far below the end of the address space downwards, less at most 1 TiB by chance: each
/// window's worker has its libraries elsewhere, since this process will see them all, and all are in the
/// range for large reservations, where nothing else lies.
const fn worker_stack_limit(window: u64) -> u64 {
    (48 + 2 * window) << 40
}

const _: () = {
    let (end, apart) = (1 << 47, 1 << 41);
    assert!(end - worker_stack_limit(0) <= LARGE.end);
    assert!(end - worker_stack_limit(WINDOWS - 1) - apart >= LARGE.start);
};

/// Babysitters started for one connection, at most, if each is killed before it can serve.
const STARTS_MAX: u32 = 4;

/// Why a connection could not be opened.
enum OpenError {
    Failed(CallError),
    /// The babysitter ended before it could serve, without a word.
    Died,
}

impl From<CallError> for OpenError {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

impl From<OpenError> for CallError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Failed(error) => error,
            OpenError::Died => Self::NoService(
                "its process ended before it could serve, and said nothing; see whether it was killed, for \
                 want of memory for instance, and try again"
                    .into(),
            ),
        }
    }
}

fn service_error(what: &str, error: impl std::fmt::Display) -> CallError {
    CallError::NoService(format!("{what}: {error}"))
}

impl Connection {
    /// Starts a babysitter for `configuration` and waits until it can serve. One that is killed meanwhile is
    /// followed by another.
    ///
    /// # Errors
    /// [`CallError::NoService`] with the reason.
    pub fn open(
        configuration: &Configuration,
        launch: &[CString],
        environment: &[CString],
    ) -> Result<Self, CallError> {
        let start = |file: &File, window| {
            let stack_limit = worker_stack_limit((window - WINDOWS_BASE) / WINDOW_BYTES);
            launch_detached(&Launch { arguments: launch, environment, inherit: file, stack_limit }).map(Some)
        };
        let mut starts = 1;
        loop {
            match Self::try_open(configuration, start) {
                Err(OpenError::Died) if starts < STARTS_MAX => starts += 1,
                opened => return opened.map_err(CallError::from),
            }
        }
    }

    /// Makes the memory of a connection, has `start` hand it to a babysitter, told the window's address,
    /// and waits until that can serve. `start` says which process that is, if it knows.
    pub(crate) fn open_with(
        configuration: &Configuration,
        start: impl FnOnce(&File, u64) -> io::Result<Option<u32>>,
    ) -> Result<Self, CallError> {
        Self::try_open(configuration, start).map_err(CallError::from)
    }

    fn try_open(
        configuration: &Configuration,
        start: impl FnOnce(&File, u64) -> io::Result<Option<u32>>,
    ) -> Result<Self, OpenError> {
        static GUARDED: Once = Once::new();
        // SAFETY: the function does what may be done in a fork.
        let guard = || unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
        GUARDED.call_once(|| _ = guard());
        for index in 0..WINDOWS as u32 {
            if WINDOWS_USED.fetch_or(1 << index, AcqRel) & 1 << index != 0 {
                continue;
            }
            let window = WINDOWS_BASE + u64::from(index) * WINDOW_BYTES;
            // A process that is a worker itself has its slot there, and another copy of this crate in the
            // process may hold the window: look further.
            let opened = match Self::map_window(window) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
                    continue;
                }
                Err(error) => Err(service_error("shared memory", error).into()),
                Ok(file) => Self::open_window(window, configuration, &file, start),
            };
            return opened.inspect_err(|_| {
                WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
            });
        }
        Err(CallError::NoService("too many services in one process".into()).into())
    }

    /// Maps all that the caller sees of a window, or nothing.
    fn map_window(window: u64) -> io::Result<File> {
        let file = anonymous_file(WINDOW_BYTES)?;
        let parts = [
            (0, CONTROL_BYTES),
            (CONSTANT_BLOBS_OFFSET, LOADING_HEAP_OFFSET - CONSTANT_BLOBS_OFFSET),
            (SLOT_BYTES, SLOT_BYTES * (SLOTS as u64 - 1)),
        ];
        for (count, &(offset, length)) in parts.iter().enumerate() {
            if let Err(error) = map_shared(&file, offset, window + offset, length, Access::Write) {
                for &(offset, length) in &parts[..count] {
                    // SAFETY: mapped in this loop, and known to this function alone.
                    unsafe { unmap(window + offset, length) };
                }
                return Err(error);
            }
        }
        Ok(file)
    }

    fn open_window(
        window: u64,
        configuration: &Configuration,
        file: &File,
        start: impl FnOnce(&File, u64) -> io::Result<Option<u32>>,
    ) -> Result<Self, OpenError> {
        let state_bytes = size_of::<ClientState>() as u64;
        let state = map_anywhere(state_bytes).map_err(|error| service_error("private memory", error))?;
        let connection = Self {
            window,
            state,
            pool: Pool::new(configuration.library.is_none()),
            ticks_per_us: ticks_per_us(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            allowed: Processors::of_this_thread(),
            segments: Vec::new(),
            aliases: Vec::new(),
            report: Report::default(),
            process: std::process::id(),
            functions: Functions::default(),
            variables: Variables::default(),
            known_stale: Default::default(),
            statistics: Statistics::default(),
        };
        wipe_on_fork(state, 4096).map_err(|error| service_error("fork detection", error))?;
        connection.state().marker.store(1, Relaxed);
        connection.start(configuration, file, start)
    }

    fn start(
        mut self,
        configuration: &Configuration,
        file: &File,
        start: impl FnOnce(&File, u64) -> io::Result<Option<u32>>,
    ) -> Result<Self, OpenError> {
        let order =
            Order { window: self.window, client: std::process::id(), configuration: configuration.clone() };
        let text = serde_json::to_vec(&order).map_err(|error| service_error("configuration", error))?;
        if text.len() as u64 > TEXT_MAX {
            return Err(CallError::NoService("the configuration is too long".into()).into());
        }
        let control = self.control();
        // SAFETY: the range is mapped, ours, and not read before the length is stored.
        unsafe {
            std::ptr::copy_nonoverlapping(
                text.as_ptr(),
                (self.window + CONFIGURATION_OFFSET) as *mut u8,
                text.len(),
            );
        }
        control.configuration_length.store(text.len() as u64, Release);
        control.channels.store(1, Relaxed);
        for slot in 1..SLOTS {
            // So that no call pays for the first look at a fresh worker.
            populate(slot_address(self.window, slot), shared_bytes(1), Access::Write);
        }
        let workers = if configuration.library.is_none() { configuration.workers } else { 1 };
        control.workers.store(workers, Relaxed);
        let process =
            start(file, self.window).map_err(|error| service_error("starting the babysitter", error))?;
        let deadline = now_ns() + configuration.start_deadline_ms * 1_000_000;
        loop {
            let status = control.status.load(Acquire);
            if status == CONTROL_READY {
                break;
            }
            let alive = control.alive.word.load(Acquire);
            let has_died = alive & OWNER_DIED != 0 || process.is_some_and(process_has_ended);
            if status == CONTROL_FAILED || has_died || now_ns() > deadline {
                // It says why it fails before it ends; what else it says before it serves is no reason.
                let problem = self.read_report().map(|report| report.problem).filter(|text| !text.is_empty());
                return Err(match problem {
                    Some(problem) => CallError::NoService(problem).into(),
                    None if has_died => OpenError::Died,
                    None => CallError::NoService(
                        "it did not start in time; the configuration's `start_deadline_ms` gives it more"
                            .into(),
                    )
                    .into(),
                });
            }
            futex_wait(&control.status, status, 20_000_000);
        }
        self.report =
            self.read_report().ok_or_else(|| CallError::NoService("the report is unreadable".into()))?;
        for segment in std::mem::take(&mut self.report.segments) {
            // The library's own pages appear here at the same addresses; never over anything of ours.
            if !segment.is_possible() {
                return Err(CallError::NoService("the report lists an impossible segment".into()).into());
            }
            let mapped = match &segment.kind {
                SegmentKind::File { path, offset } => File::open(path).and_then(|file| {
                    map_shared(&file, *offset, segment.address, segment.length, Access::Read)
                }),
                SegmentKind::Code { .. } | SegmentKind::Data { .. } => {
                    map_private(segment.address, segment.length, Access::Read)
                }
            };
            match mapped {
                Ok(()) => self.segments.push(segment),
                Err(_) if matches!(segment.kind, SegmentKind::File { .. }) => {}
                Err(error) => {
                    return Err(service_error("the library's addresses are taken here", error).into());
                }
            }
        }
        Ok(self)
    }

    /// Fills the place of the library's code with entries that call the worker: the program may
    /// get addresses of the library's functions from it, and call them.
    ///
    /// # Safety
    /// At `entry` must be code, for ever, that handles a jump with `library` in r10 and the address called
    /// in r11.
    pub(crate) unsafe fn install_entries(&mut self, library: u64, entry: u64) {
        const CALL_BYTES: u8 = 5;
        for segment in &self.segments {
            let SegmentKind::Code { starts } = &segment.kind else { continue };
            let range = segment.address..segment.address + segment.length;
            let is_free = |place: &u64| map_private(*place, PAGE, Access::Write).is_ok();
            let Some(hub) = hub_places(&range).find(is_free) else { return };
            // pop r11; sub r11, 5; mov r10, library; jmp [rip]; the target.
            let mut code = vec![0x41, 0x5b, 0x49, 0x83, 0xeb, CALL_BYTES, 0x49, 0xba];
            code.extend(library.to_le_bytes());
            code.extend([0xff, 0x25, 0, 0, 0, 0]);
            code.extend(entry.to_le_bytes());
            let Entries { code: entries, aliases } = Entries::new(&range, starts, hub);
            // SAFETY: both ranges were mapped by us for this purpose and are not yet executable; the entries
            // are as long as the segment.
            unsafe {
                std::ptr::copy_nonoverlapping(code.as_ptr(), hub as *mut u8, code.len());
                if !protect(segment.address, segment.length, Access::Write) {
                    return;
                }
                std::ptr::copy_nonoverlapping(entries.as_ptr(), segment.address as *mut u8, entries.len());
                let _ = protect(hub, PAGE, Access::Execute)
                    && protect(segment.address, segment.length, Access::Execute);
            }
            self.aliases.extend(aliases);
        }
        self.aliases.sort_unstable();
    }

    /// The function of the library that an entry at `address` stands for.
    pub(crate) fn function_at(&self, address: u64) -> u64 {
        let found = self.aliases.binary_search_by_key(&address, |alias| alias.0);
        found.map_or(address, |index| self.aliases[index].1)
    }

    /// Keeps variables of the program like those of the library that the configuration names, in order.
    ///
    /// # Safety
    /// Each copy must be the program's memory for as long as the connection lives.
    pub(crate) unsafe fn keep_alike(&mut self, copies: impl Iterator<Item = Copy>) {
        // SAFETY: the caller's contract.
        self.variables = unsafe { Variables::new(copies, &self.report.variables, &self.segments) };
    }

    /// Has arguments and results be the one or the other side's addresses of the library's functions. `here`
    /// are the program's, in the order of their numbers; `meaning` is what lies there.
    pub(crate) fn know_functions(
        &mut self,
        here: impl Iterator<Item = u64>,
        meaning: impl Fn(u64) -> Meaning,
    ) {
        let there = std::mem::take(&mut self.report.functions);
        let pairs = there.into_iter().zip(here).map(|(there, here)| Pair { there, here });
        self.functions = Functions::new(pairs, &self.segments, meaning);
    }

    fn read_report(&self) -> Option<Report> {
        let length = self.control().report_length.load(Acquire);
        if length == 0 || length > TEXT_MAX {
            return None;
        }
        let mut text = vec![0; length as usize];
        // SAFETY: the report's part of the control memory is mapped, and its end is a multiple of eight.
        unsafe { load_bytes(self.window + REPORT_OFFSET, &mut text) };
        serde_json::from_slice(&text).ok()
    }
}
