//! The caller's end: one window, its babysitter, and a channel for each thread that calls.
//!
//! After [`Connection::open`] the path of a call performs no allocation, takes no lock, uses no
//! thread-local storage and keeps `errno`: it may run in a signal handler. A thread finds its
//! channel by its thread pointer, in a table that is claimed with compare-and-swap. Everything is
//! reached through mappings, so a program that closes all descriptors loses nothing. Not for
//! choosing what runs in the worker; that is [`crate::service`].

use crate::error::{CallError, Ran};
use crate::exchange::Reply;
use crate::layout::{
    CHANNELS, CHANNELS_OFFSET, CONFIGURATION_OFFSET, CONSTANT_BLOBS_OFFSET, CONTROL_BYTES, CONTROL_FAILED,
    CONTROL_READY, Channel, Control, DEPTH_MAX, LOADING_HEAP_OFFSET, PAGES_MAX, REPORT_OFFSET, SEQUENCE_MASK,
    SLOT_BYTES, SLOT_CURRENT, SLOT_DEAD, SLOT_SPARE, SLOTS, SlotHead, TEXT_MAX, WINDOW_BYTES, WINDOWS,
    WINDOWS_BASE, at, channel_address, load_bytes, slot_address,
};
use crate::service::{Configuration, Order, Report, Segment, SegmentKind};
use crate::variables::{Copy, Variables};
use crate::waiting::{Limits, Wait};
use banyan_sys::call_channel::{
    OWNER_DIED, counter, futex_wait, futex_wake, now_ns, signal_process, stack_pointer, thread_id,
    thread_lives, thread_pointer,
};
use banyan_sys::call_memory::{
    Access, anonymous_file, map_anywhere, map_private, map_shared, protect, unmap, view_again, wipe_on_fork,
};
use banyan_sys::call_process::{Launch, launch_detached};
use std::ffi::CString;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

static WINDOWS_USED: AtomicU32 = AtomicU32::new(0);

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
    owner: AtomicU64,
    thread: AtomicU32,
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
    pub(crate) call_back_stack: [AtomicU64; DEPTH_MAX],
}

impl ClientChannel {
    /// Whether the channel serves a signal handler that interrupted a call on another.
    pub(crate) fn interrupts(&self) -> bool {
        self.owner.load(Relaxed) & 7 != 0
    }
}

/// No call is under way.
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
    pub(crate) channels: [ClientChannel; CHANNELS],
    /// Addresses of the pages granted, a row a channel.
    pub(crate) grants: [[AtomicU64; PAGES_MAX]; CHANNELS],
    /// Pages known to hold the program's code.
    pub(crate) code: [AtomicU64; 256],
}

/// `current` while one thread moves to another worker.
const SWITCHING: u64 = 1;

/// A caller's hold on a service.
pub struct Connection {
    pub(crate) window: u64,
    state: u64,
    /// Slot and generation in use, shifted: `generation << 8 | slot << 1`; 0 none.
    current: AtomicU64,
    pub(crate) ticks_per_us: u64,
    pub(crate) processors: usize,
    segments: Vec<Segment>,
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
    /// Calls that returned.
    pub calls: AtomicU64,
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
pub(crate) struct Current(u64);

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
        for index in 0..WINDOWS as u32 {
            if WINDOWS_USED.fetch_or(1 << index, AcqRel) & 1 << index != 0 {
                continue;
            }
            let window = WINDOWS_BASE + u64::from(index) * WINDOW_BYTES;
            // Another copy of this crate in the process may hold the window.
            let is_free = map_private(window, CONTROL_BYTES, Access::None).is_ok();
            if is_free {
                // SAFETY: mapped a line ago, and used by nobody.
                unsafe { unmap(window, CONTROL_BYTES) };
                let opened = Self::open_window(window, configuration, launch, environment);
                if opened.is_err() {
                    WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
                }
                return opened;
            }
            WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
        }
        Err(CallError::NoService("too many services in one process".into()))
    }

    fn open_window(
        window: u64,
        configuration: &Configuration,
        launch: &[CString],
        environment: &[CString],
    ) -> Result<Self, CallError> {
        let file = anonymous_file(WINDOW_BYTES).map_err(|error| service_error("shared memory", error))?;
        map_shared(&file, 0, window, CONTROL_BYTES, Access::Write)
            .map_err(|error| service_error("control memory", error))?;
        let slots = SLOT_BYTES * (SLOTS as u64 - 1);
        let mapped = map_shared(&file, SLOT_BYTES, window + SLOT_BYTES, slots, Access::Write)
            .map_err(|error| service_error("worker memory", error));
        let blobs = LOADING_HEAP_OFFSET - CONSTANT_BLOBS_OFFSET;
        map_shared(&file, CONSTANT_BLOBS_OFFSET, window + CONSTANT_BLOBS_OFFSET, blobs, Access::Write)
            .map_err(|error| service_error("blob memory", error))?;
        let state_bytes = size_of::<ClientState>() as u64;
        let state = map_anywhere(state_bytes).map_err(|error| service_error("private memory", error))?;
        let connection = Self {
            window,
            state,
            current: AtomicU64::new(0),
            ticks_per_us: counter_ticks_per_us(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            segments: Vec::new(),
            report: Report::default(),
            process: std::process::id(),
            variables: Variables::default(),
            statistics: Statistics::default(),
        };
        mapped?;
        wipe_on_fork(state, 4096).map_err(|error| service_error("fork detection", error))?;
        connection.state().marker.store(1, Relaxed);
        connection.start(configuration, launch, environment, &file)
    }

    fn start(
        mut self,
        configuration: &Configuration,
        launch: &[CString],
        environment: &[CString],
        file: &std::fs::File,
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
        // Each window's worker has its libraries elsewhere: this process will see them all.
        let stack_limit = (16 + (self.window - WINDOWS_BASE) / WINDOW_BYTES * 4) << 40;
        launch_detached(&Launch { arguments: launch, environment, inherit: file, stack_limit })
            .map_err(|error| service_error("starting the babysitter", error))?;
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
                SegmentKind::File { path, offset } => std::fs::File::open(path).and_then(|file| {
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

    /// What this connection has counted.
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

    fn head(&self, slot: usize) -> &SlotHead {
        // SAFETY: as in `channel`.
        unsafe { at(slot_address(self.window, slot)) }
    }

    /// The process of the worker that serves now, 0 if none does.
    #[must_use]
    pub fn worker_process(&self) -> u32 {
        let current = self.current.load(Acquire);
        if current <= SWITCHING {
            0
        } else {
            self.control().slots[Current(current).slot()].process.load(Acquire)
        }
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

    /// The generation that serves now, 0 if none does yet.
    #[must_use]
    pub fn generation(&self) -> u32 {
        let current = self.current.load(Acquire);
        if current <= SWITCHING { 0 } else { Current(current).generation() }
    }

    /// Whether this process is a fork of the one that opened the connection: it must open its own.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.state().marker.load(Relaxed) == 0
    }

    /// Finds or claims the calling thread's channel, idle or in a call-back.
    pub(crate) fn claim(&self) -> Result<usize, CallError> {
        if self.is_forked() {
            return Err(CallError::NoService("the process has forked; open a new connection".into()));
        }
        let pointer = thread_pointer();
        let here = stack_pointer();
        // A signal handler that interrupts a wait uses the next level's channel.
        'levels: for level in 0..4 {
            let key = pointer + level;
            let start = ((pointer >> 12) ^ (pointer >> 20) ^ level) as usize;
            for probe in 0..CHANNELS {
                let index = (start + probe) % CHANNELS;
                let client = &self.state().channels[index];
                let mut owner = client.owner.load(Acquire);
                if owner == 0 {
                    match client.owner.compare_exchange(0, key, AcqRel, Acquire) {
                        Ok(_) => {
                            client.thread.store(thread_id(), Relaxed);
                            client.state.store(IDLE, Relaxed);
                            return Ok(index);
                        }
                        Err(other) => owner = other,
                    }
                }
                if owner != key {
                    continue;
                }
                match client.state.load(Relaxed) {
                    IDLE => return Ok(index),
                    CALLED_BACK => {
                        // Frames that the program has jumped out of are not coming back.
                        let mut depth = client.depth.load(Relaxed);
                        while depth > 0 && here > client.call_back_stack[depth as usize - 1].load(Relaxed) {
                            depth -= 1;
                        }
                        client.depth.store(depth, Relaxed);
                        return Ok(index);
                    }
                    _ => continue 'levels,
                }
            }
            // The table is full: take over the channel of a thread that has ended.
            for (index, client) in self.state().channels.iter().enumerate() {
                let owner = client.owner.load(Acquire);
                let thread = client.thread.load(Acquire);
                if thread != 0
                    && !thread_lives(thread)
                    && client.owner.compare_exchange(owner, key, AcqRel, Acquire).is_ok()
                {
                    client.thread.store(thread_id(), Relaxed);
                    client.state.store(IDLE, Relaxed);
                    client.depth.store(0, Relaxed);
                    return Ok(index);
                }
            }
            break;
        }
        Err(CallError::TooMany)
    }

    /// The worker to call, taking a spare if the last has ended; waits for one until the deadline.
    pub(crate) fn current(&self, deadline_ns: u64) -> Result<Current, CallError> {
        loop {
            let current = self.current.load(Acquire);
            if current > SWITCHING {
                return Ok(Current(current));
            }
            if current == SWITCHING || self.current.compare_exchange(0, SWITCHING, AcqRel, Acquire).is_err() {
                if now_ns() > deadline_ns {
                    return Err(CallError::TimedOut { ran: Ran::No });
                }
                std::thread::yield_now();
                continue;
            }
            let taken = self.take_spare(deadline_ns);
            self.current.store(*taken.as_ref().map_or(&0, |current| &current.0), Release);
            return taken;
        }
    }

    fn take_spare(&self, deadline_ns: u64) -> Result<Current, CallError> {
        let control = self.control();
        loop {
            let event = control.event.load(Acquire);
            let mut starting = None;
            for (index, slot) in control.slots.iter().enumerate().skip(1) {
                if slot.state.load(Acquire) != SLOT_SPARE {
                    continue;
                }
                let generation = slot.generation.load(Acquire);
                if self.head(index).ready.load(Acquire) != generation {
                    starting = Some(index);
                    continue;
                }
                if slot.state.compare_exchange(SLOT_SPARE, SLOT_CURRENT, AcqRel, Acquire).is_ok() {
                    self.show_data(index)?;
                    return Ok(Current(u64::from(generation) << 8 | (index as u64) << 1));
                }
            }
            let status = control.status.load(Acquire);
            if status != CONTROL_READY || control.alive.word.load(Acquire) & OWNER_DIED != 0 {
                return Err(CallError::NoService("the babysitter starts no more workers".into()));
            }
            if now_ns() > deadline_ns {
                return Err(CallError::TimedOut { ran: Ran::No });
            }
            match starting {
                Some(index) => futex_wait(&self.head(index).ready, 0, 1_000_000),
                None => futex_wait(&control.event, event, 1_000_000),
            }
        }
    }

    /// Shows the library's data of the worker in `slot` at the library's addresses.
    fn show_data(&self, slot: usize) -> Result<(), CallError> {
        for segment in &self.segments {
            if let SegmentKind::Data { slot_offset } = segment.kind {
                if slot_offset + segment.length > SLOT_BYTES {
                    return Err(CallError::NoService("the report lists an impossible segment".into()));
                }
                // SAFETY: the target was mapped by us for this purpose, the source is a slot's
                // shared memory; what the program sees there changes as the worker changes.
                let shown = unsafe {
                    view_again(slot_address(self.window, slot) + slot_offset, segment.length, segment.address)
                };
                shown.map_err(|_| CallError::TooMany)?;
            }
        }
        Ok(())
    }

    /// Gives up the worker of `current`; the next call takes a spare. `kill` ends it.
    pub(crate) fn retire(&self, current: Current, kill: bool) {
        let slot = &self.control().slots[current.slot()];
        if kill
            && slot.generation.load(Acquire) == current.generation()
            && slot.state.load(Acquire) == SLOT_CURRENT
        {
            signal_process(slot.process.load(Acquire), libc::SIGKILL);
        }
        let _ = self.current.compare_exchange(current.0, 0, AcqRel, Acquire);
        self.statistics.ended.fetch_add(1, Relaxed);
    }

    /// Ends the worker that serves now; the next call gets a fresh one.
    pub fn restart(&self) {
        let current = self.current.load(Acquire);
        if current > SWITCHING {
            self.retire(Current(current), true);
        }
    }

    /// Makes sure that a thread of the worker serves the channel.
    pub(crate) fn prepare(&self, current: Current, index: usize, deadline_ns: u64) -> Result<(), CallError> {
        let client = &self.state().channels[index];
        let channel = self.channel(current.slot(), index);
        let wanted = index as u32 + 1;
        if channel.alive.word.load(Acquire) == 0 {
            self.control().channels.fetch_max(wanted, AcqRel);
            let head = self.head(current.slot());
            head.wanted.fetch_max(wanted, SeqCst);
            futex_wake(&head.wanted, 1);
            while channel.alive.word.load(Acquire) == 0 {
                let slot = &self.control().slots[current.slot()];
                let is_same = slot.generation.load(Acquire) == current.generation();
                // Workers end with their babysitter, and nobody says so any more.
                let is_orphan = self.control().alive.word.load(Acquire) & OWNER_DIED != 0;
                if slot.state.load(Acquire) != SLOT_CURRENT || !is_same || is_orphan {
                    // It ended before it had a thread for us: the next try takes another worker.
                    self.retire(current, false);
                    return Err(CallError::Crashed { signal: 0, address: 0, instruction: 0, ran: Ran::No });
                }
                if now_ns() > deadline_ns {
                    return Err(CallError::TimedOut { ran: Ran::No });
                }
                futex_wait(&channel.alive.word, 0, 1_000_000);
            }
        }
        client.of.store(current.0, Relaxed);
        // Ours to know: nobody but callers write this word. Not 0 where a failed call-back left a worker well.
        client.sequence.store(channel.request.load(Acquire) & SEQUENCE_MASK, Relaxed);
        client.depth.store(0, Relaxed);
        client.granted.store(0, Relaxed);
        client.placed.store(u32::MAX, Relaxed);
        client.streak.store(0, Relaxed);
        Ok(())
    }

    /// How the worker of `current` ended, once the babysitter knows.
    pub(crate) fn how_ended(&self, current: Current, deadline_ns: u64) -> CallError {
        let slot = &self.control().slots[current.slot()];
        let patience = deadline_ns.min(now_ns() + 500_000_000);
        loop {
            let event = self.control().event.load(Acquire);
            if slot.generation.load(Acquire) != current.generation() {
                break;
            }
            if slot.state.load(Acquire) == SLOT_DEAD {
                let status = slot.wait_status.load(Acquire) as i32;
                if libc::WIFEXITED(status) {
                    return CallError::Exited { status: libc::WEXITSTATUS(status) };
                }
                return CallError::Crashed {
                    signal: libc::WTERMSIG(status),
                    address: 0,
                    instruction: 0,
                    ran: Ran::Maybe,
                };
            }
            if now_ns() > patience {
                break;
            }
            futex_wait(&self.control().event, event, 5_000_000);
        }
        CallError::Crashed { signal: 0, address: 0, instruction: 0, ran: Ran::Maybe }
    }

    pub(crate) fn limits(&self, current: Current, options: &CallOptions, deadline_ns: u64) -> Limits {
        let cpu = options.cpu_limit.and_then(|limit| {
            let process = self.control().slots[current.slot()].process.load(Acquire);
            let used = banyan_sys::call_channel::process_cpu_ns(process)?;
            Some((process, used + limit.as_nanos() as u64))
        });
        Limits { deadline_ns, cpu }
    }

    /// Makes a call, again as often as the options allow. `attempt` makes it once.
    pub(crate) fn with_retries(
        &self,
        options: &CallOptions,
        mut attempt: impl FnMut(usize, Current, u64) -> Result<Reply, CallError>,
    ) -> Result<Reply, CallError> {
        let index = self.claim()?;
        let deadline_ns = now_ns().saturating_add(options.deadline.as_nanos() as u64);
        let mut tries = 0;
        loop {
            let current = self.current(deadline_ns)?;
            self.variables.push(self.window, current);
            match attempt(index, current, deadline_ns) {
                Ok(reply) => {
                    self.variables.pull(self.window, current);
                    self.statistics.calls.fetch_add(1, Relaxed);
                    self.control().successes.fetch_add(1, Relaxed);
                    if tries > 0 {
                        self.statistics.absorbed.fetch_add(1, Relaxed);
                    }
                    return Ok(reply);
                }
                Err(error) if error.is_system() && tries < options.retries && now_ns() < deadline_ns => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
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
        WINDOWS_USED.fetch_and(!(1 << index), AcqRel);
    }
}

const _: () = assert!(CHANNELS_OFFSET >= size_of::<SlotHead>() as u64);
