//! The babysitter: a small process with one thread that loads the library once, forks workers
//! from itself, collects them when they end, and ends when its caller does.
//!
//! It never runs a call, so it stays as it was after loading; a fork of it, the understudy, stands ready to
//! take its place. It waits in `poll` for children and
//! for the caller's process; nothing wakes it while nothing happens. Not for the worker's own
//! life; that is `worker`.

mod descendants;
mod functions;
mod library;
mod prepare;
mod understudy;

use descendants::Descendants;
use prepare::{open_control, prepare, write_report};

use crate::shared::demand::{Demand, demand};
use crate::shared::layout::{
    CHANNELS, CONTROL_BROKEN, CONTROL_BYTES, CONTROL_FAILED, CONTROL_READY, Control, HEAP_OFFSET, HEAP_STEP,
    SLOT_BYTES, SLOT_CURRENT, SLOT_DEAD, SLOT_ENDING, SLOT_FREE, SLOT_SPARE, SLOTS, SlotHead, SlotState,
    WINDOW_BYTES, heap_offset, shared_bytes, slot_address,
};
use crate::shared::service::{Configuration, Order, Report, Segment, SegmentKind, WORKER_VARIABLE};
use crate::sys::channel::{Processors, futex_wake, join_robust_list, now_ns, signal_process, thread_id};
use crate::sys::memory::{Access, leave_out_of_forks, map_over, map_shared, populate, punch};
use crate::sys::process::{
    Launch, become_child_of, child_descriptor, collect_child, collect_child_after, drain, end_now,
    forget_variable, fork, lead_group, leave_descriptors, process_descriptor, wait_readable,
};
use crate::sys::sandbox::CallFilter;
use crate::worker::{self, BytesFunction, Host};
use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// How much a babysitter knows how to run.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    /// Finds the functions of the program itself.
    pub(crate) find: fn(u64) -> Option<BytesFunction>,
    /// Whether the program's `malloc` is this crate's, which the caller can see into.
    pub(crate) heap_is_ours: bool,
    /// Told the caller's functions on `FILE`.
    pub(crate) stdio: fn(&[(String, u64)]),
    /// Looks at an order before it is carried out, and may change or refuse it.
    pub(crate) admit: Option<&'static Admit>,
}

/// Changes an order, or says why it is refused.
type Admit = dyn Fn(&mut Order) -> Result<(), String>;

/// What this process was started to be the babysitter of: the value of [`WORKER_VARIABLE`].
pub(crate) fn wanted() -> Option<String> {
    std::env::var(WORKER_VARIABLE).ok()
}

struct Babysitter {
    window: u64,
    client: u32,
    file: File,
    configuration: Configuration,
    host: &'static Host,
    segments: Vec<Segment>,
    /// What each worker installs last; none if the policy asks for none.
    filter: Option<CallFilter>,
    program: Program,
    is_library: bool,
    generation: u32,
    /// Workers that ended one after the other without a call that succeeded.
    failed_workers: u32,
    /// How often the breaker has opened since a call succeeded.
    openings: u32,
    successes: u64,
    /// No worker is started before this time.
    not_before_ns: u64,
    /// When the last worker of each slot ended, in order of ends: not in that of generations, as a caller
    /// takes the spare that is ready first.
    ended: [u64; SLOTS],
    ends: u64,
    /// When the worker of each slot was started; 0 once it was found ready.
    started_ns: [u64; SLOTS],
    /// Workers that each slot has had.
    turns: [u32; SLOTS],
    /// The process that takes over if this one is killed; 0 none.
    understudy: u32,
    /// What workers have started.
    descendants: Descendants,
    processors: usize,
    /// The processors that it may use, as the program that started it.
    allowed: Processors,
}

/// Failed workers that are replaced at once; from then on each start waits twice as long.
const FREE_RESTARTS: u32 = 3;
/// Longest wait before a start, while the breaker is closed.
const BACK_OFF_MAX_MS: u64 = 256;
/// How long the breaker stays open at first, and at most.
const BREAKER_MS: u64 = 500;
const BREAKER_MAX_MS: u64 = 30_000;
/// A worker that cannot serve after this long is ended.
const START_MS: u64 = 2000;
/// Most bytes of one mapping that a worker has in place before it touches them.
const POPULATE_MAX: u64 = 256 << 10;
/// What a slot's words are before it is used.
static ZEROES: [u8; shared_bytes(CHANNELS as u32) as usize] = [0; _];
/// Bytes of stack of a thread that says nothing else.
const THREAD_STACK: usize = 8 << 20;
/// Most workers that stand ready while no caller waits, however many are asked for.
const SPARES_MAX: usize = 8;
/// How soon to try again what should have worked.
const AGAIN_MS: u64 = 20;

/// Runs the babysitter in the calling process; never returns.
pub(crate) fn run(program: Program) -> ! {
    // What the library or a function loads or starts is not meant by it.
    forget_variable(WORKER_VARIABLE);
    // SAFETY: a babysitter is started with this descriptor, and nothing else in it owns one.
    let file = unsafe { File::from_raw_fd(Launch::DESCRIPTOR) };
    // The window's place stands in the configuration, so look at that through a first mapping.
    let Some((mut order, control)) = open_control(&file) else { end_now(2) };
    control.babysitter.store(std::process::id(), Release);
    // SAFETY: the control part stays mapped for the life of the process.
    if unsafe { !join_robust_list(&[&control.alive]) } {
        end_now(2)
    }
    control.alive.word.store(thread_id(), Release);
    // What belongs to the babysitter is out of a worker's reach.
    if leave_out_of_forks(std::ptr::from_ref(control) as u64, CONTROL_BYTES).is_err() {
        end_now(2)
    }
    let mut report = Report::default();
    let admitted = program.admit.map_or(Ok(()), |admit| admit(&mut order));
    match admitted.and_then(|()| prepare(file, order, program, &mut report)) {
        Ok(mut babysitter) => {
            write_report(control, babysitter.window, &report);
            babysitter.top_up(control);
            // Before, so that from the first call on no single kill ends the service. The understudy goes on
            // from here, too, if it is needed so early.
            if let Ok(client) = process_descriptor(babysitter.client) {
                babysitter.keep_understudy(control, &client);
            }
            control.status.store(CONTROL_READY, Release);
            futex_wake(&control.status, u32::MAX >> 1);
            babysitter.serve(control)
        }
        Err(problem) => {
            report.problem = problem;
            let window = std::ptr::from_ref(control) as u64;
            write_report(control, window, &report);
            control.status.store(CONTROL_FAILED, Release);
            futex_wake(&control.status, u32::MAX >> 1);
            end_now(1)
        }
    }
}

/// Whether a process was started for the slot and has not been collected.
fn is_alive(slot: &SlotState) -> bool {
    [SLOT_SPARE, SLOT_CURRENT, SLOT_ENDING].contains(&slot.state.load(Acquire))
}

impl Babysitter {
    fn serve(&mut self, control: &'static Control) -> ! {
        let Ok(client) = process_descriptor(self.client) else { self.finish(control) };
        let Ok(children) = child_descriptor() else { self.finish(control) };
        loop {
            self.collect(control);
            let again_ms = self.top_up(control);
            let understudy_ms = self.keep_understudy(control, &client);
            let starting_ms = self.end_late_starters(control);
            let timeout_ms = again_ms
                .into_iter()
                .chain(starting_ms)
                .chain(understudy_ms)
                .min()
                .map_or(-1, |wait_ms| wait_ms as i32);
            let [ended, child] = wait_readable([&client, &children], timeout_ms);
            if child {
                drain(&children);
            }
            if ended || control.finish.load(Acquire) != 0 {
                self.finish(control);
            }
        }
    }

    fn finish(&mut self, control: &Control) -> ! {
        // What a call that failed left running ends, though its caller has ended since.
        self.collect(control);
        signal_process(self.understudy, libc::SIGKILL);
        let mut ours = Vec::from_iter(Some(self.understudy).filter(|&understudy| understudy != 0));
        for slot in control.slots.iter().filter(|slot| is_alive(slot)) {
            let process = slot.process.load(Acquire);
            signal_process(process, libc::SIGKILL);
            if slot.state.load(Acquire) == SLOT_ENDING {
                self.descendants.end_group(process);
            }
            ours.push(process);
        }
        let deadline = now_ns() + 1_000_000_000;
        while now_ns() < deadline {
            if let Some((process, _)) = collect_child() {
                ours.retain(|&own| own != process);
            } else if !self.descendants.end_adopted(|child| ours.contains(&child)) && ours.is_empty() {
                break;
            } else {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
        end_now(0)
    }

    fn collect(&mut self, control: &Control) {
        let mut ended = false;
        let worker = |process| {
            control.slots.iter().position(|slot| is_alive(slot) && slot.process.load(Acquire) == process)
        };
        while let Some((process, status)) = collect_child_after(|process| {
            if worker(process).is_some() {
                self.descendants.end_group(process);
            }
        }) {
            if process == self.understudy {
                self.understudy = 0;
                continue;
            }
            let Some(index) = worker(process) else { continue };
            let slot = &control.slots[index];
            self.ends += 1;
            self.ended[index] = self.ends;
            slot.wait_status.store(status as u32, Release);
            slot.state.store(SLOT_DEAD, Release);
            control.event.fetch_add(1, AcqRel);
            futex_wake(&control.event, u32::MAX >> 1);
            let successes = control.counts.iter().map(|counts| counts.calls.load(Relaxed)).sum();
            if successes == self.successes {
                self.failed_workers += 1;
            } else {
                (self.failed_workers, self.openings) = (0, 0);
            }
            self.successes = successes;
            ended = true;
        }
        let understudy = self.understudy;
        self.descendants.end_adopted(|child| child == understudy || worker(child).is_some());
        if !ended {
            return;
        }
        self.not_before_ns = match self.failed_workers {
            0..=FREE_RESTARTS => 0,
            failed if failed <= self.configuration.crash_loop => {
                now_ns() + (1_000_000_u64 << failed.min(16)).min(BACK_OFF_MAX_MS * 1_000_000)
            }
            // Workers that crashed before it opened and are collected only now do not open it for longer.
            _ if control.status.load(Relaxed) == CONTROL_BROKEN => self.not_before_ns,
            _ => {
                let open_ms = (BREAKER_MS << self.openings.min(16)).min(BREAKER_MAX_MS);
                self.openings += 1;
                self.tell(control, CONTROL_BROKEN);
                now_ns() + open_ms * 1_000_000
            }
        };
    }

    fn tell(&self, control: &Control, status: u32) {
        control.status.store(status, Release);
        control.event.fetch_add(1, AcqRel);
        futex_wake(&control.event, u32::MAX >> 1);
    }

    /// Starts workers until there are enough spares; returns after how many milliseconds to try again.
    fn top_up(&mut self, control: &Control) -> Option<u64> {
        let now = now_ns();
        if now < self.not_before_ns {
            return Some((self.not_before_ns - now).div_ceil(1_000_000));
        }
        if control.status.load(Relaxed) == CONTROL_BROKEN {
            // Half open: callers may try what is started now, and the next failure opens it for longer.
            self.tell(control, CONTROL_READY);
        }
        let count = |wanted: u32| {
            control.slots.iter().skip(1).filter(|slot| slot.state.load(Acquire) == wanted).count()
        };
        let spares = (self.configuration.spares as usize).min(SPARES_MAX);
        let Demand { missing, mut is_awaited } = demand(spares, count, &control.awaiting);
        is_awaited &= self.processors > 1;
        let mut again = None;
        for _ in 0..missing {
            let Some(index) = self.free_slot(control) else {
                again = Some(AGAIN_MS);
                break;
            };
            if self.start(control, index, std::mem::take(&mut is_awaited)).is_err() {
                again = Some(AGAIN_MS);
                break;
            }
        }
        self.recycle(control, self.configuration.kept as usize);
        control.next.store(self.next_slot(control).unwrap_or(0) as u32, Release);
        again
    }

    /// A slot for a worker; gives back the memory of ended ones if there is none.
    fn free_slot(&self, control: &Control) -> Option<usize> {
        self.next_slot(control).or_else(|| {
            self.recycle(control, 0);
            self.next_slot(control)
        })
    }

    /// The free slot that was left first, so that addresses of ended workers mean something else as late as
    /// can be.
    fn next_slot(&self, control: &Control) -> Option<usize> {
        let free = |&index: &usize| control.slots[index].state.load(Acquire) == SLOT_FREE;
        (1..SLOTS).filter(free).min_by_key(|&index| self.ended[index])
    }

    /// Ends workers that do not get ready, stopped ones for instance; returns after how many
    /// milliseconds to look again, while there are any that start.
    fn end_late_starters(&mut self, control: &Control) -> Option<u64> {
        use std::os::unix::fs::FileExt;
        let now = now_ns();
        let mut again = None;
        for (index, slot) in control.slots.iter().enumerate().skip(1) {
            if self.started_ns[index] == 0 || slot.state.load(Acquire) != SLOT_SPARE {
                continue;
            }
            let mut ready = [0; 4];
            // The word `ready` is the first of the slot.
            let read = self.file.read_exact_at(&mut ready, index as u64 * SLOT_BYTES);
            if read.is_err() || u32::from_le_bytes(ready) == slot.generation.load(Acquire) {
                self.started_ns[index] = 0;
            } else if now > self.started_ns[index] + START_MS * 1_000_000 {
                signal_process(slot.process.load(Acquire), libc::SIGKILL);
                self.started_ns[index] = 0;
            } else {
                again = Some(START_MS);
            }
        }
        again
    }

    /// Gives back the memory of the workers that ended first, but for `kept`.
    fn recycle(&self, control: &Control, kept: usize) {
        use std::os::unix::fs::FileExt;
        loop {
            let dead = control
                .slots
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, slot)| slot.state.load(Acquire) == SLOT_DEAD);
            let oldest = dead.clone().min_by_key(|&(index, _)| self.ended[index]);
            let Some((index, slot)) = oldest.filter(|_| dead.count() > kept) else { return };
            let offset = index as u64 * SLOT_BYTES;
            // The words that the caller looks at are cleared in place: it keeps them mapped.
            let shared = shared_bytes(control.channels.load(Relaxed));
            let cleared = self.file.write_all_at(&ZEROES[..shared as usize], offset);
            punch(&self.file, offset + shared, SLOT_BYTES - shared);
            if cleared.is_err() {
                punch(&self.file, offset, shared);
            }
            slot.state.store(SLOT_FREE, Release);
        }
    }

    fn start(&mut self, control: &Control, index: usize, is_awaited: bool) -> Result<(), ()> {
        self.generation += 1;
        let generation = self.generation;
        let channels = control.channels.load(Relaxed);
        let slot = &control.slots[index];
        let babysitter = std::process::id();
        let room = (SLOT_BYTES - HEAP_OFFSET).saturating_sub(self.configuration.heap_bytes);
        let heap_steps = self.turns[index] % (room / HEAP_STEP + 1) as u32;
        self.turns[index] = self.turns[index].wrapping_add(1);
        // SAFETY: the babysitter has one thread.
        match unsafe { fork() } {
            // The control part is not mapped here.
            Ok(0) => {
                let slot = self.become_worker(index, channels, babysitter, heap_offset(heap_steps));
                worker::run(self.host, slot, generation, channels, is_awaited)
            }
            Ok(process) => {
                slot.generation.store(generation, Relaxed);
                slot.process.store(process, Relaxed);
                slot.heap_steps.store(heap_steps, Relaxed);
                self.started_ns[index] = now_ns();
                slot.state.store(SLOT_SPARE, Release);
                control.event.fetch_add(1, AcqRel);
                futex_wake(&control.event, u32::MAX >> 1);
                // The child may stand behind this very thread, and a caller waits for it; what is left can
                // wait.
                std::thread::yield_now();
                Ok(())
            }
            Err(_) => Err(()),
        }
    }

    /// Turns a fork into the worker of slot `index`, up to its threads; returns the slot's address.
    fn become_worker(&mut self, index: usize, channels: u32, babysitter: u32, heap: u64) -> u64 {
        use std::os::unix::fs::FileExt;
        let slot = slot_address(self.window, index);
        let offset = index as u64 * SLOT_BYTES;
        // A caller may have placed the babysitter beside itself; where workers run is decided call by call.
        self.allowed.take();
        // A worker must not outlive its babysitter, even one that is killed.
        if !become_child_of(babysitter) {
            end_now(3)
        }
        lead_group();
        if map_shared(&self.file, offset, slot, SLOT_BYTES, Access::Write).is_err() {
            end_now(3)
        }
        populate(slot, shared_bytes(channels), Access::Write);
        for segment in &self.segments {
            let SegmentKind::Data { slot_offset } = segment.kind else { continue };
            // SAFETY: a part of a loaded library that can be read; nothing changes it meanwhile.
            let bytes =
                unsafe { std::slice::from_raw_parts(segment.address as *const u8, segment.length as usize) };
            if self.file.write_all_at(bytes, offset + slot_offset).is_err() {
                end_now(3)
            }
            // SAFETY: the same bytes appear where they were, shared. Nothing of what runs meanwhile (this
            // function, the C library) lies in these segments.
            let shared = unsafe {
                map_over(&self.file, offset + slot_offset, segment.address, segment.length, Access::Write)
            };
            if shared.is_err() {
                end_now(3)
            }
            populate(segment.address, segment.length.min(POPULATE_MAX), Access::Write);
        }
        if self.program.heap_is_ours {
            let end = heap.saturating_add(self.configuration.heap_bytes).min(SLOT_BYTES);
            worker::heap::place(slot + heap, slot + end, slot);
        }
        if self.is_library {
            leave_descriptors(Launch::DESCRIPTOR, crate::OWN_DESCRIPTORS);
        } else {
            leave_descriptors(Launch::DESCRIPTOR, Launch::DESCRIPTOR);
        }
        let watched = if self.is_library { self.host.view.watch().ok() } else { None };
        if self.filter.as_mut().is_some_and(|filter| filter.install().is_err()) {
            // The probe in the babysitter found the layer usable; without it nothing may run.
            end_now(4)
        }
        if watched.is_some_and(|watched| watched.serve(slot).is_err()) {
            end_now(3)
        }
        slot
    }
}

const _: () = assert!(SLOTS as u64 * SLOT_BYTES == WINDOW_BYTES);
const _: () = assert!(std::mem::offset_of!(SlotHead, ready) == 0);
