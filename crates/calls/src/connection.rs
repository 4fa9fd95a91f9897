//! The caller's end: one window, its babysitter, and a channel for each thread that calls.
//!
//! After [`Connection::open`] the path of a call performs no allocation, takes no lock, uses no
//! thread-local storage and keeps `errno`: it may run in a signal handler. A thread finds its
//! channel by its thread pointer, in a table that is claimed with compare-and-swap. Everything is
//! reached through mappings, so a program that closes all descriptors loses nothing. Not for
//! choosing what runs in the worker; that is [`crate::service`].

use crate::error::CallError;
use crate::layout::{
    CHANNELS, CHANNELS_OFFSET, CONFIGURATION_OFFSET, CONSTANT_BLOBS_OFFSET, CONTROL_BYTES, CONTROL_FAILED,
    CONTROL_READY, Channel, Control, DEPTH_MAX, LOADING_HEAP_OFFSET, PAGES_MAX, REPORT_OFFSET, SLOT_BYTES,
    SLOT_CURRENT, SLOT_SPARE, SLOTS, SlotHead, TEXT_MAX, WINDOW_BYTES, WINDOWS, WINDOWS_BASE, at,
    channel_address, load_bytes, shared_bytes, slot_address,
};
use crate::pool::Pool;
use crate::service::{Configuration, Order, Report, Segment, SegmentKind};
use crate::variables::{Copy, Variables};
use crate::waiting::Wait;
use banyan_sys::call_channel::{OWNER_DIED, counter, futex_wait, now_ns, signal_process};
use banyan_sys::call_memory::{
    Access, anonymous_file, map_anywhere, map_private, map_shared, populate, protect, unmap, wipe_on_fork,
};
use banyan_sys::call_process::{Launch, launch_detached};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::sync::Once;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

static WINDOWS_USED: AtomicU32 = AtomicU32::new(0);
/// Windows of the process that this one is a fork of: their workers are not ours to change.
static WINDOWS_INHERITED: AtomicU32 = AtomicU32::new(0);

/// Runs in each fork of this process. What the library allocated for the parent can still be read here, but
/// is the parent's: as if nothing had happened, a change would appear there.
extern "C" fn after_fork() {
    WINDOWS_INHERITED.fetch_or(WINDOWS_USED.load(Relaxed), Relaxed);
    crate::maps::each_shared(|start, end| {
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

/// How one call is made.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// Longest time for the call, retries included.
    pub deadline: Duration,
    /// Calls made again after a failure of the system. Only for functions that may run twice.
    pub retries: u32,
    /// Longest processor time of the worker during the call.
    pub cpu_limit: Option<Duration>,
    /// How to wait.
    pub wait: Wait,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), retries: 0, cpu_limit: None, wait: Wait::Adaptive }
    }
}

/// A channel as its owning thread sees it. Only that thread touches the fields after the claim.
#[repr(C, align(128))]
pub(crate) struct ClientChannel {
    /// The owner's thread pointer plus the level of signal nesting, or 0.
    pub(crate) owner: AtomicU64,
    pub(crate) thread: AtomicU32,
    /// See the constants below.
    pub(crate) state: AtomicU32,
    /// The current slot and generation that the sequence belongs to.
    pub(crate) of: AtomicU64,
    pub(crate) sequence: AtomicU32,
    pub(crate) depth: AtomicU32,
    /// Pages copied for the worker since it last gave control back.
    pub(crate) granted: AtomicU32,
    /// Quick calls in a row.
    pub(crate) streak: AtomicU32,
    pub(crate) last_counter: AtomicU64,
    pub(crate) placed: AtomicU32,
    /// Calls in a row that gave up because the worker made no thread for this channel.
    pub(crate) unserved: AtomicU32,
    /// The place used last.
    pub(crate) place: AtomicU32,
    /// The place given to a waiting caller, plus one.
    pub(crate) turn: AtomicU32,
    /// Order of arrival of a caller that waits for a place, else 0.
    pub(crate) ticket: AtomicU64,
    pub(crate) call_back_stack: [AtomicU64; DEPTH_MAX],
}

impl ClientChannel {
    /// Whether the channel serves a signal handler that interrupted a call on another.
    pub(crate) fn interrupts(&self) -> bool {
        self.owner.load(Relaxed) & 7 != 0
    }
}

/// No call is under way. Whoever changes a channel's state from this has the channel.
pub(crate) const IDLE: u32 = 0;
/// A call waits for the worker.
pub(crate) const WAITING: u32 = 1;
/// The worker called back, and the program's own code runs.
pub(crate) const CALLED_BACK: u32 = 2;

#[repr(C, align(4096))]
pub(crate) struct ClientState {
    /// On a page that a forked child finds empty.
    marker: AtomicU32,
    reserved: [AtomicU32; 1023],
    /// Where a thread found its channel last, by a hash of its key: a hint, checked at each use.
    pub(crate) hints: [AtomicU32; CHANNELS],
    pub(crate) channels: [ClientChannel; CHANNELS],
    /// Addresses of the pages granted, a row a channel.
    pub(crate) grants: [[AtomicU64; PAGES_MAX]; CHANNELS],
    /// Pages known to hold the program's code.
    pub(crate) code: [AtomicU64; 256],
}

/// A place's worker while one thread moves to another.
pub(crate) const SWITCHING: u64 = 1;

/// A caller's hold on a service.
pub struct Connection {
    pub(crate) window: u64,
    state: u64,
    pub(crate) pool: Pool,
    pub(crate) ticks_per_us: u64,
    pub(crate) processors: usize,
    pub(crate) segments: Vec<Segment>,
    report: Report,
    process: u32,
    pub(crate) variables: Variables,
    pub(crate) statistics: Statistics,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("window", &self.window).finish_non_exhaustive()
    }
}

/// What a connection has counted.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Workers that ended during a call.
    pub ended: AtomicU64,
    /// Calls that succeeded after a retry.
    pub absorbed: AtomicU64,
    /// Wake-ups of a sleeping worker.
    pub wakes: AtomicU64,
    /// Pages copied for workers.
    pub pages: AtomicU64,
    /// Call-backs run.
    pub call_backs: AtomicU64,
}

/// The slot and generation that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current(pub(crate) u64);

impl Current {
    pub(crate) const fn slot(self) -> usize {
        (self.0 >> 1 & 0x7f) as usize
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 8) as u32
    }
}

fn counter_ticks_per_us() -> u64 {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    let known = TICKS.load(Relaxed);
    if known != 0 {
        return known;
    }
    let (start, ticks) = (now_ns(), counter());
    while now_ns() - start < 1_000_000 {
        std::hint::spin_loop();
    }
    let value = ((counter() - ticks) / ((now_ns() - start) / 1000).max(1)).max(1);
    TICKS.store(value, Relaxed);
    value
}

/// Ticks of the counter in a microsecond, measured once.
pub(crate) fn ticks_per_us() -> u64 {
    counter_ticks_per_us()
}

fn service_error(what: &str, error: impl std::fmt::Display) -> CallError {
    CallError::NoService(format!("{what}: {error}"))
}

impl Connection {
    /// Starts a babysitter for `configuration` and waits until it can serve.
    ///
    /// # Errors
    /// [`CallError::NoService`] with the reason.
    pub fn open(
        configuration: &Configuration,
        launch: &[CString],
        environment: &[CString],
    ) -> Result<Self, CallError> {
        Self::open_with(configuration, |file, window| {
            // Each window's worker has its libraries elsewhere: this process will see them all.
            let stack_limit = (16 + (window - WINDOWS_BASE) / WINDOW_BYTES * 4) << 40;
            launch_detached(&Launch { arguments: launch, environment, inherit: file, stack_limit })
        })
    }

    /// Makes the memory of a connection, has `start` hand it to a babysitter, told the window's address,
    /// and waits until that can serve.
    pub(crate) fn open_with(
        configuration: &Configuration,
        start: impl FnOnce(&File, u64) -> io::Result<()>,
    ) -> Result<Self, CallError> {
        static GUARDED: Once = Once::new();
        // SAFETY: the function does what may be done in a fork.
        let guard = || unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
        GUARDED.call_once(|| _ = guard());
        for index in 0..WINDOWS as u32 {
            if WINDOWS_USED.fetch_or(1 << index, AcqRel) & 1 << index != 0 {
                continue;
            }
            let window = WINDOWS_BASE + u64::from(index) * WINDOW_BYTES;
            // Whoever is a worker itself finds its slot there, and another copy of this crate in the
            // process may hold the window: look further.
            let opened = match Self::map_window(window) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
                    continue;
                }
                Err(error) => Err(service_error("shared memory", error)),
                Ok(file) => Self::open_window(window, configuration, &file, start),
            };
            return opened.inspect_err(|_| {
                WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
            });
        }
        Err(CallError::NoService("too many services in one process".into()))
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
                    // SAFETY: mapped in this loop, and shown to nobody.
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
        start: impl FnOnce(&File, u64) -> io::Result<()>,
    ) -> Result<Self, CallError> {
        let state_bytes = size_of::<ClientState>() as u64;
        let state = map_anywhere(state_bytes).map_err(|error| service_error("private memory", error))?;
        let connection = Self {
            window,
            state,
            pool: Pool::new(configuration.library.is_none()),
            ticks_per_us: counter_ticks_per_us(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            segments: Vec::new(),
            report: Report::default(),
            process: std::process::id(),
            variables: Variables::default(),
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
        start: impl FnOnce(&File, u64) -> io::Result<()>,
    ) -> Result<Self, CallError> {
        let order =
            Order { window: self.window, client: std::process::id(), configuration: configuration.clone() };
        let text = serde_json::to_vec(&order).map_err(|error| service_error("configuration", error))?;
        if text.len() as u64 > TEXT_MAX {
            return Err(CallError::NoService("the configuration is too long".into()));
        }
        let control = self.control();
        // SAFETY: the range is mapped, ours, and nobody reads it before the length is stored.
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
        start(file, self.window).map_err(|error| service_error("starting the babysitter", error))?;
        let deadline = now_ns() + configuration.start_deadline_ms * 1_000_000;
        loop {
            let status = control.status.load(Acquire);
            if status == CONTROL_READY {
                break;
            }
            let alive = control.alive.word.load(Acquire);
            if status == CONTROL_FAILED || alive & OWNER_DIED != 0 || now_ns() > deadline {
                let reason =
                    self.read_report().map_or_else(|| "it did not start".into(), |report| report.problem);
                return Err(CallError::NoService(reason));
            }
            futex_wait(&control.status, status, 20_000_000);
        }
        self.report =
            self.read_report().ok_or_else(|| CallError::NoService("the report is unreadable".into()))?;
        for segment in std::mem::take(&mut self.report.segments) {
            // The library's own pages appear here at the same addresses; never over anything of ours.
            let usable =
                segment.address % 4096 == 0 && segment.length % 4096 == 0 && segment.address < 1 << 47;
            if !usable || segment.length > 1 << 32 {
                return Err(CallError::NoService("the report lists an impossible segment".into()));
            }
            let mapped = match &segment.kind {
                SegmentKind::File { path, offset } => File::open(path).and_then(|file| {
                    map_shared(&file, *offset, segment.address, segment.length, Access::Read)
                }),
                SegmentKind::Code | SegmentKind::Data { .. } => {
                    map_private(segment.address, segment.length, Access::Read)
                }
            };
            match mapped {
                Ok(()) => self.segments.push(segment),
                Err(_) if matches!(segment.kind, SegmentKind::File { .. }) => {}
                Err(error) => return Err(service_error("the library's addresses are taken here", error)),
            }
        }
        Ok(self)
    }

    /// Fills the place of the library's code with entries that call the worker: the program may
    /// get addresses of the library's functions from it, and call them. Each multiple of 16, where
    /// compilers put functions, gets a call; the return address it pushes says where it came from.
    ///
    /// # Safety
    /// `library` must be what [`crate::registers::enter_by_address`] expects, for ever.
    pub(crate) unsafe fn install_entries(&self, library: u64) {
        const CALL_BYTES: u64 = 5;
        for segment in self.segments.iter().filter(|segment| segment.kind == SegmentKind::Code) {
            let place = (1..512).map(|step| segment.address + segment.length + step * (1 << 20));
            let Some(hub) = place.into_iter().find(|&place| map_private(place, 4096, Access::Write).is_ok())
            else {
                return;
            };
            // pop r11; sub r11, 5; mov r10, library; jmp [rip]; the target.
            let mut code = vec![0x41, 0x5b, 0x49, 0x83, 0xeb, CALL_BYTES as u8, 0x49, 0xba];
            code.extend(library.to_le_bytes());
            code.extend([0xff, 0x25, 0, 0, 0, 0]);
            code.extend(crate::registers::enter_by_address().to_le_bytes());
            // SAFETY: both ranges were mapped by us for this purpose and are not yet executable;
            // the hub lies within reach of a 32-bit displacement.
            unsafe {
                std::ptr::copy_nonoverlapping(code.as_ptr(), hub as *mut u8, code.len());
                if !protect(segment.address, segment.length, Access::Write) {
                    return;
                }
                std::ptr::write_bytes(segment.address as *mut u8, 0xcc, segment.length as usize);
                for entry in (segment.address..segment.address + segment.length).step_by(16) {
                    let displacement = (hub - entry - CALL_BYTES) as u32;
                    (entry as *mut u8).write(0xe8);
                    ((entry + 1) as *mut u32).write_unaligned(displacement);
                }
                let _ = protect(hub, 4096, Access::Execute)
                    && protect(segment.address, segment.length, Access::Execute);
            }
        }
    }

    /// Keeps variables of the program like those of the library that the configuration names, in order.
    ///
    /// # Safety
    /// Each copy must be the program's memory for as long as the connection lives.
    pub(crate) unsafe fn keep_alike(&mut self, copies: impl Iterator<Item = Copy>) {
        // SAFETY: the caller's contract.
        self.variables = unsafe { Variables::new(copies, &self.report.variables, &self.segments) };
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

    /// What the babysitter said about itself: layers of the sandbox, functions found.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Calls that returned.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.control().counts.iter().map(|counts| counts.calls.load(Relaxed)).sum()
    }

    /// What this connection has counted beside its calls.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub(crate) fn control(&self) -> &Control {
        // SAFETY: the control part stays mapped as long as the connection lives; it is all atomics.
        unsafe { at(self.window) }
    }

    pub(crate) fn state(&self) -> &ClientState {
        // SAFETY: mapped in `open_window`, unmapped in `drop`; all atomics, valid when zero.
        unsafe { at(self.state) }
    }

    pub(crate) fn channel(&self, slot: usize, channel: usize) -> &Channel {
        // SAFETY: every slot stays mapped as long as the connection lives; a channel is all atomics.
        unsafe { at(channel_address(slot_address(self.window, slot), channel)) }
    }

    pub(crate) fn head(&self, slot: usize) -> &SlotHead {
        // SAFETY: as in `channel`.
        unsafe { at(slot_address(self.window, slot)) }
    }

    /// The worker that served this connection's first place last.
    fn first(&self) -> Option<Current> {
        let current = self.pool.places[0].current.load(Acquire);
        (current > SWITCHING).then_some(Current(current))
    }

    /// The process of the worker that serves now, 0 if none does. Of several, the first.
    #[must_use]
    pub fn worker_process(&self) -> u32 {
        self.first().map_or(0, |current| self.control().slots[current.slot()].process.load(Acquire))
    }

    /// The processes of all living workers, the spares included.
    #[must_use]
    pub fn worker_processes(&self) -> Vec<u32> {
        let live = |state: u32| state == SLOT_CURRENT || state == SLOT_SPARE;
        let slots = self.control().slots.iter().filter(|slot| live(slot.state.load(Acquire)));
        slots.map(|slot| slot.process.load(Acquire)).collect()
    }

    /// The babysitter's process.
    #[must_use]
    pub fn babysitter_process(&self) -> u32 {
        self.control().babysitter.load(Acquire)
    }

    /// The generation that serves now, 0 if none does yet. Of several workers, the first's.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.first().map_or(0, Current::generation)
    }

    /// How many workers this connection may use at once now: what it asked for, or its share of a pool.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.control().workers.load(Relaxed)
    }

    /// Whether nobody starts workers for this connection any more.
    #[must_use]
    pub fn has_lost_its_babysitter(&self) -> bool {
        self.control().alive.word.load(Acquire) & OWNER_DIED != 0
    }

    /// Whether this process is a fork of the one that opened the connection: it must open its own.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.state().marker.load(Relaxed) == 0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let index = (self.window - WINDOWS_BASE) / WINDOW_BYTES;
        if self.process == std::process::id() && self.control().status.load(Acquire) != 0 {
            let control = self.control();
            control.finish.store(1, SeqCst);
            let deadline = now_ns() + 2_000_000_000;
            while control.alive.word.load(Acquire) & OWNER_DIED == 0 && now_ns() < deadline {
                signal_process(control.babysitter.load(Acquire), libc::SIGCHLD);
                futex_wait(&control.event, control.event.load(Acquire), 2_000_000);
            }
        }
        // SAFETY: nobody can hold a reference into the mappings any more, as all borrow `self`.
        unsafe {
            for segment in &self.segments {
                unmap(segment.address, segment.length);
            }
            unmap(self.window + SLOT_BYTES, SLOT_BYTES * (SLOTS as u64 - 1));
            unmap(self.window + CONSTANT_BLOBS_OFFSET, LOADING_HEAP_OFFSET - CONSTANT_BLOBS_OFFSET);
            unmap(self.window, CONTROL_BYTES);
            unmap(self.state, size_of::<ClientState>() as u64);
        }
        WINDOWS_INHERITED.fetch_and(!(1 << index), AcqRel);
        WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
    }
}

const _: () = assert!(CHANNELS_OFFSET >= size_of::<SlotHead>() as u64);
