//! What a babysitter does once: finds its order, loads the library, takes rights away from itself, reports.
//!
//! Not for what it does from then on; that is the module above.

use super::descendants::Descendants;
use super::{Babysitter, Program, THREAD_STACK, library};
use crate::shared::layout::{
    BLOBS_OFFSET, CONFIGURATION_OFFSET, CONSTANT_BLOBS_OFFSET, CONTROL_BYTES, Control, LOADING_HEAP_BYTES,
    LOADING_HEAP_OFFSET, REPORT_OFFSET, SLOTS, TEXT_MAX,
};
use crate::shared::service::{Configuration, Layer, Order, Report, SegmentKind};
use crate::sys::channel::Processors;
use crate::sys::memory::{Access, at, map_private, map_shared};
use crate::sys::process::{Launch, end_now, fork, occupy_descriptors};
use crate::sys::sandbox::{self, CallFilter, Groups};
use crate::worker::view::View;
use crate::worker::{self, Host};
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::Release;

unsafe extern "C" {
    fn pthread_setattr_default_np(attributes: *const libc::pthread_attr_t) -> i32;
}

/// The caller's functions that open files.
const OPENING: [&str; 4] = ["fopen", "fopen64", "freopen", "tmpfile"];

pub(super) fn open_control(file: &File) -> Option<(Order, &'static Control)> {
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

pub(super) fn write_report(control: &Control, window: u64, report: &Report) {
    let text = serde_json::to_vec(report).unwrap_or_default();
    let length = text.len().min(TEXT_MAX as usize);
    // SAFETY: the report's part of the control memory is mapped, and read only after its length is set.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), (window + REPORT_OFFSET) as *mut u8, length) };
    control.report_length.store(length as u64, Release);
}

/// Starts a thread and waits for its end: what the C library does once, for the first thread of a process,
/// is then done for all forks. It keeps the stack for the next thread, too.
fn start_a_thread_once() {
    let _ =
        std::thread::Builder::new().stack_size(THREAD_STACK).spawn(|| {}).map(std::thread::JoinHandle::join);
}

/// Sets the stack sizes of threads to come, and of workers.
fn limit_stacks() {
    // SAFETY: the attributes are local. Without this, threads would get stacks of the size that
    // the babysitter's own limit says, which was raised to move the libraries.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, THREAD_STACK);
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
}

/// Maps the caller's blobs where the caller has them.
fn map_blobs(file: &File, window: u64) -> Result<(), String> {
    // A descriptor that cannot write makes mappings that never can, either.
    let read_only =
        File::open(format!("/proc/self/fd/{}", Launch::DESCRIPTOR)).map_err(|error| error.to_string())?;
    let constants = BLOBS_OFFSET - CONSTANT_BLOBS_OFFSET;
    let blobs = LOADING_HEAP_OFFSET - BLOBS_OFFSET;
    map_shared(&read_only, CONSTANT_BLOBS_OFFSET, window + CONSTANT_BLOBS_OFFSET, constants, Access::Read)
        .and_then(|()| map_shared(file, BLOBS_OFFSET, window + BLOBS_OFFSET, blobs, Access::Write))
        .map_err(|error| format!("blob memory: {error}"))
}

/// Takes rights away from this process and its workers, layer by layer; the filter that workers install.
fn give_up_rights(
    configuration: &Configuration,
    reserved: u64,
    report: &mut Report,
) -> Result<Option<CallFilter>, String> {
    let groups = Groups(configuration.groups);
    let mut layer = |name: &str, result: io::Result<()>| {
        let detail = result.as_ref().err().map_or_else(String::new, ToString::to_string);
        report.layers.push(Layer { name: name.into(), active: result.is_ok(), detail });
    };
    let off = || Err(io::Error::new(io::ErrorKind::Unsupported, "not asked for"));
    layer("namespaces", if configuration.namespaces { sandbox::leave_namespaces(groups) } else { off() });
    layer("no new privileges", sandbox::forbid_privileges());
    layer("resource limits", sandbox::limit_resources(configuration.data_bytes, reserved));
    layer("file system", sandbox::restrict_files(groups));
    if groups.has(Groups::EVERYTHING) {
        let reason = "the policy asks for no filter";
        layer("system calls", Err(io::Error::new(io::ErrorKind::Unsupported, reason)));
        return Ok(None);
    }
    let mut filter = CallFilter::new(groups).map_err(|error| format!("system call filter: {error}"))?;
    layer("system calls", sandbox::hide_clone3().and_then(|()| probe_filter(&mut filter)));
    Ok(Some(filter))
}

pub(super) fn prepare(
    file: File,
    order: Order,
    program: Program,
    report: &mut Report,
) -> Result<Babysitter, String> {
    let Order { window, client, mut configuration } = order;
    limit_stacks();
    // Measured here once, and inherited by every worker: measuring takes a millisecond.
    let _ = crate::sys::channel::ticks_per_us();
    start_a_thread_once();
    let is_library = configuration.library.is_some();
    if is_library {
        // The numbers of the caller's descriptors: what the library opens itself gets others.
        occupy_descriptors(crate::OWN_DESCRIPTORS);
    }
    if is_library && program.heap_is_ours {
        let heap = window + LOADING_HEAP_OFFSET;
        map_private(heap, LOADING_HEAP_BYTES, Access::Write).map_err(|error| error.to_string())?;
        worker::heap::place(heap, heap + LOADING_HEAP_BYTES, 0);
    }
    map_blobs(&file, window)?;
    worker::fork::prepare();
    let has = |group| {
        Groups(configuration.groups).has(group) || Groups(configuration.groups).has(Groups::EVERYTHING)
    };
    let (opens_files, writes_files) = (has(Groups::FILES_READ), has(Groups::FILES_WRITE));
    // A library that may not open files does not have its caller do it.
    configuration.stdio.retain(|(name, _)| writes_files || !OPENING.contains(&name.as_str()));
    (program.stdio)(&configuration.stdio);
    let functions = library::load_library(&configuration, report)?;
    if is_library {
        worker::locale::prepare();
    }
    // What comes behind is the babysitter's own, and each page of it would cost every worker's start.
    let heap_end = worker::heap::used_end();
    worker::catch_faults();
    let segments = match &configuration.library {
        Some(library) => library::segments(window, library, heap_end)?,
        None => Vec::new(),
    };
    let data = segments.iter().filter(|one| matches!(one.kind, SegmentKind::Data { .. }));
    let data = data.map(|one| one.address..one.address + one.length).collect();
    let seen = segments.iter().map(|one| one.address..one.address + one.length).collect();
    report.segments.clone_from(&segments);
    let reserved = if is_library { View::reserve(window) } else { Ok(View::none()) };
    if is_library {
        let detail = reserved.as_ref().err().map_or_else(String::new, ToString::to_string);
        report.layers.push(Layer {
            name: "the program's memory in system calls".into(),
            active: reserved.is_ok(),
            detail,
        });
    }
    let view = reserved.unwrap_or(View::none());
    // Before the sandbox, which may forbid to open the list of children.
    let descendants = if is_library { Descendants::adopt() } else { Descendants::default() };
    // SAFETY: affects this process only: a caller that may not trace us cannot be traced by us.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    // Address space that counts as memory in use, and is none of the library's.
    let reserved = view.bytes() + if is_library { LOADING_HEAP_BYTES } else { 0 };
    let filter = give_up_rights(&configuration, reserved, report)?;
    let host = Box::leak(Box::new(Host {
        functions,
        find: program.find,
        view,
        data,
        seen,
        opens_files,
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
        filter,
        program,
        is_library,
        generation: 0,
        failed_workers: 0,
        openings: 0,
        successes: 0,
        not_before_ns: 0,
        ended: [0; SLOTS],
        ends: 0,
        started_ns: [0; SLOTS],
        turns: [0; SLOTS],
        understudy: 0,
        descendants,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        allowed: Processors::of_this_thread(),
    })
}

/// Whether a worker will be able to install its filter, by trying it in a child.
fn probe_filter(filter: &mut CallFilter) -> io::Result<()> {
    // SAFETY: this process has one thread.
    let child = unsafe { fork()? };
    if child == 0 {
        end_now(i32::from(filter.install().is_err()));
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child as i32, &raw mut status, 0) };
    if status == 0 { Ok(()) } else { Err(io::Error::other("the kernel refuses the filter")) }
}
