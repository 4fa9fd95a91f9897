//! Opening and closing.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::time::Duration;

use banyan_heap::{Existing, Heap, Lease, Model, Options, Room};

use crate::errors::{self, failed, text};

/// As in the header.
#[repr(C)]
pub struct BnOptions {
    struct_size: usize,
    size: u64,
    existing: u32,
    model: u32,
    mode: u32,
    room: u32,
    lease_ns: u64,
    directory: *const c_char,
    address: u64,
}

/// As in the header.
#[repr(C)]
pub struct BnStats {
    struct_size: usize,
    size: u64,
    used: u64,
    roots: u64,
    participants: u64,
    deaths: u64,
    waiting_threads: u64,
}

/// Options of which C said this.
///
/// # Safety
/// `options` is null or valid, with a directory that is null or ends with a zero.
unsafe fn options(options: *const BnOptions) -> Result<Options, c_int> {
    let mut settings = Options::new();
    // SAFETY: passed on to the caller.
    let Some(given) = (unsafe { options.as_ref() }) else { return Ok(settings) };
    if given.struct_size != size_of::<BnOptions>() {
        return Err(failed(libc::EINVAL, &"options are not begun with BN_OPTIONS_INIT"));
    }
    if given.size != 0 {
        settings = settings.size(given.size);
    }
    if given.mode != 0 {
        settings = settings.mode(given.mode);
    }
    if given.lease_ns != 0 {
        settings = settings.lease(Lease::Unused(Duration::from_nanos(given.lease_ns)));
    }
    if given.address != 0 {
        settings = settings.address(given.address);
    }
    if !given.directory.is_null() {
        // SAFETY: passed on to the caller.
        settings = settings.directory(Path::new(unsafe { text(given.directory) }?));
    }
    settings = match given.model {
        0 => settings,
        1 => settings.model(Model::Sequential),
        2 => settings.model(Model::Release),
        3 => settings.model(Model::Eventual),
        _ => return Err(failed(libc::EINVAL, &"no such model")),
    };
    settings = match given.room {
        0 => settings,
        1 => settings.room(Room::OnTouch),
        _ => return Err(failed(libc::EINVAL, &"room is BN_RESERVED or BN_ON_TOUCH")),
    };
    Ok(match given.existing {
        0 => settings,
        1 => settings.existing(Existing::Attach),
        2 => settings.existing(Existing::Create),
        _ => return Err(failed(libc::EINVAL, &"existing is BN_ATTACH_OR_CREATE, BN_ATTACH or BN_CREATE")),
    })
}

/// A heap that C has.
///
/// # Safety
/// `heap` is null, or was opened and not closed.
pub(crate) unsafe fn heap<'a>(heap: *const Heap) -> Result<&'a Heap, c_int> {
    // SAFETY: passed on to the caller.
    unsafe { heap.as_ref() }.ok_or_else(|| failed(libc::EINVAL, &"the heap is NULL"))
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_open(
    name: *const c_char,
    given: *const BnOptions,
    heap: *mut *mut Heap,
) -> c_int {
    // SAFETY: the caller gives what the header says.
    let arguments = unsafe { text(name).and_then(|name| Ok((name, options(given)?))) };
    let (name, options) = match arguments {
        Ok(arguments) => arguments,
        Err(number) => return number,
    };
    if heap.is_null() {
        return failed(libc::EINVAL, &"there is no place for the heap");
    }
    match Heap::open(name, &options) {
        Ok(opened) => {
            // SAFETY: a place of the caller's.
            unsafe { heap.write(Box::into_raw(Box::new(opened))) };
            0
        }
        Err(error) => errors::open(&error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_close(heap: *mut Heap) -> c_int {
    if !heap.is_null() {
        // SAFETY: it came from `bn_open`, and the caller closes it once.
        drop(unsafe { Box::from_raw(heap) });
    }
    0
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_unlink(name: *const c_char, directory: *const c_char) -> c_int {
    // SAFETY: the caller gives what the header says.
    let name = match unsafe { text(name) } {
        Ok(name) => name,
        Err(number) => return number,
    };
    // SAFETY: as above.
    let directory = match (!directory.is_null()).then(|| unsafe { text(directory) }).transpose() {
        Ok(directory) => directory.map(Path::new),
        Err(number) => return number,
    };
    match Heap::unlink(name, directory) {
        Ok(true) => 0,
        Ok(false) => failed(libc::ENOENT, &format_args!("no heap {name}")),
        Err(error) => errors::open(&error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_address(heap: *const Heap) -> *mut c_void {
    // SAFETY: the caller gives what the header says.
    unsafe { self::heap(heap) }
        .map_or(std::ptr::null_mut(), |heap| std::ptr::with_exposed_provenance_mut(heap.address()))
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_stat(heap: *const Heap, stats: *mut BnStats) -> c_int {
    // SAFETY: the caller gives what the header says.
    let (heap, stats) = match (unsafe { self::heap(heap) }, unsafe { stats.as_mut() }) {
        (Ok(heap), Some(stats)) if stats.struct_size == size_of::<BnStats>() => (heap, stats),
        (Err(number), _) => return number,
        _ => return failed(libc::EINVAL, &"stats are not begun with BN_STATS_INIT"),
    };
    match heap.info() {
        Ok(info) => {
            stats.size = info.size;
            stats.used = info.used;
            stats.roots = info.roots.len() as u64;
            stats.participants = info.participants.len() as u64;
            stats.deaths = info.deaths;
            stats.waiting_threads = info.waits.len() as u64;
            0
        }
        Err(error) => errors::root(&error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn bn_node() -> u32 {
    0
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn bn_nodes() -> u32 {
    1
}
