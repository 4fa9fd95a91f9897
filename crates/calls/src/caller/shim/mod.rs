//! The entry of wrapped C libraries: what a drop-in library calls for each of its functions.
//!
//! A drop-in describes itself by a [`Library`] in its own data; the first call opens the
//! connection. From then on the path of a call allocates nothing. If the program forks, the child
//! opens its own connection. On failure the function's declared failure value is returned
//! and `errno` is set, or the program is aborted where the policy says so. Lock order: none; one
//! thread opens, others wait for it, bounded by the time that opening may take.

mod addresses;
mod freeing;
mod jump;
mod progress;

use crate::caller::connection::{CallOptions, Connection};
use crate::caller::launch::open_library;
use crate::caller::variables::Copy;
use crate::error::CallError;
use crate::shared::frame::{
    BY_ADDRESS, FIXED_WORDS_MAX, Registers, STACK_WORDS_MAX, Shape, VARIABLE_WORDS, WANT_ANY_ST, WANT_ST0,
    WANT_VECTOR,
};
use crate::shared::layout::slot_address;
use crate::shared::service::{Configuration, FunctionName};
use crate::sys::channel::{futex_wait, now_ns};
use crate::sys::process::without_signals;
use crate::sys::registers::entry;
use progress::{Failure, Progress, ROW};
use std::ffi::{CStr, c_char};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32};
use std::time::Duration;

/// One function of a drop-in, as the generator writes it.
#[repr(C)]
#[derive(Debug)]
pub struct Function {
    /// Its symbol.
    pub name: *const c_char,
    /// Its version or null.
    pub version: *const c_char,
    /// Failure value.
    pub failure: u64,
    /// Deadline in microseconds, 0 for the library's.
    pub deadline_us: u64,
    /// Registers and stack words that hold arguments.
    pub general: u8,
    /// See `general`.
    pub vector: u8,
    /// Words, or `VARIABLE_WORDS`.
    pub stack: u8,
    /// `WANT_` bits of the result.
    pub results: u8,
    /// How often to call again after a failure.
    pub retries: u8,
    /// `OURS`, `ABORT` or `POLICY` below.
    pub on_failure: u8,
    /// How many of the integer registers are known to hold arguments: pointers there are checked.
    pub named: u8,
    /// Whether the failure value is a float or double, in xmm0.
    pub failure_in_vector: u8,
    /// The value of `errno` on failure; 0 chooses one by the kind of failure.
    pub errno: u32,
    /// Bytes of a result that is written where the first argument points; 0 if there is none.
    pub result_bytes: u32,
    /// Whether the function is not to be called at all.
    pub refused: u32,
    /// Processor time in milliseconds at which the call is ended, 0 for no limit.
    pub cpu_ms: u32,
}

/// On failure: a value that the policy does not give, and that may lead the program nowhere.
pub(crate) const OURS: u8 = 0;
/// The program is aborted.
pub(crate) const ABORT: u8 = 1;
/// What the policy says of this function.
pub(crate) const POLICY: u8 = 2;

/// A part of a variable of the library that the program sees a copy of, as the generator writes it.
#[repr(C)]
#[derive(Debug)]
pub struct Variable {
    /// Its symbol.
    pub name: *const c_char,
    /// Its version or null.
    pub version: *const c_char,
    /// The program's copy.
    pub here: *mut u8,
    /// What it held when the program started.
    pub first: *const u8,
    /// Where the part begins, and its length.
    pub offset: u64,
    /// See `offset`.
    pub bytes: u64,
    /// Whether it may change; else it is copied once.
    pub writable: u32,
    /// Whether it holds the address of a symbol, which each side has its own of.
    pub symbol: u32,
}

/// A drop-in's description of itself, in its data.
#[repr(C)]
#[derive(Debug)]
pub struct Library {
    /// The real library's path.
    pub path: *const c_char,
    /// The directory of the drop-in, where the worker program is.
    pub directory: *const c_char,
    /// The configuration as JSON; null for the default.
    pub configuration: *const c_char,
    /// Its functions.
    pub functions: *const Function,
    /// How many.
    pub count: u32,
    /// 0 closed, 1 being opened, 2 open, 3 failed.
    state: AtomicU32,
    connection: AtomicPtr<Connection>,
    /// Deadline of functions that name none, in microseconds.
    pub deadline_us: u64,
    /// Its variables.
    pub variables: *const Variable,
    /// How many.
    pub variable_count: u64,
}

const CLOSED: u32 = 0;
const OPENING: u32 = 1;
const OPEN: u32 = 2;
const FAILED: u32 = 3;

fn connection(library: &Library) -> Result<&Connection, CallError> {
    for _ in 0..2000 {
        match library.state.load(Acquire) {
            OPEN => {
                // SAFETY: a connection stored here is never dropped while the drop-in is loaded.
                let connection = unsafe { &*library.connection.load(Acquire) };
                if !connection.is_forked() {
                    return Ok(connection);
                }
                let _ = library.state.compare_exchange(OPEN, CLOSED, AcqRel, Acquire);
            }
            // A handler of the program that interrupted this and calls would wait for what it interrupted.
            CLOSED => without_signals(|| {
                if library.state.compare_exchange(CLOSED, OPENING, AcqRel, Acquire).is_ok() {
                    open_once(library);
                }
            }),
            FAILED => return Err(CallError::NoService("the library could not be isolated".into())),
            _ => futex_wait(&library.state, OPENING, 10_000_000),
        }
    }
    Err(CallError::NoService("opening the library takes too long".into()))
}

/// Opens the connection, for all who wait for it.
fn open_once(library: &Library) {
    let opened = open(library);
    let state = if opened.is_ok() { OPEN } else { FAILED };
    if let Ok(mut connection) = opened {
        let entry = enter_by_address as *const () as u64;
        // SAFETY: the drop-in's description lives as long as its code.
        unsafe { connection.install_entries(std::ptr::from_ref(library) as u64, entry) };
        library.connection.store(Box::into_raw(Box::new(connection)), Release);
    } else if let Err(error) = &opened {
        eprintln!("banyan: calls: {error}");
    }
    library.state.store(state, Release);
    crate::sys::channel::futex_wake(&library.state, u32::MAX >> 1);
}

/// # Safety
/// `text` must be null or a C string.
unsafe fn string(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn open(library: &Library) -> Result<Connection, CallError> {
    // SAFETY: the generator fills the fields with constants of the drop-in.
    let (path, directory, text, functions, variables) = unsafe {
        let functions = std::slice::from_raw_parts(library.functions, library.count as usize);
        let variables = std::slice::from_raw_parts(library.variables, library.variable_count as usize);
        (string(library.path), string(library.directory), string(library.configuration), functions, variables)
    };
    let mut configuration = match text {
        Some(text) => serde_json::from_str(&text).map_err(|error| CallError::NoService(error.to_string()))?,
        None => Configuration::default(),
    };
    // SAFETY: as above.
    let name = |name, version| unsafe {
        FunctionName { name: string(name).unwrap_or_default(), version: string(version) }
    };
    configuration.library = path.map(Into::into);
    configuration.functions =
        functions.iter().map(|function| name(function.name, function.version)).collect();
    configuration.variables = variables.iter().map(|one| name(one.name, one.version)).collect();
    configuration.stdio = stdio();
    (configuration.locale, configuration.program) = (locale(), program());
    // What the first call changes of errno is not the function's doing.
    let mut connection = open_library(&configuration, directory.as_deref().map(std::path::Path::new))?;
    let copies = variables.iter().map(|one| Copy {
        here: one.here as u64 + one.offset,
        first: one.first as u64,
        offset: one.offset,
        bytes: one.bytes,
        is_writable: one.writable != 0,
        is_symbol: one.symbol != 0,
    });
    // SAFETY: the generator lists the drop-in's own variables, which live as long as it does.
    unsafe { connection.keep_alike(copies) };
    addresses::learn(&mut connection, library, functions);
    Ok(connection)
}

/// Opens a drop-in's library before its first call, and shows what its variables hold: addresses of the
/// library, which the program may use at once.
#[unsafe(no_mangle)]
pub extern "C" fn banyan_calls_open(library: &Library) {
    let opened = connection(library).and_then(|connection| {
        let current = connection.library_worker(Duration::from_secs(10))?;
        connection.variables.push(slot_address(connection.window, current.slot()), current.generation());
        Ok(())
    });
    if let Err(error) = opened {
        eprintln!("banyan: calls: {error}");
    }
}

/// The program's locale at this moment.
fn locale() -> Option<String> {
    // SAFETY: asks, and changes nothing; the text is the C library's until the next change.
    unsafe { string(libc::setlocale(libc::LC_ALL, std::ptr::null())) }
}

/// The program's name, as its C library has it.
fn program() -> Option<String> {
    unsafe extern "C" {
        static program_invocation_name: *const c_char;
    }
    // SAFETY: the C library sets it before anything else runs.
    unsafe { string(program_invocation_name) }
}

/// The C library's functions on files and descriptors in this program, for those that it opened.
fn stdio() -> Vec<(String, u64)> {
    crate::CALLER_NAMES
        .iter()
        .filter_map(|name| {
            let address = if *name == "longjmp" {
                jump::jump as *const () as u64
            } else {
                let name = std::ffi::CString::new(*name).ok()?;
                // SAFETY: looks a name up.
                unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as u64 }
            };
            (address != 0).then(|| ((*name).to_owned(), address))
        })
        .collect()
}

/// Reads the stack arguments; near the end of a page by way of the kernel, as the stack may end there.
fn stack_words(address: u64, words: &mut [u64]) -> usize {
    let bytes = (words.len() * 8) as u64;
    if address % 4096 + bytes <= 4096 {
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: the first word above the return address lies on this page of the stack, so
            // the page is mapped, and the words do not leave it.
            *word = unsafe { std::ptr::read_volatile((address + index as u64 * 8) as *const u64) };
        }
        return words.len();
    }
    // SAFETY: the target is the local array.
    unsafe { crate::sys::channel::copy_checked(address, words.as_mut_ptr() as u64, bytes as usize) / 8 }
}

entry!(
    /// Where the functions of a drop-in jump to: r10 holds its [`Library`], r11 the function's number.
    enter_by_number, ["mov rdi, r10", "mov esi, r11d", "mov rdx, rsp"], enter
);
entry!(
    /// Where calls of addresses in the library's code arrive: r10 holds the [`Library`], r11 the address.
    enter_by_address, ["mov rdi, r10", "mov rsi, r11", "mov rdx, rsp"], enter_address
);

/// One call of a drop-in's function.
extern "C" fn enter(library: &Library, number: u32, registers: &mut Registers) {
    // SAFETY: the generator numbers the functions of this table.
    let function = unsafe { &*library.functions.add(number as usize) };
    // Clearing room for variable arguments would take a part of every other call's time.
    if function.stack == VARIABLE_WORDS {
        call(library, number, function, registers, &mut [0; STACK_WORDS_MAX]);
    } else {
        let wanted = usize::from(function.stack).min(FIXED_WORDS_MAX);
        call(library, number, function, registers, &mut [0; FIXED_WORDS_MAX][..wanted]);
    }
}

/// The call, with room for its words on the stack.
fn call(library: &Library, number: u32, function: &Function, registers: &mut Registers, words: &mut [u64]) {
    registers.results = function.results.into();
    let shape =
        Shape { general: function.general.min(6), vector: function.vector.min(8), stack: words.len() as u16 };
    let count = if words.is_empty() { 0 } else { stack_words(registers.stack, words) };
    // The worker looks at no stack of ours.
    registers.stack = 0;
    let deadline = if function.deadline_us == 0 { library.deadline_us } else { function.deadline_us };
    let options = CallOptions {
        deadline: Duration::from_micros(if deadline == 0 { 60_000_000 } else { deadline }),
        retries: function.retries.into(),
        cpu_limit: (function.cpu_ms != 0).then(|| Duration::from_millis(function.cpu_ms.into())),
        ..CallOptions::default()
    };
    let reached = if function.refused == 0 { connection(library) } else { Err(CallError::NoFunction) };
    let result = reached.and_then(|connection| {
        let (words, named) = (&words[..count], function.named.into());
        // SAFETY: the program calls the library's function with these arguments.
        connection.functions.exchange(registers, |registers| unsafe {
            connection.call_registers(number.into(), registers, shape, words, named, &options)
        })
    });
    let Err(error) = result else { return };
    if function.on_failure == ABORT {
        // SAFETY: the policy asks for the end of the program.
        unsafe { libc::abort() };
    }
    note_failure(function, &error);
    if function.on_failure == OURS {
        let named = usize::from(function.named).min(registers.general.len());
        note_progress(library, function, &registers.general[..named], &error);
    }
    registers.rax = function.failure;
    registers.rdx = 0;
    if function.result_bytes != 0 {
        // The program reads the result where it said, and by the convention finds that address in rax.
        registers.rax = registers.general[0];
        // SAFETY: the program reserved that much memory there for the result.
        unsafe { std::ptr::write_bytes(registers.rax as *mut u8, 0, function.result_bytes as usize) };
    }
    if u64::from(function.results) & WANT_VECTOR != 0 {
        registers.vector[..2].fill([0, 0]);
    }
    if function.failure_in_vector != 0 {
        registers.vector[0] = [function.failure, 0];
    }
    if u64::from(function.results) & WANT_ST0 != 0 {
        (registers.st0, registers.st1) = ([0, 0], [0, 0]);
    }
    let errno = match (function.errno, &error) {
        (0, CallError::TimedOut { .. }) => libc::ETIMEDOUT as u32,
        (0, CallError::StaleHandle { .. }) => libc::ESTALE as u32,
        (0, CallError::NoService(_) | CallError::NoFunction) => libc::ENOSYS as u32,
        (0, CallError::Refused { .. }) => libc::EPERM as u32,
        (0, _) => libc::EIO as u32,
        (errno, _) => errno,
    };
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = errno as i32 };
}

/// Tells of a program that makes no progress on failures for which the policy has no word, and ends it.
#[cold]
fn note_progress(library: &Library, function: &Function, arguments: &[u64], error: &CallError) {
    let connection = library.connection.load(Acquire);
    // SAFETY: a connection stored here is never dropped while the drop-in is loaded.
    let successes = unsafe { connection.as_ref() }.map_or(0, Connection::successes);
    let place = std::ptr::from_ref(function) as u64;
    let progress = ROW.note(&Failure { function: place, arguments, successes }, now_ns());
    let said = match progress {
        Progress::GoesOn => return,
        Progress::Told => "the program calls it again and again",
        Progress::Ended => "the program makes no progress and is ended",
    };
    // SAFETY: a constant of the drop-in.
    let name = unsafe { string(function.name) }.unwrap_or_default();
    let value = function.failure as i64;
    eprintln!(
        "banyan: {name}: {error}; {said}: say by a policy what it returns then, as \"[function.{name}] failure = {value}\""
    );
    if progress == Progress::Ended {
        // SAFETY: as it would have ended without us.
        unsafe { libc::abort() };
    }
}

/// The program called an address that it got from the library: there the same function is called.
extern "C" fn enter_address(library: &Library, address: u64, registers: &mut Registers) {
    registers.results = WANT_VECTOR | WANT_ANY_ST;
    let mut words = [0; FIXED_WORDS_MAX];
    let count = stack_words(registers.stack, &mut words);
    let deadline = if library.deadline_us == 0 { 60_000_000 } else { library.deadline_us };
    let options = CallOptions { deadline: Duration::from_micros(deadline), ..CallOptions::default() };
    let result = connection(library).and_then(|connection| {
        let number = BY_ADDRESS | connection.function_at(address);
        // SAFETY: the program calls the library's function with these arguments.
        connection.functions.exchange(registers, |registers| unsafe {
            connection.call_registers(number, registers, Shape::unknown(0), &words[..count], 0, &options)
        })
    });
    if result.is_err() {
        registers.rax = 0;
        registers.rdx = 0;
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = libc::EIO };
    }
}

/// Tells about failures on standard error when `BANYAN_CALL_VERBOSE` is set; outside the path of good calls.
fn note_failure(function: &Function, error: &CallError) {
    // SAFETY: getenv only reads; a failed call is not made in a signal handler that changes the environment.
    let verbose = unsafe { !libc::getenv(c"BANYAN_CALL_VERBOSE".as_ptr()).is_null() };
    if verbose {
        // SAFETY: a constant of the drop-in.
        let name = unsafe { string(function.name) }.unwrap_or_default();
        eprintln!("banyan: {name}: {error}");
    }
}

/// Where the functions of a drop-in jump to: r10 holds its [`Library`], r11 the function's number.
#[unsafe(no_mangle)]
pub extern "C" fn banyan_calls_entry() -> u64 {
    enter_by_number as *const () as u64
}
