//! Loading a library, and finding the memory of it that its caller is to see.

use super::{functions, run};
use crate::shared::layout::{DATA_OFFSET, LOADING_HEAP_OFFSET, SLOT_BYTES, STACKS_OFFSET};
use crate::shared::service::{Configuration, FunctionName, Report, Segment, SegmentKind};
use crate::sys::maps;
use std::ffi::c_int;

/// Loads the library and finds its functions and variables; the functions' addresses, 0 where missing.
pub(super) fn load_library(configuration: &Configuration, report: &mut Report) -> Result<Vec<u64>, String> {
    use std::os::unix::ffi::OsStrExt;
    let Some(path) = &configuration.library else { return Ok(Vec::new()) };
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    show_environment();
    resemble_the_caller(configuration);
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
        report.functions.clone_from(&functions);
        for variable in &configuration.variables {
            report.variables.push(find_symbol(library, variable)?);
        }
        Ok(functions)
    }
}

/// Moves the environment to the heap, which the caller sees: there lies what `getenv` gives out.
fn show_environment() {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: this process has one thread, and nothing holds a pointer to the old environment. What cannot be
    // copied stays where it is.
    unsafe {
        let old = environ;
        if old.is_null() {
            return;
        }
        let count = (0..).take_while(|&index: &usize| !(*old.add(index)).is_null()).count();
        let new = libc::calloc(count + 1, size_of::<*mut libc::c_char>()).cast::<*mut libc::c_char>();
        if new.is_null() {
            return;
        }
        for index in 0..count {
            let copy = libc::strdup(*old.add(index));
            *new.add(index) = if copy.is_null() { *old.add(index) } else { copy };
        }
        environ = new;
    }
}

/// Takes the caller's locale and name for those of this process. The caller can read the name.
fn resemble_the_caller(configuration: &Configuration) {
    unsafe extern "C" {
        static mut program_invocation_name: *mut libc::c_char;
        static mut program_invocation_short_name: *mut libc::c_char;
    }
    let text = |text: &Option<String>| std::ffi::CString::new(text.clone()?).ok();
    // SAFETY: this process has one thread. The C library only reads its names, of which the copy is never
    // freed; the short one is a part of it, behind the last slash.
    unsafe {
        if let Some(locale) = text(&configuration.locale) {
            libc::setlocale(libc::LC_ALL, locale.as_ptr());
        }
        if let Some(program) = text(&configuration.program) {
            let copy = libc::strdup(program.as_ptr());
            if !copy.is_null() {
                let slash = libc::strrchr(copy, c_int::from(b'/'));
                program_invocation_name = copy;
                program_invocation_short_name = if slash.is_null() { copy } else { slash.add(1) };
            }
        }
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

/// The memory of loaded libraries that the caller is to see: data to share, constants to map. What they
/// allocated ends at `heap_end`.
pub(super) fn segments(
    window: u64,
    library: &std::path::Path,
    heap_end: u64,
) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut next = DATA_OFFSET;
    let mut share = |address: u64, length: u64, segments: &mut Vec<Segment>| {
        segments.push(Segment { address, length, kind: SegmentKind::Data { slot_offset: next } });
        next += length;
        if next > STACKS_OFFSET { Err("the library's data is too large".to_owned()) } else { Ok(()) }
    };
    // What the loader keeps to itself stays so; so does this program. Of the C library the caller sees its
    // data and texts, which its functions give out, and no more.
    let own = maps::list()
        .iter()
        .find(|mapping| holds(mapping, run as *const () as u64))
        .map(|mapping| mapping.path.clone());
    let is_one_of = |path: &str, names: &[&str]| {
        let name = path.rsplit('/').next().unwrap_or(path);
        names.iter().any(|prefix| name.starts_with(prefix))
    };
    let private = |path: &str| {
        is_one_of(path, &["ld-linux", "libpthread", "libdl.so", "libgcc_s", "memfd:", "librt.so"])
            || Some(path) == own.as_deref()
    };
    let is_c_library = |path: &str| is_one_of(path, &["libc.so"]);
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
            } else if is_c_library(&mapping.path) {
                let is_relocated = writable.iter().any(|range| range.contains(&mapping.start));
                if mapping.readable && !mapping.executable && !is_relocated {
                    let kind =
                        SegmentKind::File { path: mapping.path.clone().into(), offset: mapping.offset };
                    segments.push(Segment { address: mapping.start, length, kind });
                }
            } else if mapping.readable {
                // Relocated constants differ from the file; they follow the text in later segments,
                // and cost little to share.
                if mapping.executable
                    && length <= Segment::CODE_BYTES_MAX
                    && Some(&*mapping.path) == library.as_deref()
                {
                    let starts = functions::starts(&(mapping.start..mapping.end));
                    segments.push(Segment {
                        address: mapping.start,
                        length,
                        kind: SegmentKind::Code { starts },
                    });
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
    if heap_end > heap && heap_end < heap + SLOT_BYTES {
        // The last page's tail stays unused: a forked worker allocates elsewhere.
        share(heap, (heap_end - heap).next_multiple_of(4096), &mut segments)?;
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
