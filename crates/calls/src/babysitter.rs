//! The babysitter: a small process with one thread that loads the library once, forks workers
//! from itself, collects them when they end, and ends when its caller does.
//!
//! It never runs a call, so it stays as it was after loading. It waits in `poll` for children and
//! for the caller's process; nothing wakes it while nothing happens. Not for the worker's own
//! life; that is `worker`.

use crate::layout::{
    BLOBS_OFFSET, CONFIGURATION_OFFSET, CONSTANT_BLOBS_OFFSET, CONTROL_BROKEN, CONTROL_BYTES, CONTROL_FAILED,
    CONTROL_READY, Control, DATA_OFFSET, HEAP_OFFSET, LOADING_HEAP_BYTES, LOADING_HEAP_OFFSET, REPORT_OFFSET,
    SLOT_BYTES, SLOT_CURRENT, SLOT_DEAD, SLOT_FREE, SLOT_SPARE, SLOTS, STACKS_OFFSET, SlotHead, TEXT_MAX,
    WINDOW_BYTES, at, slot_address,
};
use crate::maps;
use crate::service::{
    Configuration, FunctionName, Layer, Order, Report, Segment, SegmentKind, WORKER_VARIABLE,
};
use crate::worker::{self, BytesFunction, Host};
use banyan_sys::call_channel::{futex_wake, join_robust_list, now_ns, signal_process, thread_id};
use banyan_sys::call_memory::{Access, discard, map_over, map_private, map_shared, unmap};
use banyan_sys::call_process::{
    Launch, become_child_of, child_descriptor, collect_child, drain, end_now, fork, leave_descriptors,
    occupy_descriptors, process_descriptor, wait_readable,
};
use banyan_sys::sandbox::{self, Groups};
use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

unsafe extern "C" {
    fn pthread_setattr_default_np(attributes: *const libc::pthread_attr_t) -> i32;
}

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

/// Whether this process was started to be a babysitter.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os(WORKER_VARIABLE).is_some()
}

struct Babysitter {
    window: u64,
    client: u32,
    file: File,
    configuration: Configuration,
    host: &'static Host,
    segments: Vec<Segment>,
    program: Program,
    is_library: bool,
    generation: u32,
    /// Workers that ended one after the other without a call that succeeded.
    barren: u32,
    successes: u64,
    /// No worker is started before this time.
    not_before_ns: u64,
    /// When the last worker of each slot ended, in order of ends: not in that of generations, as a caller
    /// takes the spare that is ready first.
    ended: [u64; SLOTS],
    ends: u64,
    /// When the worker of each slot was started; 0 once it has been seen to be ready.
    started_ns: [u64; SLOTS],
}

/// Barren workers that are replaced at once; from then on each start waits twice as long.
const FREE_RESTARTS: u32 = 3;
/// Longest wait before a start, while the breaker is closed.
const BACK_OFF_MAX_MS: u64 = 256;
/// How long the breaker stays open at first, and at most.
const BREAKER_MS: u64 = 500;
const BREAKER_MAX_MS: u64 = 30_000;
/// A worker that cannot serve so long after it was started is ended.
const START_MS: u64 = 2000;
/// How soon to try again what should have worked.
const AGAIN_MS: u64 = 20;

/// Runs the babysitter in the calling process; never returns.
pub(crate) fn run(program: Program) -> ! {
    // SAFETY: a babysitter is started with this descriptor, and nobody else in it owns one.
    let file = unsafe { File::from_raw_fd(Launch::DESCRIPTOR) };
    // The window's place stands in the configuration, so look at that through a first mapping.
    let Some((mut order, control)) = open_control(&file) else { end_now(2) };
    control.babysitter.store(std::process::id(), Release);
    // SAFETY: the control part stays mapped for the life of the process.
    if unsafe { !join_robust_list(&[&control.alive]) } {
        end_now(2)
    }
    control.alive.word.store(thread_id(), Release);
    let mut report = Report::default();
    let admitted = program.admit.map_or(Ok(()), |admit| admit(&mut order));
    match admitted.and_then(|()| prepare(file, order, program, &mut report)) {
        Ok(mut babysitter) => {
            write_report(control, babysitter.window, &report);
            babysitter.top_up(control);
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

fn open_control(file: &File) -> Option<(Order, &'static Control)> {
    use std::os::unix::fs::FileExt;
    let mut length = [0; 8];
    file.read_exact_at(&mut length, std::mem::offset_of!(Control, configuration_length) as u64).ok()?;
    let length = u64::from_le_bytes(length);
    if length > TEXT_MAX {
        return None;
    }
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, CONFIGURATION_OFFSET).ok()?;
    let order: Order = serde_json::from_slice(&text).ok()?;
    map_shared(file, 0, order.window, CONTROL_BYTES, Access::Write).ok()?;
    // SAFETY: mapped a line ago, for the life of the process.
    let control = unsafe { at(order.window) };
    Some((order, control))
}

fn write_report(control: &Control, window: u64, report: &Report) {
    let text = serde_json::to_vec(report).unwrap_or_default();
    let length = text.len().min(TEXT_MAX as usize);
    // SAFETY: the report's part of the control memory is mapped, and read only after its length is set.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), (window + REPORT_OFFSET) as *mut u8, length) };
    control.report_length.store(length as u64, Release);
}

fn load_library(configuration: &Configuration, report: &mut Report) -> Result<Vec<u64>, String> {
    use std::os::unix::ffi::OsStrExt;
    let Some(path) = &configuration.library else { return Ok(Vec::new()) };
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: loading runs the library's constructors, which is what this process is for. The
    // strings outlive the calls.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL);
        if library.is_null() {
            let error = libc::dlerror();
            return Err(std::ffi::CStr::from_ptr(error).to_string_lossy().into_owned());
        }
        // What a constructor printed must not come out of every worker once more.
        libc::fflush(std::ptr::null_mut());
        let mut functions = Vec::new();
        for function in &configuration.functions {
            let address = find_symbol(library, function)?;
            if address == 0 {
                report.missing.push(function.name.clone());
            }
            functions.push(address);
        }
        for variable in &configuration.variables {
            report.variables.push(find_symbol(library, variable)?);
        }
        Ok(functions)
    }
}

/// The address of a symbol of a loaded library, of its version if it names one; 0 if there is none.
///
/// # Safety
/// `library` must come from `dlopen`.
unsafe fn find_symbol(library: *mut libc::c_void, symbol: &FunctionName) -> Result<u64, String> {
    let name = std::ffi::CString::new(symbol.name.as_str()).map_err(|error| error.to_string())?;
    let version = symbol.version.as_deref().and_then(|version| std::ffi::CString::new(version).ok());
    // SAFETY: the caller's contract; the strings outlive the calls.
    unsafe {
        let mut address = std::ptr::null_mut();
        if let Some(version) = version {
            address = libc::dlvsym(library, name.as_ptr(), version.as_ptr());
        }
        if address.is_null() {
            address = libc::dlsym(library, name.as_ptr());
        }
        Ok(address as u64)
    }
}

/// The memory of loaded libraries that the caller is to see: data to share, constants to map.
fn segments(window: u64, library: &std::path::Path) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut next = DATA_OFFSET;
    let mut share = |address: u64, length: u64, segments: &mut Vec<Segment>| {
        segments.push(Segment { address, length, kind: SegmentKind::Data { slot_offset: next } });
        next += length;
        if next > STACKS_OFFSET { Err("the library's data is too large".to_owned()) } else { Ok(()) }
    };
    // What the C library and the loader keep to themselves stays so; so does this program.
    let own = maps::list()
        .iter()
        .find(|mapping| holds(mapping, run as *const () as u64))
        .map(|mapping| mapping.path.clone());
    let private = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let hidden = ["ld-linux", "libc.so", "libpthread", "libdl.so", "libgcc_s", "memfd:", "librt.so"];
        hidden.iter().any(|prefix| name.starts_with(prefix)) || Some(path) == own.as_deref()
    };
    let library = library.canonicalize().ok().map(|path| path.to_string_lossy().into_owned());
    let writable = writable_ranges();
    let mut data_end = 0;
    for mapping in maps::list() {
        let length = mapping.end - mapping.start;
        let is_file = mapping.path.starts_with('/') && !mapping.path.starts_with("/memfd:");
        if is_file && !private(&mapping.path) {
            if mapping.writable {
                share(mapping.start, length, &mut segments)?;
                data_end = mapping.end;
            } else if mapping.readable {
                // Relocated constants differ from the file; they follow the text in later segments,
                // and cost little to share.
                if mapping.executable && length <= 16 << 20 && Some(&*mapping.path) == library.as_deref() {
                    segments.push(Segment { address: mapping.start, length, kind: SegmentKind::Code });
                } else if !mapping.executable && length <= 4 << 20 {
                    share(mapping.start, length, &mut segments)?;
                } else {
                    let kind =
                        SegmentKind::File { path: mapping.path.clone().into(), offset: mapping.offset };
                    segments.push(Segment { address: mapping.start, length, kind });
                }
            }
        } else if mapping.path.is_empty() && mapping.writable && mapping.start == data_end && data_end != 0 {
            // The kernel may have merged other memory with the library's zeroed data: take that only.
            let end =
                writable.iter().map(|range| range.end).find(|&end| mapping.start < end && end <= mapping.end);
            if let Some(end) = end {
                share(mapping.start, end - mapping.start, &mut segments)?;
            }
            data_end = 0;
        }
    }
    let heap = window + LOADING_HEAP_OFFSET;
    let used = crate::heap::used_end();
    if used > heap && used < heap + SLOT_BYTES {
        // The last page's tail is left for nobody: a forked worker allocates elsewhere.
        share(heap, (used - heap).next_multiple_of(4096), &mut segments)?;
    }
    Ok(segments)
}

/// The writable parts of all loaded objects, zeroed data included, in whole pages.
fn writable_ranges() -> Vec<std::ops::Range<u64>> {
    extern "C" fn one(information: *mut libc::dl_phdr_info, _: usize, ranges: *mut libc::c_void) -> i32 {
        // SAFETY: the loader passes a description and our own vector.
        unsafe {
            let information = &*information;
            let ranges = &mut *ranges.cast::<Vec<std::ops::Range<u64>>>();
            for header in std::slice::from_raw_parts(information.dlpi_phdr, information.dlpi_phnum.into()) {
                if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W != 0 {
                    let start = information.dlpi_addr + header.p_vaddr;
                    ranges.push(start & !4095..(start + header.p_memsz).next_multiple_of(4096));
                }
            }
        }
        0
    }
    let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
    // SAFETY: the function has the signature asked for, and gets our vector back.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut ranges).cast()) };
    ranges
}

const fn holds(mapping: &maps::Mapping, address: u64) -> bool {
    mapping.start <= address && address < mapping.end
}

fn prepare(file: File, order: Order, program: Program, report: &mut Report) -> Result<Babysitter, String> {
    let Order { window, client, configuration } = order;
    // SAFETY: the attributes are local. Without this, threads would get stacks of the size that
    // the babysitter's own limit says, which was raised to move the libraries.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, 8 << 20);
        pthread_setattr_default_np(&raw const attributes);
    }
    // The limit has moved the libraries and must now go back: under it the kernel would grow our
    // main stack, with zeroes, over addresses at which the caller's own stack is to be fetched.
    // SAFETY: affects this process only; the main threads of workers need little.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(512 << 10);
        libc::setrlimit(libc::RLIMIT_STACK, &raw const limit);
    }
    // Measured here once, and inherited by every worker: measuring takes a millisecond.
    let _ = crate::connection::ticks_per_us();
    let is_library = configuration.library.is_some();
    if is_library {
        // The numbers of the caller's descriptors: what the library opens itself gets others.
        occupy_descriptors(crate::OWN_DESCRIPTORS);
    }
    if is_library && program.heap_is_ours {
        let heap = window + LOADING_HEAP_OFFSET;
        map_private(heap, LOADING_HEAP_BYTES, Access::Write).map_err(|error| error.to_string())?;
        crate::heap::place(heap, heap + LOADING_HEAP_BYTES, 0);
    }
    // Blobs are the caller's. A descriptor that cannot write makes mappings that never can, either.
    let read_only =
        File::open(format!("/proc/self/fd/{}", Launch::DESCRIPTOR)).map_err(|error| error.to_string())?;
    let constants = BLOBS_OFFSET - CONSTANT_BLOBS_OFFSET;
    map_shared(&read_only, CONSTANT_BLOBS_OFFSET, window + CONSTANT_BLOBS_OFFSET, constants, Access::Read)
        .and_then(|()| {
            map_shared(
                &file,
                BLOBS_OFFSET,
                window + BLOBS_OFFSET,
                LOADING_HEAP_OFFSET - BLOBS_OFFSET,
                Access::Write,
            )
        })
        .map_err(|error| format!("blob memory: {error}"))?;
    (program.stdio)(&configuration.stdio);
    let functions = load_library(&configuration, report)?;
    worker::catch_faults();
    let segments = if is_library {
        segments(window, configuration.library.as_deref().unwrap_or(std::path::Path::new("")))?
    } else {
        Vec::new()
    };
    report.segments.clone_from(&segments);
    let groups = Groups(configuration.groups);
    // SAFETY: affects this process only: a caller that may not trace us cannot be traced by us.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    let mut layer = |name: &str, result: std::io::Result<()>| {
        let detail = result.as_ref().err().map_or_else(String::new, ToString::to_string);
        report.layers.push(Layer { name: name.into(), active: result.is_ok(), detail });
    };
    let off = || Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "not asked for"));
    layer("namespaces", if configuration.namespaces { sandbox::leave_namespaces(groups) } else { off() });
    layer("no new privileges", sandbox::forbid_privileges());
    layer("resource limits", sandbox::limit_resources(configuration.data_bytes));
    layer("file system", sandbox::restrict_files(groups));
    layer("system calls", probe_filter(groups));
    let host = Box::leak(Box::new(Host {
        functions,
        find: program.find,
        serial: configuration.serial && is_library,
        shared_stacks: is_library,
        stack_bytes: configuration.stack_bytes,
    }));
    Ok(Babysitter {
        window,
        client,
        file,
        configuration,
        host,
        segments,
        program,
        is_library,
        generation: 0,
        barren: 0,
        successes: 0,
        not_before_ns: 0,
        ended: [0; SLOTS],
        ends: 0,
        started_ns: [0; SLOTS],
    })
}

/// Whether a worker will be able to install its filter, by trying it in a child.
fn probe_filter(groups: Groups) -> std::io::Result<()> {
    if groups.has(Groups::EVERYTHING) {
        return sandbox::filter_calls(groups);
    }
    // SAFETY: this process has one thread.
    let child = unsafe { fork()? };
    if child == 0 {
        end_now(i32::from(sandbox::filter_calls(groups).is_err()));
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child as i32, &raw mut status, 0) };
    if status == 0 { Ok(()) } else { Err(std::io::Error::other("the kernel refuses the filter")) }
}

impl Babysitter {
    fn serve(&mut self, control: &'static Control) -> ! {
        let Ok(client) = process_descriptor(self.client) else { self.finish(control) };
        let Ok(children) = child_descriptor() else { self.finish(control) };
        loop {
            self.collect(control);
            let again_ms = self.top_up(control);
            let starting_ms = self.end_late_starters(control);
            let timeout_ms =
                again_ms.into_iter().chain(starting_ms).min().map_or(-1, |wait_ms| wait_ms as i32);
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
        for slot in &control.slots {
            let state = slot.state.load(Acquire);
            if state == SLOT_SPARE || state == SLOT_CURRENT {
                signal_process(slot.process.load(Acquire), libc::SIGKILL);
            }
        }
        let deadline = now_ns() + 1_000_000_000;
        while now_ns() < deadline {
            match collect_child() {
                Some(_) => {}
                // SAFETY: asks whether there are children left, without collecting one.
                None if unsafe {
                    libc::waitid(
                        libc::P_ALL,
                        0,
                        std::ptr::null_mut(),
                        libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
                    )
                } != 0 =>
                {
                    break;
                }
                None => std::thread::sleep(std::time::Duration::from_micros(200)),
            }
        }
        end_now(0)
    }

    fn collect(&mut self, control: &Control) {
        let mut ended = false;
        while let Some((process, status)) = collect_child() {
            let Some((index, slot)) = control.slots.iter().enumerate().find(|(_, slot)| {
                let state = slot.state.load(Acquire);
                (state == SLOT_SPARE || state == SLOT_CURRENT) && slot.process.load(Acquire) == process
            }) else {
                continue;
            };
            self.ends += 1;
            self.ended[index] = self.ends;
            slot.wait_status.store(status as u32, Release);
            slot.state.store(SLOT_DEAD, Release);
            control.event.fetch_add(1, AcqRel);
            futex_wake(&control.event, u32::MAX >> 1);
            let successes = control.counts.iter().map(|counts| counts.calls.load(Relaxed)).sum();
            self.barren = if successes == self.successes { self.barren + 1 } else { 0 };
            self.successes = successes;
            ended = true;
        }
        if !ended {
            return;
        }
        self.not_before_ns = match self.barren {
            0..=FREE_RESTARTS => 0,
            barren if barren <= self.configuration.crash_loop => {
                now_ns() + (1_000_000_u64 << barren.min(16)).min(BACK_OFF_MAX_MS * 1_000_000)
            }
            barren => {
                let opened = (barren - self.configuration.crash_loop - 1).min(16);
                let open_ms = (BREAKER_MS << opened).min(BREAKER_MAX_MS);
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
            // Half open: callers may try what is started now, and the next barren end opens it for longer.
            self.tell(control, CONTROL_READY);
        }
        let count = |wanted: u32| {
            control.slots.iter().skip(1).filter(|slot| slot.state.load(Acquire) == wanted).count()
        };
        let mut wanted = (1 + self.configuration.spares as usize).saturating_sub(count(SLOT_CURRENT));
        wanted = wanted.clamp(1, 8);
        let mut again = None;
        while count(SLOT_SPARE) < wanted {
            let free = control.slots.iter().skip(1).position(|slot| slot.state.load(Acquire) == SLOT_FREE);
            let Some(index) = free.map(|index| index + 1) else {
                self.recycle(control, 0);
                if count(SLOT_FREE) == 0 {
                    return Some(AGAIN_MS);
                }
                continue;
            };
            if self.start(control, index).is_err() {
                again = Some(AGAIN_MS);
                break;
            }
        }
        self.recycle(control, self.configuration.kept as usize);
        again
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
        loop {
            let dead = control
                .slots
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, slot)| slot.state.load(Acquire) == SLOT_DEAD);
            let oldest = dead.clone().min_by_key(|&(index, _)| self.ended[index]);
            let Some((index, slot)) = oldest.filter(|_| dead.count() > kept) else { return };
            let address = slot_address(self.window, index);
            if map_shared(&self.file, index as u64 * SLOT_BYTES, address, SLOT_BYTES, Access::Write).is_ok() {
                // SAFETY: the worker that used the slot has ended, and the mapping is ours.
                unsafe {
                    discard(address, SLOT_BYTES);
                    unmap(address, SLOT_BYTES);
                }
            }
            slot.state.store(SLOT_FREE, Release);
        }
    }

    fn start(&mut self, control: &Control, index: usize) -> Result<(), ()> {
        self.generation += 1;
        let generation = self.generation;
        let channels = control.channels.load(Relaxed);
        let slot = &control.slots[index];
        let babysitter = std::process::id();
        // SAFETY: the babysitter has one thread.
        match unsafe { fork() } {
            Ok(0) => self.become_worker(index, generation, channels, babysitter),
            Ok(process) => {
                slot.generation.store(generation, Relaxed);
                slot.process.store(process, Relaxed);
                self.started_ns[index] = now_ns();
                slot.state.store(SLOT_SPARE, Release);
                control.event.fetch_add(1, AcqRel);
                futex_wake(&control.event, u32::MAX >> 1);
                Ok(())
            }
            Err(_) => Err(()),
        }
    }

    fn become_worker(&self, index: usize, generation: u32, channels: u32, babysitter: u32) -> ! {
        let slot = slot_address(self.window, index);
        let offset = index as u64 * SLOT_BYTES;
        // A worker must not outlive its babysitter, even one that is killed.
        if !become_child_of(babysitter) {
            end_now(3)
        }
        if map_shared(&self.file, offset, slot, SLOT_BYTES, Access::Write).is_err() {
            end_now(3)
        }
        for segment in &self.segments {
            let SegmentKind::Data { slot_offset } = segment.kind else { continue };
            // SAFETY: the copy goes to the slot; then the same bytes appear where they were, shared.
            // Nothing of what runs meanwhile (this function, the C library) lies in these segments.
            unsafe {
                let copy = slot + slot_offset;
                std::ptr::copy_nonoverlapping(
                    segment.address as *const u8,
                    copy as *mut u8,
                    segment.length as usize,
                );
                if map_over(&self.file, offset + slot_offset, segment.address, segment.length, Access::Write)
                    .is_err()
                {
                    end_now(3)
                }
            }
        }
        if self.program.heap_is_ours {
            let end = (slot + HEAP_OFFSET + self.configuration.heap_bytes).min(slot + SLOT_BYTES);
            crate::heap::place(slot + HEAP_OFFSET, end, slot);
        }
        // What belongs to the babysitter is out of a worker's reach from here on.
        // SAFETY: nothing below uses the control part.
        unsafe { unmap(self.window, CONTROL_BYTES) };
        if self.is_library {
            leave_descriptors(Launch::DESCRIPTOR, crate::OWN_DESCRIPTORS);
        } else {
            leave_descriptors(Launch::DESCRIPTOR, Launch::DESCRIPTOR);
        }
        let groups = Groups(self.configuration.groups);
        if !groups.has(Groups::EVERYTHING) && sandbox::filter_calls(groups).is_err() {
            // The probe in the babysitter found the layer usable; without it nothing may run.
            end_now(4)
        }
        worker::run(self.host, slot, generation, channels)
    }
}

const _: () = assert!(SLOTS as u64 * SLOT_BYTES == WINDOW_BYTES);
const _: () = assert!(std::mem::offset_of!(SlotHead, ready) == 0);
